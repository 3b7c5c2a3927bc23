"""Language models from packed files and other places: read, judged by what they have read, cut."""

import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec import TextEncoder
from llmrec.language_models import Reading, Vocabulary, load_language_model, trim_vocabulary
from llmrec.packed import PackedModelError, network_of, read_packed, tokenizer_of, unpack_four_bits
from llmrec.text import EncodingError

PAIRS = pd.read_csv(Path(__file__).parent.parent / "benchmarks" / "sentences_zh_en.csv")
CHINESE, ENGLISH = PAIRS["chinese"].tolist(), PAIRS["english"].tolist()


@pytest.fixture(scope="module")
def multilingual():
    return TextEncoder.from_pretrained("multilingual-e5-small", precision="float32", cache=False)


@pytest.fixture(scope="module")
def english():
    return TextEncoder.from_pretrained(precision="float32", cache=False)


# --- the packed file


def tensor(name: str, weights: np.ndarray, packed: bool, place: int) -> tuple[bytes, bytes]:
    """The entry of a tensor in the table, and its bytes."""
    flat = weights.astype(np.float32).ravel()
    body = flat.astype("<f4").tobytes()
    if packed:
        blocks = flat.reshape(-1, 32)
        scales = np.abs(blocks).max(1, keepdims=True) / 7 + 1e-8
        whole = np.clip(np.round(blocks / scales) + 8, 0, 15).astype(np.uint8)
        halves = whole[:, :16] | whole[:, 16:] << 4
        body = np.concatenate([scales.astype("<f2").view(np.uint8), halves], axis=1).tobytes()
    head = struct.pack("<H", len(name)) + name.encode() + struct.pack("<B", packed)
    return head + struct.pack("<IQQ", flat.size, place, len(body)), body


def tiny_file() -> bytes:
    """A packed model of one layer and eight word pieces."""
    random = np.random.default_rng(0)
    hidden, inner, vocabulary, longest = 32, 64, 8, 16
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "b", "▁ab", "<mask>"]
    text = "".join(pieces).encode()
    ends = np.cumsum([0, *(len(piece.encode()) for piece in pieces)])
    head = b"E5S1" + struct.pack("<I", 1)
    head += struct.pack("<7i", hidden, 1, 2, inner, vocabulary, longest, 2)
    head += struct.pack("<fi", 1e-12, 32) + struct.pack("<5i", len(pieces), 0, 2, 1, 3)
    head += struct.pack("<Q", len(text)) + ends.astype("<u4").tobytes()
    head += (-np.arange(len(pieces), dtype="<f4")).tobytes() + text + struct.pack("<iI", 0, 3)
    head += b"xyz"
    shapes = {
        "emb.word": (vocabulary, hidden),
        "emb.pos": (longest, hidden),
        "emb.type": (2, hidden),
        "emb.ln.w": (hidden,),
        "emb.ln.b": (hidden,),
    }
    for name in ("q", "k", "v", "ao", "fi", "fo"):
        shape = {"fi": (inner, hidden), "fo": (hidden, inner)}.get(name, (hidden, hidden))
        shapes |= {f"l0.{name}.w": shape, f"l0.{name}.b": shape[:1]}
    for name in ("aln", "oln"):
        shapes |= {f"l0.{name}.w": (hidden,), f"l0.{name}.b": (hidden,)}
    weights = {name: random.normal(size=shape) for name, shape in shapes.items()}
    entries = [tensor(name, array, array.ndim == 2, 0)[0] for name, array in weights.items()]
    place = len(head) + 4 + sum(map(len, entries))
    table, bodies = b"", b""
    for name, array in weights.items():
        entry, body = tensor(name, array, array.ndim == 2, place + len(bodies))
        table, bodies = table + entry, bodies + body
    return head + struct.pack("<i", len(weights)) + table + bodies


TINY = tiny_file()


def read(folder: Path, content: bytes):
    path = folder / "tiny-q4.bin"
    path.write_bytes(content)
    return read_packed(path)


def test_a_packed_file_becomes_a_model_and_a_tokenizer(tmp_path):
    packed = read(tmp_path, TINY)
    model, tokenizer = network_of(packed), tokenizer_of(packed)
    assert model.config.hidden_size == 32 and len(tokenizer) == 8
    # of the two ways to cut it the likelier one, whole words marked
    assert tokenizer("a ab")["input_ids"] == [0, 4, 6, 2]
    assert tokenizer("ｂ？")["input_ids"][-3:] == [5, 3, 2]  # full width is the same letter
    hidden = model(**tokenizer(["a ab"], return_tensors="pt"))[0]
    assert hidden.shape == (1, 4, 32) and hidden.isfinite().all()


