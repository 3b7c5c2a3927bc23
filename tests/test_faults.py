"""Faults that were found from outside, each with a twin of its kind."""

import json
import shutil
import sqlite3

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA

from llmrec import Dataset, TextEncoder, TransferRecommender
from llmrec.assets import fetch_asset
from llmrec.baselines import EASE, ContentKNN, ItemKNN
from llmrec.checks import DataError
from llmrec.language_models import sentence_transformers_options
from llmrec.models import FUSIONS, HISTORIES, SequentialModel, TrainingConfig
from llmrec.recommenders import Popular, RecentlyPopular, top_k, top_k_of_products
from llmrec.sequential import SequentialRecommender
from llmrec.text import EncodingError
from llmrec.training import CheckpointError, read_checkpoint, write_checkpoint
from llmrec.transfer import head_of
from llmrec.tuning import tune
from llmrec.whitening import Whitening

TEXTS = [f"a thing of kind {number}" for number in range(300)]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("llmrec.encoder.cache_folder", lambda: tmp_path)
    return lambda encoder: tmp_path / "vectors" / f"{encoder.fingerprint[:12]}.v2.sqlite"


@pytest.fixture
def stored(tmp_path):
    """The folder of an encoder as the library sentence-transformers stores it."""
    shutil.copytree(fetch_asset("all-MiniLM-L6-v2", progress=False), tmp_path / "bge")

    def write(file: str, **content) -> str:
        path = tmp_path / "bge" / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return str(tmp_path / "bge")

    return write


# a cache that is locked, and rows in which a bit has changed
def test_a_locked_cache_is_said_once_and_left_alone(encoder, own_cache, caplog):
    encoder.encode(["first"])
    with sqlite3.connect(own_cache(encoder)) as other:
        other.execute("BEGIN EXCLUSIVE")
        vectors = encoder.encode(TEXTS, batch_size=16)
    assert len(vectors) == 300 and caplog.text.count("cache of vectors cannot be used") == 1


def test_a_bit_that_has_changed_in_the_cache_is_noticed(encoder, own_cache):
    before = encoder.encode(TEXTS)
    with sqlite3.connect(own_cache(encoder)) as file:
        rows = file.execute("SELECT number, vector FROM vectors").fetchall()
        for place, (number, vector) in enumerate(rows[:60]):
            spoiled = bytearray(vector)
            spoiled[7 * place % len(vector)] ^= 1 << place % 8
            file.execute("UPDATE vectors SET vector = ? WHERE number = ?", (spoiled, number))
    file.close()
    assert np.allclose(encoder.encode(TEXTS), before, atol=1e-2)
    assert np.array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS))


def test_a_bit_that_has_changed_in_a_checkpoint_is_noticed(tmp_path):
    path, random = tmp_path / "run", np.random.default_rng(0)
    write_checkpoint(path, {"w": torch.rand(40, 40)}, {"identity": {"seed": 0}})
    whole = path.read_bytes()
    assert read_checkpoint(path, {"seed": 0})[0] == {"identity": {"seed": 0}}
    for place in random.integers(0, len(whole), 40):
        spoiled = bytearray(whole)
        spoiled[place] ^= 1 << int(random.integers(8))
        path.write_bytes(spoiled)
        try:
            note, tensors = read_checkpoint(path, {"seed": 0})
        except CheckpointError:
            continue
        write_checkpoint(tmp_path / "again", tensors, note)
        assert (tmp_path / "again").read_bytes() == whole  # a byte that means nothing


# a folder that says how it pools, how much it reads and what goes before a text
def test_a_stored_pooling_is_used(stored, encoder):
    folder = stored(
        "1_Pooling/config.json", pooling_mode_cls_token=True, word_embedding_dimension=384
    )
    loaded = TextEncoder.from_pretrained(folder)
    assert loaded.pooling == "cls" and loaded.max_tokens == 256  # from sentence_bert_config.json
    assert TextEncoder.from_pretrained(folder, pooling="mean", max_tokens=128).pooling == "mean"
    assert encoder.pooling == "mean" and encoder.max_tokens == 128


def test_a_stored_prompt_goes_before_each_text(stored):
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    loaded = TextEncoder.from_pretrained(stored("config_sentence_transformers.json", **prompts))
    assert loaded.template == "query: {}"


def test_a_pooling_of_another_kind_is_refused(stored, encoder):
    folder = stored("1_Pooling/config.json", pooling_mode_weightedmean_tokens=True)
    with pytest.raises(EncodingError, match=r"weightedmean_tokens.*Say pooling="):
        TextEncoder.from_pretrained(folder)
    (stored("1_Pooling/config.json"),)
    with open(f"{folder}/1_Pooling/config.json", "w") as file:
        file.write("{")
    with pytest.raises(EncodingError, match="1_Pooling/config.json is damaged"):
        sentence_transformers_options(folder, encoder.model)


# a language that an encoder has not read
def test_unknown_tokens_are_noticed(encoder, own_cache, caplog):
    encoder.encode(["这个酒店的早餐很丰盛", "房间干净而且安静"])
    assert "all-MiniLM-L6-v2 does not seem to have read this language" in caplog.text
    caplog.clear()
    encoder.encode(["a quiet room", "breakfast was plentiful, 早"])
    assert not caplog.text


# many vectors, and a small catalogue
def test_many_vectors_are_whitened_through_their_covariance():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(20_001, 12)) @ random.normal(size=(12, 12))
    ours = Whitening(8).fit(vectors).transform(vectors)
    theirs = PCA(8, whiten=True, svd_solver="full").fit_transform(vectors)
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-4)
    few = Whitening(8).fit(vectors[:20_000]).transform(vectors)
    assert np.corrcoef(np.abs(ours[:, 0]), np.abs(few[:, 0]))[0, 1] > 0.999


