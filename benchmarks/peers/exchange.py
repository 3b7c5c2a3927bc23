"""How a peer, in an environment of its own, gets the data and gives its lists: files in a folder
named on its command line.

In: ``train.parquet`` (user_id, item_id, timestamp: whole numbers, one an event, in the order of the
protocol, so that no tie is left to chance), ``users.npy`` (to recommend to), ``vectors.npy`` (text
vectors, a row an item id from 0), ``settings.json``, and what else an adapter asks for.
Out: ``lists.parquet`` (user_id, rank, item_id, score) and ``record.json`` (seconds to fit,
versions).
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd


class Exchange:
    """Reads the inputs at once, measures `fitting`, and writes the outputs."""

    def __init__(self):
        self.folder = Path(sys.argv[1])
        self.train = pd.read_parquet(self.folder / "train.parquet")
        self.users, self.vectors = self.array("users"), self.array("vectors")
        self.settings = json.loads((self.folder / "settings.json").read_text())
        self.seconds = 0.0

    def array(self, name):
        """One of the arrays, by its name."""
        return np.load(self.folder / f"{name}.npy")

    def __enter__(self):
        self.started = time.perf_counter()
        return self

    def __exit__(self, *error):
        self.seconds += time.perf_counter() - self.started

    def matrix(self):
        """User-item matrix, 1 where a user has an item."""
        import scipy.sparse

        shape = int(self.train["user_id"].max()) + 1, len(self.vectors)
        return scipy.sparse.csr_matrix(
            (
                np.ones(len(self.train), dtype=np.float32),
                (self.train["user_id"], self.train["item_id"]),
            ),
            shape=shape,
        )

    def write(self, users, items, scores, packages, **more):
        """`items` and `scores`, ``[n_users, k]``, best first."""
        items, scores = np.asarray(items), np.asarray(scores, dtype=np.float64)
        lists = pd.DataFrame(
            {
                "user_id": np.repeat(np.asarray(users), items.shape[1]),
                "rank": np.tile(np.arange(1, items.shape[1] + 1), len(items)),
                "item_id": items.ravel().astype(np.int64),
                "score": scores.ravel(),
            }
        )
        lists.to_parquet(self.folder / "lists.parquet")
        record = {
            "seconds": self.seconds,
            "versions": {package: version(package) for package in packages},
            **more,
        }
        (self.folder / "record.json").write_text(json.dumps(record))
