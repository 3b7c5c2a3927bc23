"""Strategies, surgery and the report: what they change, what they leave alone, and what they
refuse.
"""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from llmrec import Dataset, TextEncoder
from llmrec.baselines import RidgeFromText
from llmrec.classification import TransferClassifier, tune_encoder
from llmrec.domains import catalogue_overlap, few_shot, transfer_report, zero_shot
from llmrec.ensembles import VOTE
from llmrec.masking import new_model, train_tokenizer
from llmrec.models import TrainingConfig
from llmrec.recommenders import Popular
from llmrec.transfer import STRATEGIES, ModelError, TransferRecommender

REVIEWS = [
    f"{start} {thing}"
    for thing in ("film", "book", "room", "meal", "song", "play")
    for start in ("a fine", "a lovely", "an awful", "a dreadful")
]
LABELS = ["good", "good", "bad", "bad"] * 6


@pytest.fixture(scope="module")
def horror(films):
    return films.sample_users(80, seed=2).domain(genres=["Horror"]).split()


@pytest.fixture(scope="module")
def small_encoder():
    """A tiny BERT with random weights."""
    tokenizer = train_tokenizer(REVIEWS, vocabulary_size=40)
    return TextEncoder(
        new_model(tokenizer, hidden_size=32, n_layers=3, n_heads=2).bert,
        tokenizer,
        name="tiny",
        cache=False,
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_trains_what_it_says_and_keeps_the_source(
    strategy, fitted, horror, encoder, tmp_path
):
    before = {name: tensor.clone() for name, tensor in fitted.network_.state_dict().items()}
    moved = fitted.adapt(
        horror.train, horror.valid if strategy == "zero_shot" else None, strategy=strategy, epochs=6
    )
    after = moved.network_.state_dict()
    assert all(
        torch.equal(tensor, fitted.network_.state_dict()[name]) for name, tensor in before.items()
    )
    assert list(after) == list(before)  # whatever was put in was taken out again
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    expected = {
        "zero_shot": lambda name: False,
        "head": lambda name: name.startswith(
            ("item_tower.text.3", "sequence_tower.norm", "content")
        ),
    }
    assert {
        name for name in changed if not expected.get(strategy, lambda name: True)(name)
    } == set()
    assert ("sequence_tower.blocks.0.attention_in.weight" in changed) == (
        strategy not in ("zero_shot", "head")
    )
    assert moved.cost_.seconds > 0 and (moved.cost_.n_trained > 0) == (strategy != "zero_shot")
    moved.save_pretrained(tmp_path / "moved")
    loaded = TransferRecommender.from_pretrained(tmp_path / "moved", encoder=encoder)
    assert loaded.recommend(horror.histories("test")).equals(
        moved.recommend(horror.histories("test"))
    )


def test_a_pull_keeps_weights_nearer_and_a_lower_speed_too(fitted, horror):
    def distance(strategy):
        moved = fitted.adapt(horror.train, strategy=strategy, epochs=8)
        return sum(
            (one - other).square().sum().item()
            for one, other in zip(
                moved.network_.parameters(), fitted.network_.parameters(), strict=True
            )
        )

    full = distance("full")
    assert distance("l2_sp") < full and distance("discriminative") < full


def test_popularity_that_is_given_moves_with_the_catalogue(horror, encoder, tmp_path):
    config = TrainingConfig(hidden=32, dim=16, history="gru", popularity_prior=True)
    source = TransferRecommender(encoder, closed_form=False, config=config, progress=False).fit(
        horror.train, epochs=1
    )
    counts = (
        horror.train.interactions["item_id"]
        .value_counts()
        .reindex(source.items_["item_id"], fill_value=0)
        .to_numpy()
    )
    assert np.allclose(source.text_vectors_[:, -1], np.log1p(counts))
    first = source.items_[["item_id", "text"]].iloc[:5]
    larger = source.with_items(
        pd.concat(
            [first, pd.DataFrame({"item_id": [-1], "text": ["a new film"]})], ignore_index=True
        )
    )
    assert np.isclose(larger.text_vectors_[5, -1], np.log1p(counts[:5]).mean()) and np.allclose(
        larger.text_vectors_[:5, -1], np.log1p(counts[:5])
    )
    foreign = first.assign(item_id=-first["item_id"])
    # nothing is known of any of them
    assert (source.with_items(foreign).text_vectors_[:, -1] == 0).all()
    half = replace(
        horror.train, interactions=horror.train.interactions.iloc[::2].reset_index(drop=True)
    )
    moved = source.adapt(half, strategy="zero_shot")
    assert torch.allclose(
        moved.text_vectors_[:, -1].exp().sum(),
        torch.tensor(len(half.interactions) + len(half.items)).float(),
    )
    moved.save_pretrained(tmp_path / "moved")
    histories = horror.histories("test")
    assert (
        TransferRecommender.from_pretrained(tmp_path / "moved", encoder=encoder)
        .recommend(histories)
        .equals(moved.recommend(histories))
    )


def test_zero_shot_uses_no_behaviour_of_the_target(fitted, horror, encoder):
    """With most of the target's events left out, whoever has a history is shown the same; the
    source's vote counts as much as the texts are mixed.
    """
    ridge = RidgeFromText(encoder).fit(horror.train)
    few = replace(
        horror.train, interactions=horror.train.interactions.iloc[:3].reset_index(drop=True)
    )
    histories = {user: items for user, items in horror.histories("test").items() if items}
    lists = [
        zero_shot([ridge, fitted], target).recommend(histories) for target in (horror.train, few)
    ]
    assert lists[0].equals(lists[1]) and zero_shot([fitted], few).weights_ == [1.0] * 3
    unordered = zero_shot([fitted], replace(horror.train, order="unknown"))
    assert [one.fading for one in unordered.members[:2]] == [None, None]
    texts = horror.train.items["text"]
    assert (
        catalogue_overlap(
            encoder, texts, ["whole milk", "low fat milk", "milk, 2 percent"], n_neighbors=2
        )
        == 0
    )


def test_few_shot_begins_with_the_opinion_of_zero_shot_and_learns_from_users(fitted, horror):
    """Without validation the weights are those said beforehand; users move them, many users more
    than two, and none is negative.
    """
    moved = zero_shot([fitted], horror.train)
    before = few_shot([fitted], horror.train)
    n_known = len(before.members) - len(moved.members) - 1
    assert before.weights_ == [*moved.weights_, *[VOTE] * n_known, 1.0]
    assert isinstance(before.members[-1], Popular) and before.members[2].network_ is (
        fitted.network_
    )
    few = replace(horror.valid, interactions=horror.valid.interactions.iloc[:2])
    after = {
        len(valid.interactions): few_shot([fitted], horror.train, valid).weights_
        for valid in (few, horror.valid)
    }
    moves = {n: np.abs(np.subtract(weights, before.weights_)).sum() for n, weights in after.items()}
    assert 0 < moves[2] < moves[len(horror.valid.interactions)]
    assert all(weight >= 0 for weights in after.values() for weight in weights)


def test_lora_without_its_library_is_named(fitted, horror, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"llmrec\[lora\]"):
        fitted.adapt(horror.train, strategy="lora", epochs=1)


def test_surgery_on_a_recommender(fitted, horror, encoder, tmp_path):
    larger = fitted.adapt(horror.train, horror.valid, epochs=1, reinit_layers=1, new_layers=2)
    assert (
        len(larger.network_.sequence_tower.blocks) == larger.config.n_layers == 3
        and fitted.config.n_layers == 1
    )
    larger.save_pretrained(tmp_path / "larger")
    assert (
        TransferRecommender.from_pretrained(tmp_path / "larger", encoder=encoder)
        .recommend({1: horror.train.items["item_id"][:2].tolist()}, k=3)
        .shape[0]
        == 3
    )
    with pytest.raises(ValueError, match="of 1 layers 2 cannot be dropped"):
        fitted.adapt(horror.train, drop_layers=2)


@pytest.mark.parametrize("strategy", ["probe", *STRATEGIES[1:]])
def test_a_classifier_learns_by_every_strategy_and_keeps_its_encoder(strategy, small_encoder):
    before = small_encoder.encode(REVIEWS)
    classifier = TransferClassifier(
        small_encoder, strategy=strategy, min_steps=60, learning_rate=1e-3
    ).fit(REVIEWS, LABELS)
    assert (classifier.predict(REVIEWS) == np.array(LABELS)).mean() > 0.9
    assert np.allclose(
        classifier.predict_proba(REVIEWS).sum(1), 1
    ) and classifier.classes_.tolist() == ["bad", "good"]
    assert np.array_equal(small_encoder.encode(REVIEWS), before)
    again = TransferClassifier(
        small_encoder, strategy=strategy, min_steps=60, learning_rate=1e-3
    ).fit(REVIEWS, LABELS)
    assert np.array_equal(again.predict_proba(REVIEWS), classifier.predict_proba(REVIEWS))


def test_three_classes_and_surgery_on_an_encoder(small_encoder):
    labels = [index % 3 for index in range(len(REVIEWS))]
    classifier = TransferClassifier(
        small_encoder, strategy="full", drop_layers=2, new_layers=1, min_steps=2
    ).fit(REVIEWS, labels)
    assert (
        classifier.predict_proba(REVIEWS).shape == (len(REVIEWS), 3)
        and classifier.encoder_.model.config.num_hidden_layers == 2
    )
    with pytest.raises(ValueError, match="of 3 layers 4 cannot be dropped"):
        TransferClassifier(small_encoder, drop_layers=4).fit(REVIEWS, labels)
    with pytest.raises(ValueError, match="strategy='magic'"):
        TransferClassifier(small_encoder, strategy="magic").fit(REVIEWS, labels)


def test_an_encoder_of_another_width_is_refused(fitted, horror, small_encoder, tmp_path):
    fitted.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="encoder"):
        TransferRecommender.from_pretrained(tmp_path / "model", encoder=small_encoder)


