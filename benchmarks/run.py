"""The field side by side on MovieLens-100K, leave-one-out, all films ranked: ours, our baselines,
and other libraries in environments of their own.

Every system is chosen on validation (trained on "tr"), then trained once on train + validation and
scored once on test. Ours run at the library's defaults, which ``search.py`` found without the test
events, and take their number of epochs from validation. Each baseline gets `BUDGET` trials of
Optuna, each peer the grid in `PEERS`. Whether a baseline lets its histories fade, and how, is
chosen with its other settings; "1/age" beside it is not chosen at all: the default of EASE with
weights of one over the age of an event.
Writes ``results.parquet`` (a row a system) and ``comparison.parquet`` (ours against each, paired
over users) beside this file; with ``--dataset complete-journey`` the same, without peers, as
``shop_results.parquet`` and ``shop_comparison.parquet``. An interrupted run goes on where it
stopped; systems that are named on the command line can run in processes side by side, one thread
each, before the call without names writes the tables.
"""

import argparse
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from environments import PeerError, run_adapter

from llmrec import TextEncoder, TransferRecommender, load_dataset
from llmrec.assets import atomic_file
from llmrec.baselines import ALS, EASE, ContentKNN, ItemKNN, RidgeFromText, ease_and_content
from llmrec.data import sort_by_time
from llmrec.ensembles import Ensemble
from llmrec.evaluation import compare_users, evaluate_users
from llmrec.leaks import require_no_leak
from llmrec.metrics import bootstrap_interval, hit_rate, ndcg, ranked_lists
from llmrec.models import TEXT_AND_ID, TrainingConfig
from llmrec.recommenders import Popular, RecentlyPopular
from llmrec.sequential import SequentialRecommender
from llmrec.tuning import Tuning, tune

HERE = Path(__file__).resolve().parent
RUNS = HERE / ".runs"
FILES = {
    "movielens-100k": ("results.parquet", "comparison.parquet"),
    "complete-journey": ("shop_results.parquet", "shop_comparison.parquet"),
}
BUDGET = 24  # trials a baseline
OURS = "llmrec, both together"  # what the others are compared with

# environment, adapter, settings to choose from on validation
PEERS = {
    "RecTools SASRec": (
        "rectools",
        "rectools_sasrec.py",
        [
            {
                "n_factors": 64,
                "n_heads": 2,
                "n_blocks": 2,
                "session_max_len": 100,
                "lr": 1e-3,
                "epochs": epochs,
            }
            for epochs in (40, 60)
        ],
    ),
    "RecTools UniSRec": (
        "rectools",
        "rectools_unisrec.py",
        [
            {"n_factors": 64, "n_heads": 2, "session_max_len": 100, "epochs": epochs, "lr": 1e-3}
            for epochs in (15, 30)
        ],
    ),
    "RecBole EASE": (
        "recbole",
        "recbole_models.py",
        [{"model": "EASE", "reg_weight": weight} for weight in (100.0, 250.0, 500.0, 1_000.0)],
    ),
    "implicit ALS": (
        "implicit",
        "implicit_als.py",
        [
            {"factors": factors, "regularization": 0.1, "alpha": alpha, "iterations": 15}
            for factors in (32, 64)
            for alpha in (1.0, 5.0, 20.0)
        ],
    ),
    "implicit BPR": (
        "implicit",
        "implicit_bpr.py",
        [
            {"factors": factors, "learning_rate": rate, "iterations": 200}
            for factors in (32, 64)
            for rate in (0.01, 0.05)
        ],
    ),
    "skrecsys EASE": (
        "skrecsys",
        "skrecsys_models.py",
        [{"model": "EASE", "l2_reg": weight} for weight in (100.0, 250.0, 500.0, 1_000.0)],
    ),
    "skrecsys RP3beta": ("skrecsys", "skrecsys_models.py", [{"model": "RP3Beta"}]),
    "skrecsys BPR": ("skrecsys", "skrecsys_models.py", [{"model": "BayesianPersonalizedRanking"}]),
}


