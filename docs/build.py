"""Build the site from the notebooks, outputs as saved, into _docs/."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from llmrec.assets import ASSETS, Asset, fetch_asset

ROOT = Path(__file__).resolve().parent.parent
SOURCE, SITE = ROOT / "_proc", ROOT / "_docs"
MODULES = (
    "data",
    "features",
    "pretraining",
    "losses",
    "models",
    "transfer",
    "evaluation",
    "case_study",
)

ASSETS["mermaid"] = Asset(
    "nicegui==3.18.0",
    "a2bd51642312d98aab6d8b641245d796ff1b89da5829777170bcc488140c3dcd",
    8_530_801,
    # holds the diagram library Mermaid as plain modules
    ("nicegui/elements/mermaid/dist/",),
    "MIT",
)


def vendor_mermaid() -> None:
    """Put Mermaid beside the pages, so that diagrams are drawn without a network."""
    folder = SOURCE / "_static" / "mermaid"
    shutil.copytree(fetch_asset("mermaid"), folder, ignore=shutil.ignore_patterns("*.map"))
    (folder / "default.js").write_text(
        'import { mermaid } from "./index.js";\nexport default mermaid;\n'
    )


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
    lines += [f"- [Reference: llmrec.{module}](reference/{module}.html)" for module in MODULES]
    (SITE / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def prepare(path: Path) -> None:
    """Copy a notebook without nbdev's directives; cells marked hide are left out."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    notebook.cells = [
        cell for cell in notebook.cells if not cell.source.startswith(("#| hide", "#| default_exp"))
    ]
    for cell in notebook.cells:
        cell.source = "\n".join(
            line for line in cell.source.splitlines() if not line.startswith("#|")
        )
    nbformat.write(notebook, SOURCE / path.name)


def write_frame(chapters: list[str]) -> None:
    """Table of contents inside the index page, and one reference page a module."""
    index = nbformat.read(SOURCE / "index.ipynb", as_version=4)
    listing = "\n".join([*chapters, *(f"reference/{module}" for module in MODULES)])
    index.cells.append(nbformat.v4.new_markdown_cell(f"```{{toctree}}\n:hidden:\n\n{listing}\n```"))
    nbformat.write(index, SOURCE / "index.ipynb")
    (SOURCE / "reference").mkdir()
    for module in MODULES:
        (SOURCE / "reference" / f"{module}.md").write_text(
            f"# llmrec.{module}\n\n```{{eval-rst}}\n.. automodule:: llmrec.{module}\n   "
            ":members:\n```\n",
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
    write_frame(chapters)
    vendor_mermaid()
    for name in ("conf.py", "favicon.svg"):
        shutil.copy(ROOT / "docs" / name, SOURCE / name)
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
