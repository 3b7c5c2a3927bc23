"""The service under load, under the knife and under attack; every caller is on the same machine.

    python benchmarks/serving.py [part ...]

Parts: load (beside a plain wrapper around `recommend`), live, kill, hostile, described, million,
mixed. What was measured is in serving.parquet, one row a measure; a part that stands there is not
run again.
"""

import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import psutil

from llmrec import Store, VectorIndex, demo_service, load_dataset

HERE = Path(__file__).resolve().parent
TABLE = HERE / "serving.parquet"
FOLDER = HERE / ".runs" / "serving"
MODEL = FOLDER / "models" / "films"
PLAIN = """
import sys, torch, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from llmrec import TransferRecommender
torch.set_num_threads(1)
model, app = TransferRecommender.from_pretrained(sys.argv[1]), FastAPI()
class Call(BaseModel):
    history: list[int]
    k: int = 10
@app.post("/recommend")
async def recommend(call: Call) -> list[dict]:
    return model.recommend({0: call.history}, k=call.k).to_dict("records")
@app.get("/health")
def health() -> dict:
    return {"ready": True}
uvicorn.run(app, port=int(sys.argv[2]), access_log=False, log_level="warning")
"""


def prepare() -> None:
    """The demonstration's model, twice, so that there is something to exchange."""
    if not (MODEL / "config.json").is_file():
        demo_service(FOLDER).close()
    if not (MODEL.with_name("again") / "config.json").is_file():
        shutil.copytree(MODEL, MODEL.with_name("again"))


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def serving(*, plain: bool = False, store: Path | None = None):
    """A service in a process of its own: the process, and its address."""
    port, program = free_port(), [sys.executable, "-c", PLAIN, str(MODEL)]
    if not plain:
        store = store or FOLDER / "store"
        program = [sys.executable, "-m", "llmrec.cli", "serve", "--model", str(MODEL)]
        program = [
            sys.executable,
            "-c",
            "import sys; from llmrec.cli import main; sys.exit(main())",
        ]
        program += ["serve", "--model", str(MODEL), "--store", str(store), "--port", str(port)]
    else:
        program.append(str(port))
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until_ready(process, url)
        yield process, url
    finally:
        process.kill()
        process.wait()


def until_ready(process: subprocess.Popen, url: str) -> None:
    """Wait for the model."""
    while True:
        assert process.poll() is None, "the service has ended"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health", timeout=30).json()["ready"]:
                return
        time.sleep(0.05)


# --- load


def histories() -> list[list[int]]:
    """The last fifty films of each person."""
    split = load_dataset("movielens-100k").split("leave_one_out")
    return [items[-50:] for items in split.histories("test").values()]


async def _caller(port: int, bodies: list[bytes], until: float, taken: list) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for body in itertools.cycle(bodies):
        start = time.perf_counter()
        if start > until:
            break
        writer.write(
            b"POST /recommend HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(body) + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        taken.append((time.perf_counter() - start, int(head.split(b" ", 2)[1])))
    writer.close()


async def _callers(port: int, n_callers: int, seconds: float, bodies: list[bytes]) -> list:
    taken, until = [], time.perf_counter() + seconds
    parts = [bodies[number::n_callers] for number in range(n_callers)]
    await asyncio.gather(*(_caller(port, part, until, taken) for part in parts))
    return taken


def _call(port: int, n_callers: int, seconds: float, bodies: list[bytes], results) -> None:
    results.put(asyncio.run(_callers(port, n_callers, seconds, bodies)))


def under_load(url: str, *, n_callers: int, seconds: float) -> dict:
    """Calls a second, and milliseconds of the median and of the slowest hundredth."""
    bodies = [json.dumps({"history": one, "k": 10}).encode() for one in histories()]
    context = multiprocessing.get_context("spawn")
    results, port = context.Queue(), int(url.rpartition(":")[2])
    for length in (3.0, seconds):  # the first round is to get warm
        process = context.Process(target=_call, args=(port, n_callers, length, bodies, results))
        process.start()
        taken = results.get()
        process.join()
    times, statuses = zip(*taken, strict=True)
    return {
        "calls/s": len(times) / seconds,
        "p50 ms": 1e3 * float(np.median(times)),
        "p99 ms": 1e3 * float(np.quantile(times, 0.99)),
        "errors": sum(status != 200 for status in statuses),
    }


def measure_load() -> dict:
    """Ours and the plain wrapper in turn, three rounds, with as many callers as keeps p99 low."""
    rounds = {"ours": [], "plain": []}
    for _ in range(3):
        for name, plain in (("ours", False), ("plain", True)):
            with serving(plain=plain) as (_, url):
                rounds[name].append(under_load(url, n_callers=32, seconds=20))
                print(name, rounds[name][-1], flush=True)
    found = {
        f"{name}: {measure}": float(np.median([one[measure] for one in rounds[name]]))
        for name in rounds
        for measure in rounds[name][0]
    }
    ratios = [
        one["calls/s"] / other["calls/s"]
        for one, other in zip(rounds["ours"], rounds["plain"], strict=True)
    ]
    return {**found, "ours : plain": float(np.median(ratios))}


# --- live


def measure_live() -> dict:
    """Milliseconds from the acknowledgement of a new item until it is recommended."""
    taken = []
    with serving() as (_, url), httpx.Client(base_url=url) as client:
        for number in range(100):
            item = {"item_id": 10**6 + number, "text": f"Robots in Love {number}, Comedy"}
            client.post("/items", json={"items": [item]}).raise_for_status()
            start, call = time.perf_counter(), {"history": [50], "candidates": [item["item_id"]]}
            while client.post("/recommend", json=call).status_code != 200:
                time.sleep(0.001)
            taken.append(1e3 * (time.perf_counter() - start))
    return {"new item p50 ms": float(np.median(taken)), "new item max ms": max(taken)}


# --- kill


def _write_until_dead(url: str, numbers, acknowledged: list) -> None:
    with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=url) as client:
        for number in numbers:
            events = [{"user_id": f"user-{number}", "item_id": 50}]
            client.post("/events", json={"events": events}).raise_for_status()
            items = [{"item_id": 10**7 + number, "text": f"Item {number}"}]
            client.post("/items", json={"items": items}).raise_for_status()
            acknowledged.append(number)