def ours(encoder: TextEncoder, dataset: str) -> dict:
    """Name to (factory, configurations to choose from, number of seeds)."""
    if dataset == "complete-journey":  # many more events, so fewer passes and larger batches
        return {
            name: (
                partial(TransferRecommender, encoder),
                [replace(config, epochs=15, batch_size=128)],
                5,
            )
            for name, config in {
                "llmrec, text + id": TEXT_AND_ID,
                "llmrec, text": TrainingConfig(),
            }.items()
        }
    sasrec = SequentialRecommender.default_config
    return {
        "llmrec, text + id": (partial(TransferRecommender, encoder), [TEXT_AND_ID], 5),
        "llmrec, text": (partial(TransferRecommender, encoder), [TrainingConfig()], 5),
        "llmrec, text, Transformer": (
            partial(TransferRecommender, encoder),
            [TrainingConfig(history="transformer")],
            2,
        ),
        "id-SASRec": (
            SequentialRecommender,
            [replace(sasrec, cosine=cosine) for cosine in (True, False)],
            2,
        ),
    }


FADING = {
    "fading": [None, "1/age", "exponential"],
    "half_life": (0.5, 200.0, "log"),
    "fading_by": ["position", "time"],
}


def baselines(encoder: TextEncoder) -> dict:
    """Name to (factory, what to search)."""
    ease, knn = (
        {"regularisation": (10.0, 10_000.0, "log")},
        {"n_neighbours": (10, 500, "log"), "shrink": (0.0, 200.0)},
    )
    ridge, content = (
        {"regularisation": (0.1, 1_000.0, "log"), "n_factors": (16, 128, "log")},
        {"n_last": (1, 100, "log"), "n_components": (16, 256, "log")},
    )
    several = partial(ContentKNN, encoder, n_components=(32, 128, 256))
    return {
        "EASE": (EASE, ease),
        "EASE, fading": (EASE, ease | FADING),
        "EASE, 1/age": (partial(EASE, fading="1/age"), {}),
        "item kNN": (ItemKNN, knn),
        "item kNN, fading": (ItemKNN, knn | FADING),
        "ALS": (
            ALS,
            {
                "n_factors": (16, 128, "log"),
                "confidence": (0.5, 50.0, "log"),
                "regularisation": (1e-3, 10.0, "log"),
            },
        ),
        "ridge from text": (partial(RidgeFromText, encoder), ridge),
        "ridge from text, fading": (partial(RidgeFromText, encoder), ridge | FADING),
        "content kNN, whitened": (partial(ContentKNN, encoder), content),
        "content kNN, fading": (several, {"n_last": (10, 1_000, "log")} | FADING),
        "content kNN, raw": (
            partial(ContentKNN, encoder, n_components=None),
            {"n_last": (1, 100, "log")},
        ),
        "EASE + content, both fading": (
            partial(ease_and_content, encoder),
            ease | FADING | {"content_weight": (0.05, 2.0, "log")},
        ),
        "recently popular": (RecentlyPopular, {"share": (0.005, 1.0, "log")}),
        "popular": (Popular, {}),
    }


def chosen(split, make, configs, kept: Path) -> tuple:
    """Configuration, number of epochs, and their NDCG@10 on validation; read from `kept` if an
    earlier call got so far.
    """
    if not kept.exists():
        fits = [
            make(config=config, progress=False).fit(split.train, split.valid) for config in configs
        ]
        values = [fit.history_["valid_ndcg@10"][fit.best_epoch_ - 1] for fit in fits]
        best = int(np.argmax(values))
        with atomic_file(kept) as temporary:
            temporary.write_text(
                json.dumps([best, fits[best].best_epoch_, values[best]]), encoding="utf-8"
            )
    best, epochs, value = json.loads(kept.read_text(encoding="utf-8"))
    return configs[best], epochs, value


