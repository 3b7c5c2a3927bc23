"""Encoding: settings, the cache on disk, and input of every kind."""

import copy
import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from llmrec import TextEncoder
from llmrec.encoder import VectorCache
from llmrec.features import FeatureExtractor, fuse
from llmrec.language_models import OPTIONS_FILE
from llmrec.text import EncodingError, clean_text, keyphrases, preprocess, vader_sentiment

TEXTS = [
    "Alien (1979), Horror Sci-Fi",
    "Pride and Prejudice",
    "shredded cheese",
    "a",
    "这本书很好看",
]


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache that no other test has filled; returns the file of an encoder."""
    monkeypatch.setattr("llmrec.encoder.cache_folder", lambda: tmp_path)
    return lambda encoder: tmp_path / "vectors" / f"{encoder.fingerprint[:12]}.v2.sqlite"


def count_forwards(encoder, monkeypatch):
    texts, forward = [], encoder._forward
    monkeypatch.setattr(
        encoder, "_forward", lambda tokens: texts.extend(map(tuple, tokens)) or forward(tokens)
    )
    return texts


def test_settings_change_the_fingerprint_and_the_vectors():
    exact = TextEncoder.from_pretrained(precision="float32", cache=False)
    vectors = exact.encode(TEXTS)
    for options in (
        {"pooling": "cls"},
        {"pooling": "max"},
        {"pooling": "last"},
        {"template": "film: {}"},
        {"max_tokens": 4},
    ):
        other = TextEncoder(
            exact.model, exact.tokenizer, name="MiniLM", precision="float32", cache=False, **options
        )
        assert other.fingerprint != exact.fingerprint and not np.allclose(
            other.encode(TEXTS)[0], vectors[0], atol=1e-3
        )


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "median"},
        {"template": "no place"},
        {"template": "{} {}"},
        {"precision": "float16"},
    ],
)
def test_unknown_settings_are_refused(encoder, options):
    with pytest.raises(ValueError, match=r"[.!] [A-Z]"):
        TextEncoder(encoder.model, encoder.tokenizer, name="MiniLM", **options)


def test_precisions_agree():
    exact, fast = (
        TextEncoder.from_pretrained(precision=precision, cache=False)
        for precision in ("float32", "bfloat16")
    )
    cosines = (exact.encode(TEXTS) * fast.encode(TEXTS)).sum(1)
    # the same encoder, read more or less exactly
    assert cosines.min() > 0.999 and exact.fingerprint == fast.fingerprint


def test_another_tokenizer_or_architecture_is_another_encoder(encoder, own_cache):
    """The same weights with two words exchanged, or read with other attention heads, must not get
    the vectors of the original from the cache.
    """
    tokenizer, model = copy.deepcopy(encoder.tokenizer), copy.deepcopy(encoder.exact_model)
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    words = rules["model"]["vocab"]
    words["alien"], words["cheese"] = words["cheese"], words["alien"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(rules)), **tokenizer.special_tokens_map
    )
    exchanged = TextEncoder(encoder.exact_model, tokenizer, name="MiniLM")
    model.config.layer_norm_eps = 0.5
    for part in model.modules():
        if isinstance(part, torch.nn.LayerNorm):
            part.eps = 0.5
    other = TextEncoder(model, encoder.tokenizer, name="MiniLM")
    vectors = encoder.encode(["an alien"])
    assert len({encoder.fingerprint, exchanged.fingerprint, other.fingerprint}) == 3
    assert all((one.encode(["an alien"]) * vectors).sum() < 0.99 for one in (exchanged, other))


def test_precisions_do_not_share_cached_vectors(own_cache):
    exact, fast = (
        TextEncoder.from_pretrained(precision=precision) for precision in ("float32", "bfloat16")
    )
    from_cache = [(one.encode(TEXTS), one.encode(TEXTS)) for one in (exact, fast)]
    assert all(np.array_equal(*pair) for pair in from_cache) and not np.array_equal(
        from_cache[0][0], from_cache[1][0]
    )


def test_an_encoder_is_saved_and_loaded(encoder, own_cache, tmp_path):
    own = TextEncoder(
        encoder.exact_model,
        encoder.tokenizer,
        name="mine",
        pooling="cls",
        template="film: {}",
        max_tokens=9,
        precision="float32",
    )
    own.save_pretrained(tmp_path / "mine")
    again = TextEncoder.from_pretrained(str(tmp_path / "mine"))
    assert (
        again.options == own.options
        and again.fingerprint == own.fingerprint
        and again.source is own.source is None
    )
    assert np.array_equal(again.encode(TEXTS), own.encode(TEXTS))
    # what is said counts
    assert TextEncoder.from_pretrained(str(tmp_path / "mine"), pooling="mean").pooling == "mean"
    with pytest.raises(FileExistsError, match=r"exists already.*\. [A-Z]"):
        own.save_pretrained(tmp_path / "mine")


@pytest.mark.parametrize("noted", ["{", "5", "null", "\x00"])
def test_options_that_are_none_are_named(noted, encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "mine")
    (tmp_path / "mine" / OPTIONS_FILE).write_text(noted)
    with pytest.raises(EncodingError, match=r"no options of an encoder.*\. [A-Z]"):
        TextEncoder.from_pretrained(str(tmp_path / "mine"))


def test_making_an_encoder_leaves_the_model_as_it_was(encoder):
    before = {name: tensor.clone() for name, tensor in encoder.exact_model.state_dict().items()}
    TextEncoder(
        encoder.exact_model, encoder.tokenizer, name="fast", precision="bfloat16", cache=False
    ).encode(TEXTS)
    assert all(
        torch.equal(tensor, before[name])
        for name, tensor in encoder.exact_model.state_dict().items()
    )


def test_killed_and_run_again_encodes_nothing_twice(encoder, own_cache, monkeypatch):
    texts = [f"film number {number}" for number in range(40)]
    done, forward = count_forwards(encoder, monkeypatch), encoder._forward

    def dies(tokens):
        if len(done) >= 24:
            raise KeyboardInterrupt
        return forward(tokens)

    monkeypatch.setattr(encoder, "_forward", dies)
    with pytest.raises(KeyboardInterrupt):
        encoder.encode(texts, batch_size=8)
    monkeypatch.setattr(encoder, "_forward", forward)
    encoder.encode(texts, batch_size=8)
    assert len(done) == len(set(done)) == 40


def test_a_distinct_text_is_encoded_once(encoder, own_cache, monkeypatch):
    done = count_forwards(encoder, monkeypatch)
    vectors = encoder.encode(["the same"] * 100_000 + ["another"])
    assert (
        len(done) == 2
        and vectors.shape == (100_001, encoder.dim)
        and (vectors[:100_000] == vectors[0]).all()
    )


@pytest.mark.parametrize(
    "damage", [b"", b"SQLite format 3\x00 and then nothing", b"pickled rubbish"]
)
def test_a_damaged_cache_costs_time_and_nothing_else(encoder, own_cache, damage, caplog):
    good = encoder.encode(TEXTS)
    path = own_cache(encoder)
    path.write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert ((encoder.encode(TEXTS) * good).sum(1) > 0.999).all()
    assert not damage or "Remove" in caplog.text
    # a file that is not ours to mend stays
    assert path.read_bytes()[: len(damage)] == damage or not damage


def test_a_cut_cache(encoder, own_cache):
    good = encoder.encode([f"{text} {number}" for text in TEXTS for number in range(30)])
    path = own_cache(encoder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    again = encoder.encode([f"{text} {number}" for text in TEXTS for number in range(30)])
    assert ((again * good).sum(1) > 0.999).all()


def test_two_writers_share_a_cache(tmp_path):
    one, two = (VectorCache(tmp_path / "vectors.sqlite") for _ in range(2))
    one.put([b"a"], np.zeros((1, 3), dtype=np.float32))
    two.put([b"a", b"b"], np.ones((2, 3), dtype=np.float32))
    assert (
        one.get([b"b", b"c"])[0].tolist() == [True, False]
        and one.get([b"b"])[1].tolist() == [[1, 1, 1]]
        and two.get([b"a"])[1].tolist() == [[0, 0, 0]]
    )


def test_what_is_cut_is_counted(encoder, own_cache, caplog):
    with caplog.at_level(logging.WARNING):
        vectors = encoder.encode(["word " * 2_000_000, "short"])  # ten million characters
    assert "1 of 2 texts are longer than 128 tokens" in caplog.text and np.isfinite(vectors).all()


@pytest.mark.parametrize("bad", [None, float("nan"), 7, b"bytes", "", " \n"])
def test_what_is_no_text_is_named(encoder, bad):
    with pytest.raises(EncodingError, match="text 1"):
        encoder.encode(["fine", bad])


def test_lone_surrogates_and_joined_emoji_survive(encoder):
    assert encoder.encode(["\ud800", "👩‍🔬"]).shape == (2, encoder.dim)
    assert clean_text("👩‍🔬") == "👩‍🔬" and clean_text("<script>x</script>") == "x"


def test_preprocess_keeps_order_and_mixed_languages():
    table = preprocess(
        ["Steven Spielberg met Ann in London.", "我在北京大学读书", "", "iPhone 手机壳很好用"]
    )
    assert table["lang"].tolist() == ["en", "zh", "en", "zh"] and table["tokens"][2] == []
    assert ("London", "PLACE") in table["entities"][0] and any(
        kind in ("ORG", "PLACE") for _, kind in table["entities"][1]
    )
    assert (
        "iPhone" in table["tokens"][3]
        and (table["tokens"].map(len) == table["tags"].map(len)).all()
    )


def test_chinese_words_and_names_are_found():
    """In fifty sentences with words whose kind is beyond doubt, see chapter 5."""
    path = Path(__file__).parent.parent / "benchmarks" / "sentences_zh_words.csv"
    judged = pd.read_csv(path)
    table = preprocess(judged["sentence"])
    n_names = n_found = 0
    for row, facts in enumerate(judged["facts"]):
        for fact in facts.split(";"):
            word, kind = fact.split("/")
            if kind.isupper():
                n_names += 1
                n_found += (word, kind) in table["entities"][row]
    assert n_names > 25 and n_found >= 0.85 * n_names


@pytest.mark.parametrize("module, text", [("spacy", "Alien"), ("jieba.posseg", "好看")])
def test_a_missing_extra_is_named(monkeypatch, module, text):
    import sys

    from llmrec import text as texts_room

    for pipeline in (texts_room._english_pipeline, texts_room._chinese_tagger):
        pipeline.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"llmrec\[words\]"):
        preprocess([text])


REVIEWS = [
    "The zoom is great.",
    "A great zoom and a poor battery.",
    "The battery died.",
    "Poor battery!",
    "这本书的内容很好",
    "书的纸张很差",
]


def test_keyphrases_of_two_languages():
    found = keyphrases(REVIEWS, ["camera", "camera", "phone", "phone", "book", "book"], min_count=1)
    assert set(found["group"]) == {"camera", "phone", "book"}
    assert (
        "zoom" in found.query("group == 'camera'")["phrase"].tolist()
        and "battery" in found.query("group == 'phone'")["phrase"].tolist()
    )
    assert found.query("group == 'book'")["phrase"].str.contains("内容|纸张").any()
    assert (found.groupby("group")["score"].diff().dropna() <= 0).all()  # best first


def test_keyphrases_of_nothing_and_of_unequal_lengths():
    assert keyphrases([], []).empty and keyphrases(["", "!"], ["a", "b"]).empty
    with pytest.raises(ValueError, match="one group"):
        keyphrases(["a"], [])
    with pytest.raises(ValueError, match="one group"):
        keyphrases(["a"], ["x"], sentiment=[])


def test_a_phrase_carries_the_sentiment_of_its_texts():
    found = keyphrases(
        REVIEWS[:4], ["it"] * 4, min_count=1, n=20, sentiment=[3.0, -1.0, -2.0, -3.0]
    ).set_index("phrase")
    assert (
        found.loc["zoom", "sentiment"] == 1.0
        and found.loc["battery", "sentiment"] == -2.0
        and found.loc["battery", "count"] == 3
    )


@pytest.mark.parametrize("wrong", [["fine", None], ["fine", 3], "fine"])
def test_sentiment_refuses_what_is_no_text(wrong):
    with pytest.raises(EncodingError, match=r"[.!] [A-Z]"):
        vader_sentiment(wrong)


ITEMS = pd.DataFrame(
    {
        "item_id": range(8),
        "text": [
            f"{kind} from {place}"
            for place in ("London", "Paris")
            for kind in ("tea", "coffee", "milk", "jam")
        ],
        "price": [1.0, 2.0, 3.0, np.nan, 5.0, 6.0, 7.0, 8.0],
        "kind": ["drink", "drink", "drink", "food"] * 2,
    },
    index=list("abcdefgh"),
)


def test_the_extractor_is_a_scikit_learn_transformer(encoder):
    extractor = clone(
        FeatureExtractor(
            encoder,
            n_components=3,
            columns=["price", "kind"],
            min_count=2,
            sentiment=vader_sentiment,
        )
    )
    table = extractor.fit_transform(ITEMS)
    assert (
        table.index.equals(ITEMS.index)
        and list(table) == list(extractor.get_feature_names_out())
        and table.columns.is_unique
    )
    assert {"price", "kind=drink", "kind=food", "sentiment", "entities=PLACE:London"} <= set(
        table
    ) and table.notna().all(axis=None)
    assert (table["entities=PLACE:London"] == ITEMS["text"].str.contains("London")).all()
    with pytest.raises(NotFittedError):
        FeatureExtractor(encoder).transform(ITEMS)


def test_the_extractor_learns_from_what_it_is_fitted_on_alone(encoder):
    extractor = FeatureExtractor(
        encoder, n_components=3, columns=["price", "kind"], min_count=2
    ).fit(ITEMS[:4])
    before = extractor.transform(ITEMS[:4])
    extractor.transform(ITEMS[4:].assign(price=1e6, kind="unheard of"))
    assert extractor.transform(ITEMS[:4]).equals(before) and abs(before["price"].mean()) < 1e-6
    assert "entities=PLACE:Paris" not in extractor.get_feature_names_out()


def test_the_extractor_names_a_missing_column_and_an_empty_text(encoder):
    for wrong, message in (
        (ITEMS.drop(columns="text"), "'text' is missing"),
        (ITEMS.drop(columns="price"), "'price' is missing"),
    ):
        with pytest.raises(KeyError, match=message):
            FeatureExtractor(encoder, columns=["price"], entities=False).fit(wrong)
    with pytest.raises(EncodingError, match="text 1"):
        FeatureExtractor(encoder).fit(ITEMS[:3].assign(text=["a", " ", "b"]))


@pytest.mark.parametrize(
    ("parts", "options"),
    [
        ([], {}),
        ([np.ones((2, 2)), np.ones((3, 2))], {}),
        ([np.array([[np.nan, 1.0]])], {}),
        ([np.ones(3)], {}),
        ([np.ones((2, 2))], {"how": "product"}),
        ([np.ones((2, 2))], {"scaling": "log"}),
        ([np.ones((2, 2)), np.ones((2, 3))], {"how": "sum"}),
    ],
)
def test_parts_that_cannot_be_fused(parts, options):
    with pytest.raises(ValueError, match=r"[.!] [A-Z]"):
        fuse(parts, **options)


def test_constant_and_empty_features_stay_finite():
    for how in ("concat", "sum", "gated"):
        for scaling in ("standard", "whiten", "pca", None):
            assert np.isfinite(
                fuse([np.ones((5, 2)), np.zeros((5, 2))], how, scaling=scaling)
            ).all()


def test_the_vector_at_a_mask_is_what_the_model_would_put_there(encoder):
    prompt = TextEncoder(
        encoder.model,
        encoder.tokenizer,
        name="prompt",
        pooling="mask",
        template="It was [MASK]: {}",
        max_tokens=32,
        cache=False,
    )
    text = "a film " * 100
    batch = encoder.tokenizer(
        [f"It was [MASK]: {text}"], truncation=True, max_length=32, return_tensors="pt"
    )
    place = batch["input_ids"][0].tolist().index(encoder.tokenizer.mask_token_id)
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(
            prompt.model(**batch).last_hidden_state[0, place].float(), dim=-1
        ).numpy()
    assert np.allclose(prompt.encode([text])[0], expected, atol=1e-5)
    for template in ("{}", "{} [MASK]"):
        with pytest.raises(ValueError, match="no mask token before"):
            TextEncoder(
                encoder.model, encoder.tokenizer, name="prompt", pooling="mask", template=template
            )
