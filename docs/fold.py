"""Fold, in JupyterLab, the cells that carry ``#| fold``; site and README read the directive with
the same function.
"""

import re
import sys
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "nbs"


def directive(cell: nbformat.NotebookNode, name: str) -> str | None:
    """What follows ``#| name`` in a cell; None without such a line."""
    found = re.search(rf"^#\| {name}\b:? *(.*)$", cell.source, re.MULTILINE)
    return found and found[1]


def fold(notebook: nbformat.NotebookNode) -> bool:
    """Hide the source of marked cells and of no others; true if that changed anything."""
    before = [dict(cell.metadata) for cell in notebook.cells]
    for cell in notebook.cells:
        cell.metadata.pop("jupyter", None)
        if cell.cell_type == "code" and directive(cell, "fold") is not None:
            cell.metadata["jupyter"] = {"source_hidden": True}
    return before != [dict(cell.metadata) for cell in notebook.cells]


if __name__ == "__main__":
    changed = []
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if fold(notebook):
            changed.append(path.name)
            if "--write" in sys.argv:
                nbformat.write(notebook, path)
    print("folded anew:", ", ".join(changed) or "nothing")
