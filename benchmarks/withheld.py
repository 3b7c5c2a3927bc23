"""Items without a single event: what is ours beside the library warm-transfer and plain content.

Of each of `SETS` a tenth of the items is withheld with all their events for validation and a tenth
for test (``cold_items``), and these alone are ranked. warm-transfer carries the scores of a donor
to them, here those of EASE with a fading history; it gets the same text vectors as content kNN. The
regularisation of donor and peer is chosen on validation with `linmap`; `stacking_plus` learns from
the items of validation and takes the same. A row of ``withheld.parquet``: ``set, system``, NDCG@10
on validation (where there is one) and test, ``settings``, and what `ClosedForm` is ahead
(``difference, ci_low, ci_high``, over the same users). A set that stands there is not run again.
"""

import itertools

import numpy as np
import pandas as pd
from default import LONG
from horizon import SETS
from run import HERE, chosen_parts, peer_lists, peer_users, save

from llmrec import TextEncoder
from llmrec.baselines import EASE, ContentKNN
from llmrec.evaluation import compare_users, evaluate_users
from llmrec.linear import WHOLE_HISTORY, ClosedForm
from llmrec.metrics import ndcg
from llmrec.recommenders import history_indices
from llmrec.splits import Split
from llmrec.tuning import choose
from llmrec.whitening import UnitViews

NAME, OURS = "withheld.parquet", "closed form"
DONORS = 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0
RIDGES = 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0


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


def measured(split: Split) -> tuple[dict[str, pd.Series], dict[str, dict]]:
    """Of each system NDCG@10 of every user, and what is told of it beside that."""
    encoder, users, told = TextEncoder.from_pretrained(), {}, {}
    content = ContentKNN(encoder, n_last=WHOLE_HISTORY).fit(split.train)
    models = {
        OURS: ClosedForm(encoder).fit(split.train, split.valid),
        LONG: choose(content.fadings(), split.train, split.valid),
    }
    for name, model in models.items():
        by_part = {
            part: evaluate_users(model, split, part=part, metrics=("ndcg",))["ndcg", 10]
            for part in ("valid", "test")
        }
        users[name], told[name] = by_part["test"], {"valid": by_part["valid"].mean()}
    vectors = encoder.encode(split.train.items["text"].tolist())
    peer = Peer(split, UnitViews().fit(vectors).transform(vectors).numpy())
    tried = {
        (donor, alpha): peer.ndcg("valid", donor, method="linmap", alpha=alpha).mean()
        for donor, alpha in itertools.product(DONORS, RIDGES)
    }
    donor, alpha = max(tried, key=tried.get)
    for method in ("linmap", "stacking_plus"):
        name = f"warm-transfer, {method}"
        users[name] = peer.ndcg("test", donor, method=method, alpha=alpha)
        told[name] = {"settings": f"donor {donor:g}, alpha {alpha:g}"}
    told["warm-transfer, linmap"]["valid"] = tried[donor, alpha]
    return users, told


def main() -> None:
    """The sets that are named, or all."""
    options = chosen_parts(__doc__, tuple(SETS))
    done = pd.read_parquet(HERE / NAME) if (HERE / NAME).exists() else pd.DataFrame({"set": []})
    for name in options.parts:
        if name in set(done["set"]):
            continue
        users, told = measured(SETS[name]().split("cold_items"))
        order = users[OURS].index
        users = {system: values.reindex(order) for system, values in users.items()}
        rows = pd.DataFrame(
            {"set": name, "system": system, "test": values.mean(), "n_users": len(values)}
            | told[system]
            for system, values in users.items()
        )
        ahead = compare_users(users).set_index("other")[["difference", "ci_low", "ci_high"]]
        rows = rows.join(ahead, on="system")
        done = pd.concat([done, rows], ignore_index=True)
        print(done.to_string(), flush=True)
        save(done, NAME)


if __name__ == "__main__":
    main()
