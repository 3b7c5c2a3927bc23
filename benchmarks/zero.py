"""Zero-shot without a network: what texts and a source in closed form know of a foreign catalogue.

Settings: ``films`` (500 users over films of most genres; the others over films of seven genres),
``films, with facts`` (director, writer and cast in the texts) and ``groceries to drugs``, each
with five draws of users. Nobody has taken anything in the target. Two ways to read the texts
alone: *content* (whitened, fading) and *centred* (the vectors around their mean, fading). Then
both, each with a vote, and what the source adds to both, with the overlap of the catalogues as its
weight: the *ridge* from texts, the *matrix* of `TextEASE` carried to the texts, *popularity*
predicted from texts (three tenths of a vote, set by hand), and all three. Last, weights that are
*learned*: the items of the source are cut into three groups by their texts, each group plays the
target of a move from the two others, and a softmax over the scores learns the weights of all five.

A row of ``zero.parquet``: ``setting, draw, system``, NDCG@10 on the last item of each user of the
target, and its difference to the better of *content* and *centred* over the same users, with its
95 % interval. Written at once; what is there is left out.
"""

import functools

import numpy as np
import pandas as pd
import torch
import transfer
from run import HERE, chosen_parts, save
from sklearn.cluster import KMeans
from sklearn.linear_model import Ridge

from llmrec import TextEncoder, load_dataset
from llmrec.baselines import ContentKNN, RidgeFromText
from llmrec.data import Dataset
from llmrec.domains import CONTENT, catalogue_overlap
from llmrec.ensembles import Ensemble, joined_scores, member_scores, softmax_weights
from llmrec.evaluation import compare_users
from llmrec.linear import ScoresFromText, TextEASE
from llmrec.recommenders import Recommender
from llmrec.splits import Split
from llmrec.whitening import UnitViews

NAME = "zero.parquet"
READERS, SOURCES = ("content", "centred"), ("ridge", "matrix", "popularity")
VOTES = {
    "both": (),
    "both and ridge": ("ridge",),
    "both and matrix": ("matrix",),
    "both, ridge and popularity": ("ridge", "popularity"),
    "both and all": SOURCES,
}


@functools.cache
def encoder() -> TextEncoder:
    """MiniLM."""
    return TextEncoder.from_pretrained()


class Over(Recommender):
    """A recommender of a larger catalogue, asked about some of its items."""

    def __init__(self, larger: Recommender, items: pd.DataFrame):
        self.larger, self.items_ = larger, items.reset_index(drop=True)
        self.popularity_ = np.zeros(len(items), dtype=int)
        self.places = larger._item_indices(items["item_id"].tolist())

    def score(self, histories) -> torch.Tensor:
        """Of these items alone."""
        return self.larger.score([self.places[one] for one in histories])[:, self.places]


class Alike(Recommender):
    """The same scores for everybody."""

    def __init__(self, scores: np.ndarray, items: pd.DataFrame):
        self.scores, self.items_ = torch.from_numpy(scores.astype(np.float32)), items
        self.popularity_ = np.zeros(len(items), dtype=int)

    def score(self, histories) -> torch.Tensor:
        """A row for each user."""
        return self.scores.repeat(len(histories), 1)


def voters(source: Dataset, items: pd.DataFrame) -> dict[str, Recommender]:
    """All five over the items of a target, of which only the texts are used."""
    target = Dataset.from_frames(
        pd.DataFrame({"user_id": ["nobody"], "item_id": items["item_id"].iloc[:1]}), items
    )
    union = pd.concat([source.items[["item_id", "text"]], items[["item_id", "text"]]])
    matrix = TextEASE(encoder()).fit(source)
    carried = ScoresFromText(matrix, ContentKNN(encoder()).fit(source)).join().with_items(union)
    views = UnitViews().fit(encoder().encode(union["text"]))
    read = [views.transform(encoder().encode(one["text"])) for one in (source.items, items)]
    taken = source.item_counts()
    popularity = Ridge(10.0).fit(read[0][taken > 0], np.log1p(taken[taken > 0]))
    return {
        "content": ContentKNN(encoder(), **CONTENT).fit(target),
        "centred": ContentKNN(encoder(), n_components="centred", **CONTENT).fit(target),
        "ridge": RidgeFromText(encoder()).fit(source).with_items(items),
        "matrix": Over(carried, items),
        "popularity": Alike(popularity.predict(read[1]), items),
    }


