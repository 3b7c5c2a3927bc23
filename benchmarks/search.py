"""The search behind the defaults of `TrainingConfig` and behind `TEXT_AND_ID`, scored on validation
only.

The sets are MovieLens-100K without its test events, and for the history tower and `TEXT_AND_ID` two
more of The Complete Journey: 800 households and all they buy (``shop``), and the other half of the
households over drugs, cosmetics and flowers (``drugs``). The group ``histories`` compares all
`HISTORIES`, each at several learning rates, also on the films of seven genres (``genres``) and on
800 users of MovieLens-1M (``more films``); the group ``horizons`` draws the target from so many
next events, where validation asks for the coming weeks (``shop, weeks`` and so on).

Each user's last three events before the test event are the validation, so that a setting is judged
on 2,829 events in place of 943; the test event is never seen. One run a setting, with early
stopping on the same events. ``benchmarks/search.jsonl`` is the log: a line a run, written when it
ends, with the minutes that its process used; a setting that stands there is not run again. Names on
the command line choose groups of `TRIALS`; none means all.
"""

import argparse
import functools
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from default import fantastic_films
from transfer import shop

from llmrec import TextEncoder, TransferRecommender, load_dataset
from llmrec.data import Dataset, sort_by_time
from llmrec.ensembles import Ensemble
from llmrec.models import HISTORIES, TrainingConfig
from llmrec.sequential import mean_ndcg, validation_task
from llmrec.training import smooth_validation

LOG = Path(__file__).resolve().parent / "search.jsonl"
N_VALID = 3
START = {
    "history": "transformer",
    "n_components": 128,
    "hidden": 256,
    "cosine": True,
    "n_layers": 2,
    "dropout": 0.3,
    "learning_rate": 3e-3,
    "shuffle_ties": False,
    "exclude_history": False,
}  # where the search began
WIDE = {"n_components": 384, "hidden": 512}
FREE = {**WIDE, "cosine": False}
BOTH = {"fusion": "sum", "learning_rate": 2e-3, "dropout": 0.4}
FACTS = ["title_year", "genre_text", "director", "writer", "cast"]
COLUMNS = ["year", "genres"]
BEST_TEXT = {**FREE, "dropout": 0.4, "shuffle_ties": True}
FREE_BOTH = {**BOTH, "cosine": False, "shuffle_ties": True}
NOW = {"shuffle_ties": True, "exclude_history": True}
SHOP = {"epochs": 20, "batch_size": 128, "patience": 5}  # a shop has many more events
SETS = {
    "films": lambda **text: load_dataset("movielens-100k", **text),
    "shop": lambda: load_dataset("complete-journey").sample_users(800, seed=0),
    "drugs": lambda: shop()[1].train,
    "genres": fantastic_films,
    "more films": lambda: load_dataset("movielens-1m").sample_users(800, seed=0),
}
WITH_IDS = [
    {**BOTH, **NOW},
    *(
        {**BOTH, **NOW, "history": "gru", **other}
        for other in (
            {},
            {"cosine": False},
            WIDE,
            {**WIDE, "cosine": False},
            {**WIDE, "cosine": False, "learning_rate": 3e-3},
            {"cosine": False, "profile_dim": 0},
        )
    ),
]
TRIALS = {
    "text": [
        {},
        WIDE,
        {**WIDE, "hidden": 1024},
        FREE,
        {**FREE, "dropout": 0.4},
        BEST_TEXT,
        {**BEST_TEXT, "metadata": COLUMNS},
        {**BEST_TEXT, "item_text": FACTS},
    ],
    "both": [
        BOTH,
        {**BOTH, **WIDE},
        {**BOTH, "cosine": False},
        {**BOTH, "shuffle_ties": True},
        FREE_BOTH,
    ],
    "history": [{**BEST_TEXT, "history": "gru"}],
    "candidates": [
        {**settings, "exclude_history": True}
        for settings in ({**BEST_TEXT, "history": "gru"}, BEST_TEXT, {**BOTH, "shuffle_ties": True})
    ],
    "ids": WITH_IDS,
    "ids, shop": [{**settings, "dataset": "shop", **SHOP} for settings in WITH_IDS],
    "ids, drugs": [{**settings, "dataset": "drugs", **SHOP} for settings in WITH_IDS],
    "towers": [
        {**BEST_TEXT, "exclude_history": True, "history": history, "dataset": dataset, **SHOP}
        for dataset in ("shop", "drugs")
        for history in ("transformer", "gru", "mean")
    ],
    "histories": [
        {
            **BEST_TEXT,
            "exclude_history": True,
            "history": history,
            "learning_rate": rate,
            "dataset": dataset,
            **(SHOP if dataset in ("shop", "drugs") else {}),
        }
        for rate in (3e-3, 1e-3, 5e-4)
        for dataset in SETS
        for history in HISTORIES
    ],
    "horizons": [
        {
            **BEST_TEXT,
            "exclude_history": True,
            "history": "gru",
            "horizon": horizon,
            "dataset": f"{dataset}, weeks",
            **(SHOP if dataset in ("shop", "drugs") else {}),
        }
        for dataset in ("shop", "drugs", "more films")
        for horizon in (1, 10, 100)
    ],
    "ensemble": [
        {"members": ["text", "text + id"]},
        {"members": ["text", "text + id"] * 2},
        {"members": ["text, GRU", "text + id"]},
    ],
}


