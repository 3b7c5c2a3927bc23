"""The record, the index, the live catalogue and the service over HTTP."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from importlib import resources
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
import schemathesis
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from llmrec import Dataset, Ensemble
from llmrec.baselines import EASE, ContentKNN, ItemKNN, RidgeFromText
from llmrec.checks import DataError
from llmrec.linear import ClosedForm
from llmrec.live import LiveRecommender, Request, fits
from llmrec.neighbours import VectorIndex, exact_neighbours, recall_of
from llmrec.recommenders import Popular, history_indices
from llmrec.service import (
    Event,
    ExplainCall,
    Item,
    RecommendCall,
    SearchCall,
    Service,
)
from llmrec.serving import Limits, create_app, limits_for
from llmrec.store import Store
from llmrec.words import with_rows

ROBOTS = {"item_id": 9_001, "text": "Robots in Love (1998), Sci-Fi Comedy"}


# --- rows behind a fitted model


def models(encoder, films):
    split = films.sample_users(60, seed=0).split()
    content = ContentKNN(encoder)
    plans = [EASE(), ItemKNN(), Popular(), content, RidgeFromText(encoder)]
    plans += [Ensemble([EASE(), ContentKNN(encoder)], new_items=content)]
    plans += [ClosedForm(encoder)]
    return split, [plan.fit(split.train, split.valid) for plan in plans]


def test_new_rows_move_nobody_and_are_scored_by_whoever_reads_texts(films, encoder, fitted):
    split, fits_ = models(encoder, films)
    indices = history_indices(fitted, dict(list(split.histories("test").items())[:5]))
    new = pd.DataFrame([ROBOTS, {"item_id": 9_002, "text": "The Silent Lighthouse, Drama"}])
    for model in (*fits_, fitted):
        one = with_rows(model, new.iloc[:1], [-1])
        two = with_rows(one, new.iloc[1:], [-1])  # one after the other, as a service does
        at_once = with_rows(model, new, [-1, -1])
        scores, both = (each.score(indices) for each in (two, at_once))
        torch.testing.assert_close(scores, both, rtol=1e-4, atol=1e-4)
        if not isinstance(model, RidgeFromText):  # it solves for the whole catalogue
            known = model.score(indices)
            torch.testing.assert_close(scores[:, :-2], known, rtol=1e-4, atol=1e-4)
        assert len(model.items_) == scores.shape[1] - 2  # it stays as it is
        if isinstance(model, (EASE, ItemKNN, Popular)):
            assert not scores[:, -2:].any()
        else:
            assert (scores[:, -2] != scores[:, -1]).any()


# --- the record


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store") as one:
        yield one


def test_a_write_that_fails_leaves_nothing(store):
    store.put_items([{"item_id": 1, "text": "a"}])
    with pytest.raises(ValueError, match="JSON"):
        store.put_items([{"item_id": 2, "text": "b"}, {"item_id": 3, "text": float("nan")}])
    with pytest.raises(KeyError, match="item 4 .int. is not in the catalogue"):
        store.add_events([(7, 1, 5.0), (7, 4, 6.0)])
    assert [one for _, one, _ in store.changes()] == [1] and len(store) == 0


def test_ids_are_what_they_were(store):
    store.put_items([{"item_id": "1", "text": "a"}, {"item_id": 1, "text": "b"}])
    store.add_events([(np.int64(7), np.int64(1), 5.0), ("7", "1", 6.0)])
    assert store.history(7) == ([1], [5.0]) and store.history("7") == (["1"], [6.0])
    assert store.history(np.int64(7))[0] == [1] and store.forget(np.int64(7)) == 1
    assert store.history("7")[0] == ["1"]


def test_a_history_is_in_time_order_and_ties_keep_the_order_of_arrival(store):
    store.put_items([{"item_id": number, "text": "x"} for number in range(5)])
    store.add_events([(1, 3, 10.0), (1, 0, 9.0), (1, 4, 10.0), (1, 2, 10.0), (2, 1, None)])
    assert store.history(1)[0] == [0, 3, 4, 2]
    assert store.history(1, last=2)[0] == [4, 2]
    assert abs(store.history(2)[1][0] - time.time()) < 60


def test_a_dataset_goes_in_and_comes_out(store, films):
    store.fill(films)
    again = store.dataset()
    assert again.histories() == films.histories()
    assert again.items["text"].tolist() == films.items["text"].tolist()
    assert again.items.set_index("item_id")["genres"].loc[1] == films.items["genres"].iloc[0]
    store.remove_items([50])
    assert 50 not in set(store.dataset().items["item_id"])
    assert 50 not in set(store.dataset().interactions["item_id"])


def test_a_log_without_times_keeps_its_order(store, tables):
    log, items = tables
    dataset = Dataset.from_frames(log.drop(columns="timestamp"), items)
    store.fill(dataset)
    assert {user: store.history(user)[0] for user in (1, 2, 3)} == dataset.histories()
    assert store.dataset().histories() == dataset.histories()


@pytest.mark.parametrize("user", ["user-zanzibar-4711", "赵钱孙李-4711"])
def test_no_byte_of_a_forgotten_user_stays(store, user):
    store.put_items([{"item_id": 1, "text": "a"}])
    for _ in range(20):
        store.add_events([(user, 1, None)] * 50 + [(f"other-{time.time()}", 1, None)] * 50)
    word = user.encode()
    assert any(word in path.read_bytes() for path in store.folder.iterdir())
    reader = threading.Thread(target=lambda: store.history(user))  # with a connection of its own
    reader.start(), reader.join()
    assert store.forget(user) == 1_000
    assert not any(word in path.read_bytes() for path in store.folder.iterdir())
    assert len(store) == 1_000


def test_a_snapshot_is_whole_while_others_write(store, tmp_path):
    store.put_items([{"item_id": 1, "text": "a"}])
    done = threading.Event()

    def write():
        while not done.is_set():
            store.add_events([(1, 1, None), (2, 1, None)])

    writer = threading.Thread(target=write)
    writer.start()
    (tmp_path / "copy").mkdir()
    try:
        store.snapshot(tmp_path / "copy" / "store.sqlite")
    finally:
        done.set()
        writer.join()
    with Store(tmp_path / "copy") as copy:
        assert len(copy.history(1)[0]) == len(copy.history(2)[0]) <= len(store) // 2


def test_a_store_of_another_format_is_refused_and_kept(tmp_path):
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(DataError, match="format 99"):
        Store(tmp_path)
    assert sqlite3.connect(path).execute("PRAGMA user_version").fetchone() == (99,)


# --- neighbours


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 2**16), st.booleans())
def test_an_exact_index_is_a_sort(n_items, k, seed, has_mask):
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((n_items, 4)).astype(np.float32)
    query = random.standard_normal((1, 4)).astype(np.float32)
    allowed = random.random(n_items) < 0.5 if has_mask else None
    found = VectorIndex(vectors).search(query, k, allowed)
    scores = np.where(True if allowed is None else allowed, (vectors @ query[0]), -np.inf)
    expected = np.sort(scores[scores > -np.inf])[::-1][:k]
    n_found = len(expected)
    np.testing.assert_allclose(found.scores[0, :n_found], expected, rtol=1e-4, atol=1e-5)
    assert (found.rows[0, n_found:] == -1).all() and found.rows.shape == (1, k)


def test_a_graph_grows_and_respects_masks_that_were_made_before():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((3_000, 16)).astype(np.float32)
    index = VectorIndex(vectors[:1_000], exact_up_to=1_500)
    assert index.graph is None
    for part in np.array_split(vectors[1_000:], 4):
        index.add(part)
    assert index.graph is not None and len(index) == 3_000
    assert VectorIndex(vectors, exact_up_to=100).recall_ > 0.95
    for n_rows in (1_000, 2_900, 3_000):
        allowed = random.random(n_rows) < 0.9
        found = index.search(vectors[:50], 10, allowed)
        assert allowed[found.rows].all()
        exact = exact_neighbours(vectors[:50], vectors[:n_rows], 10, allowed)
        assert recall_of(found, exact) > 0.9


# --- the live catalogue


def test_filters_mean_what_they_say():
    texts = pd.Series(["Science fiction", "fiction", "nonfiction", "", None], name="kind")
    assert fits(texts, "fiction").tolist() == [True, True, False, False, False]
    assert fits(pd.Series([["A"], "A b", None]), "a").tolist() == [True, True, False]
    assert fits(pd.Series([True, False, None]), True).tolist() == [True, False, False]
    with pytest.raises(DataError, match="column of numbers"):
        fits(texts, {"min": 3})
    with pytest.raises(DataError, match="column of numbers"):
        fits(pd.Series([1, 2]), {"from": 3})


CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "remove"]), st.sampled_from([1, 2, 9_001, 9_002]),
              st.sampled_from(["Robots in Love", "A quiet film", "Toy Story (1995)"])),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=CHANGES)
def test_a_catalogue_that_followed_is_one_that_was_opened_late(fitted, tmp_path_factory, changes):
    with Store(tmp_path_factory.mktemp("store")) as store:
        live = LiveRecommender(fitted, store)
        for kind, item_id, text in changes:
            if kind == "put":
                store.put_items([{"item_id": item_id, "text": text, "length": len(text)}])
            elif store.changes() and (item_id in live.state.row_of):
                try:
                    store.remove_items([item_id])
                except KeyError:
                    continue  # it was removed before
            live.catch_up()
        late = LiveRecommender(fitted, store)
        asked = [
            Request([10, 20], k=3_000),
            Request(
                [1, 10], k=3_000, filters={"length": {"min": 1}} if store.last_change else None
            ),
        ]
        try:
            ours, theirs = (one.recommend(asked[:1])[0] for one in (live, late))
        finally:
            assert live.state.items["item_id"].is_unique
        scores = [{one["item_id"]: one["score"] for one in each} for each in (ours, theirs)]
        assert scores[0].keys() == scores[1].keys()
        np.testing.assert_allclose(
            list(scores[0].values()), [scores[1][one] for one in scores[0]], atol=2e-3
        )


def test_live_lists_are_those_of_the_model(films, encoder, fitted, store):
    split, others = models(encoder, films)
    histories = dict(list(split.histories("test").items())[:20])
    for model in (fitted, *others):
        live = LiveRecommender(model, store)
        answers = live.recommend([Request(history, k=7) for history in histories.values()])
        expected = model.recommend(histories, k=7)
        found = [one["item_id"] for answer in answers for one in answer]
        assert found == expected["item_id"].tolist(), type(model).__name__


def test_a_large_catalogue_is_searched_by_its_index(fitted, films, store):
    histories = list(films.sample_users(60, seed=0).histories().values())[:30]
    live, graph = LiveRecommender(fitted, store), LiveRecommender(fitted, store, exact_up_to=200)
    assert live.state.factors is None and graph.state.factors is not None
    asked = [Request(history, k=5, filters={"text": "Comedy"}) for history in histories]
    exact, found = (
        [{one["item_id"] for one in answer} for answer in each.recommend(asked)]
        for each in (live, graph)
    )
    assert np.mean([len(a & b) / 5 for a, b in zip(exact, found, strict=True)]) > 0.9
    store.put_items([{**ROBOTS}])
    assert graph.catch_up()
    (answer,) = graph.recommend([Request(histories[0], candidates=[9_001])])
    assert answer[0]["item_id"] == 9_001
    assert graph.search("robots in love", 1)[0]["item_id"] == 9_001


# --- the service


@pytest.fixture(scope="module")
def model_folder(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for version in ("first", "second"):
        fitted.save_pretrained(folder / version)
    return folder


@pytest.fixture
def service(model_folder, films, tmp_path):
    one = Service(model_folder / "first", tmp_path / "store", films.sample_users(60, seed=0))
    one.load()
    yield one
    one.close()


@pytest.fixture
def client(service):
    with TestClient(create_app(service), base_url="http://127.0.0.1") as one:
        yield one


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_call_that_its_own_description_allows_breaks_it(client, data):
    described = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) > 10
    operation = data.draw(st.sampled_from(operations))
    for mode in ("POSITIVE", "NEGATIVE"):
        kind = schemathesis.GenerationMode[mode]
        try:
            case = data.draw(operation.as_strategy(generation_mode=kind))
        except schemathesis.errors.InvalidSchema:  # nothing in it can be wrong
            continue
        call = case.as_transport_kwargs(base_url="http://127.0.0.1")
        answer = client.request(**{name: value for name, value in call.items() if value})
        assert answer.status_code < 500, (call, answer.text)


def until(client, change):
    for _ in range(500):
        if client.get("/model").json()["change"] >= change:
            return
        time.sleep(0.02)
    raise AssertionError("the catalogue does not follow the record")


def test_a_day_of_a_shop(client, service):
    user = service.store.some_users(1)[0]
    first = client.post("/recommend", json={"user_id": user, "k": 5}).json()
    assert first["by"] == "history" and [one["rank"] for one in first["items"]] == [1, 2, 3, 4, 5]
    taken = first["items"][0]["item_id"]
    event = {"user_id": user, "item_id": taken}
    assert client.post("/events", json={"events": [event]}).json() == {"n_events": 1}
    after = client.post("/recommend", json={"user_id": user, "k": 100}).json()["items"]
    assert taken not in [one["item_id"] for one in after]

    item = {**ROBOTS, "columns": {"year": 1998, "genres": ["Comedy"]}}
    until(client, client.post("/items", json={"items": [item]}).json()["change"])
    call = {"history": [taken], "candidates": [9_001], "filters": {"year": {"min": 1998}}}
    assert client.post("/recommend", json=call).json()["items"][0]["text"] == ROBOTS["text"]
    found = client.post("/search", json={"query": "robots in love", "k": 1}).json()["items"]
    assert found[0]["item_id"] == 9_001
    like = client.post("/similar", json={"item_id": 9_001, "k": 3}).json()["items"]
    assert len(like) == 3 and 9_001 not in [one["item_id"] for one in like]
    why = client.post("/explain", json={"user_id": user, "item_id": 9_001, "lang": "zh"}).json()
    assert "Robots in Love" in why["sentence"] and why["events"] and why["words"]
    until(client, client.post("/items/remove", json={"item_ids": [9_001]}).json()["change"])
    assert client.post("/recommend", json=call).json()["items"] == []

    assert client.post("/model", json={"version": "second"}).json()["version"] == "second"
    gone = client.post(
        "/recommend", json=call
    )  # no model was trained with it, and its text is gone
    assert gone.status_code == 404 and "9001" in gone.json()["error"]
    assert client.post("/model/rollback").json()["version"] == "first"
    assert client.post("/forget", json={"user_id": user}).json()["n_events"] > 1
    assert client.post("/recommend", json={"user_id": user}).json()["by"] == "popularity"


def test_every_system_answers(client):
    systems = client.get("/model").json()["systems"]
    assert systems[0] == "ours" and systems[-1] == "popular"
    for system in systems:
        answer = client.post("/recommend", json={"history": [50], "system": system})
        assert len(answer.json()["items"]) == 10
    wrong = client.post("/recommend", json={"history": [50], "system": "theirs"})
    assert wrong.status_code == 404 and "theirs" in wrong.json()["error"]


@pytest.mark.parametrize(
    ("path", "call", "status", "words"),
    [
        ("/recommend", {}, 422, "either user_id or history"),
        ("/recommend", {"history": ["50"]}, 404, "'50'"),
        ("/recommend", {"history": [50], "k": 0}, 422, "k:"),
        ("/recommend", {"history": [50], "k": 1_001}, 422, "k:"),
        ("/recommend", {"history": [True]}, 422, "history"),
        ("/recommend", {"history": [50] * 1_001}, 422, "history"),
        ("/recommend", {"history": [50], "times": [1.0, 2.0]}, 422, "One|one time"),
        ("/recommend", {"history": [50], "filters": {"colour": "red"}}, 404, "colour"),
        ("/recommend", {"history": [50], "filters": {"text": {"min": 1}}}, 422, "numbers"),
        ("/recommend", {"history": [50], "candidates": [-5]}, 404, "candidates"),
        ("/recommend", {"history": [50], "wrong": 1}, 422, "wrong"),
        ("/similar", {"item_id": 10**9}, 404, "not in the catalogue"),
        ("/search", {"query": ""}, 422, "query"),
        ("/search", {"query": "a" * 501}, 422, "query"),
        ("/explain", {"history": [], "item_id": 50}, 422, "no history"),
        ("/explain", {"history": [50], "item_id": 1, "lang": "fr"}, 422, "lang"),
        ("/items", {"items": [{"item_id": "x", "text": "a"}]}, 422, "kind int"),
        ("/items", {"items": [{"item_id": 7, "text": " "}]}, 422, "no text"),
        ("/items", {"items": []}, 422, "items"),
        ("/items/remove", {"item_ids": [10**9]}, 404, "not in the catalogue"),
        ("/events", {"events": [{"user_id": 1, "item_id": 10**9}]}, 404, "not in the catalogue"),
        ("/events", {"events": [{"user_id": "", "item_id": 1}]}, 422, "events"),
        ("/model", {"version": "../first"}, 422, "version"),
        ("/model", {"version": "third"}, 404, "third"),
        ("/nothing", {}, 404, "Not Found"),
    ],
)
def test_a_bad_call_gets_a_sentence(client, path, call, status, words):
    answer = client.post(path, json=call)
    assert answer.status_code == status, answer.text
    assert re.search(words, answer.json()["error"])


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 200_000, b'{"query": "\\ud800"}', b"\xff\xfe", b'{"query": NaN}', b"null"],
    ids=["empty", "cut", "deep", "surrogate", "bytes", "nan", "null"],
)
def test_what_is_no_call_is_refused(client, body):
    headers = {"content-type": "application/json"}
    answer = client.post("/search", content=body, headers=headers)
    assert 400 <= answer.status_code < 500 and answer.json()["error"]


def test_the_guard(service):
    app = create_app(service, Limits(key="a-key-of-20-letters!", max_bytes=1_000, rate=2.0))
    key = {"authorization": "Bearer a-key-of-20-letters!"}
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/health").status_code == 200
        for path in ("/", "/model", "/metrics", "/ready", "/openapi.json", "/page.js"):
            assert client.get(path).status_code == 401
        assert client.get("/model", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/model", headers=key).status_code == 200
        large = client.post("/search", content=b"x" * 1_001, headers=key)
        assert large.status_code == 413
        other = client.get("/model", headers=key | {"host": "evil.example"})
        assert other.status_code == 403
        many = [client.get("/health").status_code for _ in range(12)]
        assert 429 in many and many[-1] == 429


def test_after_a_refused_body_the_next_call_is_answered(service):
    import uvicorn

    from llmrec.serving import bounded_protocol

    options = {"log_level": "error", "http": bounded_protocol(), "ws": "none"}
    server = uvicorn.Server(uvicorn.Config(create_app(service), port=0, **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for _ in range(20):
            assert client.post("/search", content=b"x" * 3_000_000).status_code == 413
            assert client.post("/similar", json={"item_id": 50}).status_code == 200
    server.should_exit = True
    thread.join()


def test_an_open_address_needs_a_key():
    with pytest.raises(DataError, match="LLMREC_API_KEY"):
        limits_for("0.0.0.0", None)
    with pytest.raises(DataError, match="16 characters"):
        limits_for("0.0.0.0", "short")
    assert limits_for("::1", None).hosts and not limits_for("0.0.0.0", "x" * 16).hosts
    assert not limits_for("127.0.0.1", "x" * 16).hosts  # a proxy may stand before it


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:8000", 200),
        ("[::1]", 200),
        ("[::1]:80", 200),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ],
)
def test_by_which_name_it_is_called(client, host, status):
    assert client.get("/health", headers={"host": host}).status_code == status


def test_the_files_for_deployment_call_the_command_as_it_is():
    command = [sys.executable, "-c", "from llmrec.cli import main; main(['serve', '--help'])"]
    known = subprocess.run(command, capture_output=True, text=True).stdout
    folder = Path(__file__).resolve().parent.parent / "deploy"
    for name in ("Dockerfile", "llmrec.service"):
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        (start,) = [line for line in lines if "llmrec" in line and "serve" in line and "--" in line]
        options = re.findall(r"--[a-z]+", start)
        assert options and all(option in known for option in options), name
        assert "LLMREC_API_KEY" in "\n".join(lines)


def test_before_the_model_is_there_nothing_is_answered(model_folder, tmp_path):
    service = Service(model_folder / "first", tmp_path / "store")
    with TestClient(create_app(service), base_url="http://127.0.0.1") as client:
        assert client.get("/health").json() == {"status": "alive", "ready": False}
        assert client.get("/ready").status_code == 503
        assert client.post("/recommend", json={"history": [1]}).status_code == 503
        service.load()
        assert client.get("/ready").status_code == 200
        # a store that was empty now holds the catalogue of the model
        assert len(client.post("/recommend", json={"history": [1]}).json()["items"]) == 10


def test_the_description_has_examples_and_no_address_of_others(client):
    described = client.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    calls = [name for name in schemas if name.endswith("Call")]
    assert len(calls) >= 8 and all("description" in schemas[name] for name in calls)
    for name, path in (("RecommendCall", "/recommend"), ("SearchCall", "/search")):
        (example,) = schemas[name]["examples"]
        assert client.post(path, json=example).status_code == 200
    for file in resources.files("llmrec").joinpath("page").iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), file.name
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert "access-control-allow-origin" not in page.headers


def test_measurements_hold_no_ids(client):
    client.post("/recommend", json={"user_id": "user-zanzibar"})
    client.get("/nothing/user-zanzibar")
    figures = client.get("/metrics").text
    assert 'path="/recommend",status="200"' in figures and 'path="other"' in figures
    assert "zanzibar" not in figures and "llmrec_items" in figures


def test_the_version_survives_a_restart_unless_another_is_named(model_folder, tmp_path):
    for named, expected in (("first", "first"), ("first", "second"), ("second", "second")):
        service = Service(model_folder / named, tmp_path / "store")
        service.load()
        assert service.about()["version"] == expected
        service.exchange("second")
        service.close()


@pytest.mark.parametrize("call", [SearchCall, ExplainCall, RecommendCall, Item, Event])
def test_what_is_unknown_is_refused(call):
    with pytest.raises(ValueError, match="Extra inputs"):
        call(**{"nobody_knows": 1})


def test_acknowledged_events_survive_a_kill_and_a_broken_file_is_named(model_folder, tmp_path):
    command = [sys.executable, "-c", "from llmrec.cli import main; raise SystemExit(main())"]
    command += ["serve", "--model", str(model_folder / "first"), "--port", "0"]
    command += ["--store", str(tmp_path / "store")]
    port = free_port()
    command[command.index("--port") + 1] = str(port)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert str(port) in process.stdout.readline()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            wait_until_ready(client)
            for number in range(20):
                event = {"user_id": number, "item_id": 50}
                client.post("/events", json={"events": [event]}).raise_for_status()
            process.send_signal(signal.SIGKILL)
    with Store(tmp_path / "store") as store:
        assert [store.history(number)[0] for number in range(20)] == [[50]] * 20
    for path in (tmp_path / "store").glob("store.sqlite*"):
        path.write_bytes(b"no database" * 1_000)
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2 and "store.sqlite is no store" in ended.stderr
    ended = subprocess.run([*command[:4], "--model", "nowhere"], capture_output=True, text=True)
    assert ended.returncode == 2 and "no saved model" in ended.stderr


def free_port():
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_until_ready(client):
    for _ in range(600):
        try:
            if client.get("/health").json()["ready"]:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the service does not get ready")


def test_json_of_an_answer_can_be_read_by_anybody(client):
    answer = client.post("/recommend", json={"history": [50], "k": 1_000})
    assert json.loads(answer.content)["items"][-1]["rank"] <= 1_000
