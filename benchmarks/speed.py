"""Speed as a ratio against a peer in the same run, medians of three (of seven for encoding, which
is over in two seconds); writes ``benchmarks/speed.parquet``.

Encoding against sentence-transformers; ranking against an exact FAISS search (100,000 users and
items, and smaller ones to see that it is linear); metrics of ten million recommendation rows
against ranx and RecTools; and pretraining against the Trainer of transformers.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from environments import HERE, PeerError, environment
from run import save_rows
from torch.utils.flop_counter import FlopCounterMode
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

from llmrec import TextEncoder, load_dataset
from llmrec.compute import uses_bfloat16
from llmrec.language_models import model_source
from llmrec.masking import new_model, token_pieces, train_tokenizer
from llmrec.metrics import hit_rate, ndcg, ranked_lists
from llmrec.pretraining import (
    MaskedLanguageModelTrainer,
    PretrainingConfig,
    _batches,
    _step,
    split_reviews,
)

SITE_PACKAGES = next(path for path in sys.path if path.endswith("site-packages"))


def answer(name: str, script: str, *arguments) -> dict:
    """What a peer's script prints, as a dict; raises `PeerError`."""
    paths, threads = (
        {"PYTHONPATH": str(HERE.parent)},
        {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")},
    )
    result = subprocess.run(
        [environment(name), HERE / "peers" / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **threads, **paths},
    )
    if result.returncode:
        raise PeerError(f"{script}: {result.stderr.strip().splitlines()[-1][:300]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def ranking(n_users: int, n_items: int) -> list[dict]:
    """Ours against FAISS."""
    return [answer("faiss", "ranking_faiss.py", SITE_PACKAGES, n_users, n_items)]


def metrics(n_users: int) -> list[dict]:
    """Ours against ranx and RecTools: `n_users` lists of ten, one target each."""
    random = np.random.default_rng(0)
    # ten different items a user
    items = random.integers(0, 100_000, (n_users, 1)) + np.arange(10) * 100_003 % 100_000
    lists = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(n_users), 10),
            "item_id": (items % 100_000).ravel(),
            "rank": np.tile(np.arange(1, 11), n_users),
        }
    )
    wanted = np.where(
        random.random(n_users) < 0.3,
        (items % 100_000)[np.arange(n_users), random.integers(0, 10, n_users)],
        100_001,
    )
    targets = {user: [item] for user, item in enumerate(wanted.tolist())}
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        found = ranked_lists(lists, targets, k=10)
        values = {"ndcg": ndcg(found).mean(), "hr": hit_rate(found).mean()}
        seconds.append(time.perf_counter() - started)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("lists.parquet", "targets.parquet")]
        lists.to_parquet(files[0])
        pd.DataFrame({"user_id": np.arange(n_users), "item_id": wanted}).to_parquet(files[1])
        for library, name in (("rectools", "rectools"), ("ranx", "faiss")):
            theirs = answer(name, "metrics_peers.py", library, *files)
            assert np.isclose(theirs["hr"], values["hr"]) and np.isclose(
                theirs["ndcg"], values["ndcg"], atol=1e-6
            ), (theirs, values)
            rows.append(
                {
                    "what": f"NDCG@10 and HR@10 of {len(lists):,} rows",
                    "peer": f"{library} {theirs['version']}",
                    "seconds": float(np.median(seconds)),
                    "peer_seconds": theirs["seconds"],
                    "speed_ratio": theirs["seconds"] / float(np.median(seconds)),
                }
            )
    return rows


def encoding(name: str, what: str, texts: list[str], n_rounds: int) -> dict:
    """Ours against sentence-transformers: same model, same texts, nothing cached; what share of the
    processor's peak that is; and a second call.
    """
    encoder, rounds = TextEncoder.from_pretrained(name, cache=False), []
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("texts.json", "vectors.npy")]
        # the words that the model wants before each text are part of it for the peer
        files[0].write_text(json.dumps([encoder.template.format(text) for text in texts]))
        for _ in range(n_rounds):
            encoder.encode(texts[:64])  # so does the peer, just before
            started = time.perf_counter()
            vectors = encoder.encode(texts)
            seconds = time.perf_counter() - started
            theirs = answer("sentence-transformers", "encode.py", model_source(name), *files)
            rounds.append((seconds, theirs["seconds"]))
        cosines = (vectors * np.load(files[1])).sum(1)
    ours, peer_seconds = np.median(rounds, axis=0)
    caching = TextEncoder.from_pretrained(name)
    caching.encode(texts)
    cached_rounds = []
    for _ in range(7):
        started = time.perf_counter()
        caching.encode(texts)
        cached_rounds.append(time.perf_counter() - started)
    with FlopCounterMode(display=False) as counter:
        for tokens in encoder._tokens(texts):
            encoder._forward([tokens])  # one by one: the work without any padding
    peak = max(matrix_products_per_second(dtype) for dtype in (torch.float32, torch.bfloat16))
    return {
        "what": f"{name}: {len(texts):,} {what}",
        "precision": encoder.precision,
        "peer": f"sentence-transformers {theirs['version']}",
        "seconds": ours,
        "peer_seconds": peer_seconds,
        "speed_ratio": peer_seconds / ours,
        "min_cosine": float(cosines.min()),
        "share_of_peak": counter.get_total_flops() / ours / peak,
        "cached_ratio": ours / np.median(cached_rounds),
    }