def test_a_file_that_was_cut_short_is_refused_by_name(tmp_path):
    for length in [*range(0, 400, 7), *range(400, len(TINY), 211), len(TINY) - 1]:
        with pytest.raises(PackedModelError, match="tiny-q4.bin"):
            read(tmp_path, TINY[:length])


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1_400), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3
    )
)
def test_an_altered_file_is_refused_or_holds_numbers(tmp_path_factory, changes):
    content = bytearray(TINY)
    for place, new in changes:
        content[place : place + len(new)] = new
    folder = tmp_path_factory.getbasetemp()
    try:
        packed = read(folder, bytes(content[: len(TINY)]))
    except PackedModelError as error:
        assert "tiny-q4.bin" in str(error)
    else:
        assert all(np.isfinite(weights).all() for weights in packed.tensors.values())
        network_of(packed)
        tokenizer_of(packed)


@pytest.mark.parametrize("place", [8, 12, 24])
def test_sizes_that_are_only_claimed_take_no_memory(tmp_path, place):
    huge = TINY[:place] + struct.pack("<i", 2**31 - 1) + TINY[place + 4 :]
    with pytest.raises(PackedModelError):
        read(tmp_path, huge)


def test_four_bits_by_hand():
    scale = np.float16(0.25).tobytes()
    block = np.frombuffer(scale + bytes(range(16)), np.uint8)[None]
    low = 0.25 * (np.arange(16) - 8)
    assert np.array_equal(unpack_four_bits(block), [*low, *[-2.0] * 16])


# --- the multilingual encoder


def test_known_sentences_have_known_tokens_and_vectors(multilingual):
    """The vectors agree with those of the C program that the packed file was made for, to a cosine
    of .9999 (compared once, on these sentences and fifty pairs).
    """
    sentences = ["这本书很好看", "The hotel room was clean."]
    assert multilingual._tokens(sentences) == [
        [0, 41, 1294, 12, 6, 202378, 29787, 2112, 2],
        [0, 41, 1294, 12, 581, 3018, 17155, 509, 46622, 5, 2],
    ]
    known = [[0.0538, 0.0036, -0.0663, -0.0499], [0.0471, -0.0090, -0.0343, -0.0462]]
    assert np.allclose(multilingual.encode(sentences)[:, :4], known, atol=2e-4)
    assert multilingual.template == "query: {}" and multilingual.dim == 384


def test_a_translation_is_the_nearest_sentence(multilingual, english):
    cosines = multilingual.encode(CHINESE) @ multilingual.encode(ENGLISH).T
    own = np.arange(len(PAIRS))
    assert (cosines.argmax(1) == own).mean() >= 0.95 and (cosines.argmax(0) == own).mean() >= 0.95
    without = english.encode(CHINESE) @ english.encode(ENGLISH).T
    assert (without.argmax(1) == own).mean() < 0.3


def test_it_comes_from_the_cache_and_a_saved_one_is_the_same(multilingual, tmp_path):
    again = TextEncoder.from_pretrained("multilingual-e5-small", cache=False)
    assert again.fingerprint == multilingual.fingerprint
    assert again.source == "multilingual-e5-small"
    multilingual.save_pretrained(tmp_path / "e5")
    saved = TextEncoder.from_pretrained(tmp_path / "e5", cache=False)
    assert saved.fingerprint == multilingual.fingerprint and saved.template == "query: {}"


# --- what a model has read

FOREIGN = {
    "German": "Das Hotelzimmer war sauber, aber leider nicht besonders gut schallgedämmt.",
    "French": "La chambre était propre, mais malheureusement mal insonorisée.",
    "Spanish": "La habitación estaba limpia, pero por desgracia mal insonorizada.",
    "Italian": "La camera era pulita, ma purtroppo poco insonorizzata.",
    "Polish": "Pokój był czysty, ale niestety słabo wyciszony.",
    "Turkish": "Otel odası temizdi ama ne yazık ki ses yalıtımı iyi değildi.",
    "Vietnamese": "Phòng khách sạn sạch sẽ nhưng cách âm không tốt.",
    "Finnish": "Hotellihuone oli siisti, mutta äänieristys oli huono.",
    "Russian": "Номер в гостинице был чистым, но с плохой звукоизоляцией.",
    "Greek": "Το δωμάτιο ήταν καθαρό αλλά χωρίς ηχομόνωση.",
    "Arabic": "كانت غرفة الفندق نظيفة لكن عزل الصوت سيئ.",
    "Hebrew": "חדר המלון היה נקי אבל לא מבודד היטב.",
    "Hindi": "होटल का कमरा साफ था लेकिन ध्वनिरोधी नहीं था।",
    "Chinese": "酒店房间很干净，但是隔音不好。",
    "Japanese": "ホテルの部屋はきれいでしたが、防音がよくありませんでした。",
    "Korean": "호텔 방은 깨끗했지만 방음이 잘 안 됐다.",
    "Thai": "ห้องพักสะอาดแต่เก็บเสียงไม่ดี",
}


