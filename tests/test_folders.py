"""Saved models load anywhere, and a damaged or hostile folder is refused at once."""

import json
import resource
import shutil
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import sign_again
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from llmrec import TextEncoder, TransferClassifier, TransferRecommender, evaluate
from llmrec.folders import ITEMS, SETTINGS, WEIGHTS, ModelError
from llmrec.models import TrainingConfig


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    fitted.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def histories(films):
    return dict(list(films.histories().items())[:20])


def test_the_card_says_what_the_model_is(fitted, films, tmp_path):
    report = evaluate(fitted, films.sample_users(60, seed=0).split())
    fitted.save_pretrained(tmp_path / "films", metrics=report)
    card = (tmp_path / "films" / "README.md").read_text(encoding="utf-8")
    assert "all-MiniLM-L6-v2, frozen" in card and "1,682 items" in card and "| ndcg | 10 |" in card
    loading = card.split("```python\n")[1].split("```")[0].strip().splitlines()
    assert loading[-1] == 'TransferRecommender.from_pretrained("films")'


def test_the_last_format_is_still_read(fitted, saved, histories, encoder, tmp_path):
    shutil.copytree(saved, tmp_path / "old")
    path = tmp_path / "old" / SETTINGS
    noted = json.loads(path.read_text()) | {"format": 4}
    del noted["checksum"]
    path.write_text(json.dumps(noted))
    (tmp_path / "old" / "README.md").unlink()
    loaded = TransferRecommender.from_pretrained(tmp_path / "old", encoder=encoder)
    assert loaded.recommend(histories).equals(fitted.recommend(histories))


def test_a_format_of_the_future_is_refused(saved, encoder, tmp_path):
    shutil.copytree(saved, tmp_path / "new")
    path = tmp_path / "new" / SETTINGS
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ModelError, match="not a TransferRecommender of this version, but .*99"):
        TransferRecommender.from_pretrained(tmp_path / "new", encoder=encoder)


def test_precisions_load_in_each_others_place(films, tmp_path):
    """A model fitted with bfloat16 vectors and one with float32: the same lists for all but one
    user in a hundred.
    """
    split = films.domain(genres=["Comedy"]).sample_users(200, seed=1).split()
    config = TrainingConfig(dim=16, hidden=32)
    models = {}
    for precision in ("bfloat16", "float32"):
        encoder = TextEncoder.from_pretrained(precision=precision, cache=False)
        models[precision] = TransferRecommender(encoder, config=config, progress=False)
        models[precision].fit(split.train, split.valid, epochs=2)
        models[precision].save_pretrained(tmp_path / precision)
    for trained, other in (("bfloat16", "float32"), ("float32", "bfloat16")):
        loaded = TransferRecommender.from_pretrained(
            tmp_path / trained, encoder=models[other].encoder_
        )
        lists = [model.recommend(split.train) for model in (models[trained], loaded)]
        same = [table.groupby("user_id")["item_id"].agg(set) for table in lists]
        assert (same[0] == same[1]).mean() >= 0.99


@pytest.mark.parametrize("strategy", ["probe", "head", "lora", "full"])
@pytest.mark.parametrize("labels", [["good", "bad"], [1, 0], [True, False]])
def test_classifiers_are_saved_and_loaded(strategy, labels, encoder, tmp_path):
    texts = ["a lovely film", "what a dreadful film", "a joy to watch", "awful and boring"]
    model = TransferClassifier(encoder, strategy=strategy, min_steps=2, epochs=1)
    model.fit(texts, labels * 2)
    model.save_pretrained(tmp_path / "clf")
    loaded = TransferClassifier.from_pretrained(tmp_path / "clf")
    assert loaded.predict(texts).tolist() == model.predict(texts).tolist()
    assert np.allclose(loaded.predict_proba(texts), model.predict_proba(texts), atol=1e-5)
    assert loaded.get_params()["strategy"] == strategy
    assert (tmp_path / "clf" / "encoder").exists() == (strategy in ("lora", "full"))


def test_a_damaged_classifier_is_refused(encoder, tmp_path):
    model = TransferClassifier(encoder).fit(["a", "b"], [0, 1])
    model.save_pretrained(tmp_path / "clf")
    with pytest.raises(ModelError, match="exists already"):
        model.save_pretrained(tmp_path / "clf")
    weights = load_file(tmp_path / "clf" / WEIGHTS)
    save_file({"coef": weights["coef"][:1].clone()}, tmp_path / "clf" / WEIGHTS)
    with pytest.raises(ModelError, match=r"\['model.safetensors'\] damaged"):
        TransferClassifier.from_pretrained(tmp_path / "clf", encoder=encoder)
    sign_again(tmp_path / "clf")
    with pytest.raises(ModelError, match="the settings do not fit the weights"):
        TransferClassifier.from_pretrained(tmp_path / "clf", encoder=encoder)


