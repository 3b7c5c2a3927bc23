"""Print README.md, made from nbs/index.ipynb with its saved outputs; with --write, write it."""

import base64
import re
import sys
from pathlib import Path

import nbformat
from fold import directive
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent


FIGURE = ROOT / "docs" / "results.png"


def figure() -> bytes:
    """The picture that the index notebook has saved."""
    notebook = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    pictures = [
        output.data["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    if len(pictures) != 1:
        raise ValueError(f"nbs/index.ipynb: one figure expected, {len(pictures)} found")
    return base64.b64decode(pictures[0])


def readme() -> str:
    """The index notebook as Markdown. Hidden and folded code and directives are left out, tables
    are text, the figure is a file, and links lead to the notebooks.
    """
    notebook = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    # nbdev_clean takes it out, and it names the code blocks
    notebook.metadata["language_info"] = {"name": "python"}
    cells = []
    for cell in notebook.cells:
        if cell.source.startswith(("#| hide", "#| fold")):
            if alt := directive(cell, "alt"):
                picture = f"![{alt}]({FIGURE.relative_to(ROOT).as_posix()})"
                cells.append(nbformat.v4.new_markdown_cell(picture))
            continue
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
        cells.append(cell)
    notebook.cells = cells
    config = Config({"NbConvertBase": {"display_data_priority": ["text/markdown", "text/plain"]}})
    text, _ = MarkdownExporter(config=config).from_notebook_node(notebook)
    text = re.sub(r"\]\((\w+\.ipynb)", r"](nbs/\1", text)
    header = (
        "<!-- Made from nbs/index.ipynb by docs/readme.py; change the notebook, not this "
        "file. -->\n\n"
    )
    return header + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


CHINESE = ROOT / "README.zh-CN.md"


def chinese_readme() -> str:
    """The Chinese README with the tables of results that the English one shows."""
    text, english = CHINESE.read_text(encoding="utf-8"), readme()
    for name in ("results", "of_sets", "a_million", "first_users", "of_reviews"):
        pattern = rf"(```python\n{name}[^`]*```)\n\n((?: {{4}}[^\n]*\n)+)"
        code, table = re.search(pattern, english).groups()
        both = f"<!-- {name} -->\n{code}\n\n{table.rstrip()}\n<!-- /{name} -->"
        text = re.sub(
            f"<!-- {name} -->.*<!-- /{name} -->", lambda _, new=both: new, text, flags=re.S
        )
    return text


if __name__ == "__main__":
    if "--write" in sys.argv:
        (ROOT / "README.md").write_text(readme(), encoding="utf-8")
        CHINESE.write_text(chinese_readme(), encoding="utf-8")
        FIGURE.write_bytes(figure())
    else:
        print(readme(), end="")
