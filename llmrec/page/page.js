"use strict";

const SAY = {
  en: {
    history: "1. A history", historyHelp: "Pick items that you, or somebody, liked. The order counts: the last one was the newest.",
    search: "Search by a title or by a sentence", surprise: "Pick three for me", clear: "Empty it", takeAway: "Take away",
    lists: "2. Recommendations", listsHelp: "Arrows show what moved since your last change. Choose an item to see why it is there.",
    ours: "The whole model", beside: "Beside it:", popular: "the most popular",
    why: "3. Why?", whyHelp: "Choose an item of a list.", events: "Items of the history", words: "Words of its text",
    wait: "Measuring…", add: "4. An item of your own", addHelp: "Describe something that does not exist. The model knows it by its text alone.",
    text: "Its text", addButton: "Add it", removeButton: "Remove it again",
    landed: (rank, n) => `It is number ${rank} of ${n} for this history.`,
    needHistory: "Pick a history first, so that there is a list to land in.", fresh: "new",
    about: (one) => `${one.items.toLocaleString("en")} items, ${one.events.toLocaleString("en")} events, model “${one.version}”`,
    loading: "The model is being loaded…", nothing: "Nothing found.", lost: "The service does not answer.",
  },
  zh: {
    history: "1. 浏览记录", historyHelp: "选几件你（或某人）喜欢的东西。顺序有意义：最后一件最新。",
    search: "按标题或一句话搜索", surprise: "替我选三件", clear: "清空", takeAway: "拿掉",
    lists: "2. 推荐", listsHelp: "箭头表示自上次改动以来的移动。点一件看看为什么推荐它。",
    ours: "完整模型", beside: "对照：", popular: "最热门",
    why: "3. 为什么？", whyHelp: "请在列表里选一件。", events: "记录里的哪几件", words: "文字里的哪些词",
    wait: "正在测量……", add: "4. 你自己的商品", addHelp: "描述一件并不存在的东西。模型只凭文字认识它。",
    text: "它的文字", addButton: "加入", removeButton: "再删掉",
    landed: (rank, n) => `对这份记录，它排在 ${n} 件中的第 ${rank} 位。`,
    needHistory: "请先选一份记录，这样才有列表可排。", fresh: "新",
    about: (one) => `${one.items.toLocaleString("zh")} 件商品，${one.events.toLocaleString("zh")} 次行为，模型“${one.version}”`,
    loading: "正在加载模型……", nothing: "没有找到。", lost: "服务没有回应。",
  },
};
const LENGTH = 10;
const $ = (id) => document.getElementById(id);
const state = { language: navigator.language.startsWith("zh") ? "zh" : "en", history: [], before: {}, chosen: null, own: null, about: null, turn: 0 };
const say = (key) => SAY[state.language][key];

async function call(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error(say("lost"));
  }
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function element(name, className, text) {
  const one = document.createElement(name);
  if (className) one.className = className;
  if (text !== undefined) one.textContent = text;
  return one;
}

let running = 0;

function busy(steps) {
  running += steps;
  document.querySelector("main").setAttribute("aria-busy", String(running > 0));
}

function told(action) {
  return async (...given) => {
    busy(1);
    try {
      $("error").hidden = true;
      await action(...given);
    } catch (error) {
      $("error").textContent = error.message;
      $("error").hidden = false;
    } finally {
      busy(-1);
    }
  };
}

/* The history */

function showHistory() {
  $("chosen").replaceChildren(...state.history.map((item, place) => {
    const line = element("li"), away = element("button", "", "×");
    away.type = "button";
    away.setAttribute("aria-label", `${say("takeAway")}: ${item.text}`);
    away.addEventListener("click", told(async () => {
      state.history.splice(place, 1);
      await historyChanged();
      ($("chosen").querySelectorAll("button")[place] || $("search")).focus();
    }));
    line.append(element("span", "", item.text), away);
    return line;
  }));
}

async function historyChanged() {
  showHistory();
  await showLists();
  if (state.own) await showLanding();
  if (state.chosen) await explain(state.chosen);
}

async function take(item) {
  closeFound();
  $("search").value = "";
  state.history = state.history.filter((one) => one.item_id !== item.item_id).concat(item);
  await historyChanged();
}

/* The search */

let active = -1, found = [], typed = 0;

function closeFound() {
  $("found").hidden = true;
  $("search").setAttribute("aria-expanded", "false");
  $("search").removeAttribute("aria-activedescendant");
  active = -1;
}

function showFound() {
  const lines = found.map((item, place) => {
    const line = element("li", "", item.text);
    line.id = `found-${place}`;
    line.setAttribute("role", "option");
    line.setAttribute("aria-selected", String(place === active));
    line.addEventListener("mousedown", (event) => event.preventDefault());
    line.addEventListener("click", told(() => take(item)));
    return line;
  });
  $("found").replaceChildren(...(lines.length ? lines : [element("li", "", say("nothing"))]));
  $("found").hidden = false;
  $("search").setAttribute("aria-expanded", "true");
  if (active >= 0) $("search").setAttribute("aria-activedescendant", `found-${active}`);
}

const search = told(async () => {
  const query = $("search").value.trim(), mine = ++typed;
  if (!query) return closeFound();
  const answer = await call("/search", { query, k: 8 });
  if (mine !== typed) return;
  found = answer.items;
  active = -1;
  showFound();
});

let timer;
$("search").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(search, 120);
});
$("search").addEventListener("keydown", told(async (event) => {
  if (event.key === "Escape") return closeFound();
  if ($("found").hidden || !found.length) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    active = (active + (event.key === "ArrowDown" ? 1 : found.length - (active < 0 ? 0 : 1))) % found.length;
    showFound();
  }
  if (event.key === "Enter") {
    event.preventDefault();
    await take(found[Math.max(active, 0)]);
  }
}));
$("search").addEventListener("blur", () => setTimeout(closeFound, 150));

