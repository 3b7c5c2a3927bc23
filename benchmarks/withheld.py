"""Items without a single event, over draws of which items these are: the default and the closed
form beside baselines that read texts and the library warm-transfer.

Of each of `SETS` a tenth of the items is withheld with all their events for validation and a tenth
for test (``cold_items``), and these alone are ranked. Which items they are decides more than any
system, so each draw withholds others, and the draws are what intervals are taken over. All is
chosen on validation. warm-transfer carries the scores of a donor to the withheld items, here those
of EASE with a fading history; it gets the same text vectors as content kNN, and the regularisation
of donor and peer is chosen with `linmap`; `stacking_plus` learns from the items of validation and
takes the same.
Writes ``withheld.parquet``: ``set, draw, system``, NDCG@10 on ``test`` and ``valid``, ``seconds``
of the fit (the default's without the closed form), ``settings`` of a peer, ``n_users``; a row that
stands there is not measured again. And ``withheld_means.parquet``, in the columns of
``default.parquet``: means over the draws, and what the default is ahead of each system, with the
interval of Student's t over the draws.

    python benchmarks/withheld.py [set ...] [--seeds 5]
"""

import functools
import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import scipy.stats
from default import DEFAULT, OWN, SHORT, systems
from horizon import SETS
from run import HERE, chosen_parts, measure_missing, peer_lists, peer_users, save

from llmrec import TextEncoder
from llmrec.baselines import EASE, ContentKNN, RidgeFromText
from llmrec.compute import Cost
from llmrec.evaluation import evaluate_users
from llmrec.linear import WHOLE_HISTORY
from llmrec.metrics import ndcg
from llmrec.recommenders import history_indices
from llmrec.splits import Split
from llmrec.tuning import choose
from llmrec.whitening import UnitViews

NAME, MEANS = "withheld.parquet", "withheld_means.parquet"
DONORS = 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0
RIDGES = 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0
FROM_DEFAULT = ("closed form", DEFAULT, "network alone", "content kNN, raw", "content kNN, fading")
LONG, RIDGE = "content kNN, whole history", "ridge from text"
PEERS = {f"warm-transfer, {method}": method for method in ("linmap", "stacking_plus")}


class Peer:
    """A split as warm-transfer wants it, and how well it ranks."""

    def __init__(self, split: Split, vectors: np.ndarray):
        self.split, self.vectors, self.users = split, vectors, peer_users(split)
        self.items, self.donors = pd.Index(split.train.items["item_id"]), {}
        pairs = split.valid.interactions
        user = self.users.get_indexer(pairs["user_id"])
        item = self.items.get_indexer(pairs["item_id"])
        self.valid = np.column_stack([user, item])

    def donor(self, regularisation: float) -> np.ndarray:
        """Scores of EASE for all users, ``[n_users, n_items]``."""
        if regularisation not in self.donors:
            model = EASE(regularisation=regularisation, fading="1/age").fit(self.split.train)
            theirs = self.split.train.histories()
            asked = history_indices(model, {user: theirs.get(user, []) for user in self.users})
            self.donors[regularisation] = model.score(asked).numpy()
        return self.donors[regularisation]

    def ndcg(self, part: str, donor: float, **settings) -> pd.Series:
        """NDCG@10 of each user of a part."""
        candidates = {
            name: self.items.get_indexer(self.split.candidates(of))
            for name, of in (("candidates", part), ("withheld", "valid"))
        }
        ranked, _ = peer_lists(
            self.split,
            self.vectors,
            "warm-transfer",
            "warm_transfer.py",
            settings,
            dataset=self.split.train,
            part=part,
            donor=self.donor(donor),
            valid=self.valid,
            **candidates,
        )
        return pd.Series(ndcg(ranked), index=ranked.users)

    @functools.cached_property
    def chosen(self) -> tuple[float, tuple[float, float]]:
        """The best NDCG@10 on validation, and the donor and penalty that reach it."""
        return max(
            (self.ndcg("valid", donor, method="linmap", alpha=alpha).mean(), (donor, alpha))
            for donor, alpha in itertools.product(DONORS, RIDGES)
        )

    def row(self, method: str) -> dict:
        """What a method reaches on test."""
        with Cost() as cost:
            valid, (donor, alpha) = self.chosen
            values = self.ndcg("test", donor, method=method, alpha=alpha)
        row = {"valid": valid if method == "linmap" else np.nan, "test": values.mean()}
        settings = f"donor {donor:g}, alpha {alpha:g}"
        return row | {"seconds": cost.seconds, "settings": settings, "n_users": len(values)}


