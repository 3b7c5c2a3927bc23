"""Every ranking metric by RecTools and ranx too, on random and on nasty lists; writes
``agreement.parquet``, the largest difference over users a metric and library.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from run import save
from speed import answer

from llmrec import Dataset
from llmrec.metrics import (
    ACCURACY,
    coverage,
    diversity,
    novelty,
    popularity,
    ranked_lists,
    serendipity,
)

K, N_USERS, N_ITEMS = 10, 300, 60


def hard_case(seed: int) -> tuple[pd.DataFrame, dict, pd.DataFrame, np.ndarray]:
    """Lists of zero to ten items, one to fifteen targets, a log that leaves items out, and text
    vectors of which one is zero.
    """
    random = np.random.default_rng(seed)
    lists, targets = [], {}
    for user in range(N_USERS):
        shown = random.permutation(N_ITEMS)[: random.integers(1, K + 1)]
        lists.append(
            pd.DataFrame({"user_id": user, "item_id": shown, "rank": np.arange(1, len(shown) + 1)})
        )
        # every seventh user without a hit
        others = np.setdiff1d(np.arange(N_ITEMS), shown) if user % 7 == 0 else np.arange(N_ITEMS)
        targets[user] = random.choice(others, random.integers(1, 16), replace=False).tolist()
    popular = random.zipf(1.6, 4_000) % (N_ITEMS - 5)  # the last five items nobody took
    log = pd.DataFrame(
        {"user_id": random.integers(0, N_USERS, 4_000), "item_id": popular}
    ).drop_duplicates()
    return pd.concat(lists, ignore_index=True), targets, log, random.normal(size=(N_ITEMS, 8))


def ours(
    lists: pd.DataFrame, targets: dict, log: pd.DataFrame, vectors: np.ndarray
) -> pd.DataFrame:
    """Value of each metric for each user."""
    catalogue = pd.DataFrame({"item_id": np.arange(N_ITEMS), "text": "an item"})
    train, found = (
        Dataset.from_frames(log.assign(timestamp=0), catalogue),
        ranked_lists(lists, targets, k=K, items=range(N_ITEMS)),
    )
    values = {name: metric(found) for name, metric in ACCURACY.items()}
    values |= {
        "novelty": novelty(found, train),
        "popularity": popularity(found, train),
        "serendipity": serendipity(found, train),
        "diversity": diversity(found, vectors),
        "coverage": coverage(found),
    }
    return pd.DataFrame(values, index=found.users)


def main() -> None:
    """Three cases, both libraries."""
    rows = []
    for seed in range(3):
        lists, targets, log, vectors = hard_case(seed)
        mine = ours(lists, targets, log, vectors)
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            lists.to_parquet(folder / "lists.parquet")
            pd.DataFrame(
                [(user, item) for user, items in targets.items() for item in items],
                columns=["user_id", "item_id"],
            ).to_parquet(folder / "targets.parquet")
            log.to_parquet(folder / "log.parquet")
            np.save(folder / "vectors.npy", vectors)
            for library, environment in (("RecTools", "rectools"), ("ranx", "faiss")):
                version = answer(environment, f"agreement_{library.lower()}.py", folder, K)[
                    "version"
                ]
                theirs = pd.read_parquet(folder / f"{library.lower()}.parquet").reindex(mine.index)
                for metric in theirs:
                    # a list of one has no diversity for us, and see the adapter for MAP
                    difference = (mine[metric] - theirs[metric]).dropna()
                    rows.append(
                        {
                            "metric": metric,
                            "library": f"{library} {version}",
                            "lists": len(difference),
                            "largest difference": difference.abs().max(),
                        }
                    )
    table = (
        pd.DataFrame(rows)
        .groupby(["metric", "library"], as_index=False)
        .agg({"lists": "sum", "largest difference": "max"})
    )
    save(table, "agreement.parquet")
    print(table.to_string())


if __name__ == "__main__":
    main()
