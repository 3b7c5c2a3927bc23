"""Ties, weights from validation, the closed form, and what stands beside a network: each against an
independent computation.
"""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import sign_again
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from llmrec import Dataset, TransferRecommender
from llmrec.baselines import EASE, ContentKNN
from llmrec.checks import DataError
from llmrec.ensembles import (
    Ensemble,
    MemberScores,
    learn_weights,
    member_scores,
    new_votes,
    softmax_weights,
)
from llmrec.folders import ModelError
from llmrec.linear import (
    SLIT,
    ClosedForm,
    ScoresFromText,
    TextEASE,
    is_debiased,
    past_and_next,
)
from llmrec.models import TrainingConfig
from llmrec.recommenders import Popular, RecentlyPopular, top_k, top_k_of_products

SMALL = TrainingConfig(dim=8, hidden=16, epochs=2)


def in_full_order(scores: np.ndarray, k: int, priority: np.ndarray) -> np.ndarray:
    """Columns of the k best by sorting everything: score first, then priority."""
    return np.stack([np.lexsort((priority, -row))[:k] for row in scores])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4))
def test_equal_scores_stand_in_the_order_of_their_priority(seed, k, n_values):
    random = np.random.default_rng(seed)
    scores = random.integers(0, n_values, (5, 12)).astype(np.float32)
    priority = random.permutation(12)
    found = top_k(torch.from_numpy(scores), k, torch.from_numpy(priority))[1]
    assert np.array_equal(found, in_full_order(scores, k, priority))


@pytest.mark.parametrize("n_distinct", [1, 3, 2_000, 6_000])
def test_editions_of_one_book_tie_in_a_large_catalogue(n_distinct):
    """Items that share their vector, more of them than any group holds, and rows in which all items
    are alike.
    """
    random = np.random.default_rng(n_distinct)
    vectors = random.integers(-3, 4, (n_distinct, 4)).astype(np.float32)
    items = vectors[random.integers(0, n_distinct, 6_000)]
    users = np.vstack([random.integers(-2, 3, (20, 4)), np.zeros((1, 4))]).astype(np.float32)
    priority = random.permutation(6_000)
    seen = np.repeat(np.arange(21), 3), random.integers(0, 6_000, 63)
    scores = users @ items.T
    scores[seen] = -np.inf
    values, columns = top_k_of_products(
        *map(torch.from_numpy, (users, items)),
        10,
        tuple(map(torch.from_numpy, seen)),
        torch.from_numpy(priority),
    )
    expected = in_full_order(scores, 10, priority)
    assert np.array_equal(columns, expected)
    assert np.array_equal(values, np.take_along_axis(scores, expected, 1))


def test_weights_are_those_that_choices_were_drawn_with():
    random, truth = torch.Generator().manual_seed(0), torch.tensor([1.5, 0.0, 0.6])
    scores = torch.randn(4_000, 30, 3, generator=random)
    chance = -torch.rand(4_000, 30, generator=random).log()
    chosen = (scores @ truth - chance.log()).argmax(1)  # a draw from the softmax
    targets = torch.zeros(4_000, 30, dtype=torch.bool)
    targets[torch.arange(4_000), chosen] = True
    columns = torch.arange(30).repeat(4_000, 1)
    found = softmax_weights(MemberScores(scores, torch.zeros(4_000, 30), targets, columns))
    assert np.abs(found - truth.numpy()).max() < 0.1 and found.min() >= 0


def test_a_drawn_column_stands_for_many(films):
    """Where nothing is left out, no column counts more than once; seen items are never columns."""
    split = films.sample_users(40, seed=1).split("leave_one_out")
    members = [Popular().fit(split.train), EASE().fit(split.train)]
    task = split.task("valid")
    told = member_scores(members, task)
    n_items, counts = len(split.train.items), told.log_counts.exp().sum(1)
    n_seen = np.array([len(set(task.histories[user])) for user in task.targets])
    assert np.allclose(counts, n_items - n_seen, rtol=1e-4)
    assert (told.targets.sum(1) == 1).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=7), min_size=1, max_size=4))
