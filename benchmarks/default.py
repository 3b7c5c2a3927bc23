"""The default of the library against every baseline, each tuned on the same validation events, over
sets and protocols that differ: films and a shop, the next item and the coming weeks, known items
and withheld ones.

Of every set: `TransferRecommender` as it is, the network of it alone, `ClosedForm`, and
`tuned_baselines`, all fitted on the training part, chosen on validation, and scored once on test.
Writes ``default.parquet``, a row a set and system: ``set, system, ndcg@10, n_users, seconds``, and
for each other system the difference of the default to it with its interval over the same users
(``difference, ci_low, ci_high``). A set that stands there is not run again; names on the command
line choose sets.

    python benchmarks/default.py [set ...]
"""

from collections.abc import Callable
from dataclasses import replace

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
MANY = replace(TrainingConfig(), epochs=15, batch_size=128, patience=4)  # for logs of many events
FEW = TrainingConfig()


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
    "films, leave-one-out": (films, "leave_one_out", FEW),
    "shop, temporal": (shop, "temporal", MANY),
    "drugs, leave-one-out": (drugs, "leave_one_out", MANY),
    "films, withheld": (films, "cold_items", FEW),
    "some films, leave-one-out": (fantastic_films, "leave_one_out", FEW),
    "shop, leave-one-out": (shop, "leave_one_out", MANY),
    "drugs, temporal": (drugs, "temporal", MANY),
    "shop, withheld": (shop, "cold_items", MANY),
    "books, random": (books, "random", replace(MANY, history="mean", fading=False)),
    "ML-1M, temporal": (many_films, "temporal", MANY),
    "ML-1M, leave-one-out": (many_films, "leave_one_out", MANY),
}


def systems(encoder: TextEncoder, split: Split, config: TrainingConfig) -> dict[str, Callable]:
    """Name to a function that fits a system; the network alone is taken out of the default."""
    ours = TransferRecommender(encoder, config=config, progress=False)
    simple = tuned_baselines(encoder, split.train, split.valid)
    if split.train.order == "unknown":  # nothing can fade, and nothing is recent
        simple = {name: fit for name, fit in simple.items() if "ading" not in name}
        simple.pop("recently popular")
    return {
        DEFAULT: lambda: ours.fit(split.train, split.valid),
        "network alone": ours.alone,
        "closed form": lambda: ClosedForm(encoder).fit(split.train, split.valid),
        **simple,
    }


def measured(encoder: TextEncoder, name: str) -> pd.DataFrame:
    """The rows of a set."""
    make, protocol, config = SETS[name]
    split, values, rows = make().split(protocol), {}, []
    for system, fit in systems(encoder, split, config).items():
        with Cost() as cost:
            fitted = fit()
        values[system] = evaluate_users(fitted, split, metrics=("ndcg",))["ndcg", 10]
        rows.append({"set": name, "system": system, "seconds": cost.seconds, **_weights(fitted)})
        found, seconds = values[system].mean(), cost.seconds
        print(f"{name:28s} {system:28s} {found:.4f} {seconds:6.0f} s", flush=True)
    table = pd.DataFrame(rows).assign(n_users=len(values[DEFAULT]))
    table["ndcg@10"] = [values[system].mean() for system in table["system"]]
    against = compare_users(values).query("system == @DEFAULT")
    columns = ["difference", "ci_low", "ci_high"]
    return table.join(against.set_index("other")[columns], on="system")


def _weights(fitted: Recommender) -> dict:
    """The members of a blend and their weights, in words."""
    ensemble = getattr(fitted, "ensemble_", None)
    if ensemble is None:
        return {"weights": ""}
    pairs = ensemble.named_weights().items()
    return {"weights": ", ".join(f"{name} {weight:.2f}" for name, weight in pairs)}


def main() -> None:
    encoder, path = TextEncoder.from_pretrained(), HERE / NAME
    known = pd.read_parquet(path) if path.exists() else pd.DataFrame({"set": []})
    for name in chosen_parts(__doc__, list(SETS)).parts:
        if name not in set(known["set"]):
            known = pd.concat([known, measured(encoder, name)], ignore_index=True)
            save(known, NAME)


if __name__ == "__main__":
    main()
