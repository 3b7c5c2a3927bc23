"""Like or dislike, from few examples: language model against logistic regression on vectors.

The question is that of Bao et al., *TALLRec*, 2023: the last ten films of a person with what they
thought of each, one further film, and a bit, whether they gave it more than three stars. Rebuilt
from MovieLens-100K in the order of time: of the last 10,000 ratings whose user has ten earlier
ones, the first 80 % are what examples are drawn from, the next 10 % are left out, and of the last
10 % every third is the test. A model sees 16, 64 or 256 examples, drawn by a seed, and nothing else
but texts.

Parts: ``vectors`` (no training; logistic regression on MiniLM and E5), ``untuned`` (SmolLM2 as it
is), ``tuned-16``, ``tuned-64`` and ``tuned-256`` (LoRA). Each result is a row ``system, n_examples,
seed, auc, seconds`` of ``likes.parquet``, written at once; what is there is left out, so that a
second call goes on. Of seed 0 with 256 examples, ``likes_chances.parquet`` holds what was said of
each question as a chance of *yes*: as it is, and calibrated by logistic regression on a hundred
questions of the part that is left out. Beside them stand the share of the last ten that a person
liked, without any example, and what all earlier ratings say, which no system with few examples
knows.
"""

import copy
import functools
import time
from typing import NamedTuple

import numpy as np
import pandas as pd
from run import chosen_parts, measure_missing, save
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from llmrec import TextEncoder, load_dataset
from llmrec.causal import CausalLanguageModel, tune_on_texts
from llmrec.whitening import Whitening

NAME, N_LAST, N_BEFORE = "likes.parquet", 10_000, 10
SIZES = (16, 64, 256)
PARTS = ("vectors", "untuned", *(f"tuned-{n}" for n in SIZES))
QUESTION = "Liked by one person: {liked}.\nNot liked: {others}.\nWill this person like {film}?"


class Examples(NamedTuple):
    """The `films`, all ratings in order of time, and questions: a `pool` of examples, the `test`,
    and a hundred `between` them. A question has its ``place`` in the ratings, an ``item`` (a row of
    the films), ``before`` (places of ten earlier ratings) and ``is_liked``.
    """

    films: pd.DataFrame
    log: pd.DataFrame
    pool: pd.DataFrame
    test: pd.DataFrame
    between: pd.DataFrame


@functools.cache
def examples() -> Examples:
    """All of it."""
    films = load_dataset("movielens-100k")
    log = films.interactions.sort_values("timestamp", kind="stable").reset_index(drop=True)
    log["item"] = pd.Index(films.items["item_id"]).get_indexer(log["item_id"])
    log["is_liked"] = log["rating"] > 3
    places = {user: rows.to_numpy() for user, rows in log.groupby("user_id").groups.items()}
    nth = log.groupby("user_id").cumcount()
    asked = log[nth >= N_BEFORE].tail(N_LAST).assign(place=lambda rows: rows.index)
    asked["before"] = [
        places[user][count - N_BEFORE : count]
        for user, count in zip(asked["user_id"], nth[asked.index], strict=True)
    ]
    n = len(asked)
    between = asked.iloc[int(0.8 * n) : int(0.9 * n)].sample(100, random_state=0)
    pool, test = asked.iloc[: int(0.8 * n)], asked.iloc[int(0.9 * n) :: 3]
    return Examples(films.items, log, pool, test, between)


def auc(scores: np.ndarray) -> float:
    """Area under the curve on the test."""
    return float(roc_auc_score(examples().test["is_liked"], scores))


def drawn(n: int, seed: int) -> pd.DataFrame:
    """So many examples."""
    return examples().pool.sample(n, random_state=seed)


@functools.cache
def vectors_of(name: str) -> np.ndarray:
    """Whitened vectors of the films, of unit length."""
    encoder = TextEncoder.from_pretrained(name)
    vectors = Whitening(64).fit_transform(encoder.encode(examples().films["text"].tolist()))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def features(rows: pd.DataFrame, vectors: np.ndarray) -> np.ndarray:
    """What is known of each question, ``[n, 4 + dim]``: the share that was liked, means of the
    cosines with what was liked and was not, their difference; and the vector of the film.
    """
    log, found = examples().log, []
    for item, before in zip(rows["item"], rows["before"], strict=True):
        history, is_liked = log["item"].to_numpy()[before], log["is_liked"].to_numpy()[before]
        cosines = vectors[history] @ vectors[item]
        liked, other = (
            cosines[part].mean() if part.any() else 0.0 for part in (is_liked, ~is_liked)
        )
        found.append([is_liked.mean(), liked, other, liked - other, *vectors[item]])
    return np.array(found)


def by_vectors(name: str, n: int, seed: int) -> np.ndarray:
    """Scores of the test by logistic regression, on the four numbers or on all, by what is best in
    cross-validation.
    """
    vectors, some = vectors_of(name), drawn(n, seed)
    pipeline = make_pipeline(FunctionTransformer(), StandardScaler(), LogisticRegression())
    grid = {
        "functiontransformer__kw_args": [{"n": 4}, {"n": None}],
        "functiontransformer__func": [first_columns],
        "logisticregression__C": [0.001, 0.01, 0.1, 1.0],
    }
    search = GridSearchCV(pipeline, grid, cv=3, scoring="neg_log_loss")
    search.fit(features(some, vectors), some["is_liked"])
    return search.predict_proba(features(examples().test, vectors))[:, 1]


