"""Two hundred thousand distinct short texts through `TextEncoder`: peak memory, and what a ``kill
-9`` in the middle costs.

A first process is killed when a quarter of the vectors is in the cache, a second one goes on.
Writes ``stream.parquet``.
"""

import argparse
import contextlib
import json
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from run import save

import llmrec.encoder
from llmrec import TextEncoder, load_dataset


def texts(n: int) -> list[str]:
    """Product types of a real shop, numbered, so that no two are alike."""
    types = load_dataset("complete-journey", progress=False).items["text"].tolist()
    return [f"{types[number % len(types)]}, number {number}" for number in range(n)]


def work(folder: Path, n: int) -> dict:
    """Encode all, with a cache in `folder`; how many were computed, seconds, and peak memory."""
    llmrec.encoder.cache_folder = lambda: folder  # only the vectors: the model stays where it is
    encoder, computed = TextEncoder.from_pretrained(), []
    forward = encoder._forward
    encoder._forward = lambda tokens: computed.append(len(tokens)) or forward(tokens)
    started = time.perf_counter()
    vectors = encoder.encode(texts(n))
    return {
        "computed": sum(computed),
        "seconds": time.perf_counter() - started,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "n_vectors": len(vectors),
    }


def n_cached(folder: Path) -> int:
    """Vectors in the cache."""
    for path in (folder / "vectors").glob("*.sqlite"):
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(path, timeout=60)) as connection,
        ):
            return connection.execute("SELECT COUNT(*) FROM vectors").fetchone()[0]
    return 0


def main() -> None:
    """Kill, go on, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument(
        "--work", type=Path, help="be the process that encodes, with its cache in this folder"
    )
    options = parser.parse_args()
    if options.work:
        print(json.dumps(work(options.work, options.n)))
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        command = [sys.executable, __file__, "--n", str(options.n), "--work", str(folder)]
        first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while n_cached(folder) < options.n // 4 and first.poll() is None:
            time.sleep(1)
        first.send_signal(signal.SIGKILL)
        first.wait()
        kept = n_cached(folder)
        second = json.loads(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[
                -1
            ]
        )
    row = {
        "what": f"{options.n:,} short texts, killed and run again",
        "kept_after_kill": kept,
        **second,
        "encoded_twice": second["computed"] - (options.n - kept),
    }
    print(row)
    save(pd.DataFrame([row]), "stream.parquet")


if __name__ == "__main__":
    main()
