"""How time and memory grow with events, users, items and workers.

    python benchmarks/scale.py [part ...]

Parts: read-N (N thousand events), pandas, epoch-N (N thousand users), items-N (N thousand items),
encode, together, lists, killed, gpu. Each runs in a process of its own, whose largest
resident memory is watched. What was measured is in scale.parquet, one row a measure; a part that
stands there is not run again. Everything takes about an hour; 12 GB of disk are needed.
"""

import functools
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

HERE = Path(__file__).resolve().parent
TABLE, FOLDER = HERE / "scale.parquet", HERE / ".runs" / "scale"
USERS, ITEMS, EVENTS = 1_000_000, 200_000, 100  # a user has so many events on average


def world():
    """The large simulated log; its parts hold 20,000 users, two million events."""
    from llmrec.simulation import Simulator

    return Simulator(n_users=USERS, n_items=ITEMS, mean_events=EVENTS, seed=0)


def prepare() -> None:
    """Draw the large log, once."""
    world().write(FOLDER / "world")


def some_events(n_parts: int) -> Path:
    """A folder with the first parts of the log."""
    folder = FOLDER / f"events-{n_parts}"
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((FOLDER / "world" / "events").glob("*.parquet"))[:n_parts]:
        if not (folder / path.name).exists():
            os.link(path, folder / path.name)
    return folder


def measure_read(n_parts: int) -> dict:
    """A log on disk: read, split, popularity and sequences, from nothing."""
    from llmrec import Dataset

    events, items = some_events(n_parts), FOLDER / "world" / "items.parquet"
    shutil.rmtree(FOLDER / f"log-{n_parts}", ignore_errors=True)
    times = [time.perf_counter()]
    how = {"folder": FOLDER / f"log-{n_parts}", "progress": False}
    log = Dataset.from_parquet(events, items, **how)
    times.append(time.perf_counter())
    split = log.split("leave_one_out")
    times.append(time.perf_counter())
    assert split.train.item_counts().sum() == split.train.n_events
    histories, _ = split.train.stored_sequences()
    assert len(histories) == split.train.n_users and len(histories[0]) > 1
    times.append(time.perf_counter())
    seconds = dict(zip(("read", "split", "rest"), np.diff(times), strict=True))
    sizes = {"events": log.n_events, "users": log.n_users}
    return {**sizes, **seconds, "seconds": times[-1] - times[0]}


def measure_pandas(n_parts: int = 5) -> dict:
    """The same in memory, for a tenth of the events."""
    from llmrec import Dataset

    start = time.perf_counter()
    paths = sorted(some_events(n_parts).glob("*.parquet"))
    log = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    items = pd.read_parquet(FOLDER / "world" / "items.parquet")
    dataset = Dataset.from_frames(log, items)
    split = dataset.split("leave_one_out")
    assert split.train.item_counts().sum() == split.train.n_events
    histories = split.train.histories()
    assert len(histories) == split.train.n_users
    return {"events": dataset.n_events, "seconds": time.perf_counter() - start}


def measure_epoch(n_parts: int) -> dict:
    """One epoch over the users of some parts, with the whole catalogue and a sampled softmax."""
    from llmrec import Dataset, SequentialRecommender, TrainingConfig

    how = {"folder": FOLDER / f"log-{n_parts}", "progress": False}
    items = FOLDER / "world" / "items.parquet"
    log = Dataset.from_parquet(some_events(n_parts), items, **how)
    config = TrainingConfig(
        history="gru", fusion="id", content_dim=0, profile_dim=0, dim=64, max_length=50
    )
    recommender = SequentialRecommender(config=config, device="cpu", progress=False)
    train = log.split("leave_one_out").train
    start = time.perf_counter()
    recommender.fit(train, epochs=1)
    seconds = time.perf_counter() - start
    return {"users": train.n_users, "seconds": seconds, "loss": recommender.history_["loss"][0]}


