"""Build the site from the notebooks, outputs as saved, into _docs/."""
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
SOURCE, SITE = ROOT / "_proc", ROOT / "_docs"
MODULES = ("data", "features", "pretraining", "losses", "models", "transfer", "evaluation", "case_study")


def prepare(path: Path) -> None:
    """Copy a notebook without nbdev's directives; cells marked hide are left out."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith(("#| hide", "#| default_exp"))]
    for cell in notebook.cells:
        cell.source = "\n".join(line for line in cell.source.splitlines() if not line.startswith("#|"))
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
            f"# llmrec.{module}\n\n```{{eval-rst}}\n.. automodule:: llmrec.{module}\n   :members:\n```\n", encoding="utf-8")


def main() -> int:
    """Returns Sphinx's exit code."""
    for folder in (SOURCE, SITE):
        shutil.rmtree(folder, ignore_errors=True)
    SOURCE.mkdir()
    notebooks = sorted((ROOT / "nbs").glob("*.ipynb"))
    for path in notebooks:
        prepare(path)
    write_frame([path.stem for path in notebooks if path.stem != "index"])
    shutil.copy(ROOT / "docs" / "conf.py", SOURCE / "conf.py")
    code = subprocess.run([sys.executable, "-m", "sphinx", "-b", "html", "-q", str(SOURCE), str(SITE)]).returncode
    if code == 0:
        print(f"the site: {SITE / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
