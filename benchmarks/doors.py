"""How long it takes to come in: ten million rows from a CSV file, five million through `Dataset`,
split and audit, and the whole of Book-Crossing fitted and evaluated. Each part runs in a process of
its own, so that its peak of memory is its own; writes ``doors.parquet`` after every part, and
leaves out what is there.

    python benchmarks/doors.py [part ...]
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from run import HERE, save

from llmrec import Dataset, TextEncoder, TransferRecommender, audit, evaluate, load_dataset
from llmrec.models import TrainingConfig
from llmrec.recommenders import Popular

NAME = "doors.parquet"
# two passes with large batches: enough to see the text at work, within minutes on two cores
BOOKS = TrainingConfig(
    history="mean", fading=False, max_length=50, batch_size=512, n_sampled=1_024, epochs=2
)


def log(n_rows: int, *, n_users: int, n_items: int) -> pd.DataFrame:
    """A random log with ids as shops write them."""
    random = np.random.default_rng(0)
    users = pd.Series([f"u{number:07d}" for number in range(n_users)])
    items = pd.Series([f"{number:06d}" for number in range(n_items)])
    return pd.DataFrame(
        {
            "user_id": users.to_numpy()[random.integers(0, n_users, n_rows)],
            "item_id": items.to_numpy()[random.zipf(1.3, n_rows) % n_items],
            "timestamp": 1_600_000_000 + random.integers(0, 10**8, n_rows),
        }
    )


def ten_million_rows() -> dict:
    """`read_table` of a CSV file with ten million rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        for part in range(10):
            rows = log(1_000_000, n_users=500_000, n_items=100_000)
            rows.to_csv(path, mode="a", index=False, header=part == 0)
        del rows
        writer = f"from pathlib import Path; Path({str(path)!r}).read_bytes()"  # into the cache
        subprocess.run([sys.executable, "-c", writer], check=True)
        reader = (
            "import resource, time; from llmrec.tables import read_table; start = time.time();"
            f"table = read_table({str(path)!r}); seconds = time.time() - start;"
            "print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, len(table))"
        )
        done = subprocess.run(
            [sys.executable, "-c", reader], check=True, capture_output=True, text=True
        )
    seconds, peak, n_rows = map(float, done.stdout.split())
    return {"read": seconds, "peak GB": peak, "rows": n_rows}


def five_million_events() -> dict:
    """`Dataset.from_frames`, a split and its audit."""
    interactions = log(5_000_000, n_users=500_000, n_items=100_000)
    items = pd.DataFrame({"item_id": [f"{number:06d}" for number in range(100_000)]})
    items["text"] = "thing " + items["item_id"]
    started = time.perf_counter()
    dataset = Dataset.from_frames(interactions, items).first_interactions()
    made = time.perf_counter()
    split = dataset.split("leave_one_out")
    cut = time.perf_counter()
    found = audit(split)
    ended = time.perf_counter()
    assert "leak" not in set(found["verdict"])
    parts = {"from_frames": made - started, "split": cut - made, "audit": ended - cut}
    return parts | {"all": ended - started, "rows": len(interactions)}


def book_crossing() -> dict:
    """All books and readers: the text model."""
    started = time.perf_counter()
    books = load_dataset("book-crossing", progress=False)
    split = books.split("random")
    loaded = time.perf_counter()
    encoder = TextEncoder.from_pretrained(cache=False)
    model = TransferRecommender(encoder, closed_form=False, config=BOOKS, progress=True)
    model.fit(split.train, split.valid)
    fitted = time.perf_counter()
    report = evaluate(model, split, metrics=("ndcg", "hr"))
    evaluated = time.perf_counter()
    popular = evaluate(Popular().fit(split.train), split, metrics=("ndcg",))
    return {
        "load and split": loaded - started,
        "fit": fitted - loaded,
        "evaluate": evaluated - fitted,
        "NDCG@10": report["value"].iloc[0],
        "NDCG@10 low": report["ci_low"].iloc[0],
        "NDCG@10 high": report["ci_high"].iloc[0],
        "NDCG@10 of popular": popular["value"].iloc[0],
        "test users": report["n_users"].iloc[0],
        "best epoch": model.best_epoch_,
    }


PARTS = {
    "ten million rows": ten_million_rows,
    "five million events": five_million_events,
    "Book-Crossing": book_crossing,
}


def main(chosen: list[str]) -> None:
    path = HERE / NAME
    rows = pd.read_parquet(path) if path.exists() else pd.DataFrame({"part": []})
    for part in chosen or [name for name in PARTS if name not in set(rows["part"])]:
        command = [sys.executable, __file__, "--only", part]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured = json.loads(done.stdout.strip().splitlines()[-1])
        new = pd.DataFrame({"part": part, "measure": measured.keys(), "value": measured.values()})
        rows = pd.concat([rows[rows["part"] != part], new], ignore_index=True)
        save(rows, NAME)
        print(new.to_string(), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--only"]:
        measured = PARTS[sys.argv[2]]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(json.dumps({"peak GB": peak} | {k: float(v) for k, v in measured.items()}))
    else:
        main(sys.argv[1:])