def encodings() -> list[dict]:
    """Both encoders in the box, on English films and Chinese reviews."""
    films = load_dataset("movielens-100k").items["text"].tolist()
    reviews = split_reviews()[0]["text"]
    reviews = reviews[reviews.str.len() < 100].iloc[:1_000].tolist()  # neither of the two cuts them
    return [
        encoding("all-MiniLM-L6-v2", "film texts", films, 7),
        encoding("multilingual-e5-small", "Chinese reviews", reviews, 3),
    ]


def pretraining(n_steps: int = 60) -> list[dict]:
    """Our trainer against transformers' `Trainer`: same small BERT, reviews, precision and mean
    tokens a batch; both sort by length. In turn, three times.
    """
    texts = split_reviews()[0]["text"].tolist()
    tokenizer = train_tokenizer(texts)
    pieces, rounds = token_pieces(tokenizer, texts[:4_000]), []
    config = PretrainingConfig(epochs=1, tokens_per_batch=2_048, n_records=1)
    trainer = MaskedLanguageModelTrainer(
        new_model(tokenizer), tokenizer, config=config, progress=False
    )
    batches = _batches(trainer, pieces, epoch=1)
    rows_per_batch = round(np.mean([len(batch) for batch in batches]))
    bfloat16 = uses_bfloat16("auto", trainer.device)
    for _ in range(3):
        optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-3)
        started, n_tokens = time.perf_counter(), 0
        for number, batch in enumerate(batches[:n_steps]):
            n_tokens += _step(trainer, optimizer, [batch], number=number, bfloat16=bfloat16)[2]
        ours = n_tokens / (time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as folder:
            options = TrainingArguments(
                folder,
                max_steps=n_steps,
                per_device_train_batch_size=rows_per_batch,
                train_sampling_strategy="group_by_length",
                bf16=bfloat16,
                learning_rate=1e-3,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                include_num_input_tokens_seen="non_padding",
                use_cpu=trainer.device.type == "cpu",
            )
            theirs = Trainer(
                new_model(tokenizer),
                options,
                train_dataset=[{"input_ids": piece} for piece in pieces],
                data_collator=DataCollatorForLanguageModeling(tokenizer),
            )
            started = time.perf_counter()
            theirs.train()
            rounds.append(
                (ours, float(theirs.state.num_input_tokens_seen) / (time.perf_counter() - started))
            )
    ours, peers = np.median(rounds, axis=0)
    return [
        {
            "what": "pretrain on a million tokens",
            "peer": f"transformers {transformers.__version__} Trainer",
            "seconds": 1e6 / ours,
            "peer_seconds": 1e6 / peers,
            "speed_ratio": ours / peers,
        }
    ]


def matrix_products_per_second(dtype: torch.dtype, n: int = 1_024) -> float:
    """Floating-point operations a second in products of square matrices, best of five."""
    one, other, seconds = torch.randn(n, n, dtype=dtype), torch.randn(n, n, dtype=dtype), []
    for _ in range(5):
        started = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - started)
    return 2 * n**3 / min(seconds)


def main() -> None:
    """The comparisons that are named, or all; those that are not keep the rows they have. `--small`
    is a tenth of the size, to see that they run; it writes nothing.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "measures",
        nargs="*",
        choices=["encoding", "ranking", "metrics", "pretraining", []],
        help="default: all",
    )
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    full = 100_000 // (10 if options.small else 1)
    sizes = [
        (full // 10, full),
        (full // 3, full),
        (full, full),
        (full, full // 3),
        (full, full // 10),
    ]
    plans = {
        "encoding": encodings,
        "ranking": lambda: [row for size in sizes for row in ranking(*size)],
        "metrics": lambda: metrics(10 * full),
        "pretraining": pretraining,
    }
    for name in options.measures or plans:
        try:
            rows = plans[name]()
        except PeerError as error:
            rows = [{"what": name, "problem": str(error)}]
        print(pd.DataFrame(rows).to_string(), flush=True)
        if not options.small:
            save_rows(rows, name, "speed.parquet")


if __name__ == "__main__":
    main()