def measure_items(n_items: int, n_steps: int = 40) -> dict:
    """Steps of a network that reads texts, whose vectors lie on disk."""
    import torch
    from numpy.lib.format import open_memmap

    from llmrec.models import SequentialModel, TrainingConfig
    from llmrec.scale import mapped_vectors
    from llmrec.sequential import NegativeSampler, train

    path, random_numbers = FOLDER / f"vectors-{n_items}.npy", np.random.default_rng(0)
    vectors = open_memmap(path, "w+", np.float32, (n_items, 64))
    for start in range(0, n_items, 100_000):
        rows = vectors[start : start + 100_000]
        rows[:] = random_numbers.normal(size=rows.shape)
    del vectors, rows
    popularity = random_numbers.lognormal(3, 1.5, n_items).astype(np.int64)
    heap = popularity.cumsum()
    config = TrainingConfig(history="gru", fusion="text", dim=64, max_length=50)
    drawn = random_numbers.integers(heap[-1], size=(n_steps * config.batch_size, 50))
    histories = list(np.searchsorted(heap, drawn, side="right"))
    torch.manual_seed(0)
    model = SequentialModel(64, n_items, config)
    seconds = []
    for n in (n_steps // 4, n_steps):  # the first pass wakes everything up
        some, start = histories[: n * config.batch_size], time.perf_counter()
        how = {"sampler": NegativeSampler(popularity, config.n_sampled), "progress": False}
        ready = time.perf_counter()
        train(model, some, mapped_vectors(path), config, epochs=1, **how)
        seconds.append((time.perf_counter() - ready) / n)
    path.unlink()
    return {"items": n_items, "seconds a step": seconds[-1], "sampler": ready - start}


def measure_encode() -> dict:
    """Real book titles, encoded by one worker of one thread, by two, and by one of two threads;
    workers have been started and have loaded the model. Three rounds in turn, medians.
    """
    import torch

    from llmrec import TextEncoder, load_dataset
    from llmrec.workers import Workers

    texts = load_dataset("book-crossing").items["text"].tolist()[:10_000]
    work = functools.partial(TextEncoder.from_pretrained(cache=False).encode, progress=False)
    parts = [texts[start : start + 250] for start in range(0, len(texts), 250)]
    ways = {"one worker": (1, 1), "two workers": (2, 1), "one worker, two threads": (1, 2)}
    found, rates = {}, {name: [] for name in ways}
    for _ in range(3):
        for name, (n_workers, n_threads) in ways.items():
            torch.set_num_threads(n_threads)
            with Workers(work, n_workers) as workers:
                list(workers.do([texts[:64]] * 4))
                start = time.perf_counter()
                done = dict(workers.do(parts))
                rates[name].append(len(texts) / (time.perf_counter() - start))
            found[name] = np.concatenate([done[number] for number in range(len(parts))])
    np.testing.assert_array_equal(found["one worker"], found["two workers"])
    rates = {name: float(np.median(values)) for name, values in rates.items()}
    ratio = rates["two workers"] / rates["one worker"]
    return {f"texts a second, {name}": rate for name, rate in rates.items()} | {"ratio": ratio}


def _ml1m():
    from llmrec import SequentialRecommender, TrainingConfig, load_dataset

    split = load_dataset("movielens-1m").split("leave_one_out")
    config = TrainingConfig(history="gru", fusion="id", content_dim=0, profile_dim=0)
    return split, SequentialRecommender(config=config, device="cpu", progress=False)


def measure_together(epochs: int = 3) -> dict:
    """MovieLens-1M by one worker and by two, both of one thread, the same batches."""
    import torch

    from llmrec.scale import fit_together

    split, recommender = _ml1m()
    torch.set_num_threads(1)
    seconds, losses = {}, {}
    for n_workers in (1, 2):
        fit_together(recommender, split.train, epochs=1, n_workers=2)  # Ray is awake
        times = []
        for n in (1, epochs):
            start = time.perf_counter()
            fitted = fit_together(recommender, split.train, epochs=n, n_workers=n_workers)
            times.append(time.perf_counter() - start)
        seconds[n_workers] = (times[1] - times[0]) / (epochs - 1)  # without what comes first
        losses[n_workers] = fitted.history_["loss"].to_numpy()
    difference = np.abs(losses[2] / losses[1] - 1).max()
    return {
        "one worker, seconds an epoch": seconds[1],
        "two": seconds[2],
        "ratio": seconds[1] / seconds[2],
        "largest difference of the losses": difference,
    }


def measure_lists() -> dict:
    """Lists for all users of MovieLens-1M by one worker and by two."""
    from llmrec.workers import recommend_in_parts

    split, recommender = _ml1m()
    recommender.fit(split.train, epochs=1)
    tables, seconds = {}, {}
    for n_workers in (2, 1, 2):
        shutil.rmtree(FOLDER / "lists", ignore_errors=True)
        start = time.perf_counter()
        how = {"n_workers": n_workers, "events_per_part": 100_000}
        tables[n_workers] = pd.read_parquet(
            recommend_in_parts(recommender, split.train, FOLDER / "lists", **how)
        )
        seconds[n_workers] = time.perf_counter() - start
    same = tables[1].equals(tables[2])
    return {"users": split.train.n_users, "same lists": same, "ratio": seconds[1] / seconds[2]}


def _kill_workers(name: str, n_times: int, every: float, killed: list) -> None:
    chance = random.Random(0)
    while len(killed) < n_times:
        time.sleep(every * (0.5 + chance.random()))
        processes = psutil.process_iter(["pid", "cmdline"])
        found = [one for one in processes if name in " ".join(one.info["cmdline"] or [])]
        if found:
            victim = chance.choice(found)
            victim.send_signal(signal.SIGKILL)
            killed.append(victim.pid)


def measure_killed(n_times: int = 5) -> dict:
    """Workers killed at random while they encode, recommend and train; results are compared."""
    import torch

    from llmrec import TextEncoder
    from llmrec.scale import fit_together
    from llmrec.workers import encode_in_parts, recommend_in_parts

    torch.set_num_threads(1)  # as the workers have; more threads add up in another order
    split, recommender = _ml1m()
    recommender.fit(split.train, epochs=1)
    texts, encoder = split.train.items["text"].tolist(), TextEncoder.from_pretrained(cache=False)

    def encoded(n_workers: int, folder: Path):
        how = {"n_workers": n_workers, "texts_per_part": 50}
        return np.array(encode_in_parts(encoder, texts, folder, **how))

    def listed(n_workers: int, folder: Path):
        how = {"n_workers": n_workers, "events_per_part": 500, "k": 100}
        return pd.read_parquet(recommend_in_parts(recommender, split.train, folder, **how))

    def trained(n_workers: int, folder: Path):
        sample = split.train.sample_users(2_000)
        fitted = fit_together(recommender, sample, epochs=24, n_workers=n_workers)
        return fitted.item_embeddings[0].numpy()

    works = {"encode": (encoded, 1, 2.0), "recommend": (listed, 1, 0.5), "train": (trained, 2, 5.0)}
    found = {}
    for name, (work, n_calm, every) in works.items():
        results, killed = [], []
        for n_workers in (n_calm, 2):
            folder = FOLDER / "killed"
            shutil.rmtree(folder, ignore_errors=True)
            if results:
                at_work = "_Member.fit" if name == "train" else "_Worker.do"
                killer = threading.Thread(
                    target=_kill_workers, args=(at_work, n_times, every, killed), daemon=True
                )
                killer.start()
            results.append(work(n_workers, folder))
        calm, disturbed = results
        same = calm.equals(disturbed) if name == "recommend" else np.array_equal(calm, disturbed)
        found |= {f"{name}: killed": len(killed), f"{name}: same": same}
        killed += [None] * n_times  # the killer ends
    return found


def measure_gpu() -> dict:
    """An epoch on MovieLens-1M, encoding and ranking: a GPU and this machine's processors."""
    import torch

    from llmrec import TextEncoder, TransferRecommender, load_dataset

    if not torch.cuda.is_available():
        raise SystemExit("There is no GPU here.")
    split, found = load_dataset("movielens-1m").split("leave_one_out"), {}
    texts = split.train.items["text"].tolist()
    for device in ("cuda", "cpu"):
        encoder = TextEncoder.from_pretrained(cache=False, device=device)
        encoder.encode(texts[:256], progress=False)
        start = time.perf_counter()
        encoder.encode(texts, progress=False)
        found[device, "encode"] = time.perf_counter() - start
        recommender = TransferRecommender(encoder, closed_form=False, device=device, progress=False)
        times = []
        for n_epochs in (1, 1, 2):
            start = time.perf_counter()
            recommender.fit(split.train, epochs=n_epochs)
            times.append(time.perf_counter() - start)
        found[device, "epoch"] = times[2] - times[1]
        start = time.perf_counter()
        recommender.recommend(split.train)
        found[device, "rank"] = time.perf_counter() - start
    names = ("encode", "epoch", "rank")
    return {f"{name}, cpu over cuda": found["cpu", name] / found["cuda", name] for name in names}


PARTS = {
    **{f"read-{2_000 * n}": (measure_read, n) for n in (1, 2, 5, 15, 50)},
    "pandas": (measure_pandas,),
    **{f"epoch-{20 * n}": (measure_epoch, n) for n in (1, 2, 5)},
    **{f"items-{n // 1000}": (measure_items, n) for n in (100_000, 1_000_000, 10_000_000)},
    "encode": (measure_encode,),
    "together": (measure_together,),
    "lists": (measure_lists,),
    "killed": (measure_killed,),
    "gpu": (measure_gpu,),
}


def _alone(name: str, results) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    measure, *arguments = PARTS[name]
    results.put(json.dumps({key: float(value) for key, value in measure(*arguments).items()}))


def watched(name: str) -> dict:
    """What a part measures in a process of its own, and the most memory that was resident."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_alone, args=(name, results))
    process.start()
    memory, one = 0, psutil.Process(process.pid)
    while process.is_alive():
        try:
            memory = max(memory, one.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(0.05)
    process.join()
    if process.exitcode:
        raise SystemExit(f"{name} ended with {process.exitcode}")
    return json.loads(results.get()) | {"GB": memory / 1e9}


def main(parts: list[str]) -> None:
    """Run what is missing and save after each part."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for part in parts or [name for name in PARTS if name != "gpu"]:
        known = pd.read_parquet(TABLE) if TABLE.exists() else pd.DataFrame({"part": []})
        if part in set(known["part"]) and not parts:
            continue
        if part.startswith(("read", "pandas", "epoch")):
            prepare()
        found = watched(part)
        print(part, found, flush=True)
        rows = pd.DataFrame({"part": part, "measure": list(found), "value": list(found.values())})
        known = pd.concat([known[known["part"] != part], rows], ignore_index=True)
        known.to_parquet(TABLE)


if __name__ == "__main__":
    main(sys.argv[1:])
