"""What should score an item without a single event?

The closed form weighs four scores: the cosine to the latest and to all texts of a history, and what
two matrices make of the text by a ridge regression (`scores_of_new_items`), as a whole or
*debiased*, without what the average event says. `CASES` are of two kinds. Of some sets a tenth of
the items is withheld for validation and a tenth for test, at random, in several draws. In the
others something arrives: items that are first bought in the test weeks of a log that is cut by
time, the new products and the departments of the case study. All is learned on the training part
and weighed on validation, and the new items are ranked among themselves. Among withheld items other
ways are tried, too: votes that are not learned, a ridge regression with an intercept, and beside it
a third matrix that is much smoother. A row of ``new_items.parquet``: ``kind, data, way``, NDCG@10
(``ndcg, low, high``), ``n_users``, ``n_items``; what is there is left out.
"""

import copy
import functools
from dataclasses import dataclass

import pandas as pd
import torch
from default import drugs
from horizon import SETS
from run import chosen_parts, measure_missing

from llmrec import TextEncoder, load_dataset
from llmrec.case_study import (
    department_asked,
    department_periods,
    last_weeks,
    products_asked,
    score_lists,
)
from llmrec.data import Dataset
from llmrec.ensembles import Ensemble
from llmrec.linear import (
    ClosedForm,
    ScoresFromText,
    TextEASE,
    scores_of_new_items,
    with_members,
    without_fading,
)
from llmrec.recommenders import Recommender

NAME = "new_items.parquet"
DRAWS = {"films": 3, "some films": 3, "drugs": 3, "shop": 1}
DEPARTMENTS = "DRUG GM", "PRODUCE", "MEAT"


@dataclass
class Case:
    """What is learned and weighed, the catalogue that is asked about where it is a larger one, and
    what is asked.
    """

    train: Dataset
    valid: Dataset
    asked: tuple[dict, dict, list]  # histories, targets, candidates
    items: pd.DataFrame | None = None

    @functools.cached_property
    def members(self) -> list[Recommender]:
        """Those of the closed form, the last of them the content."""
        closed = ClosedForm(TextEncoder.from_pretrained()).fit(self.train, self.valid)
        return closed.ensemble_.members

    def over(self, members: list[Recommender]) -> list[Recommender]:
        """The same over the catalogue that is asked about."""
        return members if self.items is None else [one.with_items(self.items) for one in members]

    def weighed(self, scorers: list[Recommender]) -> Ensemble:
        """The members, and scorers of new items with weights from validation."""
        ensemble = Ensemble(self.members, weights="validation", new_items=scorers)
        return ensemble.join(self.train, self.valid)


def withheld(data: str, draw: int) -> Case:
    split = SETS[data]().split("cold_items", seed=draw)
    asked = split.histories("test"), split.targets("test"), split.candidates("test")
    return Case(split.train, split.valid, asked)


def first_bought(data: Dataset) -> Case:
    """Items without events before the test weeks, for users who are known by then."""
    split = data.split("temporal")
    new = set(split.train.items["item_id"]) - set(split.train_valid.interactions["item_id"])
    histories, bought = split.histories("test"), split.targets("test")
    targets = {user: [item for item in items if item in new] for user, items in bought.items()}
    targets = {user: items for user, items in targets.items() if items and histories[user]}
    asked = {user: histories[user] for user in targets}, targets, sorted(new)
    return Case(split.train, split.valid, asked)


def new_products() -> Case:
    split = SETS["shop"]().split("temporal")
    products = load_dataset("complete-journey", item="product", progress=False)
    items, *asked = products_asked(split, products)
    return Case(split.train, split.valid, tuple(asked), items)


def department(name: str) -> Case:
    everything = load_dataset("complete-journey", purchases="all", progress=False)
    inside = everything.items.loc[everything.items["department"] == name, "item_id"].tolist()
    periods = department_periods(everything, inside)
    return Case(*last_weeks(periods["before"]), department_asked(periods, inside))


CASES = {
    **{
        ("withheld", f"{data}, draw {draw}"): functools.partial(withheld, data, draw)
        for data, n_draws in DRAWS.items()
        for draw in range(n_draws)
    },
    ("arrived", "shop, test weeks"): lambda: first_bought(SETS["shop"]()),
    ("arrived", "drugs, test weeks"): lambda: first_bought(drugs()),
    ("arrived", "new products"): new_products,
    **{
        ("arrived", f"department {name}"): functools.partial(department, name)
        for name in DEPARTMENTS
    },
}


def cosine(case: Case, which: int) -> Recommender:
    """One of the two cosines."""
    return scores_of_new_items(case.over(case.members))[which]


def weighed(case: Case, *, debiased: bool) -> Recommender:
    """The closed form, with its four scores of new items."""
    ensemble = case.weighed(scores_of_new_items(case.members, debiased=debiased))
    return with_members(ensemble, case.over(case.members))


def unlearned(case: Case) -> Recommender:
    """The same, and each score counts alike."""
    new = scores_of_new_items(case.members)
    return Ensemble(case.members, standardise=True, new_items=new).join()


def with_intercept(case: Case, *, smooth: bool = False) -> Recommender:
    """Texts less their mean, which is a ridge regression with an intercept, and perhaps a third
    matrix that holds hardly more than counts of pairs.
    """
    *matrices, content = case.members
    content = without_fading(content)
    centred = copy.copy(content)
    known = torch.from_numpy(content.popularity_ > 0)
    centred.vectors_ = content.vectors_ - content.vectors_[known].mean(0)
    scorers = [ScoresFromText(matrix, centred).join() for matrix in matrices]
    if smooth:
        third = TextEASE(regularisation=1e5, text_weight=0.0).fit(case.train, content=content)
        scorers.append(ScoresFromText(third, centred, regularisation=1.0).join())
    return case.weighed([*scores_of_new_items(case.members)[: -len(matrices)], *scorers])


WAYS = {
    "cosine to the latest": functools.partial(cosine, which=0),
    "cosine to all": functools.partial(cosine, which=1),
    "whole": functools.partial(weighed, debiased=False),
    "debiased": functools.partial(weighed, debiased=True),
}
TRIED = {
    "votes, not learned": unlearned,
    "ridge with an intercept": with_intercept,
    "and a smooth third matrix": functools.partial(with_intercept, smooth=True),
}


@functools.lru_cache(maxsize=1)
def made(kind: str, data: str) -> Case:
    return CASES[kind, data]()


def measure(kind: str, data: str, way: str) -> dict:
    case = made(kind, data)
    table = score_lists({way: (WAYS | TRIED)[way](case)}, *case.asked).iloc[0]
    found = {"ndcg": table["NDCG@10"], "low": table["NDCG@10 low"], "high": table["NDCG@10 high"]}
    _, targets, candidates = case.asked
    return found | {"n_users": len(targets), "n_items": len(candidates)}


def main() -> None:
    options = chosen_parts(__doc__, ["arrived", "withheld"])
    plans = (
        {"kind": kind, "data": data, "way": way}
        for kind, data in CASES
        if kind in options.parts
        for way in (WAYS | TRIED if kind == "withheld" else WAYS)
    )
    measure_missing(NAME, plans, measure)


if __name__ == "__main__":
    main()
