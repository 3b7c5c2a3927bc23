"""The site as a browser sees it, in headless Chromium where there is one: nothing fails, nothing
comes from elsewhere, and a telephone can read it.
"""

import functools
import http.server
import itertools
import json
import shutil
import threading
import time
import zlib

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with its driver on this machine"
)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
MEASURES = """return {
    headings: [...document.querySelectorAll("main h1, main h2, main h3, main h4, main h5")]
        .map(h => +h.tagName[1]),
    flat: [...document.querySelectorAll("math")]
        .filter(m => m.getClientRects().length && m.getBoundingClientRect().height < 4).length,
    formulas: document.querySelectorAll("math").length,
    diagrams: document.querySelectorAll("pre.mermaid, div.mermaid").length,
    drawn: document.querySelectorAll(".mermaid svg").length,
    without_alt: [...document.images].filter(i => !i.alt).length,
    broken: [...document.images].filter(i => i.complete && !i.naturalWidth).length,
    letters: [...document.querySelectorAll("pre.mermaid svg")]
        .filter(svg => svg.querySelector("foreignObject span, text")).map(svg =>
        parseFloat(getComputedStyle(svg.querySelector("foreignObject span, text")).fontSize)
        * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width),
    outside: [...document.querySelectorAll(
            "article table, article pre, article img, article .math")]
        .filter(e => e.getClientRects().length && !e.closest("pre.mermaid"))
        .filter(e => { for (let a = e; a; a = a.parentElement)
            if (["auto", "scroll"].includes(getComputedStyle(a).overflowX) && a.clientWidth) {
                e = a; break; }
            return e.getBoundingClientRect().right > document.documentElement.clientWidth + 1; })
        .length,
    columns: Math.min(1000, ...[...document.querySelectorAll(".cell_input pre")]
        .filter(pre => pre.getClientRects().length).map(pre => {
            const style = getComputedStyle(pre), ruler = document.createElement("canvas");
            const context = ruler.getContext("2d");
            context.font = `${style.fontSize} ${style.fontFamily}`;
            return (pre.clientWidth - parseFloat(style.paddingLeft)
                - parseFloat(style.paddingRight)) / context.measureText("x").width; })),
    searches: [...document.querySelectorAll(".search-button-field, form.bd-search input")]
        .filter(e => e.getClientRects().length).length,
    icons: document.querySelectorAll(".mermaid-fullscreen-btn").length,
    counted: [...document.querySelectorAll(".cell_output table.dataframe")].filter(table => {
        const rows = [...table.querySelectorAll("tbody tr")].map(row => row.querySelector("th"));
        return rows.length && rows.every((th, n) => th && th.textContent.trim() === `${n}`); })
        .length,
    dark_figures: [...document.querySelectorAll(".cell_output img")]
        .filter(i => getComputedStyle(i).backgroundColor !== "rgb(255, 255, 255)").length,
    too_wide: document.documentElement.scrollWidth - window.innerWidth}"""
DRAWN = """return document.readyState === "complete"
    && document.querySelectorAll(".mermaid svg").length
    >= document.querySelectorAll("pre.mermaid, div.mermaid").length"""


@pytest.fixture(scope="module")
def address(site):
    """The site on a port of this machine."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Silent, directory=str(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        *QUIET,
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
        "--window-size=1280,900",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.get("about:blank")
    time.sleep(2)  # what the browser's own first page asked for is over
    yield driver
    driver.quit()


def visit(browser, url: str) -> dict:
    """What a page measures, and every request that it made: ``{"measures", "requests": {url:
    status}, "complaints"}``.
    """
    from selenium.webdriver.support.ui import WebDriverWait

    # what is there is of the page before
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(url)
    WebDriverWait(browser, 30, poll_frequency=0.05).until(
        lambda driver: driver.execute_script(DRAWN)
    )
    status = {}
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        details = message["params"]
        if message["method"] == "Network.responseReceived":
            status[details["requestId"]] = (
                details["response"]["url"],
                details["response"]["status"],
            )
        elif message["method"] == "Network.loadingFailed" and not details.get("canceled"):
            status[details["requestId"]] = (str(details), 599)
    complaints = [
        entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"
    ]
    return {
        "measures": browser.execute_script(MEASURES),
        "requests": dict(status.values()),
        "complaints": complaints,
    }


@functools.cache
def packed(site, path: str) -> int:
    """Bytes of a file as a host sends it, compressed."""
    file = site / path.lstrip("/").partition("?")[0].partition("#")[0]
    return len(zlib.compress(file.read_bytes())) if file.is_file() else 0


def pages(site) -> list[str]:
    return sorted(
        str(path.relative_to(site))
        for path in site.rglob("*.html")
        if not {"_static", "_modules"} & set(path.parts)
    )


@pytest.fixture(scope="module")
def seen(site, address, browser):
    """``seen(width)``: what each page is like at a width, from one visit."""
    return functools.cache(functools.partial(seen_at, site, address, browser))


def seen_at(site, address: str, browser, width: int) -> dict[str, dict]:
    """By page, what `visit` finds, and its measures in both themes."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    found = {}
    try:
        for page in pages(site):
            found[page] = visit(browser, f"{address}/{page}")
            for theme in ("light", "dark"):
                browser.execute_script(
                    f"document.documentElement.dataset.theme = '{theme}';"
                    f"document.documentElement.dataset.mode = '{theme}'"
                )
                found[page][theme] = settled(browser)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return found


