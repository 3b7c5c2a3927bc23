"""Run every notebook top to bottom in a clean kernel, slow cells too, and save outputs. Prints how
long each took.
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from llmrec.assets import atomic_file

# a progress bar: nothing to see once it is done
WIDGET = "application/vnd.jupyter.widget-view+json"
# errors alone: each kernel would warn that it talks over ports of this machine
QUIET = ["--IPKernelApp.log_level=40"]
NOTEBOOKS = Path(__file__).resolve().parent.parent / "nbs"


def is_for_readers(output: dict) -> bool:
    """Whether an output is more than a progress bar, or Ray's report of a worker that was killed on
    purpose.
    """
    return WIDGET not in output.get("data", {}) and "(raylet)" not in output.get("text", "")


def run(path: Path) -> float:
    """Execute one notebook and save it when it has run through; seconds taken."""
    notebook, started = nbformat.read(path, as_version=4), time.perf_counter()
    NotebookClient(
        notebook,
        timeout=5_400,
        extra_arguments=QUIET,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if is_for_readers(output)]
    notebook.metadata.pop("widgets", None)
    with atomic_file(path) as temporary:
        nbformat.write(notebook, temporary)
    return time.perf_counter() - started


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"  # a progress bar is for who waits, not for who reads
    chosen = [NOTEBOOKS / f"{name}.ipynb" for name in sys.argv[1:]] or sorted(
        NOTEBOOKS.glob("*.ipynb")
    )
    total = 0.0
    for path in chosen:
        seconds = run(path)
        total += seconds
        print(f"{path.stem:20} {seconds:7.1f} s, {total / 60:5.1f} min in all", flush=True)
