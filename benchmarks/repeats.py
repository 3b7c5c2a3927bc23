"""What is taken again: all purchases of The Complete Journey, by the temporal protocol, with lists
in which seen items may stand; writes ``repeats.parquet`` after every system, and goes on where it
was stopped.

    python benchmarks/repeats.py
"""

import pandas as pd
from run import HERE, RUNS, save

from llmrec import TextEncoder, TransferRecommender, load_dataset
from llmrec.baselines import EASE, TIFUKNN, ItemKNN, PersonalFrequency, PersonalThenPopular
from llmrec.compute import Cost
from llmrec.ensembles import Ensemble
from llmrec.evaluation import evaluate_users, repeat_and_explore
from llmrec.models import TrainingConfig
from llmrec.recommenders import Popular
from llmrec.splits import Split

NAME, SEED, EPOCHS = "repeats.parquet", 0, 15
NETWORK = TrainingConfig(exclude_history=False, repeats=True)
ORDER_FREE = TrainingConfig(
    history="mean", max_length=300, exclude_history=False, repeats=True, shuffle_ties=True
)


def best(systems, split: Split):
    """The fitted system that is best on validation, seen items included."""

    def value(system) -> float:
        users = evaluate_users(system, split, part="valid", metrics=("ndcg",), exclude_seen=False)
        return users["ndcg", 10].mean()

    return max(systems, key=value)


def systems(encoder: TextEncoder, split: Split) -> dict:
    """Functions that fit each system to `split.train`, settings chosen on validation."""
    train, valid, fitted = split.train, split.valid, {}

    def network(name: str, config: TrainingConfig):
        folder = RUNS / f"repeats-{config.history}"  # a network takes minutes, and is kept
        if not folder.exists():
            model = TransferRecommender(
                encoder, closed_form=False, config=config, seed=SEED, progress=False
            )
            model.fit(train, valid, epochs=EPOCHS).save_pretrained(folder)
        fitted[name] = TransferRecommender.from_pretrained(folder, encoder=encoder)
        return fitted[name]

    def tifu():
        grid = [(within, across) for within in (0.9, 1.0) for across in (0.7, 0.9)]
        tried = (
            TIFUKNN(within=within, across=across, own_weight=own).fit(train)
            for within, across in grid
            for own in (0.7, 0.9)
        )
        fitted["TIFU-kNN"] = best(tried, split)
        return fitted["TIFU-kNN"]

    def together(name: str):
        members = [fitted["TIFU-kNN"], fitted[name]]
        weights = [[1.0, weight] for weight in (0.05, 0.1, 0.2, 0.5, 1.0)]
        return best(
            [Ensemble(members, standardise=True, weights=some).join() for some in weights], split
        )

    return {
        "popular": lambda: Popular().fit(train),
        "personal frequency": lambda: PersonalFrequency().fit(train),
        "personal, then popular": lambda: PersonalThenPopular().fit(train),
        "TIFU-kNN": tifu,
        "item kNN": lambda: ItemKNN().fit(train),
        "EASE": lambda: best([EASE(x).fit(train) for x in (300, 1_000, 3_000)], split),
        "text, GRU (ours)": lambda: network("text, GRU (ours)", NETWORK),
        "text, mean (ours)": lambda: network("text, mean (ours)", ORDER_FREE),
        "TIFU-kNN + text, GRU": lambda: together("text, GRU (ours)"),
        "TIFU-kNN + text, mean": lambda: together("text, mean (ours)"),
    }


def main() -> None:
    shop = load_dataset("complete-journey", purchases="all")
    split = shop.split("temporal")
    print(split, f"{len(split.targets(exclude_seen=False)):,} test users", flush=True)
    path = HERE / NAME
    done = pd.read_parquet(path) if path.exists() else pd.DataFrame({"system": []})
    for name, fit in systems(TextEncoder.from_pretrained(), split).items():
        if name in set(done["system"]) and not name.startswith(("TIFU-kNN", "text")):
            continue
        with Cost() as cost:
            system = fit()
        table = repeat_and_explore(system, split, seed=SEED)
        repeats = table.attrs["repeats_in_lists"]
        table = table.assign(system=name, seconds=cost.seconds, repeats_in_lists=repeats)
        done = pd.concat([done[done["system"] != name], table], ignore_index=True)
        save(done, NAME)
        print(table.drop(columns="system").round(4).to_string(), name, flush=True)


if __name__ == "__main__":
    main()
