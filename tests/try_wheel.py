"""Build a wheel, install it into an empty environment with what it requires and nothing else, and
run the fifteen lines of the README from a folder that knows nothing of this one; with this Python
or others. Those that are not named are only asked whether all requirements have wheels for them.

    python tests/try_wheel.py [python3.12 ...]
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKED = ("settings.ini", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
OTHERS = ("3.12", "3.13")
CONSTRAINT = ("-c", str(ROOT / "requirements.lock"))
# big, and only needed for what is asked for by an extra or by those who work on the book
NOT_REQUIRED = ("jupyterlab", "notebook", "nbdev", "optuna", "accelerate", "spacy", "ray", "onnx")


def fifteen_lines() -> str:
    """The first Python code of the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(r"^```python\n(.*?)^```", readme, re.S | re.M)[1]


def try_with(interpreter: str, wheel: Path, place: Path) -> None:
    """Install a wheel into an empty environment of a Python, and run the lines."""
    subprocess.run([interpreter, "-m", "venv", place / "empty"], check=True)
    python = place / "empty" / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", *CONSTRAINT, wheel], check=True)
    listed = subprocess.run([*pip, "list"], check=True, capture_output=True).stdout.decode()
    names = set(re.findall(r"^(\S+)", listed.lower(), re.M))
    if found := names & set(NOT_REQUIRED):
        raise SystemExit(f"installed although nobody asked: {sorted(found)}")
    (place / "lines.py").write_text(fifteen_lines() + "print(answer)\n", encoding="utf-8")
    subprocess.run([python, "lines.py"], check=True, cwd=place)
    version = (
        subprocess.run([python, "-V"], check=True, capture_output=True).stdout.decode().strip()
    )
    print(f"{version}: {wheel.name} and {len(names) - 3} other packages, the lines run", flush=True)


def main(interpreters: list[str]) -> None:
    """Stop at the first thing that does not work."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"  # a build leaves folders behind
        shutil.copytree(ROOT / "llmrec", source / "llmrec")
        for name in PACKED:
            shutil.copy(ROOT / name, source)
        build = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source]
        subprocess.run([*pip, *build], check=True)
        wheel = next(Path(folder).glob("llmrec-*.whl"))
        for interpreter in interpreters or [sys.executable]:
            with tempfile.TemporaryDirectory() as place:
                try_with(interpreter, wheel, Path(place))
        for other in () if interpreters else OTHERS:
            look = ["install", "-q", "--dry-run", "--only-binary=:all:", "--target", folder]
            asked = [f"--python-version={other}", *CONSTRAINT, wheel]
            subprocess.run([*pip, *look, *asked], check=True)
            print(f"Python {other}: everything has a wheel")


if __name__ == "__main__":
    main(sys.argv[1:])