def measure_kill(n_times: int = 50) -> dict:
    """Kill the service in the middle of writing, open the store, look for what was acknowledged."""
    store, chance = FOLDER / "killed", random.Random(0)
    shutil.rmtree(store, ignore_errors=True)
    acknowledged, numbers, lost, broken, opened = [], itertools.count(), 0, 0, []
    for _ in range(n_times):
        with serving(store=store) as (process, url):
            ours = [(url, numbers, acknowledged)] * 4
            callers = [threading.Thread(target=_write_until_dead, args=one) for one in ours]
            for caller in callers:
                caller.start()
            time.sleep(chance.uniform(0.1, 1.5))
            process.send_signal(signal.SIGKILL)
            for caller in callers:
                caller.join()
        start = time.perf_counter()
        with Store(store) as survivor:
            opened.append(time.perf_counter() - start)
            users = {user for (user,) in survivor.db.execute("SELECT user_id FROM events")}
            items = {one for _, one, record in survivor.changes() if record is not None}
            broken += survivor.db.execute("PRAGMA integrity_check").fetchone()[0] != "ok"
            lost += sum(
                f"user-{number}" not in users or 10**7 + number not in items
                for number in acknowledged
            )
        print(f"{len(acknowledged)} acknowledged, {lost} lost, {broken} broken", flush=True)
    return {
        "kills": n_times,
        "acknowledged writes": 2 * len(acknowledged),
        "lost": lost,
        "broken starts": broken,
        "recovery max s": max(opened),
    }


# --- hostile


def hostile_call(chance: random.Random) -> tuple[str, str, bytes, dict]:
    """Method, path, body and headers of a call that nobody should send."""
    paths = ["/recommend", "/similar", "/search", "/explain", "/items", "/items/remove", "/events"]
    paths += ["/forget", "/model", "/model/rollback", "/metrics", "/nothing", "/../../etc/passwd"]
    keys = ["history", "user_id", "item_id", "k", "filters", "query", "items", "events", "version"]
    keys += ["candidates", "times", "system", "lang", "item_ids", "exclude_seen", "x"]
    values = [
        0,
        -1,
        50,
        10**30,
        1e308,
        True,
        None,
        "",
        "a" * 300,
        "\x00",
        "50",
        "'; DROP TABLE",
        [],
        {},
    ]
    values += [
        [50],
        [50] * 2_000,
        [[50]],
        [None],
        {"min": "x"},
        {"year": {"min": 1}},
        "../..",
        2**63,
    ]
    values += [{"genres": ["Comedy"] * 200}, [{"item_id": 50, "text": " "}], [{"user_id": {}}]]
    call = {chance.choice(keys): chance.choice(values) for _ in range(chance.randrange(5))}
    body = json.dumps(call).encode()
    kind = chance.randrange(12)
    if kind == 0:
        body = b"[" * chance.randrange(1, 200_000)
    elif kind == 1:
        body = bytes(chance.randrange(256) for _ in range(chance.randrange(200)))
    elif kind == 2:
        body = body[: chance.randrange(len(body) + 1)]
    elif kind == 3:
        body = b'{"query": "\\ud800\\udc00\\ud800", "history": [NaN, Infinity]}'
    elif kind == 4 and chance.random() < 0.05:
        body = b" " * 3_000_000
    headers = {"content-type": "application/json"}
    if kind == 5:
        headers = {"content-type": chance.choice(["text/plain", "multipart/form-data", "\x7f"])}
    elif kind == 6:
        headers["host"] = chance.choice(["evil.example", "127.0.0.1.evil.example"])
    method = chance.choice(["POST"] * 8 + ["GET", "PUT", "DELETE", "OPTIONS"])
    return method, chance.choice(paths), body, headers


