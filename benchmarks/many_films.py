"""MovieLens-1M, the next film, all films ranked: how far a network goes that is given a GPU and as
many epochs as it wants.

Each of `SETTINGS` is trained on the training part and judged on validation (part ``search``, one
seed). The best of them is then fitted as a user would fit it, with ``refit=True``: early stopping
on validation, then a second network on training and validation together, the closed form beside it
(part ``test``, several seeds), and scored once on test. These two parts want a GPU. Part ``cores``
fits `ON_CORES`, a smaller setting for a processor: its 14 epochs were named before anything was
measured, and as the last of them was the best on validation, 30 stand beside them. Part ``linear``
is the closed form alone, with the settings that are best on validation learned from both parts.
Part ``peer`` is SASRec of RecTools, in an environment of its own, with the smaller of the two
settings that it may choose from on MovieLens-100K, learned from both parts; nothing is chosen.
Each result is a row of ``many_films.parquet``, written at once; what is there is left out.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from run import HERE, PEERS, chosen_parts, measure_missing, peer_lists

from llmrec import TextEncoder, TransferRecommender, load_dataset
from llmrec.compute import Cost
from llmrec.evaluation import evaluate_users
from llmrec.linear import ClosedForm, refitted, with_members
from llmrec.metrics import hit_rate, ndcg
from llmrec.models import TrainingConfig
from llmrec.recommenders import Recommender
from llmrec.splits import Split
from llmrec.training import smooth_validation

NAME = "many_films.parquet"
LONG = replace(TrainingConfig(), max_length=200, batch_size=128, epochs=60, patience=8)
BOTH = replace(LONG, fusion="sum", dim=256, learning_rate=1e-3)
SETTINGS = {
    "text, GRU 64": LONG,
    "text, GRU 256": replace(BOTH, fusion="text"),
    "both, GRU 256": BOTH,
    "both, GRU 512": replace(BOTH, dim=512, dropout=0.5),
    "both, Transformer 128 x 2": replace(BOTH, history="transformer", dim=128, dropout=0.3),
    "both, Transformer 256 x 4": replace(
        BOTH, history="transformer", n_layers=4, n_heads=4, dropout=0.3
    ),
}
SMALL = replace(
    BOTH, dim=128, dropout=0.3, learning_rate=2e-3, batch_size=32, epochs=14, warmup_epochs=1
)
ON_CORES = {"both, GRU 128": SMALL, "both, GRU 128, 30 epochs": replace(SMALL, epochs=30)}


def search(encoder: TextEncoder, split: Split, setting: str, seed: int) -> dict:
    """A setting on validation."""
    model = TransferRecommender(
        encoder, config=SETTINGS[setting], closed_form=False, seed=seed, progress=False
    )
    with Cost() as cost:
        model.fit(split.train, split.valid)
    best = smooth_validation(model.history_.to_dict("records")).max()
    found = {"valid_ndcg@10": best, "best_epoch": model.best_epoch_}
    return found | {"epochs": len(model.history_), "seconds": cost.seconds}


def accuracy(recommender: Recommender, split: Split) -> dict:
    """NDCG@10 and HR@10 on test."""
    means = evaluate_users(recommender, split, metrics=("ndcg", "hr")).mean()
    return {f"{metric}@10": means[metric, 10] for metric in ("ndcg", "hr")}


def test(encoder: TextEncoder, split: Split, setting: str, seed: int) -> dict:
    """A setting fitted to be shipped: the network, and the whole."""
    config = (SETTINGS | ON_CORES)[setting]
    model = TransferRecommender(encoder, config=config, seed=seed, progress=False)
    with Cost() as cost:
        model.fit(split.train, split.valid, refit=True)
    alone = {f"network, {name}": x for name, x in accuracy(model.alone(), split).items()}
    best = smooth_validation(model.history_.to_dict("records")).max()
    found = {"valid_ndcg@10": best, "best_epoch": model.best_epoch_, "seconds": cost.seconds}
    found |= alone
    weights = {f"weight of {name}": x for name, x in model.ensemble_.named_weights().items()}
    return found | accuracy(model, split) | weights


def linear(encoder: TextEncoder, split: Split, seed: int) -> dict:
    """The closed form, its choices made on validation, learned from both parts."""
    with Cost() as cost:
        chosen = ClosedForm(encoder, seed=seed).fit(split.train, split.valid).ensemble_
        model = with_members(chosen, refitted(chosen.members, split.train_valid))
    weights = {f"weight of {name}": x for name, x in chosen.named_weights().items()}
    return {"seconds": cost.seconds} | accuracy(model, split) | weights


def peer(split: Split, setting: str) -> dict:
    """A peer in its first setting, learned from training and validation together."""
    environment, script, choices = PEERS[setting]
    no_vectors = np.zeros((len(split.train.items), 1), dtype=np.float32)
    lists, record = peer_lists(
        split, no_vectors, environment, script, choices[0], dataset=split.train_valid, part="test"
    )
    means = {"ndcg@10": ndcg(lists).mean(), "hr@10": hit_rate(lists).mean()}
    return {"seconds": record["seconds"]} | means


def main() -> None:
    options = chosen_parts(__doc__, ["search", "test", "cores", "linear", "peer"])
    split = load_dataset("movielens-1m", progress=False).split("leave_one_out")
    encoder = TextEncoder.from_pretrained()

    def measure(part: str, setting: str, seed: int) -> dict:
        if part == "linear":
            return linear(encoder, split, seed)
        if part == "peer":
            return peer(split, setting)
        return (search if part == "search" else test)(encoder, split, setting, seed)

    settings = {
        "search": SETTINGS,
        "cores": ON_CORES,
        "linear": ["closed form"],
        "peer": ["RecTools SASRec"],
    }
    for part in settings:
        if part in options.parts:
            plans = [{"part": part, "setting": one, "seed": 0} for one in settings[part]]
            measure_missing(NAME, plans, measure)
    if "test" in options.parts:
        known = pd.read_parquet(HERE / NAME).query("part == 'search'").set_index("setting")
        best = known["valid_ndcg@10"].idxmax()
        plans = [{"part": "test", "setting": best, "seed": seed} for seed in range(options.seeds)]
        measure_missing(NAME, plans, measure)


if __name__ == "__main__":
    main()
