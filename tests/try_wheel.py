"""Build a wheel, install it into an empty environment with what it requires and nothing else, and
run the fifteen lines of the README from a folder that knows nothing of this one; then see whether
its requirements have wheels for the other Pythons that are supported.

    python tests/try_wheel.py [extra ...]
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OTHERS = ("3.12", "3.13")
# big, and only needed for what is asked for by an extra or by those who work on the book
NOT_REQUIRED = ("jupyterlab", "notebook", "nbdev", "optuna", "accelerate", "spacy", "ray", "onnx")


def fifteen_lines() -> str:
    """The first Python code of the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(r"^```python\n(.*?)^```", readme, re.S | re.M)[1]


def main() -> None:
    """Stop at the first thing that does not work."""
    with tempfile.TemporaryDirectory() as folder:
        place, constraint = Path(folder), ["-c", str(ROOT / "requirements.lock")]
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        build = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, str(ROOT)]
        subprocess.run([*pip, *build], check=True)
        wheel = next(place.glob("llmrec-*.whl"))
        extras = f"[{','.join(sys.argv[1:])}]" if sys.argv[1:] else ""
        venv.create(place / "empty", with_pip=True)
        python = place / "empty" / "bin" / "python"
        install = ["install", "-q", *constraint, f"{wheel}{extras}"]
        subprocess.run([python, *pip[1:], *install], check=True)
        listed = subprocess.run([python, *pip[1:], "list"], check=True, capture_output=True)
        names = re.findall(r"^(\S+)", listed.stdout.decode().lower(), re.M)
        print(f"{wheel.name} and {len(names) - 1} other packages")
        if not extras and (found := set(NOT_REQUIRED) & set(names)):
            raise SystemExit(f"installed although nobody asked: {sorted(found)}")
        (place / "lines.py").write_text(fifteen_lines() + "print(answer)\n", encoding="utf-8")
        subprocess.run([python, "lines.py"], check=True, cwd=place)
        for other in OTHERS:
            look = ["install", "-q", "--dry-run", "--only-binary=:all:", "--target", folder]
            subprocess.run(
                [*pip, *look, f"--python-version={other}", *constraint, wheel], check=True
            )
            print(f"Python {other}: everything has a wheel")


if __name__ == "__main__":
    main()
