"""Awkward and broken input of every kind: what a user gets is a right answer, or an error that says
what was expected, what came, and what to do. Nothing is silently wrong.

Each case is a call, and the words of its error; None where the call itself asserts the right
answer. `bad_inputs.csv` beside this file lists the cases that were once answered wrongly.
"""

import csv
import re
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.exceptions import NotFittedError

from llmrec import Dataset, TextEncoder, TransferClassifier, TransferRecommender
from llmrec.assets import fetch_asset
from llmrec.baselines import EASE, ContentKNN, ItemKNN
from llmrec.classification import evaluate_classifier, tune_encoder
from llmrec.cli import main
from llmrec.domains import catalogue_overlap, few_shot, transfer_report, zero_shot
from llmrec.ensembles import Ensemble
from llmrec.evaluation import compare, compare_users, evaluate
from llmrec.features import FeatureExtractor, ItemColumns, fuse
from llmrec.files import read_amazon, read_movielens
from llmrec.leaks import audit
from llmrec.losses import info_nce
from llmrec.models import TrainingConfig
from llmrec.pretraining import PretrainingConfig, pretrain
from llmrec.private_training import NextItemRidge, Privacy
from llmrec.recommenders import Popular, RecentlyPopular
from llmrec.text import clean_text, preprocess
from llmrec.tuning import tune
from llmrec.whitening import Whitening

SMALL = {"dim": 8, "hidden": 16, "n_components": 8, "n_layers": 1}


@pytest.fixture(scope="module")
def world(encoder, tmp_path_factory):
    """A small synthetic shop, its split, and systems fitted on it."""
    random, n_users, n_items = np.random.default_rng(0), 20, 12
    things = ["tea", "cup", "kettle", "book", "lamp", "chair"]
    things += ["table", "spoon", "plate", "bowl", "fork", "knife"]
    items = pd.DataFrame({"item_id": range(n_items), "text": things, "price": 1.0})
    log = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(n_users), 6),
            "item_id": np.concatenate([random.permutation(n_items)[:6] for _ in range(n_users)]),
            "timestamp": np.tile(np.arange(6), n_users),
        }
    )
    dataset = Dataset.from_frames(log, items)
    split = dataset.split()
    other = Dataset.from_frames(
        log.assign(item_id=log["item_id"] + 100), items.assign(item_id=items["item_id"] + 100)
    )
    return SimpleNamespace(
        log=log,
        items=items,
        dataset=dataset,
        split=split,
        other=other,
        encoder=encoder,
        model=recommender(encoder).fit(split.train, epochs=1),
        popular=Popular().fit(split.train),
        vectors=random.normal(size=(20, 4)),
        folder=tmp_path_factory.mktemp("bad"),
    )


def recommender(encoder, **settings):
    config = TrainingConfig(**{**SMALL, **settings})
    return TransferRecommender(encoder, closed_form=False, config=config, progress=False)


def frames(w, items=None, **columns):
    """A dataset of the shop's log with other columns."""
    return Dataset.from_frames(w.log.assign(**columns), w.items if items is None else items)


def of_few(w, column: str, n: int) -> Dataset:
    """The events of the first `n` users or items."""
    log, items = w.dataset.interactions, w.dataset.items
    log = log[log[column].isin(log[column].unique()[:n])]
    return Dataset.from_frames(log, items[items["item_id"].isin(log["item_id"])])


def is_true(answer) -> None:
    assert answer


class Returns:
    """A recommender of another house that returns something odd."""

    def __init__(self, answer):
        self.answer = answer

    def recommend(self, histories, k=10, candidates=None, **_):
        return self.answer


class OddEncoder:
    """An encoder of another house that returns odd vectors."""

    fingerprint, name, dim = "odd", "odd", 4

    def __init__(self, spoil):
        self.spoil = spoil

    def encode(self, texts, **_):
        return self.spoil(np.random.default_rng(0).normal(size=(len(texts), 4)))


def spoiled(value):
    def spoil(vectors):
        vectors[-1, 0] = value
        return vectors

    return spoil


def pretrained(w, **settings):
    names = ("vocabulary_size",)
    options = {name: settings.pop(name) for name in names if name in settings}
    config = PretrainingConfig(**settings) if settings else None
    texts = w.items["text"].tolist()
    return pretrain(texts, config=config, folder=w.folder / "none", progress=False, **options)


def file(w, name: str, content) -> Path:
    path = w.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def garbage_movielens(w):
    file(w, "ml/u.data", "1\t7\n")
    file(w, "ml/u.item", "garbage\n")
    return read_movielens(w.folder / "ml")


def amazon(w, review: str, meta: str):
    return read_amazon(file(w, "r.jsonl", review), file(w, "m.jsonl", meta))


def fit_command(w, *options: str) -> None:
    """What the command prints, as an error if its exit code is 2."""
    w.log.to_csv(w.folder / "log.csv", index=False)
    w.items.to_csv(w.folder / "items.csv", index=False)
    paths = ["--interactions", str(w.folder / "log.csv"), "--items", str(w.folder / "items.csv")]
    assert main(["fit", *paths, "--model", str(w.folder / "none"), *options]) == 2


