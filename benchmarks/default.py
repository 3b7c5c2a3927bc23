"""The default of the library against every baseline, each tuned on the same validation events, over
sets and protocols that differ: films, books and a shop, the next item and the coming weeks. (Items
without events are in ``withheld.py``.)

Of every set: `TransferRecommender` (with fewer passes and larger batches, `SHORT`, on the larger
logs), the network of it alone, `ClosedForm`, and `tuned_baselines`, all fitted on the training
part, chosen on validation, and scored once on test; what learns by chance, with several seeds.
Writes ``default.parquet``, a row a set and system: ``set, system, n_seeds, ndcg@10, deviation``
(mean and standard deviation over the seeds), ``n_users, seconds`` (of one fit), and for each other
system the difference of the default to it with its interval over the same users (``difference,
ci_low, ci_high``), each user's value the mean over the seeds. A set that stands there is not run
again; names on the command line choose sets.

    python benchmarks/default.py [set ...] [--seeds 5]
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from run import HERE, chosen_parts, save

from llmrec import TextEncoder, TransferRecommender, load_dataset
from llmrec.compute import Cost
from llmrec.data import Dataset
from llmrec.evaluation import compare_users, evaluate_users
from llmrec.linear import ClosedForm
from llmrec.models import TrainingConfig
from llmrec.recommenders import Recommender
from llmrec.splits import Split
from llmrec.tuning import tuned_baselines

NAME, DEFAULT = "default.parquet", "default"
DRUGS = {"DRUG GM", "COSMETICS", "NUTRITION", "FLORAL"}
FANTASTIC = {"Sci-Fi", "Horror", "Western", "Children's", "Animation", "Fantasy", "Musical"}
OWN = TrainingConfig()  # what the library does by itself
SHORT = replace(OWN, epochs=15, batch_size=128, patience=4)  # for large logs, to save time


def films() -> Dataset:
    return load_dataset("movielens-100k", progress=False)


def shop() -> Dataset:
    return load_dataset("complete-journey", progress=False)


def drugs() -> Dataset:
    """Drugs, cosmetics, nutrition and floral alone."""
    part = shop().domain(lambda items: items["department"].isin(DRUGS))
    return part.at_least(user_events=5)


def fantastic_films() -> Dataset:
    """Films of seven genres."""
    part = films().domain(lambda items: items["genres"].map(lambda own: bool(FANTASTIC & set(own))))
    return part.at_least(user_events=5)


def many_films() -> Dataset:
    return load_dataset("movielens-1m", progress=False)


def books() -> Dataset:
    return load_dataset("book-crossing", progress=False).k_core(15)


SETS = {
    "films, leave-one-out": (films, "leave_one_out", OWN),
    "some films, leave-one-out": (fantastic_films, "leave_one_out", OWN),
    "drugs, leave-one-out": (drugs, "leave_one_out", OWN),
    "shop, leave-one-out": (shop, "leave_one_out", SHORT),
    "books, random": (books, "random", replace(SHORT, history="mean", fading=False)),
    "drugs, temporal": (drugs, "temporal", OWN),
    "shop, temporal": (shop, "temporal", SHORT),
    "many films, temporal": (many_films, "temporal", SHORT),
    "many films, leave-one-out": (many_films, "leave_one_out", SHORT),
}


def systems(
    encoder: TextEncoder, split: Split, config: TrainingConfig, seeds: range
) -> dict[str, list[Callable]]:
    """Name to the functions that fit a system, one for each seed; the network alone is taken out of
    the default, and the closed form is the same in all.
    """
    closed = functools.cache(lambda: ClosedForm(encoder).fit(split.train, split.valid))

    @functools.cache
    def ours(seed: int) -> TransferRecommender:
        model = TransferRecommender(
            encoder, config=config, closed_form=closed(), seed=seed, progress=False
        )
        return model.fit(split.train, split.valid)

    simple = tuned_baselines(encoder, split.train, split.valid)
    if split.train.order == "unknown":  # nothing can fade, and nothing is recent
        simple = {name: fit for name, fit in simple.items() if "ading" not in name}
        simple.pop("recently popular")
    return {
        "closed form": [closed],
        DEFAULT: [functools.partial(ours, seed) for seed in seeds],
        "network alone": [lambda seed=seed: ours(seed).alone() for seed in seeds],
        **{name: [fit] for name, fit in simple.items()},
    }


def measured(encoder: TextEncoder, name: str, n_seeds: int) -> pd.DataFrame:
    """The rows of a set."""
    make, protocol, config = SETS[name]
    split, values, rows = make().split(protocol), {}, []
    for system, fits in systems(encoder, split, config, range(n_seeds)).items():
        with Cost() as cost:
            fitted = [fit() for fit in fits]
        ndcg = [evaluate_users(one, split, metrics=("ndcg",))["ndcg", 10] for one in fitted]
        values[system], means = sum(ndcg) / len(ndcg), [one.mean() for one in ndcg]
        row = {"set": name, "system": system, "n_seeds": len(fits), "ndcg@10": np.mean(means)}
        row |= {"deviation": np.std(means), "seconds": cost.seconds / len(fits)}
        rows.append(row | {"weights": _weights(fitted)})
        print(row, flush=True)
    table = pd.DataFrame(rows).set_index("system")
    table.loc[DEFAULT, "seconds"] += table.loc["closed form", "seconds"]
    ours = {DEFAULT: values.pop(DEFAULT)}
    against = compare_users(ours | values).query("system == @DEFAULT").set_index("other")
    table = table.join(against[["difference", "ci_low", "ci_high"]])
    return table.assign(n_users=len(ours[DEFAULT])).reset_index()


def _weights(fitted: Sequence[Recommender]) -> str:
    """The members of a blend and their weights in words, mean over the seeds."""
    ensembles = [one.ensemble_ for one in fitted if getattr(one, "ensemble_", None) is not None]
    if not ensembles:
        return ""
    means = pd.DataFrame([ensemble.named_weights() for ensemble in ensembles]).mean()
    return ", ".join(f"{name} {weight:.2f}" for name, weight in means.items())


def main() -> None:
    options = chosen_parts(__doc__, list(SETS))
    encoder, path = TextEncoder.from_pretrained(), HERE / NAME
    known = pd.read_parquet(path) if path.exists() else pd.DataFrame({"set": []})
    for name in options.parts:
        if name not in set(known["set"]):
            rows = measured(encoder, name, options.seeds)
            known = pd.concat([known, rows])
            # a set that was measured again stands where it stood
            known = known.sort_values(
                "set", key=lambda sets: sets.map(list(SETS).index), kind="stable"
            )
            save(known.reset_index(drop=True), NAME)


if __name__ == "__main__":
    main()
