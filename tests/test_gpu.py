"""What a GPU computes against what the processor computes; skipped where there is none. A tiny
encoder with random weights and a synthetic catalogue.
"""

import copy
import string
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llmrec import Dataset, TextEncoder, TransferRecommender
from llmrec.causal import CausalLanguageModel
from llmrec.classification import TransferClassifier
from llmrec.compute import seeded
from llmrec.generation import GenerativeRecommender, LanguageModelRanker
from llmrec.masking import new_model, train_tokenizer
from llmrec.models import HISTORIES, TrainingConfig
from llmrec.pretraining import MaskedLanguageModelTrainer, PretrainingConfig
from llmrec.recommenders import Popular
from llmrec.reranking import RankingPrompt

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

THINGS, KINDS = (
    ("film", "book", "room", "meal", "song", "play", "walk", "game"),
    ("fine", "lovely", "awful", "dreadful", "new", "old"),
)
WORDS = [f"{kind} {thing}" for thing in THINGS for kind in KINDS]
CONFIG = TrainingConfig(
    dim=16,
    hidden=32,
    n_layers=1,
    batch_size=32,
    precision="float32",
    dropout=0.0,
    shuffle_ties=False,
)


def encoder_on(device, **options):
    tokenizer = train_tokenizer(WORDS, vocabulary_size=40)
    return TextEncoder(
        new_model(tokenizer, hidden_size=32, n_layers=2, n_heads=2).bert,
        tokenizer,
        name="tiny",
        cache=False,
        device=device,
        **options,
    )


@pytest.fixture(scope="module")
def split():
    """Two hundred users who walk through the catalogue in steps of one."""
    random = np.random.default_rng(0)
    starts = random.integers(0, len(WORDS), 200)
    rows = [
        (user, (start + step) % len(WORDS), step)
        for user, start in enumerate(starts)
        for step in range(8)
    ]
    return Dataset.from_frames(
        pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]),
        pd.DataFrame({"item_id": range(len(WORDS)), "text": WORDS}),
    ).split()


def fitted_on(device, split, config=CONFIG):
    return TransferRecommender(
        encoder_on(device, precision="float32"),
        closed_form=False,
        config=config,
        device=device,
        progress=False,
    ).fit(split.train, split.valid, epochs=4)


@pytest.mark.parametrize("precision, tolerance", [("float32", 0.99999), ("bfloat16", 0.99)])
def test_encode(precision, tolerance):
    vectors = [encoder_on(device, precision=precision).encode(WORDS) for device in ("cpu", "cuda")]
    assert (vectors[0] * vectors[1]).sum(1).min() > tolerance


@pytest.mark.parametrize("history", HISTORIES)
def test_fit(history, split):
    cpu, gpu = (
        fitted_on(device, split, replace(CONFIG, history=history)) for device in ("cpu", "cuda")
    )
    assert np.allclose(cpu.history_["loss"], gpu.history_["loss"], rtol=0.01)
    lists = [model.recommend(split.histories("test"), k=5)["item_id"] for model in (cpu, gpu)]
    assert (lists[0] == lists[1]).mean() > 0.75  # training adds up what rounding began


def test_a_model_of_a_gpu_ranks_alike_on_a_processor(split, tmp_path):
    gpu = fitted_on("cuda", split)
    gpu.save_pretrained(tmp_path / "model")
    cpu = TransferRecommender.from_pretrained(tmp_path / "model", device="cpu")
    assert cpu.encoder.device.type == "cpu" and next(cpu.network_.parameters()).device.type == "cpu"
    one, other = (model.recommend(split.histories("test")) for model in (gpu, cpu))
    assert (one["item_id"] == other["item_id"]).mean() > 0.99 and np.allclose(
        one["score"], other["score"], atol=0.02
    )


@pytest.mark.parametrize("strategy", ["full", "head", "lora", "gradual"])
def test_adapt(strategy, split):
    lists = []
    for device in ("cpu", "cuda"):
        moved = fitted_on(device, split).adapt(
            split.train, split.valid, strategy=strategy, epochs=2
        )
        assert moved.cost_.seconds > 0 and (device == "cpu" or moved.cost_.peak_mb > 0)
        lists.append(moved.recommend(split.histories("test"), k=5)["item_id"])
    assert (lists[0] == lists[1]).mean() > 0.75  # training adds up what rounding began