def final(split, make, config, epochs: int, seed: int, folder: Path) -> tuple:
    """A model trained on train + validation, and the seconds that it took; kept in `folder` where
    it can be saved.
    """
    model = make(config=config, seed=seed, progress=False)
    if not folder.exists():
        started = time.perf_counter()
        model.fit(split.train_valid, epochs=epochs)
        seconds = time.perf_counter() - started
        if not hasattr(model, "save_pretrained"):
            return model, seconds
        folder.with_suffix(".seconds").write_text(json.dumps(seconds))
        # last, and whole or not at all: where the folder is, the seconds are too
        model.save_pretrained(folder)
    return model.from_pretrained(folder, encoder=model.encoder), json.loads(
        folder.with_suffix(".seconds").read_text()
    )


def measure_ours(split, make, configs, n_seeds, kept: Path) -> dict:
    """Choose configuration and number of epochs on validation, fit on train + validation for each
    seed, score test once.
    """
    config, epochs, value = chosen(split, make, configs, kept.with_suffix(".chosen"))
    fits = [
        final(split, make, config, epochs, seed, kept.with_name(f"{kept.name}-{seed}"))
        for seed in range(n_seeds)
    ]
    changed = {
        name: value
        for name, value in asdict(config).items()
        if value != getattr(TrainingConfig(), name)
    }
    return result_of(
        [evaluate_users(model, split, metrics=("ndcg", "hr")) for model, _ in fits],
        value,
        [seconds for _, seconds in fits],
        {"epochs": epochs, **changed},
    )


def measure_ensemble(split, members: list, n_seeds: int) -> dict:
    """The same for `Ensemble`, of the members' own fits, one of each a seed."""
    fits = []
    for seed in range(n_seeds):
        fits.append(
            [
                final(
                    split,
                    make,
                    *chosen(split, make, configs, kept.with_suffix(".chosen"))[:2],
                    seed,
                    kept.with_name(f"{kept.name}-{seed}"),
                )
                for make, configs, _, kept in members
            ]
        )
    runs = [
        evaluate_users(Ensemble([model for model, _ in fit]).join(), split, metrics=("ndcg", "hr"))
        for fit in fits
    ]
    return result_of(
        runs,
        np.nan,
        [sum(seconds for _, seconds in fit) for fit in fits],
        {"members": len(members)},
    )


def measure_baseline(split, make, space) -> dict:
    """The same, with the settings found by `tune`."""
    tuning = (
        tune(make, split, space, BUDGET, progress=False)
        if space
        else Tuning({}, np.nan, pd.DataFrame())
    )
    started = time.perf_counter()
    system = make(**tuning.best).fit(split.train_valid)
    seconds = time.perf_counter() - started
    return result_of(
        [evaluate_users(system, split, metrics=("ndcg", "hr"))],
        tuning.value,
        [seconds],
        tuning.best,
    )


def result_of(runs: list, valid: float, seconds: list, settings: dict) -> dict:
    """What `row_of` needs, for a system of this library."""
    rounded = {
        name: float(f"{value:.3g}") if isinstance(value, float) else value
        for name, value in settings.items()
    }
    return {
        "valid": valid,
        "ndcg": [run["ndcg", 10] for run in runs],
        "hr": [run["hr", 10] for run in runs],
        "seconds": float(np.median(seconds)),
        "settings": str(rounded),
        "versions": f"llmrec {version('llmrec')}",
    }


def peer_users(split) -> pd.Index:
    """The users in the order of their numbers; who has no event left in training comes last."""
    known = pd.Index(split.train.interactions["user_id"].unique())
    asked = [user for part in ("valid", "test") for user in split.targets(part)]
    return known.append(pd.Index(asked).unique().difference(known))


