"""How long the door takes to open: `import llmrec` and `llmrec --help` beside `import torch`, and
beside all modules of the library, in one run. Writes start.parquet.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
PROGRAMS = {
    "import torch": "import torch",
    "import llmrec": "import llmrec",
    "llmrec --help": "from llmrec.cli import main; main(['--help'])",
    "import llmrec, every module": "import llmrec; [getattr(llmrec, n) for n in llmrec.__all__]",
    "python": "",
}


def seconds(program: str) -> float:
    """Wall-clock time of one fresh process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Rounds take turns, so that a slow moment hits all programs; the first round warms the disk
    and is left out.
    """
    rounds = [{name: seconds(program) for name, program in PROGRAMS.items()} for _ in range(8)]
    table = pd.DataFrame(
        {name: statistics.median(one[name] for one in rounds[1:]) for name in PROGRAMS},
        index=["seconds"],
    ).T
    table["of import torch"] = table["seconds"] / table.loc["import torch", "seconds"]
    everything = table.loc["import llmrec, every module", "seconds"]
    table["of every module"] = table["seconds"] / everything
    table.reset_index(names="program").to_parquet(HERE / "start.parquet")
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
