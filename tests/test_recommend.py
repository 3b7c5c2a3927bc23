"""The contract of recommend, and of models on disk."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmrec import TransferClassifier, TransferRecommender, compare, evaluate
from llmrec.baselines import EASE, ContentKNN, ItemKNN
from llmrec.encoder import TextEncoder
from llmrec.folders import ModelError, settings_checksum
from llmrec.linear import SLIT, TextEASE
from llmrec.models import TrainingConfig
from llmrec.recommenders import Popular, RecentlyPopular, Recommender
from llmrec.text import EncodingError


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), k=st.integers(1, 2_000))
def test_recommend_is_new_distinct_sorted_and_full(data, k, fitted, item_ids):
    histories = data.draw(
        st.dictionaries(
            st.text(max_size=3), st.lists(st.sampled_from(item_ids), max_size=150), max_size=3
        )
    )
    candidates = data.draw(
        st.none() | st.lists(st.sampled_from(item_ids), min_size=1, max_size=30, unique=True)
    )
    top = fitted.recommend(histories, k=k, candidates=candidates)
    assert list(top.columns) == ["user_id", "rank", "item_id", "score"]
    allowed = set(candidates or item_ids)
    for user, history in histories.items():
        own = top[top["user_id"] == user]
        assert len(own) == min(k, len(allowed - set(history)))
        assert (
            own["item_id"].is_unique
            and not set(own["item_id"]) & set(history)
            and set(own["item_id"]) <= allowed
        )
        assert (
            own["rank"].tolist() == list(range(1, len(own) + 1))
            and own["score"].is_monotonic_decreasing
        )


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "10"])
def test_odd_k_is_refused(fitted, k):
    with pytest.raises(ValueError, match="k="):
        fitted.recommend({1: [1]}, k=k)


def test_k_beyond_the_catalogue_gives_all_there_is(fitted, item_ids):
    assert len(fitted.recommend({1: [1]}, k=10**6)) == len(item_ids) - 1


def test_unknown_item_names_the_user(fitted):
    with pytest.raises(KeyError, match=r"history of user 'ann'.*-5.*\. [A-Z]"):
        fitted.recommend({"ann": [1, -5]})


def test_a_history_longer_than_the_catalogue_is_read_alike(tiny):
    popular, items = Popular().fit(tiny), tiny.items["item_id"].tolist()
    pieces = [popular._item_indices([item])[0] for item in items[::-1]]
    assert popular._item_indices(items[::-1] * 2).tolist() == pieces * 2
    with pytest.raises(KeyError, match="'ann'.*'nowhere'"):
        popular.recommend({"ann": [*items, *items, "nowhere"]}, k=1)


def test_no_history_is_answered_by_popularity_and_says_so(fitted):
    top = fitted.recommend({"new": [], "old": [1]}, k=5)
    assert top.attrs["answered_by_popularity"] == ["new"]
    best = fitted.items_["item_id"].to_numpy()[np.argsort(-fitted.popularity_, kind="stable")[:5]]
    assert top.loc[top["user_id"] == "new", "item_id"].tolist() == best.tolist()


def test_one_item_is_history_enough(fitted):
    top = fitted.recommend({"a": [1], "b": [300]}, k=10)
    assert len(top) == 20 and "answered_by_popularity" not in top.attrs


def test_batching_does_not_change_lists(fitted, films):
    histories = dict(list(films.histories().items())[:50])
    together = fitted.recommend(histories, k=5)
    alone = pd.concat(
        [fitted.recommend({user: history}, k=5) for user, history in histories.items()],
        ignore_index=True,
    )
    assert (together["item_id"] == alone["item_id"]).mean() > 0.99 and np.allclose(
        together["score"], alone["score"], atol=1e-3
    )


def test_a_text_alone_makes_an_item_recommendable(fitted, films):
    catalogue = pd.concat(
        [
            films.items[["item_id", "text"]],
            pd.DataFrame({"item_id": [10**6], "text": ["A brand new film (2026), Drama"]}),
        ]
    )
    larger = fitted.with_items(catalogue)
    assert (
        10**6 in set(larger.recommend({1: [1]}, k=2_000)["item_id"])
        and len(larger.recommend({1: [10**6]}, k=3)) == 3
    )
    elsewhere = fitted.with_items(
        pd.DataFrame({"item_id": ["milk", "tea"], "text": ["fluid milk, dairy", "green tea"]})
    )
    assert elsewhere.recommend({"x": ["milk"]})["item_id"].tolist() == ["tea"] and len(
        fitted.items_
    ) == len(films.items)


def test_saved_and_loaded_give_the_same(fitted, encoder, films, tmp_path):
    fitted.save_pretrained(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "items.parquet",
        "model.safetensors",
    ]
    loaded = TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)
    assert loaded.recommend(films.sample_users(20)).equals(fitted.recommend(films.sample_users(20)))
    with pytest.raises(ModelError, match="exists already"):
        fitted.save_pretrained(tmp_path / "model")


def _note(folder, **changes):
    """Write other settings into a saved model, with a checksum that fits."""
    settings = json.loads((folder / "config.json").read_text()) | changes
    settings["checksum"] = settings_checksum(settings)
    (folder / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04K\x01."), "damaged"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(
                (folder / "model.safetensors").read_bytes()[:-100]
            ),
            "damaged",
        ),
        (lambda folder: (folder / "items.parquet").write_bytes(b"PAR1"), "damaged"),
        (lambda folder: (folder / "config.json").write_text("{"), "not JSON"),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'),
            "not a TransferRecommender",
        ),
        (lambda folder: _note(folder, sha256=None), "not what was saved"),
        (lambda folder: _note(folder, sha256={"../../outside": "0"}), "not what was saved"),
        (lambda folder: _note(folder, encoder_fingerprint=None), "not the one it was trained with"),
    ],
)
def test_corrupt_and_foreign_folders_are_refused(fitted, encoder, tmp_path, spoil, words):
    fitted.save_pretrained(tmp_path / "model")
    spoil(tmp_path / "model")
    with pytest.raises(ModelError, match=words):
        TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)


def test_other_sizes_in_the_config_are_refused(fitted, encoder, tmp_path):
    fitted.save_pretrained(tmp_path / "model")
    settings_file = tmp_path / "model" / "config.json"
    record = json.loads(settings_file.read_text())
    record["training"]["dim"] = 999_000
    settings_file.write_text(json.dumps(record | {"training": record["training"] | {"dim": 32}}))
    with pytest.raises(ModelError, match=r"[.!] [A-Z]"):
        TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)


def test_a_pickle_is_never_opened(tmp_path):
    marker = tmp_path / "ran"
    pickled = tmp_path / "model.pkl"
    pickled.write_bytes(f"cos\nsystem\n(S'touch {marker}'\ntR.".encode())
    with pytest.raises(ModelError, match="never read"):
        TransferRecommender.from_pretrained(pickled)
    folder = tmp_path / "folder"
    folder.mkdir()
    pickled.rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="never read"):
        TransferRecommender.from_pretrained(folder)
    assert not marker.exists()


def test_same_seed_same_bits_and_the_global_generator_is_left_alone(films, encoder):
    split, config = films.sample_users(30).split(), TrainingConfig(dim=16, hidden=32, n_layers=1)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, two = (
        TransferRecommender(encoder, closed_form=False, config=config, seed=3, progress=False).fit(
            split.train, epochs=2
        )
        for _ in range(2)
    )
    assert torch.equal(torch.rand(1), expected)
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.network_.parameters(), two.network_.parameters(), strict=True)
    )


def test_adapt_leaves_the_source_as_it_was(fitted, films):
    before = [parameter.clone() for parameter in fitted.network_.parameters()]
    split = films.domain(genres=["Horror"]).split()
    for strategy in ("zero_shot", "head", "full"):
        moved = fitted.adapt(split.train, split.valid, strategy=strategy, epochs=1)
        assert set(moved.recommend(split.histories("test"), k=3)["item_id"]) <= set(
            split.train.items["item_id"]
        )
    assert all(torch.equal(a, b) for a, b in zip(before, fitted.network_.parameters(), strict=True))
    with pytest.raises(ValueError, match="strategy='magic'"):
        fitted.adapt(split.train, strategy="magic")


def test_nothing_to_learn_from_is_an_error(tiny, encoder):
    from dataclasses import replace

    empty = replace(tiny, interactions=tiny.interactions.iloc[:0])
    for system in (TransferRecommender(encoder, progress=False), Popular()):
        with pytest.raises(ValueError, match=r"[.!] [A-Z]"):
            system.fit(empty)
    with pytest.raises(ValueError, match="two events"):
        TransferRecommender(encoder, progress=False).fit(
            replace(tiny, interactions=tiny.interactions.iloc[-1:])
        )
    with pytest.raises(ValueError, match="Call fit first"):
        Popular().recommend({1: ["a"]})


@pytest.mark.parametrize(
    "system", [Popular(), RecentlyPopular(), ItemKNN(n_neighbours=3), EASE(10.0), "content"]
)
def test_baselines_keep_the_contract(system, tiny, encoder):
    system = ContentKNN(encoder, n_components=2) if system == "content" else system
    top = system.fit(tiny).recommend({"x": ["a", "b"], "y": []}, k=10)
    assert (
        set(top.loc[top["user_id"] == "x", "item_id"]) == {"c", "d", "e"}
        and (top["user_id"] == "y").sum() == 5
    )


def test_a_damaged_model_does_not_recommend(tiny):
    class Broken(Recommender):
        def score(self, histories):
            return torch.full((len(histories), len(self.items_)), torch.nan)

    broken = Broken()
    broken._remember(tiny)
    with pytest.raises(ValueError, match="no number"):
        broken.recommend({1: ["a"]})


def test_report_and_comparison(films):
    split = films.split("cold_items", seed=1)
    system = Popular().fit(split.train)
    report = evaluate(system, split, ks=(5, 10))
    assert (
        list(report.columns) == ["metric", "k", "value", "ci_low", "ci_high", "n_users"]
        and report.attrs["split"] == split.manifest["content_hash"]
    )
    with pytest.raises(ValueError, match="ks="):
        evaluate(system, split, ks=(0,))
    same = compare({"one": system, "other": system}, split)
    assert same.loc[0, "difference"] == 0 and same.loc[0, "p_value"] == 1


def test_classifier_refuses_what_it_cannot_learn(encoder):
    with pytest.raises(ValueError, match="only one class"):
        TransferClassifier(encoder).fit(["a", "b"], [1, 1])
    with pytest.raises(ValueError, match="2 texts and 1 labels"):
        TransferClassifier(encoder).fit(["a", "b"], [1])
    assert TransferClassifier(encoder).fit(["good", "bad"], [1, 0]).predict(["good"])[0] == 1


@pytest.mark.parametrize(
    "texts", [["ok", ""], ["ok", " \n"], ["ok", None], ["ok", 5], "one string"]
)
def test_texts_that_are_none(encoder, texts):
    with pytest.raises(EncodingError, match=r"[.!] [A-Z]"):
        encoder.encode(texts)


def test_vectors_do_not_depend_on_company_or_cache(encoder, tmp_path, monkeypatch):
    texts = ["茶 🍵", "كتاب", "x" * 100_000, "tea", "\ud800 lone"]
    cached = encoder.encode(texts)
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "empty"))
    assert ((encoder.encode(texts[::-1], batch_size=2)[::-1] * cached).sum(1) > 0.999).all()
    next((tmp_path / "empty" / "vectors").iterdir()).write_bytes(b"not a database" * 100)
    assert ((encoder.encode(texts) * cached).sum(1) > 0.999).all()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "file"))
    assert ((encoder.encode(texts) * cached).sum(1) > 0.999).all()
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_a_folder_without_an_encoder(tmp_path):
    with pytest.raises(EncodingError, match=r"[.!] [A-Z]"):
        TextEncoder.from_pretrained(str(tmp_path))


@pytest.mark.parametrize("kind", [ItemKNN, EASE, TextEASE, SLIT])
def test_weights_of_pairs_lie_by_rows(kind, films):
    """A product with histories copies them otherwise, each time."""
    few = films.sample_users(50, seed=0)
    fitted = kind().fit(few)
    larger = fitted.with_items(few.items)
    assert fitted.weights_.flags.c_contiguous and larger.weights_.flags.c_contiguous
    assert fitted.weights_.dtype == larger.weights_.dtype == np.float32


def test_reaches_a_quality_worth_having(films, encoder):
    """MovieLens-100K, leave-one-out, all films ranked, trained without the validation film; one
    seed, a tenth of the epochs, far above popularity.
    """
    split = films.split("leave_one_out")
    ours = TransferRecommender(encoder, seed=0, progress=False).fit(
        split.train, split.valid, epochs=6
    )
    values = {
        name: evaluate(system, split).set_index("metric").loc["ndcg", "value"]
        for name, system in {"ours": ours, "popular": Popular().fit(split.train)}.items()
    }
    assert values["ours"] > 0.065 and values["ours"] > 1.3 * values["popular"]