@pytest.mark.parametrize("hybrid", [True, False])
def test_generated_ids(hybrid, split, tmp_path):
    """What was learned on a GPU is written alike by a processor."""
    gpu = GenerativeRecommender(
        encoder_on("cuda"), config=CONFIG, hybrid=hybrid, device="cuda", progress=False
    ).fit(split.train, split.valid, epochs=4)
    gpu.save_pretrained(tmp_path / "ids")
    cpu = GenerativeRecommender.from_pretrained(tmp_path / "ids", device="cpu", progress=False)
    one, other = (model.recommend(split.histories("test"), k=5) for model in (gpu, cpu))
    assert (one["item_id"] == other["item_id"]).mean() > 0.99
    assert np.allclose(one["score"], other["score"], atol=0.02)


@pytest.mark.parametrize("how", ["likelihood", "yes_no", "listwise"])
def test_a_second_stage(how, split):
    """A causal model of chance says the same of candidates on both."""
    prompt = RankingPrompt()
    spoken = [prompt.head, prompt.question, prompt.listing, *string.ascii_uppercase]
    tokenizer = train_tokenizer([*WORDS, *spoken, *spoken], vocabulary_size=60)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), num_hidden_layers=3, **sizes)
    with seeded(0):
        network = LlamaForCausalLM(config)
    first = Popular().fit(split.train)
    histories = [np.array([1, 2, 3]), np.array([7])]
    candidates = [np.arange(10), np.arange(20, 30)]
    found = []
    for device in ("cpu", "cuda"):
        speaker = CausalLanguageModel(
            copy.deepcopy(network), tokenizer, precision="float32", device=device
        )
        ranker = LanguageModelRanker(speaker, first_stage=first, how=how, epochs=0, progress=False)
        ranker.fit(split.train)
        found.append(ranker.language_scores(histories, candidates))
    for one, other in zip(*found, strict=True):
        assert np.allclose(one, other, atol=1e-3)


def test_a_killed_fit_goes_on_with_the_same_bits(split, tmp_path):
    def fit(epochs_until_killed=None):
        model, n_epochs, recommend = (
            TransferRecommender(
                encoder_on("cuda"), closed_form=False, config=CONFIG, device="cuda", progress=False
            ),
            [],
            TransferRecommender.recommend,
        )

        def counted(*args, **options):
            n_epochs.append(1)
            if len(n_epochs) == epochs_until_killed:
                raise KeyboardInterrupt
            return recommend(model, *args, **options)

        model.recommend = counted
        return model.fit(split.train, split.valid, epochs=4, checkpoint=tmp_path / "run")

    with pytest.raises(KeyboardInterrupt):
        fit(3)
    resumed = fit()
    (tmp_path / "run").unlink()
    assert all(
        torch.allclose(one, two, atol=1e-5)
        for one, two in zip(resumed.network_.parameters(), fit().network_.parameters(), strict=True)
    )


def test_the_global_generators_are_left_alone(split):
    torch.manual_seed(1)
    expected = torch.rand(1), torch.rand(1, device="cuda")
    torch.manual_seed(1)
    fitted_on("cuda", split).adapt(split.train, epochs=1)
    assert torch.equal(torch.rand(1), expected[0]) and torch.equal(
        torch.rand(1, device="cuda"), expected[1]
    )


def test_a_processor_after_a_gpu(split):
    """What ran first decides nothing about where the next one runs."""
    for device in ("cuda", "cpu", "cuda"):
        model = fitted_on(device, split)
        assert {parameter.device.type for parameter in model.network_.parameters()} == {device}


def test_pretrain_and_classify():
    tokenizer = train_tokenizer(WORDS, vocabulary_size=40)
    trainer = MaskedLanguageModelTrainer(
        new_model(tokenizer, hidden_size=32, n_layers=1, n_heads=2),
        tokenizer,
        device="cuda",
        progress=False,
        config=PretrainingConfig(epochs=3, n_records=3),
    ).fit(WORDS * 4)
    assert trainer.records_["loss"].is_monotonic_decreasing
    labels = [word.split()[0] in ("fine", "lovely", "new") for word in WORDS]
    assert (
        TransferClassifier(encoder_on("cuda"), strategy="full", min_steps=60, learning_rate=1e-3)
        .fit(WORDS, labels)
        .predict(WORDS)
        == np.array(labels)
    ).mean() > 0.9
