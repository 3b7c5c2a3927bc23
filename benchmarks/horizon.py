"""How far back should one look for an item that nobody has taken yet?

NDCG@10 of the plain cosine to the last ten, thirty or hundred events of a history, and to all of
it, where a tenth of the items is withheld with all their events, from any time in a history (sets
of ``default.py``; validation and test), and where a whole department of the shop opens, and what is
bought there is the latest of a history (no validation: nobody has bought there before). A row of
``horizon.parquet``: ``data, n_last, valid, test, n_users``; what is there is left out.
"""

import copy
import functools

import numpy as np
from default import drugs, fantastic_films, films, shop
from run import chosen_parts, measure_missing

from llmrec import TextEncoder, load_dataset
from llmrec.baselines import ContentKNN
from llmrec.case_study import department_asked, department_periods, judge_department
from llmrec.evaluation import evaluate_users
from llmrec.linear import WHOLE_HISTORY

NAME = "horizon.parquet"
LAST = (10, 30, 100, WHOLE_HISTORY)
SETS = {"films": films, "some films": fantastic_films, "drugs": drugs, "shop": shop}
DEPARTMENT = "DRUG GM"


@functools.cache
def withheld(data: str) -> tuple:
    """The split of a set, and the texts as vectors."""
    split = SETS[data]().split("cold_items")
    return split, ContentKNN(TextEncoder.from_pretrained()).fit(split.train)


def of_withheld(data: str, n_last: int) -> dict:
    split, content = withheld(data)
    model = copy.copy(content).set_params(n_last=n_last)
    users = {
        part: evaluate_users(model, split, part=part, metrics=("ndcg",))["ndcg", 10]
        for part in ("valid", "test")
    }
    means = {part: values.mean() for part, values in users.items()}
    return means | {"n_users": len(users["test"])}


@functools.cache
def opened() -> tuple:
    """The texts as vectors, the periods of the department, and its items."""
    everything = load_dataset("complete-journey", purchases="all", progress=False)
    is_inside = everything.items["department"] == DEPARTMENT
    inside = everything.items.loc[is_inside, "item_id"].tolist()
    periods = department_periods(everything, inside)
    return ContentKNN(TextEncoder.from_pretrained()).fit(periods["before"]), periods, inside


def of_department(n_last: int) -> dict:
    content, periods, inside = opened()
    model = copy.copy(content).set_params(n_last=n_last)
    table = judge_department({"content": model}, periods, inside)
    n_users = len(department_asked(periods, inside)[0])
    return {"valid": np.nan, "test": table["NDCG@10"].iloc[0], "n_users": n_users}


def main() -> None:
    new = f"new department: {DEPARTMENT}"
    options = chosen_parts(__doc__, [*SETS, new])
    plans = ({"data": data, "n_last": n_last} for data in options.parts for n_last in LAST)

    def measure(data: str, n_last: int) -> dict:
        return of_department(n_last) if data == new else of_withheld(data, n_last)

    measure_missing(NAME, plans, measure)


if __name__ == "__main__":
    main()