def readers(encoder: TextEncoder, split: Split) -> dict[str, Callable]:
    """Name to the function that fits a baseline which the default is not compared with elsewhere:
    the cosine to all texts of a history, not to the latest, and factors guessed from the texts.
    """
    content = functools.cache(lambda: ContentKNN(encoder, n_last=WHOLE_HISTORY).fit(split.train))
    penalties = (0.1, 1.0, 10.0, 100.0, 1_000.0)

    def ridges():
        for penalty in penalties:
            yield from RidgeFromText(encoder, regularisation=penalty).fit(split.train).fadings()

    return {
        LONG: lambda: choose(content().fadings(), split.train, split.valid),
        RIDGE: lambda: choose(ridges(), split.train, split.valid),
    }


def measure(encoder: TextEncoder, name: str, draw: int, system: str) -> dict:
    """The row of a system."""
    split, fits, peer = prepared(encoder, name, draw)
    if system in PEERS:
        return peer.row(PEERS[system])
    with Cost() as cost:
        model = fits[system]()
    users = {
        part: evaluate_users(model, split, part=part, metrics=("ndcg",))["ndcg", 10]
        for part in ("valid", "test")
    }
    row = {part: values.mean() for part, values in users.items()}
    return row | {"seconds": cost.seconds, "settings": "", "n_users": len(users["test"])}


@functools.lru_cache(maxsize=1)
def prepared(encoder: TextEncoder, name: str, draw: int) -> tuple:
    """A draw of a set, what is fitted to it, and the peer."""
    split = SETS[name]().split("cold_items", seed=draw)
    theirs = systems(encoder, split, SHORT if name == "shop" else OWN, range(draw, draw + 1))
    fits = {system: theirs[system][0] for system in FROM_DEFAULT} | readers(encoder, split)
    vectors = encoder.encode(split.train.items["text"].tolist())
    return split, fits, Peer(split, UnitViews().fit(vectors).transform(vectors).numpy())


def means(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the draws, and the default against each other system, paired by draw."""
    by_draw = rows.pivot(index=["set", "draw"], columns="system", values="test")
    ahead = by_draw.rsub(by_draw[DEFAULT], axis=0).drop(columns=DEFAULT).groupby("set")
    middle, error = ahead.mean(), ahead.sem() * scipy.stats.t.ppf(0.975, ahead.count() - 1)
    against = {"difference": middle, "ci_low": middle - error, "ci_high": middle + error}
    against = pd.concat(against, axis=1).stack(future_stack=True)
    by_system = rows.groupby(["set", "system"], sort=False)
    values = by_system[["test", "seconds", "n_users"]].mean().rename(columns={"test": "ndcg@10"})
    values = values.assign(n_seeds=by_system.size(), deviation=by_system["test"].std())
    table = values.join(against).reset_index()
    return table.assign(set=table["set"] + ", withheld", weights="")


def main() -> None:
    options = chosen_parts(__doc__, tuple(SETS))
    encoder = TextEncoder.from_pretrained()
    plans = [
        {"set": name, "draw": draw, "system": system}
        for name, draw in itertools.product(options.parts, range(options.seeds))
        for system in (*FROM_DEFAULT, LONG, RIDGE, *PEERS)
    ]
    measure_missing(NAME, plans, lambda set, draw, system: measure(encoder, set, draw, system))
    save(means(pd.read_parquet(HERE / NAME)), MEANS)


if __name__ == "__main__":
    main()