def peer_table(split, dataset) -> pd.DataFrame:
    """A log as peers get it: numbers for users and items, in the order of the protocol, and as many
    moments as events, so that no tie is left to chance.
    """
    log = sort_by_time(dataset.interactions)
    return pd.DataFrame(
        {
            "user_id": peer_users(split).get_indexer(log["user_id"]),
            "item_id": pd.Index(split.train.items["item_id"]).get_indexer(log["item_id"]),
            "timestamp": log["timestamp"].rank(method="first").astype(np.int64),
        }
    )


def peer_lists(split, vectors, environment, script, settings, *, dataset, part, **arrays) -> tuple:
    """A peer's lists for the users of a part after learning from `dataset`, and its record; its
    adapter may ask for more `arrays`.
    """
    items, users, targets = (
        pd.Index(split.train.items["item_id"]),
        peer_users(split),
        split.targets(part),
    )
    lists, record = run_adapter(
        environment,
        script,
        settings,
        train=peer_table(split, dataset),
        users=users.get_indexer(list(targets)),
        vectors=vectors,
        **arrays,
    )
    lists = lists.assign(user_id=users[lists["user_id"]], item_id=items[lists["item_id"]])
    return ranked_lists(lists, targets, k=11, items=items).top(10), record


def measure_peer(split, vectors, environment, script, choices) -> dict:
    """The same for a peer: settings on validation, once on train + validation, test once."""
    values = [
        ndcg(
            peer_lists(
                split, vectors, environment, script, settings, dataset=split.train, part="valid"
            )[0]
        ).mean()
        for settings in choices
    ]
    settings = choices[int(np.argmax(values))]
    lists, record = peer_lists(
        split, vectors, environment, script, settings, dataset=split.train_valid, part="test"
    )
    return {
        "valid": max(values),
        "ndcg": [pd.Series(ndcg(lists), index=lists.users)],
        "hr": [pd.Series(hit_rate(lists), index=lists.users)],
        "seconds": record["seconds"],
        "settings": str(settings),
        "versions": ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
    }


def row_of(name: str, result: dict) -> dict:
    """One line of the table: mean over users and seeds, interval over users, spread over seeds."""
    per_user = sum(result["ndcg"]) / len(result["ndcg"])
    low, high = bootstrap_interval(per_user.to_numpy())
    seeds = [values.mean() for values in result["ndcg"]]
    return {
        "system": name,
        "ndcg@10": per_user.mean(),
        "ci_low": low,
        "ci_high": high,
        "sd_over_seeds": np.std(seeds, ddof=1) if len(seeds) > 1 else np.nan,
        "hr@10": float(np.mean([values.mean() for values in result["hr"]])),
        "valid_ndcg@10": result["valid"],
        "n_seeds": len(seeds),
        "seconds": result["seconds"],
        "settings": result["settings"],
        "versions": result["versions"],
        "problem": "",
    }


def machine() -> str:
    """What this runs on, in words."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s){gpu}"


def save(frame: pd.DataFrame, name: str) -> None:
    """Write a result whole or not at all."""
    with atomic_file(HERE / name) as temporary:
        frame.to_parquet(temporary)


def save_rows(rows: list[dict], measure: str, name: str) -> None:
    """Put the rows of one measure into a result file, in the place of those it had."""
    others = (
        [pd.read_parquet(HERE / name).query("measure != @measure")]
        if (HERE / name).exists()
        else []
    )
    save(pd.concat([*others, pd.DataFrame(rows).assign(measure=measure)], ignore_index=True), name)


def measure_missing(name: str, plans: Iterable[dict], measure: Callable[..., dict]) -> None:
    """Rows of a result file: each begins with a plan, and `measure` of it gives the rest. What is
    there is left out, and the file is written after every row.
    """
    rows = pd.read_parquet(HERE / name).to_dict("records") if (HERE / name).exists() else []
    for plan in plans:
        # as strings, because a missing number is not equal to itself
        if not any(all(str(row[key]) == str(plan[key]) for key in plan) for row in rows):
            rows.append(plan | measure(**plan))
            print(rows[-1], flush=True)
            save(pd.DataFrame(rows), name)


def chosen_parts(description: str, parts: Sequence[str]) -> argparse.Namespace:
    """The command line of a benchmark in parts: `parts` to measure, default all, and how many
    `seeds`; their folder is there.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="default: all")
    parser.add_argument("--seeds", type=int, default=5)
    RUNS.mkdir(exist_ok=True)
    options = parser.parse_args()
    options.parts = options.parts or list(parts)
    return options


