"""Fail when the module, the README or the notebooks' form is out of step with nbs/. Changes nothing
in the checkout.
"""

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
from readme import CHINESE, FIGURE, chinese_readme, figure, readme
from stub import STUB, stub


def out_of_step() -> list[str]:
    """Files that nbdev_export or nbdev_clean would change, and README.md if its notebook says
    something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        copy.mkdir()
        for name in ("nbs", "llmrec"):
            shutil.copytree(
                ROOT / name,
                copy / name,
                ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"),
            )
        for name in ("settings.ini", "pyproject.toml", "README.md", "setup.py"):
            shutil.copy(ROOT / name, copy / name)
        for command in ("nbdev_export", "nbdev_clean"):
            subprocess.run([command], cwd=copy, check=True)
        paths = sorted(
            path.relative_to(copy)
            for name in ("nbs", "llmrec")
            for path in (copy / name).rglob("*")
            if path.is_file() and path.suffix in (".py", ".ipynb")
        )
        changed = [
            str(path)
            for path in paths
            if not (ROOT / path).is_file()
            or not filecmp.cmp(copy / path, ROOT / path, shallow=False)
        ]
    if (ROOT / "README.md").read_text(encoding="utf-8") != readme():
        changed.append("README.md")
    if CHINESE.read_text(encoding="utf-8") != chinese_readme():
        changed.append(CHINESE.name)
    if FIGURE.read_bytes() != figure():
        changed.append(str(FIGURE.relative_to(ROOT)))
    if STUB.read_text(encoding="utf-8") != stub():
        changed.append(str(STUB.relative_to(ROOT)))
    return changed


if __name__ == "__main__":
    changed = out_of_step()
    if changed:
        sys.exit(
            f"out of step with the notebooks: {', '.join(changed)}. Run nbdev_export, "
            "nbdev_clean, python docs/stub.py --write, python docs/readme.py --write; then commit."
        )
    print("module, README and notebooks are in step")
