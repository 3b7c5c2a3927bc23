"""Logs on disk are those in memory, and many workers do what one does."""

import logging
import os
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmrec import Dataset, scale, workers
from llmrec.checks import DataError
from llmrec.evaluation import evaluate_users
from llmrec.models import TrainingConfig
from llmrec.recommenders import Popular, RecentlyPopular
from llmrec.scale import Growth, fit_together, mapped_vectors, plan
from llmrec.sequential import SequentialRecommender, training_sequences
from llmrec.simulation import Simulator
from llmrec.splits import PROTOCOLS
from llmrec.training import add_gradients, own_share, said_by_first, weighed
from llmrec.tuning import tune
from llmrec.workers import encode_in_parts, recommend_in_parts, work_on

ITEMS = pd.DataFrame(
    {"item_id": [f"i{n}" for n in range(8)], "text": [f"Film {n}" for n in range(8)]}
)


def on_disk_and_in_memory(log, tmp_path, *, n_files=2, rows_at_once=3, items=ITEMS, **how):
    folder = tmp_path / "events"
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(log)), n_files)):
        if len(rows):
            log.iloc[rows].to_parquet(folder / f"{number}.parquet", index=False)
    options = {"folder": tmp_path / "sorted", "name": "log", "progress": False, **how}
    disk = Dataset.from_parquet(folder, items, rows_at_once=rows_at_once, **options)
    return disk, Dataset.from_frames(log, items, name="log", **how)


def logs(with_times, with_ratings):
    event = st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 4), st.integers(1, 5))

    def table(events):
        users, items, times, ratings = zip(*events, strict=True)
        columns = {"user_id": [f"u{n}" for n in users], "item_id": [f"i{n}" for n in items]}
        if with_times:
            columns["timestamp"] = times
        if with_ratings:
            columns["rating"] = ratings
        return pd.DataFrame(columns)

    return st.lists(event, min_size=12, max_size=60).map(table)


def outcome(split):
    """What a split says, or the error that it raises."""
    try:
        manifest = split().manifest
    except (DataError, ValueError) as error:
        return type(error).__name__, str(error)
    return manifest["content_hash"], manifest["sizes"], manifest["users"]


@pytest.mark.parametrize("order", ["time", "file", "unknown"])
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_every_split_of_every_log_is_the_one_in_memory(order, tmp_path_factory, data):
    log = data.draw(logs(order == "time", data.draw(st.booleans())))
    how = {} if order == "time" else {"order": order}
    disk, memory = on_disk_and_in_memory(log, tmp_path_factory.mktemp("log"), **how)
    pd.testing.assert_frame_equal(disk.interactions, memory.interactions)
    assert disk.order == memory.order == order
    for cut in (
        lambda one: one,
        lambda one: one.at_least(user_events=2, item_events=2),
        lambda one: one.k_core(2),
        lambda one: one.domain(lambda items: items["item_id"] < "i5").first_interactions(),
    ):
        try:
            small = cut(memory)
        except DataError:
            with pytest.raises(DataError):
                cut(disk)
            continue
        large = cut(disk)
        pd.testing.assert_frame_equal(large.interactions, small.interactions)
        pd.testing.assert_frame_equal(large.items, small.items)
        assert large.n_users == small.n_users and large.n_events == small.n_events
        np.testing.assert_array_equal(large.item_counts(), small.item_counts())
        for protocol in PROTOCOLS:
            on_disk, in_memory = (
                outcome(lambda one=one, protocol=protocol: one.split(protocol))
                for one in (large, small)
            )
            assert on_disk == in_memory, protocol


def world(tmp_path, **how):
    simulator = Simulator(**{"n_users": 60, "n_items": 90, "mean_events": 24, "seed": 3} | how)
    events = simulator.write(tmp_path / "world", progress=False)
    items = tmp_path / "world" / "items.parquet"
    disk = Dataset.from_parquet(events, items, folder=tmp_path / "sorted", progress=False)
    return disk, simulator.dataset()