def test_past_and_next_equal_a_plain_loop(histories):
    past, following = past_and_next([np.array(h) for h in histories], 6, n_lags=3)
    rows_past, rows_next = [], []
    for history in histories:
        for place, item in enumerate(history):
            row = np.zeros(6)
            for lag in range(1, min(3, place) + 1):
                row[history[place - lag]] += 1 / lag
            rows_past.append(row)
            rows_next.append(np.eye(6)[item])
    assert np.allclose(past.toarray(), rows_past) and np.allclose(following.toarray(), rows_next)


@pytest.fixture(scope="module")
def split(films):
    return films.sample_users(120, seed=2).split("leave_one_out")


@pytest.fixture(scope="module")
def default(split, encoder):
    model = TransferRecommender(encoder, config=SMALL, progress=False)
    return model.fit(split.train, split.valid)


def test_a_harmful_member_gets_next_to_nothing(split):
    class Backwards(Popular):
        def score(self, histories):
            return -super().score(histories)

    members = [EASE(fading="1/age"), Backwards(), RecentlyPopular()]
    learned = Ensemble(members, weights="validation").fit(split.train, split.valid)
    assert 0 <= learned.weights_[1] < 0.1 < max(learned.weights_)
    assert learned.steps_["ndcg@10"].is_monotonic_increasing
    assert learned.steps_["members"].iloc[0] == (0, 1, 2)


def test_two_members_that_do_the_same_harm_do_not_hide_each_other():
    """A member that makes the target likelier than most items, and lets ten pass it."""
    random, shape = np.random.default_rng(1), (200, 300)
    good = random.normal(size=shape)
    found = random.random(shape[0]) < 0.4
    good[:, 0] = np.where(found, random.normal(2.6, 0.3, shape[0]), good[:, 0])
    harmful = np.full(shape, -0.6)
    harmful[:, 0] = 1.0
    liked = random.random((shape[0], shape[1] - 1)).argsort(1)[:, :100] + 1
    np.put_along_axis(harmful, liked, 1.0, axis=1)
    np.put_along_axis(harmful, liked[:, :10], 6.0, axis=1)
    harmful += random.normal(0, 0.1, shape)
    scores = torch.from_numpy(np.stack([good, harmful, harmful], axis=2)).float()
    targets = torch.zeros(shape, dtype=torch.bool)
    targets[:, 0] = True
    items = torch.arange(shape[1]).expand(shape)
    told = MemberScores(scores, torch.zeros(shape), targets, items)
    weights, steps = learn_weights(told)
    assert weights[0] > 0 and weights[1:] == [0, 0]
    assert steps["members"].iloc[-1] == (0,) and steps["ndcg@10"].is_monotonic_increasing


def test_members_that_all_mislead_count_alike(caplog):
    """Else every item would score 0, and the order of the list say nothing."""
    random, shape = np.random.default_rng(0), (40, 30)
    scores = torch.from_numpy(random.normal(size=(*shape, 2))).float()
    targets = torch.nn.functional.one_hot(scores.sum(2).argmin(1), shape[1]).bool()
    items = torch.arange(shape[1]).expand(shape)
    weights, _ = learn_weights(MemberScores(scores, torch.zeros(shape), targets, items))
    assert weights == [0.5, 0.5] and "any likelier" in caplog.text


