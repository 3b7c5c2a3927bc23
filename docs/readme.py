"""Print README.md, made from nbs/index.ipynb with its saved outputs; with --write, write it."""

import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent


def readme() -> str:
    """The index notebook as Markdown: hidden cells and directives left out, tables as text."""
    notebook = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    # nbdev_clean takes it out, and it names the code blocks
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith("#| hide")]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
    config = Config({"NbConvertBase": {"display_data_priority": ["text/markdown", "text/plain"]}})
    text, _ = MarkdownExporter(config=config).from_notebook_node(notebook)
    header = (
        "<!-- Made from nbs/index.ipynb by docs/readme.py; change the notebook, not this "
        "file. -->\n\n"
    )
    return header + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        (ROOT / "README.md").write_text(readme(), encoding="utf-8")
    else:
        print(readme(), end="")