def test_a_model_loads_on_a_processor_of_the_other_kind(horror, tmp_path):
    """Fitted in one precision, loaded in the other, as between processors with bfloat16 and
    without: the same lists.
    """
    exact, fast = (
        TextEncoder.from_pretrained(precision=precision) for precision in ("float32", "bfloat16")
    )
    histories, new = (
        horror.histories("test"),
        pd.DataFrame({"item_id": [-1], "text": ["The Return of the Alien (1999), Horror"]}),
    )
    for mine, other in ((exact, fast), (fast, exact)):
        model = TransferRecommender(
            mine, closed_form=False, config=TrainingConfig(dim=16, hidden=32), progress=False
        ).fit(horror.train, epochs=2)
        model.save_pretrained(tmp_path / mine.precision)
        loaded = TransferRecommender.from_pretrained(tmp_path / mine.precision, encoder=other)
        assert loaded.encoder.precision == other.precision != mine.precision and loaded.recommend(
            histories
        ).equals(model.recommend(histories))
        lists = [
            one.with_items(pd.concat([model.items_[["item_id", "text"]], new])).recommend(histories)
            for one in (model, loaded)
        ]
        of_user = [
            {user: set(items) for user, items in one.groupby("user_id")["item_id"]} for one in lists
        ]
        assert np.mean([len(of_user[0][user] & of_user[1][user]) / 10 for user in of_user[0]]) > 0.9