IDS = {
    "ff: user_id category of int": (
        lambda w: is_true(
            frames(w, user_id=w.log["user_id"].astype("category")).histories()
            == w.dataset.histories()
        ),
        None,
    ),
    "ff: item_id category both": (
        lambda w: is_true(
            frames(
                w,
                w.items.assign(item_id=w.items["item_id"].astype("category")),
                item_id=w.log["item_id"].astype("category"),
            ).histories()
            == w.dataset.histories()
        ),
        None,
    ),
    "ff: dictionary[pyarrow] user": (
        lambda w: is_true(
            set(
                frames(
                    w,
                    user_id=pd.Series(
                        pa.array(w.log["user_id"].astype(str)).dictionary_encode()
                    ).astype(pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
                ).histories()
            )
            == set(map(str, range(20)))
        ),
        None,
    ),
    "ff: uint64 > int64": (
        lambda w: frames(w, user_id=w.log["user_id"].astype("uint64") + np.uint64(2**63)),
        "'user_id': a number that uint64 does not hold exactly",
    ),
    "ff: float ids > 2**53 (merge)": (
        lambda w: frames(w, user_id=w.log["user_id"] + 1e19),
        "'user_id': a number that float64 does not hold exactly",
    ),
    "ff: python big ints (object) 10**30": (
        lambda w: frames(w, user_id=pd.Series([10**30] * len(w.log), dtype=object)),
        "'user_id': a number that object does not hold exactly, or that is beyond",
    ),
    "python big negative ints": (
        lambda w: frames(w, user_id=pd.Series([-(10**30)] * len(w.log), dtype=object)),
        "'user_id': a number that object",
    ),
    "ff: np.str_ ids": (
        lambda w: is_true(
            set(
                frames(
                    w,
                    user_id=pd.Series([np.str_(u) for u in w.log["user_id"]], dtype=object),
                ).histories()
            )
            == set(map(str, range(20)))
        ),
        None,
    ),
    "ids of numbers in an object column": (
        lambda w: is_true(
            frames(w, user_id=w.log["user_id"].astype(object)).histories() == w.dataset.histories()
        ),
        None,
    ),
    "nullable whole numbers as ids": (
        lambda w: is_true(
            frames(w, user_id=w.log["user_id"].astype("Int64")).histories() == w.dataset.histories()
        ),
        None,
    ),
    "int64[pyarrow] ids": (
        lambda w: is_true(
            frames(w, user_id=w.log["user_id"].astype("int64[pyarrow]")).histories()
            == w.dataset.histories()
        ),
        None,
    ),
    "ff: lone surrogate in ids": (
        lambda w: frames(w, user_id=pd.Series(["u\ud800"] * len(w.log), dtype=object)),
        "'user_id': half a character",
    ),
    "bytes as ids": (
        lambda w: frames(w, user_id=[b"u"] * len(w.log)),
        "'user_id': ids must be integers or strings, not bytes",
    ),
    "true and false as ids": (
        lambda w: frames(w, user_id=[True, False] * (len(w.log) // 2)),
        "'user_id': ids must be integers or strings, not bool",
    ),
    "dates as ids": (
        lambda w: frames(w, user_id=[date(2026, 1, 1)] * len(w.log)),
        "'user_id': ids must be integers or strings, not date",
    ),
    "lists and single ids mixed": (
        lambda w: frames(w, item_id=[[1], *w.log["item_id"][1:]]),
        "'item_id': lists and single items mixed",
    ),
    "lists of ids and of times of other lengths": (
        lambda w: Dataset.from_frames(
            pd.DataFrame({"user_id": [1], "item_id": [[1, 2]], "timestamp": [[1]]}), w.items
        ),
        "the lists of .* are not equally long",
    ),
    "a list of items for each user": (
        lambda w: is_true(
            Dataset.from_frames(
                pd.DataFrame({"user_id": [1, 2], "item_id": [[1, 2], []]}), w.items
            ).histories()
            == {1: [1, 2]}
        ),
        None,
    ),
}

TEXTS = {
    "ff: lone surrogate in text": (
        lambda w: frames(w, w.items.assign(text=pd.Series(["a\ud800"] * 12, dtype=object))),
        r"column\(s\) \['text'\]: half a character",
    ),
    "ff: surrogate text -> split hash": (
        lambda w: frames(w, w.items.assign(text=pd.Series(["\udfff"] * 12, dtype=object))),
        r"column\(s\) \['text'\]: half a character",
    ),
    "ff: text='' list empty text=[]": (
        lambda w: Dataset.from_frames(w.log, w.items, text=[]),
        r"text=\[\]: no column",
    ),
    "ff: text=None": (
        lambda w: Dataset.from_frames(w.log, w.items, text=None),
        "text=None: no column",
    ),
    "ff: text whitespace only": (
        lambda w: frames(w, w.items.assign(text=" \t\u3000")),
        r"no text in column\(s\) \['text'\]: item 0",
    ),
    "ff: text zero width only": (
        lambda w: frames(w, w.items.assign(text="\u200b\ufeff")),
        r"no text in column\(s\) \['text'\]: item 0",
    ),
    "text of invisible letters": (
        lambda w: frames(w, w.items.assign(text="\u3164\u2800")),
        r"no text in column\(s\) \['text'\]: item 0",
    ),
    "text of control characters": (
        lambda w: frames(w, w.items.assign(text="\x00\x1b")),
        r"no text in column\(s\) \['text'\]: item 0",
    ),
    "text as category": (
        lambda w: is_true(
            frames(w, w.items.assign(text=w.items["text"].astype("category")))
            .items["text"]
            .equals(w.dataset.items["text"])
        ),
        None,
    ),
    "numbers as text": (
        lambda w: frames(w, w.items.assign(text=range(12))),
        "'text': text must be a string: row 0",
    ),
    "ff: None": (
        lambda w: Dataset.from_frames(None, w.items),
        "interactions: a pandas DataFrame is expected, not NoneType",
    ),
    "a dictionary as a table": (
        lambda w: Dataset.from_frames({"user_id": [1]}, w.items),
        "interactions: a pandas DataFrame is expected, not dict",
    ),
    "a path as a table": (
        lambda w: Dataset.from_frames(w.log, "items.csv"),
        "items: a pandas DataFrame is expected, not str",
    ),
    "the log as its own catalogue": (
        lambda w: is_true(
            len(Dataset.from_frames(w.log.merge(w.items)).items) == w.log["item_id"].nunique()
        ),
        None,
    ),
}

TIMES = {
    "ff: timestamp[ns][pyarrow] ts": (
        lambda w: is_true(
            frames(
                w,
                timestamp=pd.to_datetime(w.log["timestamp"], unit="D").astype(
                    "timestamp[ns][pyarrow]"
                ),
            ).describe()["last event"]
            == pd.Timestamp("1970-01-06")
        ),
        None,
    ),
    "ff: date32[pyarrow] ts": (
        lambda w: is_true(
            frames(
                w, timestamp=pd.to_datetime(w.log["timestamp"], unit="D").astype("date32[pyarrow]")
            ).describe()["last event"]
            == pd.Timestamp("1970-01-06")
        ),
        None,
    ),
    "dates of Python": (
        lambda w: is_true(
            frames(w, timestamp=[date(2026, 1, 1 + t) for t in w.log["timestamp"]]).describe()[
                "last event"
            ]
            == pd.Timestamp("2026-01-06")
        ),
        None,
    ),
    "periods as times": (
        lambda w: is_true(
            frames(
                w, timestamp=pd.period_range("2026-01", periods=len(w.log), freq="D")
            ).describe()["first event"]
            == pd.Timestamp("2026-01-01")
        ),
        None,
    ),
    "ff: ts '20240131' strings": (
        lambda w: is_true(
            frames(w, timestamp=["20240131"] * len(w.log)).describe()["last event"]
            == pd.Timestamp("2024-01-31")
        ),
        None,
    ),
    "20240131235959 as a number": (
        lambda w: is_true(
            frames(w, timestamp=[20240131235959] * len(w.log)).describe()["last event"]
            == pd.Timestamp("2024-01-31 23:59:59")
        ),
        None,
    ),
    "ff: ts complex": (
        lambda w: frames(w, timestamp=w.log["timestamp"] + 1j),
        "'timestamp': complex numbers have no order",
    ),
    "durations as times": (
        lambda w: frames(w, timestamp=pd.to_timedelta(w.log["timestamp"], unit="D")),
        "'timestamp': .* is not a time but timedelta",
    ),
    "truth as time": (
        lambda w: frames(w, timestamp=[True] * len(w.log)),
        "'timestamp': .* is not a time but boolean",
    ),
    "13/01/2021": (
        lambda w: frames(w, timestamp=["13/01/2021"] * len(w.log)),
        "'timestamp': not a time: row 0 .*time_format='%d/%m/%Y",
    ),
    "13/01/2021 with its format": (
        lambda w: is_true(
            Dataset.from_frames(
                w.log.assign(timestamp="13/01/2021"), w.items, time_format="%d/%m/%Y"
            ).describe()["last event"]
            == pd.Timestamp("2021-01-13")
        ),
        None,
    ),
    "a format that does not fit": (
        lambda w: Dataset.from_frames(
            w.log.assign(timestamp="01/13/2021"), w.items, time_format="%d/%m/%Y"
        ),
        "time_format='%d/%m/%Y' does not fit",
    ),
    "milliseconds that are said to be such": (
        lambda w: is_true(
            Dataset.from_frames(w.log.assign(timestamp=1_000), w.items, time_unit="ms").describe()[
                "last event"
            ]
            == pd.Timestamp("1970-01-01 00:00:01")
        ),
        None,
    ),
    "a unit that is none": (
        lambda w: Dataset.from_frames(w.log, w.items, time_unit="hours"),
        "time_unit='hours' is not known",
    ),
    "no times, and an order that needs them": (
        lambda w: Dataset.from_frames(w.log.drop(columns="timestamp"), w.items, order="time"),
        "order='time': the log has no column 'timestamp'",
    ),
    "times, and an order without": (
        lambda w: Dataset.from_frames(w.log, w.items, order="file"),
        "order='file': the log has column 'timestamp'",
    ),
    "leave-one-out without an order": (
        lambda w: Dataset.from_frames(w.log.drop(columns="timestamp"), w.items).split(),
        "leave_one_out needs the order of the events",
    ),
    "temporal without times": (
        lambda w: Dataset.from_frames(w.log.drop(columns="timestamp"), w.items, order="file").split(
            "temporal"
        ),
        "temporal needs a time for each event",
    ),
    "what is recently popular, without times": (
        lambda w: RecentlyPopular().fit(
            Dataset.from_frames(w.log.drop(columns="timestamp"), w.items)
        ),
        r"column \['timestamp'\] is missing",
    ),
    "a tower that reads an order where there is none": (
        lambda w: recommender(w.encoder).fit(
            Dataset.from_frames(w.log.drop(columns="timestamp"), w.items), epochs=1
        ),
        "history='gru', fading=True reads events in their order",
    ),
    "ff: rating inf": (
        lambda w: frames(w, rating=np.inf),
        "'rating': not a number: row 0",
    ),
    "rating of words": (
        lambda w: frames(w, rating="good"),
        "'rating': not a number: row 0",
    ),
    "nullable rating": (
        lambda w: frames(w, rating=pd.array([None] * len(w.log), dtype="Int64")),
        "'rating': not a number: row 0",
    ),
}

PARTS = {
    "split temporal {'valid_fraction': '0.1'}": (
        lambda w: w.dataset.split("temporal", valid_fraction="0.1"),
        "fraction='0.1': a number above 0 and below 1",
    ),
    "split with an option of another protocol": (
        lambda w: w.dataset.split("temporal", n_context=3),
        r"temporal: option \['n_context'\] is not known",
    ),
    "split by a number of numpy": (
        lambda w: is_true(
            w.dataset.split("temporal", test_fraction=np.float64(0.2)).manifest["options"]
            == {"test_fraction": 0.2}
        ),
        None,
    ),
    "split fractions that leave nothing": (
        lambda w: w.dataset.split("temporal", valid_fraction=0.5, test_fraction=0.5),
        "nothing is left for training",
    ),
    **{
        f"split {protocol} with {n}": (
            lambda w, column=column, n=n, protocol=protocol: of_few(w, column, n).split(protocol),
            rf"{column}: {n} distinct id\(s\), and each part needs one",
        )
        for protocol, column in (("cold_items", "item_id"), ("cold_users", "user_id"))
        for n in (1, 2)
    },
    "split cold_items {'seed': 'a'}": (
        lambda w: w.dataset.split("cold_items", seed="a"),
        "seed='a': a whole number",
    ),
    "split cold_users {'n_context': -1}": (
        lambda w: w.dataset.split("cold_users", n_context=-1),
        "n_context=-1: a whole number",
    ),
    "split random with a negative seed": (
        lambda w: w.dataset.split("random", seed=-1),
        "seed=-1: a whole number",
    ),
    "k_core(0)/(True)/(2.0)": (
        lambda w: [w.dataset.k_core(2), *(refused(w.dataset.k_core, k) for k in (0, True, 2.0))],
        None,
    ),
    "k_core(np.int64(2))": (
        lambda w: is_true(
            w.dataset.k_core(np.int64(2)).interactions.equals(w.dataset.k_core(2).interactions)
        ),
        None,
    ),
    "at_least of nothing": (
        lambda w: w.dataset.at_least(user_events=0),
        "user_events=0: a whole number",
    ),
    "at_least of more than there are": (
        lambda w: w.dataset.at_least(user_events=7),
        "nothing is left",
    ),
    "sample_users(True)": (
        lambda w: w.dataset.sample_users(True),
        "n_users=True: a whole number from 1 to 20",
    ),
    "domain lambda wrong length": (
        lambda w: w.dataset.domain(lambda items: np.array([True])),
        r"domain: the condition gave bool of shape \(1,\)",
    ),
    "domain lambda NaN mask": (
        lambda w: w.dataset.domain(lambda items: np.full(12, np.nan)),
        "domain: the condition gave float64",
    ),
    "domain of a column that is not there": (
        lambda w: w.dataset.domain(colour="red"),
        r"column \['colour'\] is missing",
    ),
}

ASKING = {
    "recommend list of lists": (
        lambda w: w.model.recommend([[1, 2]]),
        "histories: list is no mapping",
    ),
    "recommend None": (lambda w: w.model.recommend(None), "histories: NoneType is no mapping"),
    "recommend generator": (
        lambda w: w.model.recommend(user for user in range(2)),
        "histories: generator is no mapping",
    ),
    "recommend None hist": (
        lambda w: w.model.recommend({1: None}),
        "user 1 has None, which is no list",
    ),
    "recommend scalar hist": (
        lambda w: w.model.recommend({1: 5}),
        "user 1 has 5, which is no list",
    ),
    "recommend candidates int": (
        lambda w: w.model.recommend({1: [1]}, candidates=5),
        "candidates: a list of item ids for all users is expected, not int",
    ),
    "recommend candidates dict per user": (
        lambda w: w.model.recommend({1: [1]}, candidates={1: [2]}),
        "candidates: a list of item ids for all users is expected, not dict",
    ),
    "recommend candidates as a set": (
        lambda w: is_true(set(w.model.recommend({1: [1]}, candidates={2, 3})["item_id"]) == {2, 3}),
        None,
    ),
    "recommend DataFrame (DESIGN form)": (
        lambda w: is_true(
            w.model.recommend(pd.DataFrame({"user_id": [1], "item_id": [2]})).equals(
                w.model.recommend({1: [2]})
            )
        ),
        None,
    ),
    "an id of another type": (
        lambda w: w.model.recommend({1: ["2"]}),
        "'2' is a str, and the ids of the catalogue are int",
    ),
    "with_items None": (
        lambda w: w.model.with_items(None),
        "items: a pandas DataFrame is expected, not NoneType",
    ),
    "adapt epochs=0": (lambda w: w.model.adapt(w.split.train, epochs=0), "epochs=0: a whole"),
    "adapt epochs=-1": (lambda w: w.model.adapt(w.split.train, epochs=-1), "epochs=-1: a whole"),
    "adapt unfitted": (
        lambda w: TransferRecommender(w.encoder).adapt(w.split.train),
        "learned nothing yet",
    ),
    "adapt on Split": (
        lambda w: w.model.adapt(w.split),
        r"train: a Dataset is expected, not Split. Pass split\.train",
    ),
    "adapt swapped valid of other catalogue": (
        lambda w: w.model.adapt(w.split.train, w.other, epochs=1),
        "valid: item .* is not in the catalogue of train",
    ),
    "adapt with another strategy": (
        lambda w: w.model.adapt(w.split.train, strategy="all"),
        "strategy='all' is not known",
    ),
    "zero_shot []": (lambda w: zero_shot([], w.other), "at least one fitted model"),
    "zero_shot model not list": (
        lambda w: is_true(len(zero_shot(w.model, w.other).recommend({1: [101]}, k=3)) == 3),
        None,
    ),
    "zero_shot unfitted": (
        lambda w: zero_shot([TransferRecommender(w.encoder)], w.other),
        "learned nothing yet",
    ),
    "zero_shot frames": (
        lambda w: zero_shot([w.model], w.items),
        "train: a Dataset is expected, not DataFrame",
    ),
    "few_shot []": (lambda w: few_shot([], w.split.train), "at least one fitted model"),
    "few_shot split": (
        lambda w: few_shot([w.model], w.split),
        r"train: a Dataset is expected, not Split. Pass split\.train",
    ),
    "few_shot valid of other catalogue": (
        lambda w: few_shot([w.model], w.split.train, w.other),
        "valid: item .* is not in the catalogue of train",
    ),
    "transfer_report shares=(2.0,)": (
        lambda w: transfer_report(w.model, w.split, shares=(2.0,)),
        r"share=2.0: a number above 0 and of at most 1",
    ),
    "transfer_report shares=(0,)": (
        lambda w: transfer_report(w.model, w.split, shares=(0,)),
        r"share=0: a number above 0 and of at most 1",
    ),
}

FITTING = {
    "fit Split": (
        lambda w: recommender(w.encoder).fit(w.split),
        r"train: a Dataset is expected, not Split. Pass split\.train",
    ),
    "fit frame": (
        lambda w: recommender(w.encoder).fit(w.log),
        "train: a Dataset is expected, not DataFrame",
    ),
    "fit None": (
        lambda w: recommender(w.encoder).fit(None),
        "train: a Dataset is expected, not NoneType",
    ),
    "fit valid None of a frame": (
        lambda w: recommender(w.encoder).fit(w.split.train, w.log),
        "valid: a Dataset is expected, not DataFrame",
    ),
    **{
        f"fit epochs={epochs!r}": (
            lambda w, epochs=epochs: recommender(w.encoder).fit(w.split.train, epochs=epochs),
            f"epochs={epochs!r}: a whole number of at least 1",
        )
        for epochs in (0, -1, 1.5, "3")
    },
    **{
        f"fit config {name}={value!r}": (
            lambda w, name=name, value=value: recommender(w.encoder, **{name: value}),
            f"{name}={re.escape(repr(value))}: a ",
        )
        for name, values in {
            "dim": [0],
            "n_heads": [0],
            "max_length": [0, -5],
            "batch_size": [0, -3, 1.5],
            "dropout": [1.0],
            "weight_decay": [-1.0],
            "epochs": [0, "5"],
            "patience": [0, -1],
            "averaging": [2.0, -1.0],
            "warmup_epochs": [-3],
            "n_components": [0, -1],
            "hidden": [0],
            "learning_rate": [0.0, float("nan")],
            "n_sampled": [0],
        }.items()
        for value in values
    },
    **{
        f"fit in private {name}={value!r}": (
            lambda w, name=name, value=value: NextItemRidge(w.encoder, **{name: value}).fit(
                w.split.train
            ),
            f"{name}={re.escape(repr(value))}: a ",
        )
        for name, values in {
            "n_components": [0, 1.5],
            "regularisation": [0.0, float("nan")],
            "n_lags": [0, "3"],
            "n_events": [0, -1],
        }.items()
        for value in values
    },
    "fit in private a set": (
        lambda w: NextItemRidge(w.encoder).fit(
            Dataset.from_frames(w.log.drop(columns="timestamp"), w.items, order="unknown")
        ),
        "learns what comes next",
    ),
    "fit in private epsilon='8'": (lambda w: Privacy("8"), "epsilon='8': a number above 0"),
    "fit in private delta=1": (lambda w: Privacy(delta=1), "delta=1: a number above 0"),
    "fit config dim=15": (
        lambda w: recommender(w.encoder, dim=15, n_heads=2, history="transformer"),
        "dim=15 cannot be divided among n_heads=2",
    ),
    "fit config n_heads=3": (
        lambda w: recommender(w.encoder, dim=16, n_heads=3, history="transformer"),
        "dim=16 cannot be divided among n_heads=3",
    ),
    "fit config cosine='yes'": (
        lambda w: recommender(w.encoder, cosine="yes"),
        "cosine='yes' is not known",
    ),
    "fit config history='lstm'": (
        lambda w: recommender(w.encoder, history="lstm"),
        "history='lstm' is not known",
    ),
    **{
        f"fit seed={seed!r}": (
            lambda w, seed=seed: TransferRecommender(w.encoder, seed=seed, progress=False).fit(
                w.split.train, epochs=1
            ),
            f"seed={seed!r}: a whole number",
        )
        for seed in (-1, 2**70, "a")
    },
    "metadata 1e300": (
        lambda w: ItemColumns(["price"]).fit(w.items.assign(price=1e300 * np.arange(12))),
        "'price': row .* beyond what float32 holds",
    ),
    "metadata complex": (
        lambda w: ItemColumns(["price"]).fit(w.items.assign(price=1j)),
        "'price': complex numbers",
    ),
    "metadata all missing": (
        lambda w: is_true(
            np.isfinite(ItemColumns(["price"]).fit_transform(w.items.assign(price=np.nan))).all()
        ),
        None,
    ),
    "metadata constant": (
        lambda w: is_true((ItemColumns(["price"]).fit_transform(w.items) == 0).all()),
        None,
    ),
    "metadata of one item": (
        lambda w: is_true(
            np.isfinite(ItemColumns(["price"]).fit_transform(w.items.iloc[:1])).all()
        ),
        None,
    ),
    "metadata infinite": (
        lambda w: ItemColumns(["price"]).fit(w.items.assign(price=[*range(11), np.inf])),
        "'price': row 11",
    ),
    "metadata nullable truth": (
        lambda w: is_true(
            np.isfinite(
                ItemColumns(["price"]).fit_transform(
                    w.items.assign(price=pd.array([True, False, None] * 4, dtype="boolean"))
                )
            ).all()
        ),
        None,
    ),
    "encoder gives nan": (
        lambda w: recommender(OddEncoder(lambda v: v * np.nan)).fit(w.split.train, epochs=1),
        "12 of 12 vectors hold a number that is not finite",
    ),
    "encoder gives short": (
        lambda w: recommender(OddEncoder(lambda v: v[1:])).fit(w.split.train, epochs=1),
        "11 vectors for 12 texts",
    ),
    "encoder gives onenan": (
        lambda w: recommender(OddEncoder(spoiled(np.nan))).fit(w.split.train, epochs=1),
        "1 of 12 vectors hold a number that is not finite",
    ),
    "encoder gives inf": (
        lambda w: recommender(OddEncoder(spoiled(np.inf))).fit(w.split.train, epochs=1),
        "1 of 12 vectors hold a number that is not finite",
    ),
    "encoder gives dim0": (
        lambda w: recommender(OddEncoder(lambda v: v[:, :0])).fit(w.split.train, epochs=1),
        "vectors of 0 dimensions",
    ),
    "fit valid of other catalogue": (
        lambda w: recommender(w.encoder).fit(w.split.train, w.other, epochs=1),
        "valid: item .* is not in the catalogue of train",
    ),
    "fit checkpoint=True": (
        lambda w: recommender(w.encoder).fit(w.split.train, epochs=1, checkpoint=True),
        "checkpoint=True: the name of a file",
    ),
    "save unfitted": (
        lambda w: TransferRecommender(w.encoder).save_pretrained(w.folder / "x"),
        "learned nothing yet",
    ),
}

JUDGING = {
    "evaluate ks=10 (int)": (
        lambda w: evaluate(w.popular, w.split, ks=10),
        r"ks=10: a sequence of whole numbers is expected. Use ks=\(10,\)",
    ),
    "evaluate None": (
        lambda w: evaluate(None, w.split),
        "NoneType has no method recommend",
    ),
    "evaluate recommender that returns None": (
        lambda w: evaluate(Returns(None), w.split),
        "recommend gave NoneType",
    ),
    "evaluate recommender that empty frame": (
        lambda w: evaluate(
            Returns(pd.DataFrame({"user_id": [], "rank": [], "item_id": [], "score": []})), w.split
        ),
        "recommend gave no row",
    ),
    "evaluate recommender that dict": (
        lambda w: evaluate(Returns({"user_id": []}), w.split),
        "recommend gave dict",
    ),
    "evaluate a Dataset": (
        lambda w: evaluate(w.popular, w.dataset),
        "split: a Split is expected, not Dataset",
    ),
    "compare list": (
        lambda w: compare([w.popular, w.popular], w.split),
        r"compare needs systems by name",
    ),
    "compare_users NaN": (
        lambda w: compare_users({"a": np.array([np.nan]), "b": np.array([1.0])}),
        "'a': a Series of values by user is expected, not ndarray",
    ),
    "compare_users with a missing value": (
        lambda w: compare_users({"a": pd.Series([np.nan]), "b": pd.Series([1.0])}),
        "'a': 1 value.s. are missing",
    ),
    "audit features regex-ish/NaN text": (
        lambda w: is_true(
            len(
                audit(
                    w.split,
                    {"profile": pd.DataFrame({"user_id": [0, 0], "text": [np.nan, "[(*"]})},
                )
            )
            == 9
        ),
        None,
    ),
    "tune tuple len1": (
        lambda w: tune(EASE, w.split, {"regularisation": (1,)}, 1),
        r"space: regularisation=\(1,\)",
    ),
    "tune a range upside down": (
        lambda w: tune(EASE, w.split, {"regularisation": (10.0, 1.0)}, 1),
        r"space: regularisation=\(10.0, 1.0\)",
    ),
    "ItemKNN fit None": (lambda w: ItemKNN().fit(None), "train: a Dataset is expected"),
    "RecentlyPopular fit None": (
        lambda w: RecentlyPopular().fit(None),
        "train: a Dataset is expected",
    ),
    "Popular fit None": (lambda w: Popular().fit(None), "train: a Dataset is expected"),
    "EASE reg=-1e3": (
        lambda w: EASE(-1e3).fit(w.split.train),
        "regularisation=-1000.0: a number above 0",
    ),
    "EASE reg='a'": (
        lambda w: EASE("a").fit(w.split.train),
        "regularisation='a': a number above 0",
    ),
    "ItemKNN n=-1": (
        lambda w: ItemKNN(-1).fit(w.split.train),
        "n_neighbours=-1: a whole number of at least 1",
    ),
    "ItemKNN shrink=nan": (
        lambda w: ItemKNN(shrink=np.nan).fit(w.split.train),
        "shrink=nan: a number of at least 0",
    ),
    "ContentKNN n_last=0": (
        lambda w: ContentKNN(w.encoder, n_last=0).fit(w.split.train),
        "n_last=0: a whole number of at least 1",
    ),
    "ContentKNN no directions": (
        lambda w: ContentKNN(w.encoder, n_components=[]).fit(w.split.train),
        r"n_components=\[\]",
    ),
    "ContentKNN n_components='whitened'": (
        lambda w: ContentKNN(w.encoder, n_components="whitened").fit(w.split.train),
        r"n_components='whitened' is not known. Use one of \['centred'\]",
    ),
    "Ensemble unfitted": (lambda w: Ensemble([Popular()]).join(), "learned nothing yet"),
    "Ensemble weights str": (
        lambda w: Ensemble([w.popular], weights=["a"]).join(),
        "weight='a': a number",
    ),
    "Ensemble of itself": (
        lambda w: of_itself(w).fit(w.split.train),
        "a member of itself",
    ),
}


def of_itself(w) -> Ensemble:
    ensemble = Ensemble([w.popular])
    ensemble.members = [ensemble]
    return ensemble


def refused(call, *arguments) -> None:
    with pytest.raises(ValueError):
        call(*arguments)


NAME = "all-MiniLM-L6-v2"
READING = {
    **{
        f"the name of an encoder to {kind.__name__}": (
            lambda w, kind=kind: kind(NAME).fit(w.dataset),
            "encoder='all-MiniLM-L6-v2': it reads no texts",
        )
        for kind in (TransferRecommender, ContentKNN, NextItemRidge)
    },
    "the name of an encoder to a classifier": (
        lambda w: TransferClassifier(NAME).fit(["a", "b"], [0, 1]),
        "encoder='all-MiniLM-L6-v2': it reads no texts",
    ),
    "the name of an encoder to FeatureExtractor": (
        lambda w: FeatureExtractor(NAME).fit(w.dataset.items),
        "encoder='all-MiniLM-L6-v2': it reads no texts",
    ),
    "audit of a Dataset": (lambda w: audit(w.dataset), "a Split is expected, not Dataset"),
    "transfer_report of a Dataset": (
        lambda w: transfer_report(w.model, w.dataset),
        "a Split is expected, not Dataset",
    ),
    "encode None": (lambda w: w.encoder.encode(None), "a list of texts is expected"),
    "encode dict": (lambda w: w.encoder.encode({"a": "b"}), "a list of texts is expected"),
    "encode int": (lambda w: w.encoder.encode(5), "a list of texts is expected"),
    **{
        f"encode batch_size={size}": (
            lambda w, size=size: w.encoder.encode(["a"], batch_size=size),
            f"batch_size={size}: a whole number of at least 1",
        )
        for size in (0, -1, 1.5)
    },
    **{
        f"TextEncoder max_tokens={n}": (
            lambda w, n=n: TextEncoder(
                w.encoder.exact_model, w.encoder.tokenizer, name="x", max_tokens=n
            ),
            f"max_tokens={n}: this model takes 3 to 512",
        )
        for n in (1, 2, -1, 1_000_000)
    },
    "TextEncoder template='{}{x}'": (
        lambda w: TextEncoder(
            w.encoder.exact_model, w.encoder.tokenizer, name="x", template="{}{x}"
        ),
        "template='{}{x}'",
    ),
    "TextEncoder device='nope'": (
        lambda w: TextEncoder(w.encoder.exact_model, w.encoder.tokenizer, name="x", device="nope"),
        "device='nope'",
    ),
    "TextEncoder.from_pretrained(None)": (
        lambda w: TextEncoder.from_pretrained(None),
        "None is no name",
    ),
    "TextEncoder.from_pretrained(5)": (lambda w: TextEncoder.from_pretrained(5), "5 is no name"),
    "preprocess None": (lambda w: preprocess(None), "a list of texts is expected"),
    "clean_text '<!--'*1e5": (lambda w: is_true(len(clean_text("<!--" * 100_000)) >= 0), None),
    "FeatureExtractor list": (
        lambda w: FeatureExtractor(w.encoder).fit(["a"]),
        "items: a pandas DataFrame is expected, not list",
    ),
    "FeatureExtractor names unfitted": (
        lambda w: FeatureExtractor(w.encoder).get_feature_names_out(),
        "not fitted yet",
    ),
    "FeatureExtractor n_components=0": (
        lambda w: FeatureExtractor(w.encoder, n_components=0).fit(w.items),
        "n_components=0: a whole number",
    ),
    "FeatureExtractor n=-3": (
        lambda w: FeatureExtractor(w.encoder, n_components=-3).fit(w.items),
        "n_components=-3: a whole number",
    ),
    "fuse fit_rows ints": (
        lambda w: fuse([w.vectors], fit_rows=np.array([0, 1, 2])),
        r"fit_rows: true or false for each of 20 items",
    ),
    "fuse fit_rows short": (
        lambda w: fuse([w.vectors], fit_rows=np.array([True, False, True])),
        r"fit_rows: true or false for each of 20 items",
    ),
    "fuse 1e300": (lambda w: fuse([w.vectors * 1e300]), "beyond what float32 holds"),
    "fuse complex": (lambda w: fuse([w.vectors + 1j]), "real numbers"),
    "Whitening NaN": (lambda w: Whitening(2).fit(w.vectors * np.nan), "contains NaN"),
    "Whitening empty": (lambda w: Whitening(2).fit(w.vectors[:0]), "0 sample"),
    "Whitening transform unfitted": (
        lambda w: Whitening(2).transform(w.vectors),
        "not fitted yet",
    ),
    "Whitening other width": (
        lambda w: Whitening(2).fit(w.vectors).transform(w.vectors[:, :2]),
        "2 features, but Whitening is expecting 4",
    ),
    "Whitening n_components=0": (
        lambda w: Whitening(0).fit(w.vectors),
        "n_components=0: a whole number",
    ),
    "info_nce temperature 0": (
        lambda w: info_nce(torch.eye(2), torch.eye(2), temperature=0),
        "temperature=0: a number above 0",
    ),
    "info_nce temperature<0": (
        lambda w: info_nce(torch.eye(2), torch.eye(2), temperature=-1.0),
        "temperature=-1.0: a number above 0",
    ),
    "files None": (lambda w: Dataset.from_files(None, None), "path=None: the name of a file"),
    "fetch_asset []": (lambda w: fetch_asset([]), r"no asset named \[\]"),
    "read_movielens garbage u.data": (garbage_movielens, "u.data: 4 names for 2 columns"),
    "read_amazon no asin": (
        lambda w: amazon(w, '{"reviewerID": "A"}\n', '{"asin": "B", "title": "x"}\n'),
        "'asin'.* is missing",
    ),
    "read_amazon strings ts": (
        lambda w: is_true(
            amazon(
                w,
                '{"reviewerID": "A", "asin": "B", "unixReviewTime": "1400000000"}\n',
                '{"asin": "B", "title": "x", "categories": [["Home", "Light"]]}\n',
            )
            .items["text"]
            .tolist()
            == ["x, Home > Light"]
        ),
        None,
    ),
    "read_amazon a time that is none": (
        lambda w: amazon(
            w,
            '{"reviewerID": "A", "asin": "B", "unixReviewTime": "soon"}\n',
            '{"asin": "B", "title": "x"}\n',
        ),
        "'timestamp': missing time",
    ),
    "cli fit epochs=0": (lambda w: fit_command(w, "--epochs", "0"), None),
    "cli fit epochs=-1": (lambda w: fit_command(w, "--epochs", "-1"), None),
    "cli fit with a negative seed": (lambda w: fit_command(w, "--seed", "-1"), None),
    "cli fit with another encoding": (lambda w: fit_command(w, "--encoding", "utf-99"), None),
}

LABELS = {
    "classifier labels None": (
        lambda w: TransferClassifier(w.encoder).fit(["a", "b"], None),
        "labels: a list of labels is expected, not NoneType",
    ),
    "classifier mixed": (
        lambda w: TransferClassifier(w.encoder).fit(["a", "b"], [1, "1"]),
        "labels of mixed type",
    ),
    "classifier float 0.5": (
        lambda w: TransferClassifier(w.encoder).fit(["a", "b"], [0.5, 0.7]),
        "label 0.5 is a number with a fraction",
    ),
    "classifier 2d": (
        lambda w: TransferClassifier(w.encoder).fit(["a", "b"], np.eye(2)),
        r"labels of shape \(2, 2\)",
    ),
    "classifier texts generator": (
        lambda w: TransferClassifier(w.encoder).fit((t for t in "ab"), [0, 1]),
        "a list of texts is expected",
    ),
    "classifier list labels": (
        lambda w: TransferClassifier(w.encoder).fit(["a", "b"], [[0], [1]]),
        r"labels of shape \(2, 1\)",
    ),
    "classifier missing label": (
        lambda w: TransferClassifier(w.encoder).fit(["a", "b", "c"], ["x", None, "y"]),
        "label 1 .* is missing",
    ),
    "classifier predict unfitted": (
        lambda w: TransferClassifier(w.encoder).predict(["a"]),
        "not fitted yet",
    ),
    "classifier predict a table": (
        lambda w: TransferClassifier(w.encoder).fit(["a", "b"], [0, 1]).predict(w.items),
        "a list of texts is expected",
    ),
    "classifier tokens_per_batch=0": (
        lambda w: TransferClassifier(w.encoder, strategy="full", tokens_per_batch=0).fit(
            ["a", "b"], [0, 1]
        ),
        "tokens_per_batch=0: a whole number",
    ),
    "classifier learning_rate=nan": (
        lambda w: TransferClassifier(w.encoder, strategy="full", learning_rate=np.nan).fit(
            ["a", "b"], [0, 1]
        ),
        "learning_rate=nan: a number above 0",
    ),
    "evaluate_classifier probs 2-col": (
        lambda w: evaluate_classifier([0, 1], [0, 1], np.eye(2)),
        r"probabilities of shape \(2, 2\).*Pass those of the positive class",
    ),
    "evaluate_classifier positive absent": (
        lambda w: evaluate_classifier(["a", "b"], ["a", "b"], positive="c"),
        "positive='c' is none of the labels",
    ),
    "tune_encoder partners Series": (
        lambda w: is_true(tuned(w, pd.Series(["x", "y"])) is not w.encoder),
        None,
    ),
    "tune_encoder partners array": (
        lambda w: is_true(tuned(w, np.array(["x", "y"])) is not w.encoder),
        None,
    ),
    "tune_encoder partners=[]": (lambda w: tuned(w, []), "2 texts and 0 partners"),
    "tune_encoder batch_size=1": (
        lambda w: tuned(w, None, batch_size=1),
        "batch_size=1: a whole number of at least 2",
    ),
    "tune_encoder epochs=0": (lambda w: tuned(w, None, epochs=0), "epochs=0: a whole number"),
    "catalogue_overlap []": (
        lambda w: catalogue_overlap(w.encoder, [], ["a"]),
        "0 source text.s. and 1 target text.s.",
    ),
}


def tuned(w, partners, **options):
    return tune_encoder(w.encoder, ["a", "b"], partners, progress=False, **options)


PRETRAINING = {
    "pretrain None": (
        lambda w: pretrain(None, folder=w.folder / "none"),
        "a list of texts is expected",
    ),
    "pretrain vs=0": (
        lambda w: pretrained(w, vocabulary_size=0),
        "vocabulary_size=0: a whole number",
    ),
    **{
        f"pretrain {name}={value}": (
            lambda w, name=name, value=value: pretrained(w, **{name: value}),
            f"{name}={value}: a ",
        )
        for name, values in {
            "max_tokens": [3, 0],
            "epochs": [0, -1],
            "tokens_per_batch": [0],
            "accumulation": [0],
            "mask_share": [0.0, 2.0],
            "warmup": [-1.0],
        }.items()
        for value in values
    },
}

CASES = IDS | TEXTS | TIMES | PARTS | ASKING | FITTING | JUDGING | READING | LABELS | PRETRAINING
REFUSALS = (ValueError, KeyError, FileNotFoundError, NotFittedError)


@pytest.mark.parametrize("case", CASES)
def test_a_right_answer_or_an_error_that_helps(world, case):
    call, words = CASES[case]
    if words is None:
        call(world)
        return
    with pytest.raises(REFUSALS, match=words) as caught:
        call(world)
    message = caught.value.args[0]
    if "sklearn" not in type(caught.value).__module__ and not case.startswith("Whitening"):
        assert re.search(r"[.!?:)\]] [A-Z`]", message), message


def test_every_input_that_was_once_answered_wrongly_is_a_case():
    with (Path(__file__).parent / "bad_inputs.csv").open(encoding="utf-8", newline="") as table:
        once_wrong = {row["case"] for row in csv.DictReader(table)}
    assert len(once_wrong) > 150
    assert once_wrong <= {re.sub(r"^fit epochs='3'$", "fit epochs='3'", case) for case in CASES}