def test_validation_that_says_nothing_leaves_the_votes_also_of_new_items(encoder, caplog):
    """Items that nobody took in training, and validation users who took nothing new."""
    log = pd.DataFrame({"user_id": [1, 1, 2, 2], "item_id": [0, 1, 1, 2], "timestamp": range(4)})
    items = pd.DataFrame({"item_id": range(5), "text": [f"tea number {n}" for n in range(5)]})
    train = Dataset.from_frames(log, items)
    again = Dataset.from_frames(log[:1].assign(timestamp=9), items)
    fitted = ClosedForm(encoder).fit(train, again)
    assert "validation says nothing" in caplog.text
    ensemble = fitted.ensemble_
    assert ensemble.weights_ == [0.5] * len(ensemble.members)
    assert ensemble.new_weights_ == new_votes(ensemble.weights_, len(ensemble.new_items))
    assert len(fitted.recommend({"new": [0]}, k=4)) == 4


def test_the_default_is_a_blend_that_travels(default, split, encoder, tmp_path):
    kinds = [type(member) for member in default.ensemble_.members]
    assert kinds == [TransferRecommender, TextEASE, SLIT, ContentKNN]
    default.save_pretrained(tmp_path / "model")
    loaded = TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)
    histories = split.histories("test")
    assert loaded.recommend(histories).equals(default.recommend(histories))
    assert loaded.ensemble_.new_weights_ == default.ensemble_.new_weights_
    assert default.alone().factors([np.array([0])]) is not None and default.factors([]) is None


@pytest.mark.parametrize(
    ("version", "slopes"),
    [(8, [0.5, 0.25, 0.0]), (8, [0.5, 0.25]), (8, [0.5, 0.25, 0.0, 0.25])]
    + [(7, [0.5, 0.25]), (7, [0.5]), (7, []), (7, [0.5, 0.25, 0.25])],
)
def test_a_blend_of_an_older_format_is_read(version, slopes, default, encoder, tmp_path):
    """In format 8 one cosine scored new items, and in format 7 `SLIT` did not."""

    def age(noted: dict) -> None:
        noted["format"], noted["closed_form"]["new"] = version, [*slopes, -1.0]

    default.save_pretrained(tmp_path / "model")
    sign_again(tmp_path / "model", age)
    if len(slopes) != version - 5:
        with pytest.raises(ModelError, match="weights of new items"):
            TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)
    else:
        loaded = TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)
        assert loaded.ensemble_.new_weights_ == [0.0, 0.5, 0.25, 0.0, -1.0]


def test_new_items_are_ranked_among_themselves_as_their_texts_say(default, split, encoder):
    new = pd.DataFrame({"item_id": [90_001, 90_002, 90_003]})
    new["text"] = [
        "Alien Attack (1998), Horror Sci-Fi",
        "Love in Spring, Romance",
        "Zoo, Children's",
    ]
    items = pd.concat([split.train.items[["item_id", "text"]], new], ignore_index=True)
    histories, candidates = split.histories("test"), new["item_id"].tolist()
    shown = default.with_items(items).recommend(histories, k=3, candidates=candidates)
    _, *matrices, content = default.ensemble_.members
    flat = copy.copy(content).set_params(fading=None)
    carried = [ScoresFromText(matrix, flat).join() for matrix in matrices]
    cosines = [copy.copy(flat).set_params(n_last=n) for n in (30, 10**9)]
    scorers = [one.with_items(items) for one in (*cosines, *carried)]
    *slopes, _ = default.ensemble_.new_weights_
    by_text = Ensemble(scorers, standardise=True, weights=slopes).join()
    expected = by_text.recommend(histories, k=3, candidates=candidates)
    columns = ["user_id", "rank", "item_id"]
    assert shown[columns].equals(expected[columns])


def test_columns_of_new_items_are_a_ridge_regression_of_the_known_ones(films, encoder):
    split = films.sample_users(150, seed=4).split("cold_items")
    content = ContentKNN(encoder).fit(split.train)
    ease = EASE().fit(split.train)
    found = ScoresFromText(ease, content, regularisation=3.0).join()
    known, texts = content.popularity_ > 0, content.vectors_.numpy()
    ridge = Ridge(alpha=3.0, fit_intercept=False)
    history = np.flatnonzero(known)[:5]
    wanted = ease.weights_[history].sum(0)[known]
    expected = ridge.fit(texts[known].astype(float), wanted).predict(texts)
    assert np.allclose(found.score([history])[0], expected, atol=1e-4)