def slug(name: str) -> str:
    """A system's name, as a file is named."""
    return re.sub("[^a-z0-9]+", "-", name.lower())


def finished(runs: Path, name: str, measure, *plan) -> dict:
    """Row and NDCG@10 of each user, ``{"row", "users", "ndcg"}``; measured now, or read from `runs`
    if an earlier call got so far.
    """
    path = runs / f"{slug(name)}.json"
    if not path.exists():
        try:
            result = measure(*plan)
        except PeerError as error:
            # not kept: next time it is tried again
            return {"row": {"system": name, "problem": str(error)}, "users": [], "ndcg": []}
        per_user = sum(result["ndcg"]) / len(result["ndcg"])
        with atomic_file(path) as temporary:
            temporary.write_text(
                json.dumps(
                    {
                        "row": row_of(name, result),
                        "users": per_user.index.tolist(),
                        "ndcg": per_user.tolist(),
                    }
                ),
                encoding="utf-8",
            )
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Run all, or only the systems whose names are given; the tables are written when all are
    there.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", help="names; default: all")
    parser.add_argument(
        "--dataset",
        choices=[*FILES],
        default="movielens-100k",
        help="the second: first purchases of product types, without peers",
    )
    parser.add_argument(
        "--again", action="store_true", help="forget what an interrupted run has finished"
    )
    options = parser.parse_args()
    runs = RUNS / options.dataset
    if options.again:
        shutil.rmtree(runs, ignore_errors=True)
    runs.mkdir(parents=True, exist_ok=True)
    data, encoder = load_dataset(options.dataset), TextEncoder.from_pretrained()
    split, vectors = data.split("leave_one_out"), encoder.encode(data.items["text"])
    require_no_leak(split)
    mine = {
        name: (*plan, runs / slug(name)) for name, plan in ours(encoder, options.dataset).items()
    }
    plans = {name: (measure_ours, split, *plan) for name, plan in mine.items()}
    two = [mine["llmrec, text"], mine["llmrec, text + id"]]
    plans[OURS] = (measure_ensemble, split, two, min(n for _, _, n, _ in two))
    plans |= {name: (measure_baseline, split, *plan) for name, plan in baselines(encoder).items()}
    if options.dataset == "movielens-100k":
        plans |= {name: (measure_peer, split, vectors, *plan) for name, plan in PEERS.items()}
    done = {}
    for name in options.systems or plans:
        done[name] = finished(runs, name, *plans[name])
        print(
            {
                key: value
                for key, value in done[name]["row"].items()
                if key not in ("versions", "n_seeds")
            },
            flush=True,
        )
    if not options.systems:
        write_tables(done, split, *FILES[options.dataset])
        shutil.rmtree(runs)


def write_tables(done: dict, split, results: str, comparison: str) -> None:
    """All systems, best first, and ours against each other one."""
    table = pd.DataFrame([result["row"] for result in done.values()]).sort_values(
        "ndcg@10", ascending=False, ignore_index=True
    )
    table = table.assign(machine=machine(), split=split.manifest["content_hash"])
    per_user = {
        name: pd.Series(done[name]["ndcg"], index=done[name]["users"])
        for name in table["system"]
        if done[name]["users"]
    }
    save(table, results)
    save(compare_users({OURS: per_user.pop(OURS), **per_user}), comparison)
    print(table[["system", "ndcg@10", "ci_low", "ci_high", "hr@10", "seconds"]].to_string())


if __name__ == "__main__":
    main()
