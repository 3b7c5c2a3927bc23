"""Build the site from the notebooks, outputs as saved, into _docs/."""

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
from fold import directive

from llmrec.assets import ASSETS, Asset, fetch_asset

ROOT = Path(__file__).resolve().parent.parent
SOURCE, SITE = ROOT / "_proc", ROOT / "_docs"
# a class shows what it has from our own bases, and nothing from these on
FOREIGN = (
    "BaseEstimator, TransformerMixin, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, Module, "
    "Dropout, ValueError, KeyError, FileNotFoundError, RuntimeError, Exception, dict, tuple"
)
NOISE = (
    "get_metadata_routing, set_fit_request, set_score_request, set_transform_request, "
    "set_predict_request, with_traceback, add_note"
)

MERMAID = Asset(
    "nicegui==3.18.0",
    "a2bd51642312d98aab6d8b641245d796ff1b89da5829777170bcc488140c3dcd",
    8_530_801,
    # holds the diagram library Mermaid as plain modules
    ("nicegui/elements/mermaid/dist/",),
    "MIT",
)


def vendor_mermaid() -> None:
    """Put Mermaid beside the pages, so that diagrams are drawn without a network."""
    ASSETS["mermaid"] = MERMAID
    folder = SOURCE / "_static" / "mermaid"
    shutil.copytree(fetch_asset("mermaid"), folder, ignore=shutil.ignore_patterns("*.map"))
    (folder / "default.js").write_text(
        'import { mermaid } from "./index.js";\nexport default mermaid;\n'
    )


@cache
def modules() -> list[str]:
    """Names of the library's modules, in the order of the chapters that they come from."""
    sources = (path.read_text(encoding="utf-8") for path in sorted((ROOT / "nbs").glob("*.ipynb")))
    return [name for text in sources for name in re.findall(r"#\| default_exp (\w+)", text)]


def parts() -> dict[str, list[str]]:
    """The chapters of each part, as the table of the index page lists them."""
    index = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    rows = re.findall(
        r"^\| ([^|\n]+) \| (\[[^|\n]+) \|$",
        "\n\n".join(cell.source for cell in index.cells if cell.cell_type == "markdown"),
        re.MULTILINE,
    )
    return {part: re.findall(r"\]\((\w+)\.ipynb\)", chapters) for part, chapters in rows}


def write_llms_txt(chapters: list[str]) -> None:
    """A page for language models: what the project is, and a line a chapter. Source of the form:
    llmstxt.org.
    """
    lines = ["# llmrec", ""]
    for name in ("index", *chapters):
        text = next(
            cell.source
            for cell in nbformat.read(SOURCE / f"{name}.ipynb", as_version=4).cells
            if cell.cell_type == "markdown"
        )
        title, promise = (
            next(
                (line.removeprefix(mark) for line in text.splitlines() if line.startswith(mark)),
                name,
            )
            for mark in ("# ", "> ")
        )
        lines += (
            [f"> {promise}", ""] if name == "index" else [f"- [{title}]({name}.html): {promise}"]
        )
    lines += [f"- [Reference: llmrec.{module}](reference/{module}.html)" for module in modules()]
    (SITE / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def prepare(path: Path) -> None:
    """Copy a notebook for Sphinx. Cells marked ``hide`` or ``default_exp`` are left out, those
    marked ``fold`` wait for a click, and ``#| alt: ...`` is the text beside a figure. Without it,
    that is the heading of the section.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    notebook.cells = [
        cell for cell in notebook.cells if not cell.source.startswith(("#| hide", "#| default_exp"))
    ]
    heading = path.stem
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = ([heading] + re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE))[-1]
            continue
        if directive(cell, "fold") is not None:
            cell.metadata["tags"] = ["hide-input"]
        alt = directive(cell, "alt") or f"Figure: {heading}"
        cell.metadata["mystnb"] = {"image": {"alt": alt}}
        lines = cell.source.splitlines()
        cell.source = "\n".join(line for line in lines if not line.startswith("#|"))
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                output.data["text/html"] = without_row_numbers(output.data["text/html"])
    nbformat.write(notebook, SOURCE / path.name)


def without_row_numbers(table: str) -> str:
    """A table of pandas without its index column when that only counts the rows."""
    numbers = re.findall(r"<tr>\s*<th>(.*?)</th>", table, re.DOTALL)
    if numbers != [str(number) for number in range(len(numbers))]:
        return table
    table = re.sub(r"(<tr>\s*)<th>\d+</th>\s*", r"\1", table)
    return re.sub(r"(<tr[^>]*>\s*)<th></th>\s*", r"\1", table, count=1)


def write_frame() -> None:
    """Tables of contents inside the index page, one a part, and one reference page a module."""
    index = nbformat.read(SOURCE / "index.ipynb", as_version=4)
    listings = parts() | {"API reference": [f"reference/{module}" for module in modules()]}
    for part, names in listings.items():
        tree = "\n".join(("```{toctree}", ":hidden:", f":caption: {part}", "", *names, "```"))
        index.cells.append(nbformat.v4.new_markdown_cell(tree))
    nbformat.write(index, SOURCE / "index.ipynb")
    (SOURCE / "reference").mkdir()
    for module in modules():
        (SOURCE / "reference" / f"{module}.md").write_text(
            f"# llmrec.{module}\n\n```{{eval-rst}}\n.. automodule:: llmrec.{module}\n   "
            f":members:\n   :inherited-members: {FOREIGN}\n   :exclude-members: {NOISE}\n```\n",
            encoding="utf-8",
        )


def main() -> int:
    """Returns Sphinx's exit code."""
    for folder in (SOURCE, SITE):
        shutil.rmtree(folder, ignore_errors=True)
    SOURCE.mkdir()
    notebooks = sorted((ROOT / "nbs").glob("*.ipynb"))
    for path in notebooks:
        prepare(path)
    chapters = [path.stem for path in notebooks if path.stem != "index"]
    write_frame()
    vendor_mermaid()
    for name in ("conf.py", "favicon.svg"):
        shutil.copy(ROOT / "docs" / name, SOURCE / name)
    for name in ("site.css", "site.js"):
        shutil.copy(ROOT / "docs" / name, SOURCE / "_static" / name)
    code = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", "-q", str(SOURCE), str(SITE)]
    ).returncode
    if code == 0:
        write_llms_txt(chapters)
        print(
            f"the site: {SITE / 'index.html'}; to see its diagrams: python -m http.server "
            f"--directory {SITE.name}"
        )
    return code


if __name__ == "__main__":
    sys.exit(main())
