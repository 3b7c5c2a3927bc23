"""Pretraining: corpora of every kind, runs that are killed, and models that others can load."""

import errno
import functools

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModel

from llmrec import TextEncoder, pretraining
from llmrec.masking import CorpusError, new_model, token_pieces, train_tokenizer
from llmrec.pretraining import MaskedLanguageModelTrainer, PretrainingConfig, pretrain
from llmrec.training import CheckpointError, batches_by_length

TEXTS = [
    f"这本书的第{number}章很好看 great book" for number in range(30)
]  # a tiny synthetic corpus


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocabulary_size=24)


def trainer(tokenizer, **config):
    settings = {
        "epochs": 2,
        "n_records": 4,
        "precision": "float32",
        "tokens_per_batch": 128,
        **config,
    }
    return MaskedLanguageModelTrainer(
        new_model(tokenizer, hidden_size=16, n_layers=1, n_heads=2),
        tokenizer,
        config=PretrainingConfig(**settings),
        progress=False,
    )


def parameters(fitted):
    return dict(fitted.model.named_parameters())


@pytest.mark.parametrize("texts", [[], ["", " "], ["fine", None], ["fine", 3.0], [b"bytes"]])
def test_a_corpus_without_words_is_refused(tokenizer, texts):
    for use in (
        lambda: train_tokenizer(texts),
        lambda: token_pieces(tokenizer, texts),
        lambda: trainer(tokenizer).fit(texts),
    ):
        with pytest.raises(CorpusError, match=r"[.!] [A-Z]"):
            use()


def test_unknown_characters_only_and_a_vocabulary_too_large(tokenizer):
    with pytest.raises(CorpusError, match="knows none"):
        trainer(tokenizer).fit(["كتاب", "शब्द"])
    with pytest.raises(CorpusError, match="vocabulary of 4,000"):
        train_tokenizer(TEXTS)


def test_a_line_of_a_megabyte_is_cut_into_pieces_and_nothing_is_lost(tokenizer):
    line = "书 " * 350_000
    pieces = token_pieces(tokenizer, [line], max_tokens=64)
    assert max(map(len, pieces)) == 64 and sum(len(piece) - 2 for piece in pieces) == 350_000


def test_every_row_is_in_one_batch_and_batches_keep_to_the_budget():
    lengths = np.random.default_rng(0).integers(3, 90, 500)
    batches = batches_by_length(lengths, 200, np.random.default_rng(1))
    assert (
        sorted(np.concatenate(batches)) == list(range(500))
        and max(lengths[batch].max() * len(batch) for batch in batches) <= 200
    )
    # longer than the budget: alone
    assert [
        len(batch) for batch in batches_by_length(np.array([500, 7]), 200, np.random.default_rng(0))
    ] == [1, 1]


def test_a_corpus_smaller_than_a_batch_trains(tokenizer):
    records = trainer(tokenizer).fit(TEXTS[:2]).records_
    assert len(records) and np.isfinite(records["loss"]).all()


def test_accumulated_batches_are_one_batch(tokenizer):
    """Without dropout the gradient of several batches is that of their union: compare with a mean
    over all chosen positions.
    """
    from llmrec.masking import masked_loss
    from llmrec.pretraining import _step

    one = trainer(tokenizer)
    batches = [token_pieces(tokenizer, TEXTS[:4]), token_pieces(tokenizer, TEXTS[4:14])]
    for module in one.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.SGD(one.model.parameters(), lr=0.0)
    _step(one, optimizer, batches, number=3)
    found = {name: parameter.grad.clone() for name, parameter in one.model.named_parameters()}
    generator = torch.Generator().manual_seed(
        int(np.random.default_rng([one.seed, 3]).integers(2**31))
    )
    corrupted = [one._corrupt(batch, generator) for batch in batches]
    one.model.zero_grad()
    n_chosen = sum(int((labels >= 0).sum()) for _, _, labels in corrupted)
    (sum(masked_loss(one.model, *inputs) for inputs in corrupted) / n_chosen).backward()
    torch.nn.utils.clip_grad_norm_(one.model.parameters(), 1.0)
    for name, parameter in one.model.named_parameters():
        assert torch.allclose(found[name], parameter.grad, atol=1e-6), name