def test_debiased_scores_are_those_less_what_the_average_event_says(films, encoder):
    split = films.sample_users(150, seed=4).split("cold_items")
    content = ContentKNN(encoder).fit(split.train)
    ease = EASE().fit(split.train)
    whole = ScoresFromText(ease, content).join()
    debiased = ScoresFromText(ease, content, debiased=True).join()
    history = np.flatnonzero(content.popularity_)[:5]
    everything = [np.array([item]) for item in range(len(content.items_))]
    shares = torch.from_numpy(content.popularity_ / content.popularity_.sum()).float()
    average = shares @ whole.score(everything)
    found = debiased.score([history, history[:0]])
    assert torch.allclose(found[0], whole.score([history])[0] - 5 * average, atol=1e-5)
    assert not found[1].any()  # without a history nothing is known of a person
    moved = debiased.with_items(content.items_[["item_id", "text"]])
    assert torch.allclose(moved.score([history]), found[:1], atol=1e-5)


def test_what_arrives_is_scored_without_what_everybody_takes(films, encoder, tmp_path):
    """Where validation is later than training, also of a model that was saved, or fitted again; and
    not where its items were withheld.
    """
    some = films.sample_users(120, seed=3)
    split = some.split("cold_items")
    assert not is_debiased(ClosedForm(encoder).fit(split.train, split.valid).ensemble_)
    # one time for all users, so that each of them goes on after the cut
    turn = some.interactions.groupby("user_id").cumcount()
    later = some.interactions.assign(
        timestamp=pd.Timestamp("2020-01-01") + turn * pd.Timedelta("1h")
    )
    split = replace(some, interactions=later).split("temporal")
    model = TransferRecommender(encoder, config=SMALL, progress=False)
    model.fit(split.train, split.valid, refit=True)
    assert is_debiased(model.ensemble_)
    model.save_pretrained(tmp_path / "model")
    loaded = TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)
    assert is_debiased(loaded.ensemble_)
    new = pd.DataFrame({"item_id": [90_001, 90_002], "text": ["Zoo, Children's", "Love, Romance"]})
    items = pd.concat([split.train.items[["item_id", "text"]], new], ignore_index=True)
    asked = split.histories("test")
    lists = [one.with_items(items).recommend(asked) for one in (model, loaded)]
    assert lists[0].equals(lists[1])

    def change(noted: dict) -> None:
        noted["closed_form"]["debiased"] = "yes"

    sign_again(tmp_path / "model", change)
    with pytest.raises(ModelError, match="neither true nor false"):
        TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)


def test_where_nothing_has_events_the_cosine_decides(split, encoder):
    content = ContentKNN(encoder).fit(split.train)
    found = ScoresFromText(EASE().fit(split.train), content).join()
    elsewhere = split.train.items[["item_id", "text"]].assign(
        item_id=lambda items: items["item_id"] + 10_000
    )
    histories = {1: elsewhere["item_id"].tolist()[:4]}
    expected = content.with_items(elsewhere).recommend(histories)
    assert found.with_items(elsewhere).recommend(histories).equals(expected)


def test_members_of_one_kind_are_told_apart(split):
    members = [Popular(), EASE(), Popular()]
    joined = Ensemble(members, weights=[1, 2, 3], standardise=True).fit(split.train)
    assert joined.named_weights().to_dict() == {"Popular": 1, "EASE": 2, "Popular 2": 3}


