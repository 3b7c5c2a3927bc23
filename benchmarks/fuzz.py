"""Hostile files: do they end in one of the declared errors, in bounded memory?

Parts: ``folders`` (a saved model whose files are damaged, cut, replaced, nested or linked),
``tables`` (CSV, JSON and Parquet of random and of damaged bytes, as logs and catalogues) and
``outputs`` (texts that hold HTML, formulas and control characters, on the page of the case study
and in a table that the command line writes: the page must hold them as texts and no element of
theirs, the file must read back as it was). Each part tries 5,000 inputs drawn with a seed and
writes counts of what happened to ``fuzz.parquet``: ``part, mutation, outcome, n``. An outcome that
is no answer and no declared error is a crash: it is printed, counted, and the exit code is 1.
Memory beyond 6 GB ends the process.
"""

import collections
import contextlib
import csv
import io
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
from run import HERE, chosen_parts, save

from llmrec import Dataset, TextEncoder, TransferRecommender
from llmrec.case_study import person_section
from llmrec.cli import write_table
from llmrec.models import TrainingConfig

NAME, N_INPUTS, SEED, MOST_MEMORY = "fuzz.parquet", 5_000, 0, 6 * 2**30
DECLARED = (ValueError, KeyError, FileNotFoundError)
VALUES = [None, True, -1, 0, 10**9, 10**40, 1e308, "", "x", "../x", "\x00", [], {}, [[]], "é" * 99]


def small_model(folder: Path) -> TransferRecommender:
    """A model of a tiny catalogue, with a closed form."""
    random = np.random.default_rng(SEED)
    log = pd.DataFrame(random.integers(0, [40, 30], (600, 2)), columns=["user_id", "item_id"])
    items = pd.DataFrame({"item_id": range(30)})
    items["text"] = "soap number " + items["item_id"].astype(str)
    config = TrainingConfig(dim=8, hidden=16, epochs=1, n_components=8, content_dim=4)
    split = Dataset.from_frames(log, items, order="file").split("leave_one_out")
    model = TransferRecommender(TextEncoder.from_pretrained(), config=config, progress=False)
    model.fit(split.train, split.valid)
    model.save_pretrained(folder)
    return model


def flipped(content: bytes, random) -> bytes:
    changed = bytearray(content)
    for place in random.integers(0, max(1, len(changed)), random.integers(1, 9)):
        if changed:
            changed[place] = random.integers(256)
    return bytes(changed)


def cut(content: bytes, random) -> bytes:
    return content[: random.integers(0, len(content) + 1)]


