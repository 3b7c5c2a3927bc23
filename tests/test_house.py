"""The house: chapters in the order of their imports, modules and cells that can be read, a
glossary and a notation page that agree with the code, and a door that opens at once.
"""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
from build import parts
from fold import fold


def natural(path: Path) -> list:
    """A10 comes after A9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem)]


NOTEBOOKS = sorted((ROOT / "nbs").glob("*.ipynb"), key=natural)


def cells(path: Path, kind: str) -> list[str]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def order(path: Path) -> tuple[bool, list]:
    """The appendices A1 to A3 and A7 to A10 hold what every chapter may use, so they come before
    chapter 0; A4 is the command line, which uses the chapters.
    """
    return (not path.stem.startswith(("A1", "A2", "A3", "A7", "A8", "A9")), natural(path))


MODULES = {
    found[1]: path
    for path in sorted(NOTEBOOKS, key=order)
    for source in cells(path, "code")
    if (found := re.match(r"#\| default_exp (\w+)", source))
}


def is_deferred(node: ast.AST, parents: dict) -> bool:
    """Inside a function, or for type checkers alone."""
    while node in parents:
        node = parents[node]
        if isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        ):
            return True
    return False


def imports(module: str) -> list[tuple[str, list[str], bool]]:
    """Of every import from another module of the library: module, names, and whether deferred."""
    tree = ast.parse((ROOT / "llmrec" / f"{module}.py").read_text(encoding="utf-8"))
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    return [
        (
            node.module.partition(".")[2],
            [alias.name for alias in node.names],
            is_deferred(node, parents),
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llmrec.")
    ]


def test_every_module_is_named_like_its_chapter():
    assert len(MODULES) > 25
    for module, path in MODULES.items():
        assert path.stem.partition("_")[2] == module


def test_the_index_lists_every_chapter_once_and_in_order():
    listed = [chapter for chapters in parts().values() for chapter in chapters]
    assert listed == [path.stem for path in NOTEBOOKS if path.stem != "index"]


def test_chapters_import_only_from_chapters_before_them():
    """So there is no cycle either. A method may load a later module when it is called."""
    place = {module: number for number, module in enumerate(MODULES)}
    wrong = [
        (module, other)
        for module in MODULES
        for other, _, deferred in imports(module)
        if not deferred and place[other] >= place[module]
    ]
    assert not wrong
    assert {
        (module, other)
        for module in MODULES
        for other, _, deferred in imports(module)
        if deferred and place[other] >= place[module]
    } == {
        ("data", "splits"),
        ("data", "files"),
        ("data", "text"),
        ("data", "large_logs"),
        ("tuning", "workers"),
    }


def test_no_module_takes_a_private_name_of_another():
    assert not [
        (module, other, name)
        for module in MODULES
        for other, names, _ in imports(module)
        for name in names
        if name.startswith("_")
    ]


def test_evaluation_knows_no_model():
    known = {other for module in ("metrics", "evaluation") for other, _, _ in imports(module)}
    assert not known & {"models", "sequential", "transfer", "baselines", "domains"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_in_one_sitting(module):
    lines = (ROOT / "llmrec" / f"{module}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 640
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef):
            body = node.body
            if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                body = body[1:] or body
            assert node.end_lineno - body[0].lineno < 40, node.name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_cell_is_seen_whole(path):
    for source in cells(path, "code"):
        lines = source.splitlines()
        assert max(map(len, lines), default=0) <= 100, lines
        code = [line for line in lines if not line.startswith("#|")]
        assert len(code) <= 40, code[:3]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_imports_are_folded_and_marked_cells_are_hidden_in_jupyterlab(path):
    notebook = nbformat.read(path, as_version=4)
    assert not fold(notebook), "python docs/fold.py --write"
    for source in cells(path, "code"):
        if re.match(r"(#\|.*\n)*(import|from) ", source) and path.stem != "index":
            assert "#| fold" in source or "#| hide" in source, source[:80]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_chapters_open_alike_and_link_to_files_that_are_there(path):
    text = "\n".join(cells(path, "markdown"))
    number, _, _ = path.stem.partition("_")
    if path.stem != "index":
        assert text.startswith(f"# {number.lstrip('0') or '0'} ")
        assert "\n> " in text and "**In this " in text and "中文摘要" in text
    for label, target in re.findall(r"\[([^\]]*)\]\((\w+\.ipynb)", text):
        assert (ROOT / "nbs" / target).is_file(), target
        if found := re.fullmatch(r"[Cc]hapter (\d+)", label):
            assert int(target[:2]) == int(found[1]), (label, target)
    plain = re.sub(r"```.*?```|\[[^\]]*\]\([^)]*\)", "", text, flags=re.DOTALL)
    assert not (found := re.search(r"[Cc]hapter \d+", plain)), found


def rows(name: str) -> list[list[str]]:
    """The rows of a page's table."""
    table = cells(ROOT / "nbs" / f"{name}.ipynb", "markdown")[1]
    return [
        [part.strip() for part in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


NUMBERED = [path for path in NOTEBOOKS if path.stem[0].isdigit()]


@pytest.mark.parametrize("path", NUMBERED, ids=lambda path: path.stem)
def test_every_chapter_has_a_cell_to_change_with_its_solution_and_a_project(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in notebook]
    task = next(n for n, source in enumerate(sources) if "*Change a cell.*" in source)
    solution = notebook[task + 1]
    assert "<summary>Solution</summary>" in sources[task]
    assert solution["cell_type"] == "code" and "#| fold" in sources[task + 1]
    assert solution["outputs"] and "assert" in sources[task + 1].lower()
    assert any("*A small project.*" in source for source in sources[task:])


def test_the_house_in_the_guide_names_every_chapter_by_its_number():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for path in NUMBERED:
        number, name = path.stem.split("_", 1)
        if path in MODULES.values():
            assert re.search(rf"\b{number} {name.replace('_', ' ')}\b", guide), path.stem


def test_the_glossary_is_in_order_and_each_term_is_used_in_its_chapter():
    terms = rows("A5_glossary")
    assert len(terms) > 40
    names = [term for term, *_ in terms]
    assert names == sorted(set(names), key=str.lower)
    for term, chinese, meaning, chapter in terms:
        assert meaning and re.search("[\u4e00-\u9fff]", chinese), term
        target = re.search(r"\((\w+\.ipynb)\)", chapter)[1]
        path = ROOT / "nbs" / target
        text = "\n".join(cells(path, "markdown") + cells(path, "code"))
        assert term.lower() in text.lower(), (term, target)


def test_the_notation_names_arguments_that_exist_in_chapters_that_use_the_symbol():
    symbols = rows("A6_notation")
    assert len(symbols) > 15
    for symbol, meaning, shape, variable, chapter in symbols:
        assert meaning and shape
        module, name, argument = re.fullmatch(r"`llmrec\.(\w+)\.(\w+)\((\w+)\)`", variable).groups()
        found = getattr(importlib.import_module(f"llmrec.{module}"), name)
        assert argument in inspect.signature(found).parameters, variable
        target = re.search(r"\((\w+\.ipynb)\)", chapter)[1]
        formulas = " ".join(
            re.findall(
                r"\$\$?(.+?)\$\$?",
                "\n".join(cells(ROOT / "nbs" / target, "markdown")),
                re.DOTALL,
            )
        )
        for part in symbol.strip("$").split(", "):
            assert part.split("^+")[0].replace(" ", "") in formulas.replace(" ", ""), symbol


def test_a_public_name_stands_for_one_thing():
    names = re.findall(r" as (\w+),", (ROOT / "llmrec" / "__init__.pyi").read_text("utf-8"))
    assert not {name for name in names if names.count(name) > 1}


def test_importing_the_library_loads_no_torch_and_every_name_is_found():
    program = (
        "import sys, llmrec; "
        "assert not {'torch', 'transformers', 'pandas', 'sklearn'} & set(sys.modules); "
        "llmrec.Dataset; assert 'torch' not in sys.modules; "
        "assert all(getattr(llmrec, name) is not None for name in llmrec.__all__)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_importing_every_name_builds_no_network_of_transformers():
    """Its classes are asked for where one is used, which spares every other program seconds."""
    program = (
        "import sys, llmrec; "
        "assert all(getattr(llmrec, name) is not None for name in llmrec.__all__); "
        "assert 'transformers.modeling_utils' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_help_is_printed_without_torch():
    program = (
        "import sys\n"
        "from llmrec.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert "recommend" in done.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_saved_outputs_show_no_folder_of_a_machine(path):
    """A warning or an error in an output may name the file that it came from."""
    notebook = nbformat.read(path, as_version=4)
    outputs = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert not (found := re.search(r"/(?:root|home|work|Users|tmp)/\w+|[A-Z]:\\\\\w+", outputs)), (
        found
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_saved_output_is_a_progress_bar(path):
    """A bar says nothing once it is over, and its page would load scripts from elsewhere."""
    notebook = nbformat.read(path, as_version=4)
    kinds = [
        key
        for cell in notebook.cells
        for out in cell.get("outputs", [])
        for key in out.get("data", {})
    ]
    assert not [kind for kind in kinds if "widget" in kind] and "widgets" not in notebook.metadata
