"""ranx and RecTools: NDCG@10 and HR@10 of the lists in a Parquet file. Arguments: library, lists,
targets. Prints seconds and values as JSON.
"""

import json
import sys
import time
from importlib.metadata import version

import pandas as pd

library, lists, targets = sys.argv[1], pd.read_parquet(sys.argv[2]), pd.read_parquet(sys.argv[3])
if library == "ranx":
    from ranx import Qrels, Run, evaluate

    def named(frame):  # ranx wants names of type object
        return frame.assign(
            **{
                column: frame[column].astype(str).astype(object)
                for column in ("user_id", "item_id")
            }
        )

    qrels, run = (
        named(targets).assign(relevance=1),
        named(lists).assign(score=-lists["rank"].astype(float)),
    )
    small = run.head(1_000)  # compile first: only the work is timed

    def measure(some_qrels, some_run):
        relevant, ranked = (
            Qrels.from_df(some_qrels, "user_id", "item_id", "relevance"),
            Run.from_df(some_run, "user_id", "item_id", "score"),
        )
        return evaluate(relevant, ranked, ["ndcg@10", "hit_rate@10"], make_comparable=True)

    measure(qrels.head(100), small)
    started = time.perf_counter()
    values = measure(qrels, run)
    found = {"ndcg": float(values["ndcg@10"]), "hr": float(values["hit_rate@10"])}
else:
    from rectools.metrics import NDCG, HitRate, calc_metrics

    started = time.perf_counter()
    values = calc_metrics(
        {"ndcg": NDCG(k=10, divide_by_achievable=True), "hr": HitRate(k=10)}, lists, targets
    )
    found = {name: float(value) for name, value in values.items()}
print(
    json.dumps(
        {
            "seconds": time.perf_counter() - started,
            "version": version("ranx" if library == "ranx" else "rectools"),
            **found,
        }
    )
)