def first_columns(table: np.ndarray, n: int | None) -> np.ndarray:
    """Some columns."""
    return table[:, :n]


@functools.cache
def speaker() -> CausalLanguageModel:
    """The language model in the box."""
    return CausalLanguageModel.from_pretrained()


def prompts(rows: pd.DataFrame) -> list[list[int]]:
    """The questions as token ids."""
    items, log = examples().films, examples().log
    titles, texts = items["title"].to_numpy(), items["text"].to_numpy()
    model, found = speaker(), []
    for item, before in zip(rows["item"], rows["before"], strict=True):
        history = log.iloc[before]
        liked, others = (
            "; ".join(titles[history["item"][part]]) or "nothing"
            for part in (history["is_liked"], ~history["is_liked"])
        )
        text = QUESTION.format(liked=liked, others=others, film=texts[item])
        found.append(model.tokens(f"{text} Answer yes or no. Answer:"))
    return [[*model.start, *tokens] for tokens in found]


def asked(model: CausalLanguageModel, rows: pd.DataFrame) -> np.ndarray:
    """How much more likely *yes* is than *no*, for each question."""
    answers = [model.tokens(" yes"), model.tokens(" no")]
    questions = prompts(rows)
    found = model.log_likelihoods(questions, [answers] * len(questions))
    return np.array([one.total[0] - one.total[1] for one in found])


def tuned(n: int, seed: int) -> np.ndarray:
    """The same after LoRA on examples; a quarter of them chooses the checkpoint."""
    model, some = copy.copy(speaker()), drawn(n, seed)
    model.model = copy.deepcopy(model.model).float()
    answers = [model.tokens(" no"), model.tokens(" yes")]
    pairs = [
        (question, answers[int(is_liked)])
        for question, is_liked in zip(prompts(some), some["is_liked"], strict=True)
    ]
    held = n // 4
    how = {"epochs": 2.0 if n < 100 else 1.0, "learning_rate": 3e-4, "n_checks": 4, "seed": seed}
    table = tune_on_texts(model.model, pairs[held:], pairs[:held], progress=False, **how)
    print(table.round(3).to_string(), flush=True)
    scores = asked(model, examples().test)
    if (n, seed) == (256, 0):
        between = examples().between
        scale = LogisticRegression().fit(asked(model, between)[:, None], between["is_liked"])
        chances = {
            "is_liked": examples().test["is_liked"].to_numpy(),
            "language model": 1 / (1 + np.exp(-scores)),
            "language model, calibrated": scale.predict_proba(scores[:, None])[:, 1],
            "logistic regression": by_vectors("all-MiniLM-L6-v2", n, seed),
        }
        save(pd.DataFrame(chances), "likes_chances.parquet")
    return scores


def share_liked() -> np.ndarray:
    """How many of their last ten films a person liked; it looks at no film."""
    log, test = examples().log, examples().test
    return np.array([log["is_liked"].to_numpy()[before].mean() for before in test["before"]])


def all_earlier_ratings() -> np.ndarray:
    """Mean bit of the film before the test, shrunk, and of the user's ten films."""
    log, test = examples().log, examples().test
    past = log.loc[: test["place"].iloc[0] - 1]
    mean, films = past["is_liked"].mean(), past.groupby("item")["is_liked"]
    film = ((films.sum() + 5 * mean) / (films.count() + 5)).reindex(test["item"]).fillna(mean)
    return film.to_numpy() + share_liked()


def plans(part: str, seeds: int):
    """System, number of examples, seed and what gives its scores."""
    if part == "vectors":
        yield "all earlier ratings", 0, 0, all_earlier_ratings
        yield "share liked of the last ten", 0, 0, share_liked
        for name in ("all-MiniLM-L6-v2", "multilingual-e5-small"):
            for n in SIZES:
                for seed in range(seeds):
                    what = functools.partial(by_vectors, name, n, seed)
                    yield f"logistic regression, {name}", n, seed, what
    elif part == "untuned":
        yield "SmolLM2, untuned", 0, 0, lambda: asked(speaker(), examples().test)
    else:
        n = int(part.removeprefix("tuned-"))
        for seed in range(seeds):
            yield "SmolLM2, tuned", n, seed, functools.partial(tuned, n, seed)


def main() -> None:
    """The parts that are named, or all."""
    options = chosen_parts(__doc__, PARTS)
    scores = {
        (system, n, seed): how
        for part in options.parts
        for system, n, seed, how in plans(part, options.seeds)
    }

    def measure(system: str, n_examples: int, seed: int) -> dict:
        start = time.perf_counter()
        value = auc(scores[system, n_examples, seed]())
        return {"auc": value, "seconds": time.perf_counter() - start}

    keys = ("system", "n_examples", "seed")
    measure_missing(NAME, (dict(zip(keys, plan, strict=True)) for plan in scores), measure)


if __name__ == "__main__":
    main()