HOSTILE = {
    "ten million layers": lambda n: n["training"].update(n_layers=10**7),
    "a wide network": lambda n: n["training"].update(dim=10**9),
    "a wide item tower": lambda n: n["training"].update(hidden=10**9),
    "wide texts": lambda n: n.update(text_dim=10**9),
    "another tower": lambda n: n["training"].update(history="gru"),
    "a setting of words": lambda n: n["training"].update(dropout="much"),
    "a setting that is none": lambda n: n["training"].update(colour="red"),
    "no settings": lambda n: n.update(training=None),
    "metadata of words": lambda n: n.update(metadata="year"),
    "options of another kind": lambda n: n.update(encoder_options=[1]),
    "another encoder": lambda n: n.update(encoder_fingerprint="0"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_strangers_settings_do_no_harm(case, saved, encoder, tmp_path):
    shutil.copytree(saved, tmp_path / "hostile")
    sign_again(tmp_path / "hostile", HOSTILE[case])
    given_encoder = {} if case == "options of another kind" else {"encoder": encoder}
    with within_limits(), pytest.raises(ModelError):
        TransferRecommender.from_pretrained(tmp_path / "hostile", **given_encoder)


def long_text(items: pd.DataFrame) -> pa.Table:
    """5 GB in memory, a few kilobytes in the file."""
    same = pa.DictionaryArray.from_arrays(np.zeros(len(items), dtype=np.int32), ["x" * 3_000_000])
    table = pa.Table.from_pandas(items, preserve_index=False)
    return table.set_column(table.column_names.index("text"), "text", same)


CATALOGUES = {
    "texts that unpack to gigabytes": long_text,
    "too many rows": lambda items: pd.concat([items] * 100),
    "one row less": lambda items: items.iloc[1:],
    "an item twice": lambda items: items.assign(item_id=1),
    "no text": lambda items: items.assign(text=" "),
    "no counts": lambda items: items.drop(columns="popularity"),
    "counts of words": lambda items: items.assign(popularity="many"),
}


@pytest.mark.parametrize("case", CATALOGUES)
def test_a_strangers_catalogue_does_no_harm(case, saved, encoder, tmp_path):
    shutil.copytree(saved, tmp_path / "hostile")
    spoiled = CATALOGUES[case](pd.read_parquet(saved / ITEMS))
    if isinstance(spoiled, pd.DataFrame):
        spoiled = pa.Table.from_pandas(spoiled, preserve_index=False)
    pq.write_table(spoiled, tmp_path / "hostile" / ITEMS, compression="zstd")
    sign_again(tmp_path / "hostile")
    with within_limits(), pytest.raises(ModelError):
        TransferRecommender.from_pretrained(tmp_path / "hostile", encoder=encoder)


class within_limits:
    """At most a second and 500 MB more than before."""

    def __enter__(self):
        self.started = time.perf_counter()
        self.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def __exit__(self, *_):
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.peak
        assert time.perf_counter() - self.started < 1 and grown < 500_000


def mutate(content: bytes, place: float, how: str, garbage: bytes) -> bytes:
    at = int(place * len(content))
    if how == "cut":
        return content[:at]
    if how == "insert":
        return content[:at] + garbage + content[at:]
    return content[:at] + garbage + content[at + len(garbage) :]


@settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from([SETTINGS, WEIGHTS, ITEMS]),
    place=st.floats(0, 1, exclude_max=True),
    how=st.sampled_from(["cut", "insert", "replace"]),
    garbage=st.binary(min_size=1, max_size=8),
    signed=st.booleans(),
)
def test_a_mutated_folder_is_refused_or_answers_as_before(
    saved, fitted, encoder, histories, tmp_path_factory, name, place, how, garbage, signed
):
    folder = tmp_path_factory.getbasetemp() / "mutated"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(mutate(before, place, how, garbage))
    if signed and name != SETTINGS:
        sign_again(folder)
    with within_limits():
        try:
            loaded = TransferRecommender.from_pretrained(folder, encoder=encoder, progress=False)
        except ModelError:
            return
    if not signed or name == SETTINGS or (folder / name).read_bytes() == before:
        assert loaded.recommend(histories).equals(fitted.recommend(histories))
    # a stranger who signs what he wrote has made another model, which loads and answers
    elif torch.isfinite(loaded.text_vectors_).all():
        assert len(loaded.items_) == len(fitted.items_)
