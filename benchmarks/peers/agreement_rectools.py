"""RecTools: every ranking metric for each user. Arguments: folder of ``agreement.py``, k. Prints
its version as JSON.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from rectools.metrics import (
    MAP,
    MRR,
    NDCG,
    AvgRecPopularity,
    CatalogCoverage,
    HitRate,
    IntraListDiversity,
    MeanInvUserFreq,
    Precision,
    Recall,
    Serendipity,
)
from rectools.metrics.distances import PairwiseDistanceCalculator

folder, k = Path(sys.argv[1]), int(sys.argv[2])
lists, targets, log = (
    pd.read_parquet(folder / f"{name}.parquet") for name in ("lists", "targets", "log")
)
vectors = np.load(folder / "vectors.npy")
unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class CosineDistance(PairwiseDistanceCalculator):
    """One minus the cosine of two items' vectors."""

    def _get_distances_for_item_pairs(self, items_0, items_1):
        return 1 - (
            unit[np.asarray(items_0, dtype=int)] * unit[np.asarray(items_1, dtype=int)]
        ).sum(1)


catalogue = range(len(vectors))
accuracy = {
    "hr": HitRate(k),
    "precision": Precision(k),
    "recall": Recall(k),
    "ndcg": NDCG(k, divide_by_achievable=True),
    "mrr": MRR(k),
}
values = {name: metric.calc_per_user(lists, targets) for name, metric in accuracy.items()}
values |= {
    "novelty": MeanInvUserFreq(k).calc_per_user(lists, log),
    "popularity": AvgRecPopularity(k, normalize=True).calc_per_user(lists, log),
    "serendipity": Serendipity(k).calc_per_user(lists, targets, log, catalogue),
    "diversity": IntraListDiversity(k, CosineDistance()).calc_per_user(lists),
}
# beyond that RecTools divides MAP by all targets, also by those that no list of k can hold
few = targets.groupby("user_id")["item_id"].transform("size") <= k
values["map"] = MAP(k).calc_per_user(lists, targets[few]).reindex(lists["user_id"].unique())
table = pd.DataFrame(values).assign(
    coverage=CatalogCoverage(k, normalize=True).calc(lists, catalogue)
)
table.to_parquet(folder / "rectools.parquet")
print(json.dumps({"version": version("rectools")}))