@pytest.mark.parametrize("is_loud", [True, False])
def test_new_items_are_as_loud_as_validation_says(films, is_loud):
    """Users of whom nobody, or everybody, took a new item."""
    train = films.sample_users(200, seed=5)
    counts = train.interactions["item_id"].value_counts()
    new = counts.index[10:60]
    is_new = train.interactions["item_id"].isin(new)
    valid = replace(train, interactions=train.interactions[is_new == is_loud].tail(400))
    train = replace(train, interactions=train.interactions[~is_new].head(6_000))
    members = [EASE().fit(train), Popular().fit(train)]
    learned = Ensemble(members, weights="validation", new_items=Popular().fit(train))
    level = learned.join(train, valid).new_weights_[-1]
    assert (level > 0.5) == is_loud and (level < -0.5) != is_loud


def test_known_items_keep_their_places_when_others_arrive(default, split):
    new = pd.DataFrame({"item_id": [90_001], "text": ["Alien Attack (1998), Horror Sci-Fi"]})
    items = pd.concat([new, split.train.items[["item_id", "text"]]], ignore_index=True)
    histories, known = split.histories("test"), split.train.items["item_id"].tolist()
    ease = EASE().fit(split.train)
    for model in (ease, SLIT().fit(split.train)):
        larger = model.with_items(items).recommend(histories, candidates=known)
        assert larger["item_id"].equals(model.recommend(histories)["item_id"])


def test_without_order_there_is_no_next(films, encoder):
    undated = films.sample_users(60, seed=3)
    undated = replace(
        undated, interactions=undated.interactions.drop(columns="timestamp"), order="unknown"
    )
    split = undated.split("random")
    closed = ClosedForm(encoder).fit(split.train, split.valid)
    assert [type(one) for one in closed.ensemble_.members] == [TextEASE, ContentKNN]
    user, history = next(iter(split.histories("test").items()))
    lists = [
        closed.recommend({user: order})["item_id"].tolist() for order in (history, history[::-1])
    ]
    assert lists[0] == lists[1]
    with pytest.raises(DataError, match=r"order of these events is not known\. Use"):
        SLIT().fit(split.train)


def test_a_refit_learns_from_validation_and_keeps_the_weights(split, encoder):
    model = TransferRecommender(encoder, config=SMALL, progress=False)
    model.fit(split.train, split.valid, refit=True)
    n_events = len(split.train.interactions) + len(split.valid.interactions)
    for member in model.ensemble_.members:
        assert member.popularity_.sum() == n_events
    again = TransferRecommender(encoder, config=SMALL, progress=False)
    again.fit(split.train, split.valid)
    assert model.ensemble_.weights_ == again.ensemble_.weights_


def test_another_catalogue_is_learned_anew(default, films, encoder):
    other = films.sample_users(50, seed=9).split("leave_one_out")
    moved = default.adapt(other.train, other.valid, epochs=1)
    ease = moved.ensemble_.members[1]
    plain = TextEASE(
        encoder, **{k: v for k, v in ease.get_params(deep=False).items() if k != "encoder"}
    )
    assert np.allclose(ease.weights_, plain.fit(other.train).weights_, atol=1e-5)
    untouched = default.adapt(other.train, strategy="zero_shot")
    assert untouched.ensemble_.weights_ == default.ensemble_.weights_


def test_a_catalogue_with_too_many_pairs_keeps_the_text(split, encoder, monkeypatch):
    monkeypatch.setattr("llmrec.linear.MOST_LINEAR", 100)
    closed = ClosedForm(encoder).fit(split.train, split.valid)
    assert [type(one) for one in closed.ensemble_.members] == [ContentKNN]


def test_a_tiny_catalogue_is_no_reason_to_fail(encoder):
    log = pd.DataFrame({"user_id": [1] * 4 + [2] * 4, "item_id": list("abcdbcda")})
    texts = ["red tea", "green tea", "coffee", "cocoa", "milk"]
    items = pd.DataFrame({"item_id": list("abcde"), "text": texts})
    tiny = Dataset.from_frames(log.assign(timestamp=range(8)), items).split("leave_one_out")
    model = TransferRecommender(encoder, config=SMALL, progress=False).fit(tiny.train, tiny.valid)
    assert set(model.recommend({9: ["a"]})["item_id"]) == set("bcde")