def test_sequences_come_in_the_same_order_whatever_is_taken_out(tmp_path):
    disk, memory = world(tmp_path)
    for large, small in (
        (disk, memory),
        (disk.split("temporal").train, memory.split("temporal").train),
        (disk.k_core(6).split().train, memory.k_core(6).split().train),
    ):
        places = pd.Index(small.items["item_id"]).get_indexer
        expected = training_sequences(small, places)
        found = training_sequences(large, places)
        assert len(found[0]) == len(expected[0]) > 10
        for ours, theirs in zip(found[0], expected[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        for ours, theirs in zip(found[1], expected[1], strict=True):
            np.testing.assert_array_equal(np.diff(ours) > 0, np.diff(theirs) > 0)


def test_a_dataset_on_disk_travels_and_is_used_like_any_other(tmp_path):
    disk, memory = world(tmp_path)
    split, whole = disk.split("cold_users"), memory.split("cold_users")
    again = pickle.loads(pickle.dumps(split.train))
    pd.testing.assert_frame_equal(again.interactions, whole.train.interactions)
    part = pickle.loads(pickle.dumps(split.test))
    pd.testing.assert_frame_equal(part.context, whole.test.context)
    assert len(pickle.dumps(disk)) < 20_000
    for ours, theirs in ((disk, memory), (split.train, whole.train)):
        fits = [RecentlyPopular().fit(one).recommend(one, k=3) for one in (ours, theirs)]
        pd.testing.assert_frame_equal(*fits)
    both = [one.train_valid.interactions for one in (split, whole)]
    pd.testing.assert_frame_equal(*both)
    shards = list(disk.shards(200))
    assert len(shards) > 2 and sum(one.n_users for one in shards) == disk.n_users
    for size in (1, 7, 50, 10_000):
        for whole_log in (memory, disk):
            parts = list(whole_log.shards(size))
            assert all(part.n_events for part in parts)
            rows = pd.concat([part.interactions for part in parts]).sort_index()
            pd.testing.assert_frame_equal(rows, memory.interactions)
            users = [user for part in parts for user in part.histories()]
            assert len(users) == len(set(users)) == memory.n_users
    last_user = disk.user_ids[-1]
    alone = disk._with(np.arange(disk.n_stored) >= disk.starts[-2], "the last user", disk.items)
    assert [list(part.histories()) for part in alone.shards(50)] == [[last_user]]
    small = memory.of_users([last_user])
    for protocol in ("leave_one_out", "temporal", "random", "cold_items"):
        assert outcome(lambda p=protocol: alone.split(p)) == outcome(
            lambda p=protocol: small.split(p)
        )
    everybody = split.sample_users(split.manifest["users"]["test"])
    fitted = Popular().fit(whole.train)
    users = evaluate_users(fitted, everybody, part="test", ks=(10,), metrics=("ndcg",))
    known = evaluate_users(fitted, whole, part="test", ks=(10,), metrics=("ndcg",))
    pd.testing.assert_frame_equal(users.sort_index(), known.loc[users.index].sort_index())


def test_a_log_is_its_own_catalogue_and_columns_may_have_other_names(tmp_path):
    log = pd.DataFrame(
        {"who": ["a", "b", "a", "b"], "what": ["x", "y", "y", "x"], "t": [3, 1, 2, 5]}
    ).assign(title=lambda table: "Title " + table["what"])
    log.to_parquet(tmp_path / "log.parquet")
    names = {"who": "user_id", "what": "item_id", "t": "timestamp", "title": "text"}
    dataset = Dataset.from_parquet(
        tmp_path / "log.parquet", columns=names, folder=tmp_path / "sorted", progress=False
    )
    assert dataset.items["text"].tolist() == ["Title x", "Title y"]
    assert dataset.histories() == {"a": ["y", "x"], "b": ["y", "x"]}


def test_a_log_that_changed_is_read_again_and_a_folder_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "home"))
    log = pd.DataFrame({"user_id": [1, 1], "item_id": ["i1", "i2"], "timestamp": [1, 2]})
    path = tmp_path / "log.parquet"
    log.to_parquet(path)
    assert Dataset.from_parquet(path, ITEMS, progress=False).n_events == 2
    pd.concat([log, log.assign(user_id=2)]).to_parquet(path)
    assert Dataset.from_parquet(path, ITEMS, progress=False).n_events == 4
    folder = next((tmp_path / "home" / "logs").iterdir())
    log.to_parquet(path)
    with pytest.raises(DataError, match="holds something else"):
        Dataset.from_parquet(path, ITEMS, folder=folder, progress=False)
    with pytest.raises(FileNotFoundError):
        Dataset.from_parquet(tmp_path / "none", ITEMS)