def _slow_callers(port: int, n_callers: int = 50) -> list[socket.socket]:
    """Connections that begin a call and do not end it."""
    callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(n_callers)]
    for number, one in enumerate(callers):
        length = b"content-length: 1000\r\n\r\n{" if number % 2 else b""
        one.sendall(b"POST /search HTTP/1.1\r\nhost: 127.0.0.1\r\n" + length)
    return callers


def _endless_header(port: int) -> int:
    """Bytes of a header that the service took before it hung up."""
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ")
        for sent in range(0, 10**8, 65_536):
            try:
                one.sendall(b"a" * 65_536)
            except OSError:
                return sent
    return 10**8


def measure_hostile(n_calls: int = 10_000) -> dict:
    """Statuses of hostile calls, the longest of them, and whether the service lives on."""
    chance, statuses, longest = random.Random(0), [], 0.0
    with serving(store=FOLDER / "attacked") as (process, url):
        port, watched = int(url.rpartition(":")[2]), psutil.Process(process.pid)
        before, slow = watched.memory_info().rss, _slow_callers(int(url.rpartition(":")[2]))
        with httpx.Client(base_url=url, timeout=30) as client:
            for _ in range(n_calls):
                method, path, body, headers = hostile_call(chance)
                start = time.perf_counter()
                answer = client.request(method, path, content=body, headers=headers)
                longest = max(longest, time.perf_counter() - start)
                statuses.append(answer.status_code)
                if answer.status_code >= 500:
                    print(method, path, body[:200], answer.text[:200], flush=True)
            header = _endless_header(port)
            alive = client.post("/recommend", json={"history": [50]}).status_code == 200
        grown = watched.memory_info().rss - before
        for one in slow:
            one.close()
    kinds = pd.Series(statuses).floordiv(100).value_counts()
    return {
        "calls": n_calls,
        **{f"{kind}xx": int(n_calls) for kind, n_calls in kinds.sort_index().items()},
        "5xx": int(kinds.get(5, 0)),
        "longest s": longest,
        "alive": float(alive),
        "memory grown MB": grown / 1e6,
        "endless header: bytes taken": header,
    }


# --- a million items


