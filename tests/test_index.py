"""The notebook that becomes the README, run as its readers would. The other notebooks run before
these tests; this one is the longest and would be the last, with nothing beside it.
"""

import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parent.parent / "nbs" / "index.ipynb"


def test_the_readme_runs():
    program = Path(sys.executable).parent / "nbdev_test"
    command = [program, "--path", NOTEBOOK, "--n_workers", "0"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    assert "Success" in done.stdout + done.stderr, done.stdout + done.stderr