def doubled(content: bytes, random) -> bytes:
    place = random.integers(0, len(content) + 1)
    return content[:place] + content[place // 2 :]


def noise(content: bytes, random) -> bytes:
    return random.bytes(int(random.integers(0, 2_000)))


def nested(content: bytes, random) -> bytes:
    depth = int(random.integers(10, 100_000))
    return b'{"a":' * depth + b"1" + b"}" * depth


def other_value(content: bytes, random) -> bytes:
    """A JSON file with another value at a random place; other files are flipped."""
    try:
        settings = json.loads(content)
    except ValueError:
        return flipped(content, random)
    holder, key = settings, None
    while isinstance(holder, (dict, list)) and len(holder):
        parent = holder
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = list(keys)[random.integers(len(holder))]
        holder = parent[key]
        if random.random() < 0.5:
            break
    if key is not None:
        parent[key] = VALUES[random.integers(len(VALUES))]
    return json.dumps(settings).encode()


MUTATIONS = (flipped, cut, doubled, noise, nested, other_value)


def outcome_of(action) -> tuple[str, str]:
    """What happened, and what was said of it."""
    try:
        action()
    except DECLARED as error:
        return "refused", str(error)
    except Exception as error:  # every other one is what is looked for here
        return f"crash: {type(error).__name__}", str(error)
    return "answered", ""


def fuzz_folders(random) -> list:
    """A model folder, one file of which is changed, is loaded and asked."""
    outcomes = []
    with tempfile.TemporaryDirectory() as place:
        folder, again = Path(place) / "model", Path(place) / "again"
        small_model(folder)
        files = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
        for _ in range(N_INPUTS):
            shutil.rmtree(again, ignore_errors=True)
            shutil.copytree(folder, again)
            file = again / files[random.integers(len(files))]
            if random.random() < 0.05:
                name = "link"
                file.unlink()
                os.symlink("/etc/hostname", file)
            else:
                mutation = MUTATIONS[random.integers(len(MUTATIONS))]
                name = mutation.__name__
                file.write_bytes(mutation(file.read_bytes(), random))

            def load():
                model = TransferRecommender.from_pretrained(again, progress=False)
                model.recommend({0: model.items_["item_id"].tolist()[:2]}, k=3)

            outcomes.append((name, *outcome_of(load), str(file.relative_to(again))))
    return outcomes


def written(kind: str, random) -> bytes:
    """A small honest log or catalogue as a file."""
    log = pd.DataFrame(random.integers(0, 9, (20, 2)), columns=["user_id", "item_id"])
    log["timestamp"] = random.integers(0, 2**31, 20)
    log["text"] = "soap, \"large\" and 'red'"
    if kind == "csv":
        return log.to_csv(index=False).encode()
    if kind == "json":
        return log.to_json(orient="records").encode()
    content = io.BytesIO()
    log.to_parquet(content)
    return content.getvalue()


def fuzz_tables(random) -> list:
    """A log and a catalogue of damaged bytes are read."""
    outcomes = []
    with tempfile.TemporaryDirectory() as place:
        for _ in range(N_INPUTS):
            kind = ("csv", "json", "parquet")[random.integers(3)]
            mutation = MUTATIONS[random.integers(len(MUTATIONS))]
            file = Path(place) / f"log.{kind}"
            file.write_bytes(mutation(written(kind, random), random))
            honest = Path(place) / f"honest.{kind}"
            honest.write_bytes(written(kind, random))
            pair = (file, honest) if random.random() < 0.5 else (honest, file)
            outcome = outcome_of(lambda pair=pair: Dataset.from_files(*pair))
            outcomes.append((f"{kind}: {mutation.__name__}", *outcome, kind))
    return outcomes


FRAGMENTS = (
    *("<script>alert(1)</script>", "</td></table>", "<img src=x onerror=alert(1)>", "<!--", "-->"),
    *("&lt;b&gt;", "&", "'", '"', "]]>", "</style>", "<svg/onload=x>", "javascript:x", "soap", " "),
    *(
        '=HYPERLINK("x")',
        "=1+1",
        "+cmd|x",
        "-2",
        "@SUM(1)",
        ",",
        ";",
        "\n",
        "\r",
        "\t",
        "\x00",
        "é",
    ),
    *("\u202e", "\u200b", "🙂", "汉"),
)


def hostile_text(random) -> str:
    """Some fragments, end to end."""
    return "".join(random.choice(FRAGMENTS, random.integers(1, 6)))


class Elements(HTMLParser):
    """The elements of a page with the names of their attributes, and all of its text."""

    def __init__(self, page: str):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """Note an element."""
        self.elements.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text += data


def person(texts: list[str]) -> dict:
    """One user of the case study, with these five texts."""
    user, known, taken, listed, reason = texts
    lists = {"ours": [(listed, True)], "popular": [(known, False)]}
    return {"user": user, "history": [known], "next": [taken], "lists": lists, "reasons": [reason]}


def fuzz_outputs(random) -> list:
    """Hostile texts are shown on a page, and written to a table."""
    outcomes, expected = [], Elements(person_section(person(["soap"] * 5))).elements
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "table.csv"
        for number in range(N_INPUTS):
            texts = [hostile_text(random) for _ in range(5)]

            def show(texts=texts):
                page = Elements(person_section(person(texts)))
                if page.elements != expected or any(text not in page.text for text in texts):
                    raise RuntimeError("a text is not shown as a text")

            def write(texts=texts):
                table = pd.DataFrame({"item_id": texts, "text": texts[::-1]})
                write_table(table, file)
                with file.open(encoding="utf-8", newline="") as lines:
                    read = list(csv.reader(lines))[1:]
                if read != table.to_numpy().tolist():
                    raise RuntimeError("a table does not read back as it was")

            name, action = ("page", show) if number % 2 else ("csv", write)
            outcomes.append((name, *outcome_of(action), repr(texts)))
    return outcomes


PARTS = {"folders": fuzz_folders, "tables": fuzz_tables, "outputs": fuzz_outputs}


def main() -> int:
    """The parts that are named, or all."""
    options = chosen_parts(__doc__, PARTS)
    logging.getLogger("llmrec").setLevel(logging.ERROR)
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
    path, n_crashes = HERE / NAME, 0
    done = pd.read_parquet(path) if path.exists() else pd.DataFrame({"part": []})
    for part in options.parts:
        with contextlib.redirect_stdout(io.StringIO()):
            outcomes = PARTS[part](np.random.default_rng(SEED))
        crashes = [one for one in outcomes if one[1].startswith("crash")]
        for one in crashes[:20]:
            print(part, *one, sep=" | ")
        n_crashes += len(crashes)
        counts = collections.Counter((name, outcome) for name, outcome, *_ in outcomes)
        rows = [(part, *key, n) for key, n in counts.items()]
        table = pd.DataFrame(rows, columns=["part", "mutation", "outcome", "n"])
        done = pd.concat([done[done["part"] != part], table], ignore_index=True)
        save(done, NAME)
        print(part, table.groupby("outcome")["n"].sum().to_dict(), flush=True)
    return int(n_crashes > 0)


if __name__ == "__main__":
    sys.exit(main())