def measure_described(n_calls: int = 10_000) -> dict:
    """Calls that the service's own description allows, and calls that it forbids."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    statuses = []
    with serving() as (process, url), httpx.Client(base_url=url, timeout=60) as client:
        described = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        operations = [found.ok() for found in described.get_all_operations()]

        @settings(
            max_examples=n_calls,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def ask(data) -> None:
            operation = data.draw(st.sampled_from(operations))
            kind = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
            try:
                case = data.draw(operation.as_strategy(generation_mode=kind))
            except schemathesis.errors.InvalidSchema:  # nothing in it can be wrong
                return
            call = case.as_transport_kwargs(base_url=url)
            answer = client.request(**{name: value for name, value in call.items() if value})
            statuses.append(answer.status_code)
            if len(statuses) % 500 == 0:
                print(len(statuses), max(statuses), flush=True)

        ask()
        assert client.get("/health").json()["ready"]
    return {
        "calls": len(statuses),
        "taken": sum(status < 300 for status in statuses),
        "refused": sum(400 <= status < 500 for status in statuses),
        "errors": sum(status >= 500 for status in statuses),
    }


def measure_million() -> dict:
    """A million vectors of 64 numbers: memory, recall, and the median of one query on one core."""
    import torch
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    torch.set_num_threads(1)
    books = load_dataset("book-crossing").items["text"]
    words = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(books)
    known = TruncatedSVD(64, n_iter=2, random_state=0).fit_transform(words).astype(np.float32)
    random_part = np.random.default_rng(0)
    vectors = np.tile(known, (4, 1))[: 10**6]  # real titles, and three editions of each
    vectors += 0.02 * random_part.standard_normal(vectors.shape, dtype=np.float32)
    del books, words, known
    process, start = psutil.Process(), time.perf_counter()
    before = process.memory_info().rss
    index = VectorIndex(vectors)
    built, used = time.perf_counter() - start, process.memory_info().rss - before
    taken = []
    for row in random_part.choice(len(vectors), 500, replace=False):
        start = time.perf_counter()
        index.search(vectors[[row]], 10)
        taken.append(1e3 * (time.perf_counter() - start))
    return {
        "build s": built,
        "memory GB": (used + vectors.nbytes) / 1e9,
        "recall": index.recall_,
        "p50 ms": float(np.median(taken)),
        "p99 ms": float(np.quantile(taken, 0.99)),
    }


# --- mixed


def _mixed_caller(url: str, until: float, seed: int, counts: dict) -> None:
    chance, users = random.Random(seed), histories()
    with httpx.Client(base_url=url, timeout=60) as client:
        while time.time() < until:
            kind, history = chance.random(), chance.choice(users)
            path, call = "/recommend", {"history": history, "k": 10}
            if kind > 0.99:
                path, call = "/explain", {"history": history[-10:], "item_id": 50}
            elif kind > 0.97:
                item = {"item_id": 10**6 + chance.randrange(50), "text": f"Film {chance.random()}"}
                path, call = "/items", {"items": [item]}
            elif kind > 0.95:
                path, call = "/similar", {"item_id": chance.choice(history)}
            elif kind > 0.92:
                path, call = "/search", {"query": f"a film about love {chance.randrange(1000)}"}
            elif kind > 0.82:
                event = {"user_id": chance.randrange(2_000), "item_id": chance.choice(history)}
                path, call = "/events", {"events": [event]}
            elif kind > 0.5:
                path, call = "/recommend", {"user_id": chance.randrange(2_000)}
            time.sleep(0.01)  # people do not ask all the time
            status = client.post(path, json=call).status_code
            counts[status] = counts.get(status, 0) + 1


def measure_mixed(seconds: int = 1_800) -> dict:
    """Reads, writes, explanations and exchanged models; memory after warm-up and at the end."""
    shutil.rmtree(FOLDER / "mixed", ignore_errors=True)
    with serving(store=FOLDER / "mixed") as (process, url):
        watched, until, counts, memory = psutil.Process(process.pid), time.time() + seconds, {}, []
        callers = [
            threading.Thread(target=_mixed_caller, args=(url, until, seed, counts))
            for seed in range(4)
        ]
        for caller in callers:
            caller.start()
        for version in itertools.cycle(("again", "films")):
            for _ in range(6):
                time.sleep(min(10, max(0, until - time.time())))
                memory.append((time.time() - until + seconds, watched.memory_info().rss / 1e6))
            if time.time() >= until:
                break
            answer = httpx.post(f"{url}/model", json={"version": version}, timeout=60)
            counts[answer.status_code] = counts.get(answer.status_code, 0) + 1
            print(counts, memory[-1], flush=True)
        for caller in callers:
            caller.join()
    table = pd.DataFrame(memory, columns=["second", "MB"])

    def mean(first: float, last: float) -> float:  # whole rounds, since a new model frees rows
        return table[table["second"].between(first * seconds, last * seconds)]["MB"].mean()

    end = mean(5 / 6, 1)
    return {
        "seconds": seconds,
        "calls": sum(counts.values()),
        "errors": sum(n_calls for status, n_calls in counts.items() if status != 200),
        "MB after five minutes": mean(1 / 6, 1 / 3),
        "MB after ten minutes": mean(1 / 3, 1 / 2),
        "MB at the end": end,
        "growth": end / mean(1 / 6, 1 / 3) - 1,
    }


PARTS = {
    "load": measure_load,
    "live": measure_live,
    "kill": measure_kill,
    "hostile": measure_hostile,
    "described": measure_described,
    "million": measure_million,
    "mixed": measure_mixed,
}


def main(parts: list[str]) -> None:
    """Run what is missing and save after each part."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    prepare()
    for part in parts or PARTS:
        known = pd.read_parquet(TABLE) if TABLE.exists() else pd.DataFrame({"part": []})
        if part in set(known["part"]) and not parts:
            continue
        found = PARTS[part]()
        print(part, found, flush=True)
        rows = pd.DataFrame({"part": part, "measure": list(found), "value": list(found.values())})
        rows["value"] = rows["value"].astype(float)
        known = pd.concat([known[known["part"] != part], rows], ignore_index=True)
        known.to_parquet(TABLE)


if __name__ == "__main__":
    main(sys.argv[1:])