def test_a_small_catalogue_is_centred_and_whitening_it_is_warned_of(tiny, encoder, caplog):
    vectors = encoder.encode(tiny.items["text"].tolist())
    caplog.clear()  # what the encoder says when it meets these texts for the first time
    centred = vectors - vectors.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(ContentKNN(encoder).fit(tiny).vectors_, centred, atol=1e-5)
    raw = ContentKNN(encoder, n_components=None).fit(tiny).vectors_
    np.testing.assert_allclose(raw, vectors, atol=1e-5)
    assert not caplog.text
    ContentKNN(encoder, n_components=256).fit(tiny)
    assert "256 directions over 5 texts" in caplog.text


# systems without evidence
@pytest.mark.parametrize("system", [Popular, EASE, ItemKNN])
def test_a_system_without_evidence_does_not_profit_from_the_catalogue(system, films):
    """Numbers of films and their popularity go together; among withheld films nobody knows them."""
    split = films.sample_users(200).split("cold_items")
    lists = system().fit(split.train).recommend(split.histories(), candidates=split.candidates())
    numbers = lists["item_id"].to_numpy()
    low, high = np.quantile(split.candidates(), [0.2, 0.8])
    assert low < np.median(numbers) < high and numbers.max() > high


def test_equal_scores_stand_in_the_same_order_however_they_are_computed():
    random = torch.Generator().manual_seed(0)
    users = torch.randint(-1, 2, (5, 3), generator=random).float()
    items = torch.randint(-1, 2, (9_000, 3), generator=random).float()
    users[0] = 0  # knows nothing
    priority = torch.randperm(9_000, generator=random)
    seen = torch.tensor([0, 0, 1]), torch.tensor([3, 8_999, 17])
    scores = users @ items.T
    scores[seen] = -torch.inf
    whole = top_k(scores, 20, priority)
    tiled = top_k_of_products(users, items, 20, seen, priority)
    assert all(torch.equal(*pair) for pair in zip(whole, tiled, strict=True))
    by_hand = sorted(
        range(9_000), key=lambda item: (-scores[2, item].item(), priority[item].item())
    )
    assert whole[1][2].tolist() == by_hand[:20]


# searching the settings of a network
@pytest.mark.parametrize("system", [TransferRecommender, SequentialRecommender])
def test_settings_of_a_network_are_tuned_by_name(system, films):
    split = films.sample_users(40).split()
    start = {"dim": 8, "epochs": 1}
    found = tune(system, split, {"dim": [8], "epochs": [1]}, 1, start=start, progress=False)
    assert found.best == start and set(found.trials.columns) >= {"dim", "epochs"}


# every fusion and tower has a head that learns
@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_network_has_a_head(fusion, history):
    config = TrainingConfig(fusion=fusion, history=history, dim=4, hidden=6, n_layers=1)
    names = head_of(SequentialModel(8, 5, config))
    assert any(name.startswith("item_tower") for name in names)
    assert any(name.startswith("sequence_tower") for name in names)


def test_a_best_epoch_at_the_end_is_said(films, encoder, caplog):
    split = films.sample_users(40).split()
    config = TrainingConfig(dim=8, hidden=16, epochs=1)
    TransferRecommender(encoder, closed_form=False, config=config, progress=False).fit(
        split.train, split.valid
    )
    assert "the last of 1 epochs is the best" in caplog.text


# logs of other forms
def test_filters_say_what_they_lose(films, caplog):
    sparse = films.sample_users(300).at_least(user_events=20)
    assert (
        "users with 20 events or more" in sparse.steps[-1]
        and "300 of 300 users" in sparse.steps[-1]
    )
    rare = Dataset.from_frames(
        pd.DataFrame(
            {
                "user_id": [*range(100), *([100] * 4), *([101] * 4)],
                "item_id": [*range(100), *range(4), *range(4)],
                "timestamp": 1,
            }
        ),
        pd.DataFrame({"item_id": range(100), "text": "thing"}),
    )
    core = rare.k_core(2)
    assert "2 of 102 users" in core.steps[0] and "Dataset.at_least is milder" in caplog.text
    assert rare.at_least(user_events=2).histories().keys() == {100, 101}


def test_an_order_that_is_known_without_times(films, encoder):
    few = films.sample_users(30)
    lists = few.interactions.sort_values(["user_id", "timestamp"], kind="stable")
    lists = lists.groupby("user_id")["item_id"].agg(list).reset_index()
    filed = Dataset.from_frames(lists, few.items)
    assert filed.order == "file" and filed.histories() == few.histories()
    split = filed.split("leave_one_out")
    assert split.targets() == few.split("leave_one_out").targets()
    assert split.manifest["order"] == "file"
    model = TransferRecommender(encoder, progress=False).fit(split.train, split.valid, epochs=1)
    assert model.config_.history == "gru"
    for refused in (
        lambda: filed.split("temporal"),
        lambda: RecentlyPopular().fit(filed),
        filed.times,
    ):
        with pytest.raises(DataError):
            refused()


def test_a_split_of_a_log_without_times_is_saved_and_loaded(films, tmp_path):
    from llmrec import Split, audit

    undated = Dataset.from_frames(films.interactions.drop(columns="timestamp"), films.items)
    for protocol in ("random", "cold_items", "cold_users"):
        split = undated.split(protocol)
        assert "leak" not in set(audit(split)["verdict"])
        split.save(tmp_path / protocol)
        again = Split.load(tmp_path / protocol)
        assert again.train.order == "unknown" and again.task() == split.task()
    described = undated.describe()
    assert described["order of events"] == "unknown" and "first event" not in described