@pytest.mark.parametrize(
    "options",
    [{"max_tokens": 6}, {"pooling": "cls"}, {"template": "film: {}"}, {"precision": "float32"}],
)
def test_an_encoders_options_come_back_with_the_model(options, horror, tmp_path):
    model = TransferRecommender(
        TextEncoder.from_pretrained(**options),
        closed_form=False,
        config=TrainingConfig(dim=16, hidden=32),
        progress=False,
    ).fit(horror.train, epochs=1)
    model.save_pretrained(tmp_path / "model")
    loaded = TransferRecommender.from_pretrained(tmp_path / "model")
    assert (
        loaded.encoder.options == model.encoder.options
        and loaded.encoder.fingerprint == model.encoder.fingerprint
    )
    assert loaded.recommend(horror.histories("test")).equals(
        model.recommend(horror.histories("test"))
    )
    assert not (tmp_path / "model" / "encoder").exists()  # everybody has MiniLM


@pytest.mark.parametrize("origin", ["tuned", "classifier", "in memory", "local folder"])
def test_an_encoder_without_a_public_name_comes_along(origin, horror, small_encoder, tmp_path):
    if origin == "tuned":
        own = tune_encoder(small_encoder, REVIEWS, epochs=1, batch_size=8, progress=False)
    elif origin == "classifier":
        own = (
            TransferClassifier(small_encoder, strategy="full", min_steps=5)
            .fit(REVIEWS, LABELS)
            .encoder_
        )
    elif origin == "local folder":
        small_encoder.save_pretrained(tmp_path / "elsewhere")
        own = TextEncoder.from_pretrained(str(tmp_path / "elsewhere"))
    else:
        own = small_encoder
    model = TransferRecommender(
        own, closed_form=False, config=TrainingConfig(dim=16, hidden=32), progress=False
    ).fit(horror.train, epochs=1)
    model.save_pretrained(tmp_path / "model")
    assert str(tmp_path) not in (tmp_path / "model" / "config.json").read_text()
    (tmp_path / "model").rename(tmp_path / "moved")  # the folder is all there is
    loaded = TransferRecommender.from_pretrained(tmp_path / "moved")
    assert loaded.encoder.fingerprint == own.fingerprint and np.allclose(
        loaded.encoder.encode(REVIEWS), own.encode(REVIEWS), atol=1e-3
    )
    assert loaded.recommend(horror.histories("test")).equals(
        model.recommend(horror.histories("test"))
    )