@pytest.mark.parametrize("language", FOREIGN)
def test_a_language_that_was_not_read_is_noticed(language, english, multilingual, caplog):
    text = FOREIGN[language]
    texts = [text, text.upper()]
    assert english.reading(texts).is_foreign() and not multilingual.reading(texts).is_foreign()
    english.encode(texts)
    assert "for_texts" in caplog.text
    caplog.clear()
    multilingual.encode(texts)
    assert not caplog.text


@pytest.mark.parametrize(
    "texts",
    [
        ENGLISH,
        ["Alien (1979), Horror Sci-Fi"],
        ["GRND BEEF 80/20 16 OZ"],
        ["12 x 500"],
        ["!"],
        ["I am at it"],
        [],
    ],
)
def test_english_numbers_and_nothing_are_not_foreign(texts, english, caplog):
    assert not english.reading(texts).is_foreign()
    english.encode(texts)
    assert "language" not in caplog.text


def test_the_right_encoder_is_chosen():
    assert TextEncoder.for_texts(ENGLISH, cache=False).name == "all-MiniLM-L6-v2"
    chosen = TextEncoder.for_texts(list(FOREIGN.values()), max_tokens=32, cache=False)
    assert chosen.name == "multilingual-e5-small" and chosen.max_tokens == 32
    with pytest.raises(EncodingError):
        TextEncoder.for_texts(["a", None])


# --- a vocabulary cut to what occurs


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "multilingual-e5-small"])
def test_a_cut_vocabulary_gives_the_same_vectors(name, english, multilingual, tmp_path):
    whole = english if name == english.name else multilingual
    texts = [*ENGLISH, "naïve café, 12%", "  two  spaces "]
    small = whole.trim_vocabulary(texts)
    assert np.array_equal(small.encode(texts), whole.encode(texts))
    assert len(small.tokenizer) < len(whole.tokenizer) / 2
    assert small.fingerprint != whole.fingerprint and small.source is None
    assert small.options == whole.options
    small.save_pretrained(tmp_path / "small")
    again = TextEncoder.from_pretrained(tmp_path / "small", cache=False)
    assert again.fingerprint == small.fingerprint
    assert np.array_equal(again.encode(texts), small.encode(texts))
    unseen = again.encode(["extraterrestrial zebra"])  # spelled from single characters
    assert np.isclose(np.linalg.norm(unseen), 1, atol=1e-3)
    assert again.reading(["extraterrestrial zebra"]) is not None


def test_a_cut_vocabulary_can_be_cut_again(multilingual):
    once = multilingual.trim_vocabulary(CHINESE)
    twice = once.trim_vocabulary(CHINESE[:10])
    assert len(twice.tokenizer) < len(once.tokenizer)
    assert np.array_equal(twice.encode(CHINESE[:10]), multilingual.encode(CHINESE[:10]))


def test_a_vocabulary_that_cannot_be_cut_is_refused():
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()))
    with pytest.raises(EncodingError, match="BPE"):
        trim_vocabulary(None, tokenizer, [])


def test_reading_says_nothing_of_nothing():
    _, tokenizer = load_language_model("all-MiniLM-L6-v2")
    nothing = Vocabulary(tokenizer).reading([])
    assert nothing.crumbs == 0 and np.isnan(nothing.letters) and "0%" in str(nothing)
    assert "3.5 letters" in str(Reading(0.1, 3.5))


def test_who_names_no_encoder_gets_the_one_for_the_language():
    from llmrec import Dataset, TransferClassifier
    from llmrec.baselines import ContentKNN

    events = [(user, f"i{(user + step) % 30}", step) for user in range(6) for step in range(5)]
    log = pd.DataFrame(events, columns=["user_id", "item_id", "timestamp"])
    for texts, name in ((ENGLISH, "all-MiniLM-L6-v2"), (CHINESE, "multilingual-e5-small")):
        items = pd.DataFrame({"item_id": [f"i{place}" for place in range(30)], "text": texts[:30]})
        content = ContentKNN(n_components=8).fit(Dataset.from_frames(log, items))
        assert len(content.recommend({"new": ["i1"]}, k=3)) == 3
        classifier = TransferClassifier().fit(texts[:8], [0, 1] * 4)
        assert classifier.encoder_.name == name
