"""The search behind the defaults of `TrainingConfig`: MovieLens-100K without its test events, scored on validation only.

Each user's last three events before the test event are the validation, so that a setting is judged on 2,829 events in place of 943; the test event is
never seen. One run a setting, with early stopping on the same events. ``benchmarks/search.jsonl`` is the log: a line a run, written when it ends; a
setting that stands there is not run again. Names on the command line choose groups of `TRIALS`; none means all.
"""
import argparse
import json
import time
from pathlib import Path

import torch

from llmrec import TextEncoder, TransferRecommender, load_dataset
from llmrec.data import Dataset, sort_by_time
from llmrec.models import TrainingConfig

LOG = Path(__file__).resolve().parent / "search.jsonl"
N_VALID = 3
START = {"n_components": 128, "hidden": 256, "cosine": True, "n_layers": 2, "dropout": 0.3, "learning_rate": 3e-3, "shuffle_ties": False}  # where the search began
WIDE = {"n_components": 384, "hidden": 512}
FREE = {**WIDE, "cosine": False}
BOTH = {"fusion": "sum", "learning_rate": 2e-3, "dropout": 0.4}
FACTS = ["title_year", "genre_text", "director", "writer", "cast"]
COLUMNS = ["year", "genres"]
BEST_TEXT = {**FREE, "dropout": 0.4, "shuffle_ties": True}
FREE_BOTH = {**BOTH, "cosine": False, "shuffle_ties": True}
TRIALS = {
    "text": [{}, WIDE, {**WIDE, "hidden": 1024}, FREE, {**FREE, "dropout": 0.4}, BEST_TEXT, {**BEST_TEXT, "metadata": COLUMNS}, {**BEST_TEXT, "item_text": FACTS}, {**BEST_TEXT, "dim": 128}],
    "both": [BOTH, {**BOTH, **WIDE}, {**BOTH, "cosine": False}, {**BOTH, "shuffle_ties": True},
             FREE_BOTH, {**FREE_BOTH, **WIDE}, {**FREE_BOTH, **WIDE, "metadata": COLUMNS}, {**FREE_BOTH, **WIDE, "dim": 128}],
}


def validation_split(log: Dataset) -> tuple[Dataset, Dataset]:
    """All but the last `N_VALID` events of each user, and those."""
    ordered = sort_by_time(log.interactions)
    is_last = ordered.groupby("user_id").cumcount(ascending=False) < N_VALID
    return tuple(Dataset.from_frames(ordered[which], log.items) for which in (~is_last, is_last))


def main() -> None:
    """Run what the log does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[*TRIALS, []], help="default: all")
    parser.add_argument("--threads", type=int, help="processor threads of this process; two processes of one thread each are faster than one of two")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    parts = {"None": validation_split(load_dataset("movielens-100k").split("leave_one_out").train_valid)}
    encoder = TextEncoder.from_pretrained()
    for group in options.groups or TRIALS:
        for settings in TRIALS[group]:
            done = [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []
            if any(run["settings"] == settings and run["seed"] == options.seed for run in done):
                continue
            started = time.perf_counter()
            config = {**START, **settings}
            metadata, item_text = config.pop("metadata", ()), config.pop("item_text", None)
            if str(item_text) not in parts:
                parts[str(item_text)] = validation_split(load_dataset("movielens-100k", text=item_text).split("leave_one_out").train_valid)
            fitted = TransferRecommender(encoder, metadata=metadata, config=TrainingConfig(**config), seed=options.seed, progress=False).fit(*parts[str(item_text)])
            smooth = fitted.history_["valid_ndcg@10"].rolling(3, min_periods=1).mean()
            run = {"group": group, "settings": settings, "seed": options.seed, "valid_ndcg@10": round(float(smooth.max()), 5), "best_epoch": fitted.best_epoch_,
                   "epochs": len(smooth), "parameters": sum(p.numel() for p in fitted.network_.parameters()), "minutes": round((time.perf_counter() - started) / 60, 1)}
            with LOG.open("a", encoding="utf-8") as file:
                file.write(json.dumps(run) + "\n")
            print(run, flush=True)


if __name__ == "__main__":
    main()