def test_files_that_do_not_belong_together_are_refused(fitted, tmp_path):
    """A catalogue in another order, and weights of another model of the same sizes, would load and
    answer wrongly.
    """
    fitted.save_pretrained(tmp_path / "model")
    items = pd.read_parquet(tmp_path / "model" / "items.parquet")
    items[::-1].reset_index(drop=True).to_parquet(tmp_path / "model" / "items.parquet")
    with pytest.raises(ModelError, match=r"items.parquet.*not what was saved.*\. [A-Z]"):
        TransferRecommender.from_pretrained(tmp_path / "model", encoder=fitted.encoder)


def test_a_report_needs_users(fitted, films, horror):
    one = films.interactions[films.interactions["user_id"] == 1].head(8)
    alone = Dataset.from_frames(
        one, films.items[films.items["item_id"].isin(one["item_id"])]
    ).split()
    with pytest.raises(ValueError, match="1 target user"):
        transfer_report(fitted, alone)
    with pytest.raises(ValueError, match="0 source"):
        transfer_report([], horror)


def test_a_report_leaves_out_users_whose_last_event_is_no_new_one(fitted, films):
    few = films.sample_users(40, seed=1).domain(genres=["Horror"])
    last = few.interactions.sort_values("timestamp", kind="stable").groupby("user_id").tail(1)
    again = last[:3].assign(timestamp=last["timestamp"] + 1)
    target = replace(few, interactions=pd.concat([few.interactions, again], ignore_index=True))
    split = target.split("leave_one_out")
    assert len(split.histories("test")) > len(split.targets("test"))
    report = transfer_report(fitted, split, shares=(1.0,), progress=False)
    assert report.table["ndcg@10"].between(0, 1).all()


def test_a_rate_that_breaks_the_weights_is_named(small_encoder):
    vectors = small_encoder.encode(REVIEWS)
    with pytest.raises(ValueError, match=r"in step .*\. Lower learning_rate"):
        TransferClassifier(small_encoder, strategy="full", learning_rate=1e30, min_steps=20).fit(
            REVIEWS, LABELS
        )
    with pytest.raises(ValueError, match=r"in step .*\. Lower learning_rate"):
        tune_encoder(
            small_encoder, REVIEWS, epochs=20, batch_size=8, learning_rate=1e30, progress=False
        )
    assert np.array_equal(small_encoder.encode(REVIEWS), vectors)


def test_tuning_ends_with_the_same_encoder_whether_activations_are_kept_or_not(small_encoder):
    kept = tune_encoder(small_encoder, REVIEWS, epochs=3, batch_size=8, progress=False)
    other = tune_encoder(
        small_encoder, REVIEWS, epochs=3, batch_size=8, checkpointing=True, progress=False
    )
    assert np.allclose(kept.encode(REVIEWS), other.encode(REVIEWS), atol=1e-3) and not np.allclose(
        kept.encode(REVIEWS), small_encoder.encode(REVIEWS), atol=1e-3
    )
    assert not other.model.is_activation_checkpointing