def test_same_seed_same_bits(tokenizer):
    one, other = (parameters(trainer(tokenizer).fit(TEXTS)) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_of_another_tokenizer_or_corpus_is_left_alone(tokenizer, tmp_path):
    path = tmp_path / "run.safetensors"
    trainer(tokenizer).fit(TEXTS, checkpoint=path)
    before = path.read_bytes()
    other = train_tokenizer([text.replace("great", "small") for text in TEXTS], vocabulary_size=24)
    for start, texts in ((trainer(other), TEXTS), (trainer(tokenizer), TEXTS[1:])):
        with pytest.raises(CheckpointError, match="another run"):
            start.fit(texts, checkpoint=path)
    path.write_bytes(before[:100])
    with pytest.raises(CheckpointError, match="cut short"):
        trainer(tokenizer).fit(TEXTS, checkpoint=path)
    assert path.read_bytes() == before[:100]


def test_a_checkpoint_is_bound_to_weights_at_the_start_and_validation_texts(tokenizer, tmp_path):
    path = tmp_path / "run.safetensors"
    trainer(tokenizer).fit(TEXTS, TEXTS[:3], checkpoint=path)
    other = trainer(tokenizer)
    with torch.no_grad():
        next(other.model.parameters()).add_(1e-3)
    other = MaskedLanguageModelTrainer(other.model, tokenizer, config=other.config, progress=False)
    for start, valid in (
        (other, TEXTS[:3]),
        (trainer(tokenizer), TEXTS[:2]),
        (trainer(tokenizer), None),
    ):
        with pytest.raises(
            CheckpointError, match=r"another run \((start weights|validation texts) differ"
        ):
            start.fit(TEXTS, valid, checkpoint=path)


def test_saving_onto_what_is_there_is_an_error(tokenizer, tmp_path):
    trained = trainer(tokenizer)
    trained.save_pretrained(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    with pytest.raises(
        FileExistsError, match=r"model exists already and is left as it is.*\. [A-Z]"
    ):
        trained.save_pretrained(tmp_path / "model")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_a_full_disk_leaves_the_last_good_checkpoint(tokenizer, tmp_path, monkeypatch):
    path, calls = tmp_path / "run.safetensors", []
    straight = parameters(trainer(tokenizer).fit(TEXTS))
    from llmrec import training

    save_file = training.save_file

    def full(*args, **options):
        calls.append(1)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(*args, **options)

    monkeypatch.setattr(training, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        trainer(tokenizer).fit(TEXTS, checkpoint=path)
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # nothing half-written
    resumed = parameters(trainer(tokenizer).fit(TEXTS, checkpoint=path))
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_what_is_saved_loads_elsewhere(tmp_path):
    encoder = pretrain(
        TEXTS,
        vocabulary_size=24,
        config=PretrainingConfig(epochs=1, n_records=1),
        folder=tmp_path / "own",
        progress=False,
    )
    assert AutoModel.from_pretrained(tmp_path / "own", use_safetensors=True).config.vocab_size == 24
    assert np.array_equal(
        TextEncoder.from_pretrained(str(tmp_path / "own")).encode(TEXTS[:3]),
        encoder.encode(TEXTS[:3]),
    )
    assert not list((tmp_path / "own").glob("*.bin"))
    with pytest.raises(FileExistsError, match=r"[.!] [A-Z]"):
        pretrain(TEXTS, folder=tmp_path / "own", progress=False)


def test_a_tokenizer_without_a_mask_is_refused(encoder, tokenizer):
    import copy

    blind = copy.deepcopy(encoder.tokenizer)
    blind.mask_token = None
    with pytest.raises(ValueError, match="no mask token"):
        MaskedLanguageModelTrainer(new_model(tokenizer), blind)


def test_the_review_model_is_made_once_and_keeps_its_quarters(monkeypatch, tmp_path):
    texts = [
        f"{one}{other}书很{feeling}"
        for one in "这那本一"
        for other in "好旧新大小"
        for feeling in "好坏美差贵" * 5
    ]
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path))
    monkeypatch.setattr(
        pretraining, "split_reviews", lambda: (pd.DataFrame({"text": texts, "label": 0}), None)
    )
    monkeypatch.setattr(
        pretraining, "train_tokenizer", functools.partial(train_tokenizer, vocabulary_size=15)
    )
    monkeypatch.setattr(
        pretraining, "REVIEW_RECIPE", PretrainingConfig(epochs=4, n_records=4, tokens_per_batch=512)
    )
    folder = pretraining.review_model(progress=False)
    assert sorted(path.name for path in folder.iterdir()) == [
        "100",
        "25",
        "50",
        "75",
        "records.parquet",
    ]
    assert pd.read_parquet(folder / "records.parquet")["share"].tolist() == [0.25, 0.5, 0.75, 1.0]
    monkeypatch.setattr(
        pretraining.MaskedLanguageModelTrainer,
        "fit",
        lambda *args, **options: pytest.fail("it was there already"),
    )
    assert pretraining.review_model(progress=False) == folder
