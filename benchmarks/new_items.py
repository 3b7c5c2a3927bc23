"""What else could score an item without a single event?

The closed form weighs four scores: the cosine to the latest and to all texts of a history, and what
two matrices make of the text, by a ridge regression (`scores_of_new_items`). Of each of `SETS` a
tenth of the items is withheld for validation and a tenth for test (``cold_items``), in several
draws, and other ways stand beside this one: votes that are not learned, a ridge regression with an
intercept, with another penalty, and a much smoother third matrix. A row of ``new_items.parquet``:
``data, draw, way``, NDCG@10 on ``valid`` and ``test``; what is there is left out.
"""

import copy
import functools

import torch
from horizon import SETS
from run import chosen_parts, measure_missing

from llmrec import TextEncoder
from llmrec.baselines import ContentKNN
from llmrec.ensembles import Ensemble
from llmrec.evaluation import evaluate_users
from llmrec.linear import ClosedForm, ScoresFromText, TextEASE, without_fading
from llmrec.recommenders import Recommender

NAME = "new_items.parquet"
DRAWS = {"films": 3, "some films": 3, "drugs": 3, "shop": 1}
SMOOTH = TextEASE(regularisation=1e5, text_weight=0.0)


class Fitted:
    """A split, the closed form on it, and the texts with and without their mean."""

    def __init__(self, data: str, draw: int):
        self.split = SETS[data]().split("cold_items", seed=draw)
        self.closed = ClosedForm(TextEncoder.from_pretrained())
        self.closed.fit(self.split.train, self.split.valid)
        *self.matrices, content = self.closed.ensemble_.members
        self.content = without_fading(content)
        self.centred = copy.copy(self.content)
        known = torch.from_numpy(content.popularity_ > 0)
        self.centred.vectors_ = content.vectors_ - content.vectors_[known].mean(0)

    def weighed(self, scorers: list[Recommender]) -> Ensemble:
        """The members as they are, and weights of these scorers learned on validation."""
        ensemble = Ensemble(self.closed.ensemble_.members, weights="validation", new_items=scorers)
        return ensemble.join(self.split.train, self.split.valid)

    def carried(self, content: ContentKNN, penalty: float) -> list[Recommender]:
        """The cosines as they are, and what the matrices make of other texts or another penalty."""
        cosines = self.closed.ensemble_.new_items[: -len(self.matrices)]
        scores = (ScoresFromText(one, content, regularisation=penalty) for one in self.matrices)
        return [*cosines, *(one.join() for one in scores)]

    def smooth(self) -> Recommender:
        """What hardly more than counts of pairs makes of the texts."""
        matrix = copy.copy(SMOOTH).fit(self.split.train, content=self.content)
        return ScoresFromText(matrix, self.centred, regularisation=1.0).join()


WAYS = {
    "as it is": lambda it: it.closed,
    "votes, not learned": lambda it: Ensemble(
        it.closed.ensemble_.members,
        weights=it.closed.ensemble_.weights_,
        new_items=it.closed.ensemble_.new_items,
    ).join(),
    **{
        f"intercept, penalty {penalty:g}": functools.partial(
            lambda it, penalty: it.weighed(it.carried(it.centred, penalty)), penalty=penalty
        )
        for penalty in (3.0, 10.0, 30.0)
    },
    "intercept, and a smooth matrix": lambda it: it.weighed(
        [*it.carried(it.centred, 10.0), it.smooth()]
    ),
}
fitted = functools.lru_cache(maxsize=1)(Fitted)


def measure(data: str, draw: int, way: str) -> dict:
    it = fitted(data, draw)
    model = WAYS[way](it)
    return {
        part: evaluate_users(model, it.split, part=part, metrics=("ndcg",))["ndcg", 10].mean()
        for part in ("valid", "test")
    }


def main() -> None:
    options = chosen_parts(__doc__, SETS)
    plans = (
        {"data": data, "draw": draw, "way": way}
        for data in options.parts
        for draw in range(DRAWS[data])
        for way in WAYS
    )
    measure_missing(NAME, plans, measure)


if __name__ == "__main__":
    main()
