"""FAISS: exact flat search against our ranking, which also leaves out what a user has; same
vectors, in turns, in one process.

Arguments: our site-packages, number of users, number of items. Prints JSON.
"""

import json
import resource
import sys
import time

sys.path += [sys.argv[1]]  # after the environment's own packages
import faiss
import numpy as np
import pandas as pd
import torch

from llmrec.recommenders import Recommender

n_users, n_items, dim = int(sys.argv[2]), int(sys.argv[3]), 64
random = np.random.default_rng(0)
users, items = (random.normal(size=(n, dim)).astype(np.float32) for n in (n_users, n_items))
histories = {user: random.integers(0, n_items, 20).tolist() for user in range(n_users)}


class DotProduct(Recommender):
    """Ranks by given vectors; users come in order."""

    def __init__(self):
        self.items_, self.popularity_, self.n_done = (
            pd.DataFrame({"item_id": np.arange(n_items)}),
            np.ones(n_items),
            0,
        )

    def factors(self, some_histories):
        start, self.n_done = self.n_done, self.n_done + len(some_histories)
        return torch.from_numpy(users[start : self.n_done]), torch.from_numpy(items)


rounds = []
for _ in range(3):
    started = time.perf_counter()
    lists = DotProduct().recommend(histories, k=10)
    ours = time.perf_counter() - started
    index = faiss.IndexFlatIP(dim)
    index.add(items)
    started = time.perf_counter()
    index.search(users, 10)
    rounds.append((ours, time.perf_counter() - started))
ours, theirs = np.median(rounds, axis=0)
assert len(lists) == 10 * n_users
print(
    json.dumps(
        {
            "what": f"rank {n_users:,} users x {n_items:,} items",
            "n_users": n_users,
            "n_items": n_items,
            "peer": f"FAISS {faiss.__version__} flat",
            "seconds": ours,
            "peer_seconds": theirs,
            "speed_ratio": theirs / ours,
            "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        }
    )
)
