"""The training engine: seconds to a given quality against RecTools, an epoch against RecBole, and a
step over ever larger catalogues.

Writes ``benchmarks/engine.parquet``, a row a measurement. Run it on a quiet machine. The first
comparison looks at test NDCG@10 after each epoch, to read a time off a learning curve; nothing is
chosen by it.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from environments import PeerError, run_adapter
from run import peer_lists, peer_table, save_rows

from llmrec import TextEncoder, TransferRecommender, load_dataset
from llmrec.metrics import ndcg
from llmrec.models import SequentialModel, TrainingConfig
from llmrec.sequential import NegativeSampler, batch_loss, training_batch
from llmrec.training import Run

REACHED = 0.080
PLAIN = TrainingConfig(
    history="transformer",
    fusion="sum",
    n_components=128,
    hidden=256,
    cosine=True,
    learning_rate=2e-3,
    exclude_history=False,
)  # a Transformer with ids, and the loss of the peers
RECTOOLS = {"n_factors": 64, "n_heads": 2, "n_blocks": 2, "session_max_len": 100, "lr": 1e-3}


def seconds_to_reach(split, vectors, encoder) -> list[dict]:
    """Until test NDCG@10 is `REACHED`, trained on train + validation."""
    started = time.perf_counter()
    fitted = TransferRecommender(encoder, closed_form=False, config=PLAIN, progress=False).fit(
        split.train_valid, split.test, epochs=40
    )
    curve = fitted.history_["valid_ndcg@10"].to_numpy()  # of test, see above
    # with the evaluation after it, which RecTools is not charged for
    an_epoch = (time.perf_counter() - started) / len(curve)
    ours = an_epoch * (1 + int(np.argmax(curve >= REACHED))) if curve.max() >= REACHED else np.inf
    theirs = []
    for epochs in (10, 20, 30, 40, 60):
        lists, record = peer_lists(
            split,
            vectors,
            "rectools",
            "rectools_sasrec.py",
            {**RECTOOLS, "epochs": epochs},
            dataset=split.train_valid,
            part="test",
        )
        theirs.append((record["seconds"], ndcg(lists).mean()))
        if theirs[-1][1] >= REACHED:
            break
    best = max(value for _, value in theirs)
    note = f"ours: {curve.max():.3f} after {len(curve)} epochs; theirs: {best:.3f} after {epochs}"
    return [
        {
            "what": f"seconds to test NDCG@10 {REACHED}",
            "peer": "RecTools SASRec",
            "seconds": ours,
            "peer_seconds": theirs[-1][0],
            "speed_ratio": theirs[-1][0] / ours,
            "note": note,
        }
    ]


def seconds_an_epoch(split, vectors, encoder) -> list[dict]:
    """One epoch over all positions."""
    started = time.perf_counter()
    TransferRecommender(encoder, closed_form=False, config=PLAIN, progress=False).fit(
        split.train_valid, epochs=3
    )
    ours = (time.perf_counter() - started) / 3
    settings = {
        "model": "SASRec",
        "epochs": 1,
        "hidden_size": 64,
        "inner_size": 256,
        "n_layers": 2,
        "n_heads": 2,
        "loss_type": "CE",
        "MAX_ITEM_LIST_LENGTH": 100,
    }
    _, record = run_adapter(
        "recbole",
        "recbole_models.py",
        settings,
        train=peer_table(split, split.train_valid),
        users=np.array([0]),
        vectors=vectors,
    )
    return [
        {
            "what": "seconds an epoch over all positions",
            "peer": "RecBole SASRec",
            "seconds": ours,
            "peer_seconds": record["seconds"],
            "speed_ratio": record["seconds"] / ours,
        }
    ]


def steps(n_items: int, n_sampled: int) -> dict:
    """Median seconds of a training step of the text model over a catalogue, and the peak memory of
    this process.
    """
    config, random = TrainingConfig(history="transformer"), np.random.default_rng(0)
    texts = torch.randn(n_items, 64, generator=torch.Generator().manual_seed(0))
    sampler = NegativeSampler(random.zipf(1.5, n_items).clip(max=10**6), n_sampled)
    run = Run(SequentialModel(64, n_items, config), config, epochs=1, n_histories=10_000)
    seconds = []
    for _ in range(7):
        inputs, targets = training_batch(
            [random.integers(0, n_items, 101) for _ in range(64)], 100, random
        )
        started = time.perf_counter()
        run.step(
            batch_loss(
                run.model,
                texts,
                inputs,
                targets,
                sampler=sampler,
                random=random,
                exclude_history=config.exclude_history,
            )
        )
        seconds.append(time.perf_counter() - started)
    return {
        "n_items": n_items,
        "n_sampled": n_sampled,
        "seconds": float(np.median(seconds)),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def step_table(*_) -> list[dict]:
    """`steps` at several sizes, each in a process of its own, so that its memory is its own."""
    sizes = [(n_items, 4_096) for n_items in (10_000, 100_000, 1_000_000)] + [
        (1_000_000, n_sampled) for n_sampled in (1_024, 16_384)
    ]
    rows = []
    for size in sizes:
        run = subprocess.run(
            [sys.executable, __file__, "--step", *map(str, size)],
            capture_output=True,
            text=True,
            check=True,
        )
        rows.append({"what": "seconds a training step", **json.loads(run.stdout.splitlines()[-1])})
    return rows


MEASURES = {"steps": step_table, "quality": seconds_to_reach, "epoch": seconds_an_epoch}


def main() -> None:
    """The measures that are named, or all; those that are not keep the rows they have. Or, with
    `--step`, one step.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []], help="default: all")
    parser.add_argument("--step", nargs=2, type=int, metavar=("N_ITEMS", "N_SAMPLED"))
    options = parser.parse_args()
    if options.step:
        print(json.dumps(steps(*options.step)))
        return
    films, encoder = load_dataset("movielens-100k"), TextEncoder.from_pretrained()
    split = films.split("leave_one_out")
    for name in options.measures or MEASURES:
        try:
            rows = MEASURES[name](split, encoder.encode(films.items["text"]), encoder)
        except PeerError as error:
            rows = [{"problem": str(error)}]
        print(rows[-1], flush=True)
        save_rows(rows, name, "engine.parquet")


if __name__ == "__main__":
    main()