def test_every_page_loads_and_is_drawn(site, address, seen):
    n_formulas = n_diagrams = 0
    for page, found in seen(1280).items():
        measures = found["measures"]
        assert not found["complaints"], (page, found["complaints"])
        assert all(
            url.startswith((address, "data:", "blob:", "chrome:")) and code < 400
            for url, code in found["requests"].items()
        ), (page, found["requests"])
        assert (
            weight := sum(
                packed(site, url.removeprefix(address))
                for url in found["requests"]
                if url.startswith(address)
            )
        ) <= 3e6, (page, weight)
        assert measures["without_alt"] == measures["broken"] == measures["flat"] == 0, (
            page,
            measures,
        )
        levels = measures["headings"]
        assert all(
            later <= earlier + 1 for earlier, later in zip(levels, levels[1:], strict=False)
        ), (page, levels)
        n_formulas, n_diagrams = n_formulas + measures["formulas"], n_diagrams + measures["drawn"]
    assert n_formulas > 20 and n_diagrams > 5


def test_search_finds_the_recommender(address, browser):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"{address}/search.html?q=TransferRecommender")
    hits = WebDriverWait(browser, 20).until(
        lambda driver: driver.execute_script(
            "return [...document.querySelectorAll('#search-results li a')].map(a => a.href)"
        )
    )
    assert any("transfer" in hit for hit in hits)


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_can_be_read_at_both_widths_in_light_and_dark(seen, width):
    faults, n_diagrams, n_figures = {}, 0, 0
    for (page, found), theme in itertools.product(seen(width).items(), ("light", "dark")):
        measures = found[theme]
        n_diagrams += len(measures["letters"])
        n_figures += measures["dark_figures"] if theme == "light" else 0
        wrong = {
            "wider than the screen": measures["too_wide"] > 2,
            "does not scroll inside itself": measures["outside"] > 0,
            "letters of a diagram": not has_legible_diagrams(measures),
            "button on a diagram": measures["icons"] > 0,
            "code cut off": width == 1280 and measures["columns"] < 100,
            "search boxes": page == "index.html" and width == 1280 and measures["searches"] != 1,
            "empty index column": measures["counted"] > 0,
            "dark ink on dark": theme == "dark" and measures["dark_figures"] > 0,
        }
        if names := [name for name, is_wrong in wrong.items() if is_wrong]:
            faults[page, theme] = names
    assert not faults
    # both kinds were there to be measured
    assert n_diagrams > 40 and n_figures > 20


def has_legible_diagrams(measures: dict) -> bool:
    """Letters that are neither too small to read nor blown up."""
    return all(12 <= pixels <= 21 for pixels in measures["letters"])


def settled(browser) -> dict:
    """What a page measures once its diagrams are drawn and have their size."""
    for _ in range(100):
        measures = browser.execute_script(MEASURES)
        is_drawn = len(measures["letters"]) == measures["diagrams"]
        if is_drawn and has_legible_diagrams(measures):
            break
        time.sleep(0.05)
    return measures


def test_the_landing_page_shows_within_one_screen_what_it_is(address, browser):
    size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        visit(browser, f"{address}/index.html")
        settled(browser)
        bottoms = browser.execute_script(
            "return ['blockquote', 'pre.mermaid svg', '.cell_output img', '.highlight-sh pre']"
            ".map(s => document.querySelector('article ' + s).getBoundingClientRect().bottom)"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert len(bottoms) == 4 and max(bottoms) <= 900