def joined(members: dict, weights: dict) -> Ensemble:
    """Standardised scores, added with weights."""
    named = {name: weight for name, weight in weights.items() if weight > 0}
    some = [members[name] for name in named]
    return Ensemble(some, standardise=True, weights=list(named.values())).join()


def learned_votes(source: Dataset) -> dict[str, float]:
    """Weights of all five, from three moves inside the source."""
    vectors = encoder().encode(source.items["text"])
    groups = KMeans(3, n_init=3, random_state=0).fit_predict(vectors)
    users = np.sort(source.interactions["user_id"].unique())
    told = []
    for group in range(3):
        is_target = source.items["item_id"][groups == group]
        first, second = (
            transfer.domain(source, some, lambda items, ids=ids: ids(items["item_id"]))
            for some, ids in (
                (users[::2], lambda own, target=is_target: ~own.isin(target)),
                (users[1::2], lambda own, target=is_target: own.isin(target)),
            )
        )
        members = voters(first.train_valid, second.train.items)
        told.append(member_scores(list(members.values()), second.task("test")))
    weights = softmax_weights(joined_scores(told))
    return dict(zip(members, weights, strict=True))


def groceries(seed: int) -> tuple[Split, Split]:
    """As `transfer.shop`, with 600 households on either side."""
    dataset = load_dataset("complete-journey", progress=False)
    some, others = transfer.two_groups(dataset, 600, seed)
    return (
        transfer.domain(dataset, some, lambda items: items["department"] == "GROCERY"),
        transfer.domain(
            dataset, others[:600], lambda items: items["department"].isin(transfer.DEPARTMENTS)
        ),
    )


SETTINGS = {
    "films": transfer.films,
    "films, with facts": functools.partial(transfer.films, **transfer.WITH_FACTS),
    "groceries to drugs": groceries,
}


def measured(setting: str, draw: int) -> list[dict]:
    """The rows of a draw."""
    source, target = SETTINGS[setting](draw)
    log, items = source.train_valid, target.train.items
    members = voters(log, items)
    share = catalogue_overlap(encoder(), log.items["text"], items["text"])
    counts = {"ridge": share, "matrix": share, "popularity": 0.3 * share}
    plans = {name: {name: 1.0} for name in members}
    for name, others in VOTES.items():
        plans[name] = dict.fromkeys(READERS, 1.0) | {other: counts[other] for other in others}
    plans["learned"] = learned_votes(log)
    values = {
        name: transfer.per_user(joined(members, weights), target) for name, weights in plans.items()
    }
    best = max(READERS, key=lambda name: values[name].mean())
    against = compare_users({best: values[best]} | values).set_index("other")
    rows = []
    for name, value in values.items():
        row = {"setting": setting, "draw": draw, "system": name, "ndcg@10": value.mean()}
        row |= {"overlap": share, "n_users": len(value), "best": best}
        if name != best:  # compared the other way round
            difference, low, high = against.loc[name, ["difference", "ci_low", "ci_high"]]
            row |= {"difference": -difference, "ci_low": -high, "ci_high": -low}
        rows.append(row)
    return rows


def main() -> None:
    """The settings that are named, or all."""
    options, path = chosen_parts(__doc__, tuple(SETTINGS)), HERE / NAME
    rows = pd.read_parquet(path).to_dict("records") if path.exists() else []
    for draw in range(options.seeds):
        for setting in options.parts:
            if not any(row["setting"] == setting and row["draw"] == draw for row in rows):
                rows += measured(setting, draw)
                print(pd.DataFrame(rows[-12:]).to_string(), flush=True)
                save(pd.DataFrame(rows), NAME)


if __name__ == "__main__":
    main()