/* The lists */

function moved(id, item, rank) {
  const before = state.before[id];
  if (!before) return "";
  const place = before.indexOf(item.item_id);
  if (place < 0) return say("fresh");
  const steps = place + 1 - rank;
  return steps > 0 ? `▲${steps}` : steps < 0 ? `▼${-steps}` : "";
}

function showList(id, items) {
  $(id).replaceChildren(...items.map((item) => {
    const line = element("li", state.own === item.item_id ? "own" : ""), button = element("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(state.chosen?.item_id === item.item_id));
    button.append(element("span", "rank", item.rank), element("span", "title", item.text), element("span", "moved", moved(id, item, item.rank)));
    button.addEventListener("click", told(() => explain(item)));
    line.append(button);
    return line;
  }));
  state.before[id] = items.map((item) => item.item_id);
}

async function showLists() {
  const history = state.history.map((item) => item.item_id), turn = ++state.turn;
  const [ours, other] = await Promise.all(["ours", $("system").value || "popular"].map(
    (system) => call("/recommend", { history, k: LENGTH, system })));
  if (turn !== state.turn) return;
  showList("ours", ours.items);
  showList("other", other.items);
}

/* Why */

function showBars(id, rows, label) {
  const most = Math.max(...rows.map((row) => Math.abs(row.effect)), 1e-9);
  $(id).replaceChildren(...rows.map((row) => {
    const line = element("li"), top = element("div", "label"), bar = element("div", row.effect < 0 ? "bar minus" : "bar");
    top.append(element("span", "", row[label]), element("span", "number", row.effect.toFixed(2)));
    bar.style.width = `${(100 * Math.abs(row.effect)) / most}%`;
    line.append(top, bar);
    return line;
  }));
}

async function explain(item) {
  state.chosen = item;
  for (const button of document.querySelectorAll(".list button")) {
    button.setAttribute("aria-pressed", String(button.querySelector(".title").textContent === item.text));
  }
  $("reasons").hidden = true;
  if (!state.history.length) {
    $("sentence").textContent = say("needHistory");
    return;
  }
  $("sentence").textContent = say("wait");
  const history = state.history.map((one) => one.item_id);
  const why = await call("/explain", { history, item_id: item.item_id, lang: state.language });
  if (state.chosen !== item) return;
  $("sentence").textContent = why.sentence;
  showBars("events", why.events, "text");
  showBars("words", why.words, "word");
  $("reasons").hidden = false;
}

/* An item of one's own */

async function showLanding() {
  const history = state.history.map((item) => item.item_id);
  if (!history.length) {
    $("landed").textContent = say("needHistory");
    return;
  }
  const why = await call("/explain", { history, item_id: state.own, lang: state.language });
  $("landed").textContent = say("landed")(why.rank, state.about.items);
}

async function untilLive(change) {
  while ((await call("/model")).change < change) await new Promise((resolve) => setTimeout(resolve, 50));
}

$("add").addEventListener("submit", told(async (event) => {
  event.preventDefault();
  const known = (await call("/recommend", { history: [], k: 1 })).items[0];
  const item_id = typeof known.item_id === "number" ? Date.now() : `own-${Date.now()}`;
  const { change } = await call("/items", { items: [{ item_id, text: $("text").value }] });
  await untilLive(change);
  state.own = item_id;
  $("remove").hidden = false;
  await showAbout();
  await showLists();
  await showLanding();
}));

$("remove").addEventListener("click", told(async () => {
  const { change } = await call("/items/remove", { item_ids: [state.own] });
  await untilLive(change);
  state.history = state.history.filter((item) => item.item_id !== state.own);
  state.own = null;
  $("remove").hidden = true;
  $("landed").textContent = "";
  await showAbout();
  await historyChanged();
}));

/* The rest */

$("surprise").addEventListener("click", told(async () => {
  const { items } = await call("/recommend", { history: [], k: 100 });
  state.history = [];
  for (let n = 0; n < 3 && items.length; n++) state.history.push(items.splice(Math.floor(Math.random() * items.length), 1)[0]);
  await historyChanged();
}));
$("clear").addEventListener("click", told(async () => {
  state.history = [];
  state.chosen = null;
  $("reasons").hidden = true;
  $("sentence").textContent = say("whyHelp");
  await historyChanged();
}));
$("system").addEventListener("change", told(async () => {
  delete state.before.other;
  await showLists();
}));
for (const button of document.querySelectorAll(".language")) {
  button.addEventListener("click", told(async () => {
    state.language = button.dataset.language;
    showLanguage();
    await historyChanged();
  }));
}

function showLanguage() {
  document.documentElement.lang = state.language;
  for (const one of document.querySelectorAll("[data-say]")) {
    if (one.id !== "sentence" || !state.chosen) one.textContent = say(one.dataset.say);
  }
  for (const button of document.querySelectorAll(".language")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === state.language));
  }
  if (state.about) showSystems();
}

function showSystems() {
  const names = state.about.systems.filter((name) => name !== "ours"), chosen = $("system").value || "popular";
  $("system").replaceChildren(...names.map((name) => {
    const option = element("option", "", name === "popular" ? say("popular") : name);
    option.value = name;
    return option;
  }));
  $("system").value = chosen;
  $("about").textContent = say("about")(state.about);
}

async function showAbout() {
  state.about = await call("/model");
  showSystems();
}

told(async () => {
  showLanguage();
  while (!(await call("/health")).ready) {
    $("about").textContent = say("loading");
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  await showAbout();
  await historyChanged();
})();
