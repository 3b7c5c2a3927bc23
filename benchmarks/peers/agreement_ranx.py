"""ranx: its ranking metrics for each user. Arguments: folder of ``agreement.py``, k. Prints its
version as JSON.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from ranx import Qrels, Run, evaluate

folder, k = Path(sys.argv[1]), sys.argv[2]
lists, targets = (
    pd.read_parquet(folder / f"{name}.parquet")
    .astype({"user_id": str, "item_id": str})
    .astype({"user_id": object, "item_id": object})
    for name in ("lists", "targets")
)
relevant = Qrels.from_df(targets.assign(relevance=1), "user_id", "item_id", "relevance")
run = Run.from_df(lists.assign(score=-lists["rank"].astype(float)), "user_id", "item_id", "score")
names = {
    "hr": f"hit_rate@{k}",
    "precision": f"precision@{k}",
    "recall": f"recall@{k}",
    "ndcg": f"ndcg@{k}",
    "mrr": f"mrr@{k}",
}
values = evaluate(relevant, run, list(names.values()), return_mean=False, make_comparable=True)
users = sorted(set(targets["user_id"]))  # the order that ranx keeps
pd.DataFrame(
    {name: values[theirs] for name, theirs in names.items()}, index=[int(user) for user in users]
).to_parquet(folder / "ranx.parquet")
print(json.dumps({"version": version("ranx")}))