@pytest.mark.parametrize(
    "column, first, second",
    [
        ("user_id", [1, 2], ["a", "b"]),
        ("timestamp", [1, 2], pd.to_datetime(["2024-01-30", "2024-01-31"])),
        ("rating", [1, 2], [1.5, 2.5]),
    ],
)
def test_a_kind_that_changes_between_files_is_refused_by_name(tmp_path, column, first, second):
    log = pd.DataFrame({"user_id": [1, 2], "item_id": ["i1", "i2"], "timestamp": [1, 2]})
    (tmp_path / "log").mkdir()
    for number, values in enumerate((first, second)):
        log.assign(**{column: values}).to_parquet(tmp_path / "log" / f"{number}.parquet")
    with pytest.raises(DataError, match=column):
        Dataset.from_parquet(tmp_path / "log", ITEMS, folder=tmp_path / "sorted", progress=False)
    assert not (tmp_path / "sorted").exists()  # nothing half-written


@pytest.mark.parametrize("rating_in", [0, 1])
def test_a_column_that_only_some_files_have_is_refused(tmp_path, rating_in):
    log = pd.DataFrame({"user_id": [1, 2], "item_id": ["i1", "i2"], "timestamp": [1, 2]})
    (tmp_path / "log").mkdir()
    for number in range(2):
        table = log.assign(rating=5) if number == rating_in else log
        table.to_parquet(tmp_path / "log" / f"{number}.parquet")
    with pytest.raises(DataError, match="rating: only some"):
        Dataset.from_parquet(tmp_path / "log", ITEMS, folder=tmp_path / "sorted", progress=False)


def test_what_is_no_log_is_refused_in_words(tmp_path):
    path = tmp_path / "log.parquet"
    path.write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises(DataError, match="not a Parquet file"):
        Dataset.from_parquet(path, ITEMS, progress=False)
    pd.DataFrame({"user": [1], "item": [2]}).to_parquet(path)
    with pytest.raises(DataError, match="user_id"):
        Dataset.from_parquet(path, ITEMS, progress=False)
    with pytest.raises(DataError, match="rows_at_once"):
        pd.DataFrame({"user_id": [1], "item_id": ["i1"]}).to_parquet(path)
        Dataset.from_parquet(path, ITEMS, rows_at_once=0, progress=False, order="file")


@pytest.mark.parametrize("ids", [[7, 11], ["007", "11"]])
def test_ids_of_a_text_file_are_what_those_of_the_log_are(tmp_path, ids):
    pd.DataFrame({"item_id": ids, "text": ["a", "b"]}).to_csv(tmp_path / "items.csv", index=False)
    log = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [*ids, ids[0]], "timestamp": [1, 2, 3]})
    log.to_parquet(tmp_path / "log.parquet")
    paths = tmp_path / "log.parquet", tmp_path / "items.csv"
    dataset = Dataset.from_parquet(*paths, folder=tmp_path / "sorted", progress=False)
    assert dataset.histories() == {1: ids, 2: ids[:1]}


# --- workers


def doubled(number):
    return 2 * number


