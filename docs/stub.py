"""Print llmrec/__init__.pyi, which says where each public name is found; with --write, write it.

The package loads a name's module when the name is first asked for, and this stub is its map.
"""

import ast
import itertools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "llmrec" / "__init__.pyi"


def exported(module: Path) -> list[str]:
    """The names in a module's ``__all__`` that it defines itself, but for its logger."""
    body = ast.parse(module.read_text(encoding="utf-8")).body
    targets = {name: node for node in body for name in defined(node)}
    names = ast.literal_eval(targets["__all__"].value) if "__all__" in targets else []
    return [name for name in names if name in targets and name != "logger"]


def defined(node: ast.stmt) -> list[str]:
    """What a statement gives a name."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    parts = itertools.chain.from_iterable(ast.walk(one) for one in targets if one is not None)
    return [part.id for part in parts if isinstance(part, ast.Name)]


def stub() -> str:
    """One import a module, of all that it exports."""
    lines = ["# Made by docs/stub.py; change the notebooks, not this file."]
    for module in sorted((ROOT / "llmrec").glob("[!_]*.py")):
        names = ",\n".join(f"    {name} as {name}" for name in sorted(exported(module)))
        lines += [f"from .{module.stem} import (\n{names},\n)"] if names else []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--write" in sys.argv:
        STUB.write_text(stub(), encoding="utf-8")
    else:
        print(stub(), end="")
