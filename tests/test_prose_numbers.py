"""Every number that prose states is in the code or an output of its chapter, or has a source in
``prose_numbers.csv``: a property of data, a definition, or a calculation that the reader can do.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
CHAPTERS = sorted((HERE.parent / "nbs").glob("*.ipynb"))
with (HERE / "prose_numbers.csv").open(encoding="utf-8", newline="") as file:
    SOURCES = list(csv.DictReader(file))
NO_PROSE = (
    r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`"  # code and formulas
    r"|\[(?:arXiv|doi)[^\]]*\]|\]\([^)]*\)|<[^>]+>|https?://\S+"  # references
)
# small whole numbers count and enumerate; a part of a name is no number
NUMBER = r"(?<![\w.-])(?:\d{1,3}(?:,\d{3})+|\d*\.?\d+)(?: ?%)?(?![\w-]|\.\d)"


def is_measured(number: str) -> bool:
    """Whether a number looks like a result: a fraction, a percentage, or three digits and more."""
    digits = re.sub(r"\D", "", number)
    is_year = re.fullmatch(r"(19|20)\d\d", number) is not None
    return not is_year and ("." in number or "%" in number or len(digits) >= 3)


def numbers(text: str) -> set[str]:
    """The numbers of a text without its code, formulas and references."""
    prose = re.sub(NO_PROSE, " ", text, flags=re.S)
    return {number for number in re.findall(NUMBER, prose) if is_measured(number)}


def shown(notebook: dict) -> str:
    """All code and all outputs of a notebook, without separators of thousands."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    parts = ["".join(cell["source"]) for cell in code]
    for output in (output for cell in code for output in cell["outputs"]):
        texts = [output.get("text", "")]
        texts += [text for kind, text in output.get("data", {}).items() if "text" in kind]
        parts += ["".join(text) for text in texts]
    return re.sub(r"(?<=\d)[,_](?=\d)", "", " ".join(parts))


def is_shown(number: str, values: np.ndarray) -> bool:
    """Whether a number is one of the values, rounded as it is; a percentage may be a fraction."""
    digits = re.sub(r"[ ,%]", "", number)
    places = len(digits.partition(".")[2])
    shares = [values, values * 100] if "%" in number else [values]
    return any(np.isclose(np.round(some, places), float(digits)).any() for some in shares)


def unsourced(path: Path) -> set[str]:
    """The numbers of a chapter's prose that are shown nowhere."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    values = np.array([float(one) for one in re.findall(r"\d*\.?\d+", shown(notebook))] or [np.inf])
    prose = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    found = set().union(*(numbers("".join(cell["source"])) for cell in prose))
    return {one for one in found if not is_shown(one, values)}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_number_in_prose_is_shown_or_has_a_source(path):
    listed = {row["number"] for row in SOURCES if row["chapter"] == path.stem}
    found = unsourced(path)
    assert found - listed == set(), "no cell shows these"
    assert listed - found == set(), "listed, but not needed"


def test_every_source_says_something():
    assert all(len(row["source"].split()) > 2 for row in SOURCES)


def test_a_number_from_nowhere_is_noticed():
    assert numbers("It reaches .317, or 31.7 %, of 4,711 users in MovieLens-100K (2016).") == {
        ".317",
        "31.7 %",
        "4,711",
    }