TRANSFORMER = TrainingConfig(history="transformer", exclude_history=False)
MEMBERS = {
    "text": TRANSFORMER,
    "text, GRU": replace(TRANSFORMER, history="gru"),
    "text + id": replace(
        TRANSFORMER, fusion="sum", n_components=128, hidden=256, cosine=True, learning_rate=2e-3
    ),
}


@functools.cache
def validation_split(text: tuple | None = None, dataset: str = "films") -> tuple[Dataset, Dataset]:
    """All but the last `N_VALID` events of each user, and those, or of a set with ", weeks" behind
    its name what is before a day, and the weeks after it; `text`: the columns that make an item's
    text.
    """
    name, _, weeks = dataset.partition(", ")
    data = SETS[name](**({"text": text} if text else {}))
    if weeks:
        split = data.split("temporal")
        return split.train, split.valid
    log = data.split("leave_one_out").train_valid
    ordered = sort_by_time(log.interactions)
    is_last = ordered.groupby("user_id").cumcount(ascending=False) < N_VALID
    return tuple(Dataset.from_frames(ordered[which], log.items) for which in (~is_last, is_last))


def run_trial(encoder: TextEncoder, settings: dict, seed: int) -> dict:
    """One fit with early stopping, and what is logged of it."""
    config = {**START, **settings}
    dataset = config.pop("dataset", "films")
    metadata, text = config.pop("metadata", ()), config.pop("item_text", None)
    split = validation_split(text and tuple(text), dataset)
    model = TransferRecommender(
        encoder,
        metadata=metadata,
        closed_form=False,
        config=TrainingConfig(**config),
        seed=seed,
        progress=False,
    ).fit(*split)
    smooth = smooth_validation(model.history_.to_dict("records"))
    return {
        "valid_ndcg@10": round(float(smooth.max()), 5),
        "best_epoch": model.best_epoch_,
        "epochs": len(smooth),
        "parameters": size_of(model),
    }


def run_ensemble(encoder: TextEncoder, members: list[str], seed: int) -> dict:
    """Each member fitted as above, a second one of a kind with the next seed; their scores
    added.
    """
    train, valid = validation_split()
    models = [
        TransferRecommender(
            encoder,
            closed_form=False,
            config=MEMBERS[name],
            seed=seed + members[:place].count(name),
            progress=False,
        ).fit(train, valid)
        for place, name in enumerate(members)
    ]
    value = mean_ndcg(Ensemble(models).join(), validation_task(train, valid))
    return {"valid_ndcg@10": round(value, 5), "parameters": sum(map(size_of, models))}


def size_of(model: TransferRecommender) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.network_.parameters())


def main() -> None:
    """Run what the log does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[*TRIALS, []], help="default: all")
    parser.add_argument(
        "--threads",
        type=int,
        help="processor threads of this process; two processes of one thread each are faster than "
        "one of two",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    encoder = TextEncoder.from_pretrained()
    for group in options.groups or TRIALS:
        for settings in TRIALS[group]:
            done = (
                [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
            )
            if any(run["settings"] == settings and run["seed"] == options.seed for run in done):
                continue
            started = time.process_time()
            result = (
                run_ensemble(encoder, settings["members"], options.seed)
                if "members" in settings
                else run_trial(encoder, settings, options.seed)
            )
            run = {
                "group": group,
                "settings": settings,
                "seed": options.seed,
                **result,
                "minutes": round((time.process_time() - started) / 60, 1),
            }
            with LOG.open("a", encoding="utf-8") as file:
                file.write(json.dumps(run) + "\n")
            print(run, flush=True)


if __name__ == "__main__":
    main()
