"""Print llmrec/__init__.pyi, which says where each public name is found; with --write, write it.

The package loads a name's module when the name is first asked for, and this stub is its map.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "llmrec" / "__init__.pyi"


def exported(module: Path) -> list[str]:
    """The names in a module's ``__all__``."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
            return ast.literal_eval(node.value)
    return []


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