def test_without_ray_one_process_works_and_says_so(monkeypatch, caplog, encoder, films, tmp_path):
    monkeypatch.setattr(workers.importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert dict(work_on(doubled, range(3), n_workers=2)) == {0: 0, 1: 2, 2: 4}
    assert "Ray is not installed" in caplog.text
    split = films.sample_users(40, seed=0).split()
    texts = films.items["text"].tolist()[:20]
    vectors = encode_in_parts(encoder, texts, tmp_path / "v", texts_per_part=8, n_workers=2)
    np.testing.assert_allclose(vectors, encoder.encode(texts, progress=False), atol=1e-5)
    fitted = Popular().fit(split.train)
    lists = recommend_in_parts(
        fitted, split.train, tmp_path / "l", events_per_part=900, n_workers=2
    )
    pd.testing.assert_frame_equal(pd.read_parquet(lists), fitted.recommend(split.train))
    found = tune(RecentlyPopular, split, {"share": [0.1, 0.3]}, budget=2, n_workers=2)
    assert len(found.trials) == 2
    network = SequentialRecommender(device="cpu", progress=False)
    trained = fit_together(network, split.train, epochs=1, n_workers=2)
    assert len(trained.history_) == 1 and not hasattr(network, "history_")


def test_who_dies_before_the_others_have_met_keeps_nobody_waiting(
    monkeypatch, caplog, films, tmp_path
):
    """The one that is left would wait half an hour for it."""
    has_died = tmp_path / "has died"

    class DiesOnce(scale._Member):
        def fit(self, number, *rest):
            if number == 1 and not has_died.exists():
                has_died.touch()
                os._exit(1)
            return super().fit(number, *rest)

    monkeypatch.setattr(scale, "_Member", DiesOnce)
    monkeypatch.setattr(scale, "SECONDS_TO_NOTICE", 1.0)
    network = SequentialRecommender(config=TrainingConfig(fusion="id", dim=4), progress=False)
    fitted = fit_together(network, films.sample_users(30).split().train, epochs=1, n_workers=2)
    assert has_died.exists() and "a worker died" in caplog.text and len(fitted.history_) == 1


def test_a_team_of_one_changes_nothing():
    weight = torch.nn.Parameter(torch.ones(3))
    (weight * 2).sum().backward()
    add_gradients([weight])
    assert weight.grad.tolist() == [2.0] * 3
    batch = torch.zeros(4, 2), torch.ones(4, 2)
    assert own_share(batch) is batch
    assert weighed(torch.tensor(3.0), torch.tensor(5)) == 3 and said_by_first(lambda: 0.5) == 0.5


@pytest.mark.parametrize("n_rows", [1, 3, 8])
def test_shares_of_a_batch_add_up_to_its_gradient(n_rows, monkeypatch):
    """Each of two processes is played in turn; what they exchange is added up by hand."""
    from llmrec import training

    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(n_rows, 5, generator=random), torch.randn(n_rows, generator=random)
    n_each = torch.arange(1, n_rows + 1)  # targets of a row

    def gradient(rows, weights, factor=lambda loss: loss):
        parameter = torch.nn.Parameter(torch.ones(5))
        errors = (x[rows] @ parameter - y[rows]).square()
        loss = (errors * weights).sum() / weights.sum()
        factor(loss).backward()
        return parameter.grad

    whole = gradient(torch.arange(n_rows), n_each)
    shares, totals = [], []
    for step in ("count", "train"):
        for number in range(2):
            monkeypatch.setattr(training, "team", lambda number=number: (number, 2))
            [rows] = own_share([torch.arange(n_rows)])
            if step == "count":
                totals.append(n_each[rows].sum())
                continue
            monkeypatch.setattr(training, "summed", lambda values: sum(totals))
            weigh = lambda loss, rows=rows: weighed(loss, n_each[rows].sum())  # noqa: E731
            shares.append(gradient(rows, n_each[rows], weigh))
    torch.testing.assert_close(sum(shares), whole)


def test_growth_and_plan():
    growth = Growth.of([1e3, 1e4, 1e5], [2e-3, 2e-2, 2e-1])
    assert growth.exponent == pytest.approx(1) and growth.at(1e6) == pytest.approx(2)
    for wrong in (([1], [1]), ([1, 2], [0, 1])):
        with pytest.raises(DataError):
            Growth.of(*wrong)
    sizes = pd.DataFrame({"events": [1e6, 1e10], "users": [1e4, 1e8], "items": [1e4, 1e8]})
    small, large = plan(sizes, read=growth, epoch=growth, texts_per_second=100.0).itertuples()
    assert small.machines == 1 and large.machines > 10 and large.money > small.money
    cheap = plan(sizes, read=growth, epoch=growth, texts_per_second=100.0, price=0.025)
    assert cheap["money"].iloc[1] == pytest.approx(large.money / 2)


def test_vectors_that_are_mapped_are_what_was_written_and_stay_so(tmp_path):
    vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = mapped_vectors(tmp_path / "vectors.npy")
    mapped[0] = 7
    np.testing.assert_array_equal(np.load(tmp_path / "vectors.npy"), vectors)
    for name, wrong in (("a", vectors.astype(float)), ("b", vectors[0])):
        np.save(tmp_path / f"{name}.npy", wrong)
        with pytest.raises(DataError):
            mapped_vectors(tmp_path / f"{name}.npy")
    with pytest.raises(ValueError):
        np.save(tmp_path / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
        mapped_vectors(tmp_path / "c.npy")
