"""The gate against leaks, metrics against an independent library, and bad input. The catalogues
here are synthetic and tiny.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec import Dataset, compare, evaluate
from llmrec.baselines import ALS, EASE, ContentKNN, ItemKNN, RidgeFromText
from llmrec.checks import DataError
from llmrec.classification import evaluate_classifier
from llmrec.data import sort_by_time
from llmrec.ensembles import Ensemble
from llmrec.evaluation import (
    compare_users,
    evaluate_groups,
    evaluate_users,
    shuffle_test,
    side_by_side,
    user_groups,
)
from llmrec.leaks import audit, require_no_leak
from llmrec.metrics import (
    ACCURACY,
    auc,
    detectable_difference,
    diversity,
    ranked_lists,
    serendipity,
    wilson_interval,
)
from llmrec.recommenders import Popular
from llmrec.splits import LeakError
from llmrec.tuning import choose, tune, tuned_baselines


@pytest.fixture(scope="module")
def split(films):
    return films.sample_users(200, seed=0).split("leave_one_out")


def leaks(split, features=None):
    found = audit(split, features)
    return found.loc[found["verdict"] == "leak", "check"].tolist()


def with_parts(split, **parts):
    """The split with other rows in its parts, as somebody's own script might make it."""
    return replace(
        split, **{part: replace(split.train, interactions=rows) for part, rows in parts.items()}
    )


@pytest.mark.parametrize("protocol", ["leave_one_out", "temporal", "cold_items", "cold_users"])
def test_honest_splits_pass(films, protocol):
    assert leaks(films.split(protocol)) == []


def test_a_loaded_split_passes(split, tmp_path):
    split.save(tmp_path / "split")
    assert leaks(type(split).load(tmp_path / "split")) == []


# The field's real bugs, replayed
# ------------------------------------------------------------


def test_mask_taken_from_a_sorted_copy(films, split):
    log = pd.concat(
        [split.train.interactions, split.valid.interactions, split.test.interactions]
    ).sort_index()
    ordered = sort_by_time(log)
    # right for the sorted copy, used on the file's order
    is_last = (ordered["user_id"] != ordered["user_id"].shift(-1)).to_numpy()
    wrong = with_parts(split, train=log[~is_last], valid=log.iloc[:0], test=log[is_last])
    assert "rows as the protocol gives them" in leaks(wrong) and "time travel" in leaks(wrong)
    with pytest.raises(LeakError, match=r"[.!] [A-Z]"):
        evaluate(Popular().fit(wrong.train), wrong)
    with pytest.raises(LeakError, match="not evaluated"):
        compare({"a": Popular().fit(wrong.train), "b": Popular().fit(wrong.train)}, wrong)


def test_validation_of_others_in_training(split):
    copied = split.valid.interactions.copy()
    copied.index = np.arange(len(copied)) + 10**6
    wrong = with_parts(split, train=pd.concat([split.train.interactions, copied]))
    assert "events in two parts" in leaks(wrong)


def test_windows_split_by_position(films):
    """Rows of all users in one long list, cut at 80 and 90 %: some users are cut in the middle of
    nowhere.
    """
    split = films.split("cold_users", seed=0)
    log = films.interactions
    wrong = with_parts(
        split,
        train=log.iloc[:80_000],
        valid=log.iloc[80_000:90_000],
        test=log.iloc[90_000:],
        context=log.iloc[:0],
    )
    assert {"withheld in training", "rows as the protocol gives them"} <= set(leaks(wrong))


def test_cold_items_that_were_trained_on(films):
    split = films.split("cold_items")
    wrong = with_parts(
        split,
        train=pd.concat([split.train.interactions, split.test.interactions.iloc[:50]]),
        test=split.test.interactions.iloc[50:],
    )
    assert "withheld in training" in leaks(wrong)


def test_training_after_the_cut(films):
    split = films.split("temporal")
    late = split.test.interactions
    late = late[~late["user_id"].isin(late["user_id"].iloc[:1])]
    wrong = with_parts(
        split,
        train=pd.concat([split.train.interactions, late]).sort_index(),
        test=split.test.interactions.drop(late.index),
    )
    assert "time travel" in leaks(wrong)


def test_target_inside_the_user_id(split):
    targets = split.targets("test")

    def renamed(frame):
        return frame.assign(
            user_id=[
                f"u{user}_{targets[user][0] if user in targets else 0}".replace("_", "-")
                for user in frame["user_id"]
            ]
        )

    wrong = with_parts(
        split,
        **{
            part: renamed(getattr(split, part).interactions)
            for part in ("train", "valid", "test", "context")
        },
    )
    assert leaks(wrong) == ["targets in user ids"]


def test_target_inside_a_profile(films, split):
    texts = films.items.set_index("item_id")["text"]
    log = pd.concat([split.train.interactions, split.valid.interactions, split.test.interactions])
    clean, dirty = (
        frame.groupby("user_id")["item_id"]
        .agg(lambda items: "; ".join(texts[items]))
        .rename("profile")
        .reset_index()
        for frame in (split.train.interactions, log)
    )
    assert leaks(split, {"profiles": clean}) == [] and leaks(split, {"profiles": dirty}) == [
        "targets in profiles"
    ]
    with pytest.raises(DataError, match="'user_id' is missing"):
        audit(split, {"profiles": clean.drop(columns="user_id")})


@pytest.mark.parametrize("n_told, found", [(4, []), (5, ["targets in profiles"])])
def test_a_few_profiles_that_name_a_target_by_chance_are_no_leak(films, n_told, found):
    """An age may well be the number of a film: fewer than five such users of many say nothing."""
    split = films.sample_users(40, seed=2).split("leave_one_out")
    targets = {user: items[0] for user, items in split.targets("test").items()}
    told = [str(target) if row < n_told else "" for row, target in enumerate(targets.values())]
    assert leaks(split, {"profiles": pd.DataFrame({"user_id": [*targets], "age": told})}) == found


@pytest.mark.parametrize(
    "fit",
    [
        lambda data: data.interactions["item_id"].value_counts(),
        lambda data: set(data.interactions["item_id"]),
        lambda data: data.interactions["timestamp"].to_numpy(float).mean(keepdims=True),
    ],
)
def test_anything_fitted_after_the_cut(split, fit):
    assert leaks(split, {"fitted": (fit(split.train), fit)}) == []
    assert leaks(split, {"fitted": (fit(split.train_valid), fit)}) == ["fitted fitted on training"]


def test_unseeded_subset(films):
    reports = {}
    for run in range(2):
        users = np.random.default_rng().choice(
            films.interactions["user_id"].unique(), 100, replace=False
        )
        few = replace(
            films, interactions=films.interactions[films.interactions["user_id"].isin(users)]
        )
        split = few.split("leave_one_out")
        reports[f"run {run}"] = evaluate(Popular().fit(split.train), split)
    with pytest.raises(DataError, match="different splits"):
        side_by_side(reports)


def test_one_user_numbered_like_their_target_is_chance(films):
    users = np.random.default_rng(9).choice(
        films.interactions["user_id"].unique(), 100, replace=False
    )
    split = replace(
        films, interactions=films.interactions[films.interactions["user_id"].isin(users)]
    ).split("leave_one_out")
    # there is one
    assert [user for user, items in split.targets("test").items() if str(user) == str(items[0])]
    require_no_leak(split)


def test_file_order_is_reported(films, split):
    table = audit(films.split("leave_one_out")).set_index("check")
    assert (
        table.loc["targets decided by file order", "count"] == 415
        and table.loc["targets decided by file order", "verdict"] == "note"
    )
    by_hand = replace(split, manifest={"protocol": "mine"})
    assert (
        audit(by_hand).set_index("check").loc["rows as the protocol gives them", "verdict"]
        == "note"
    )
    require_no_leak(by_hand)


# Metrics
# ------------------------------------------------------------

lists = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(relevance=lists, k=st.integers(1, 6))
def test_metrics_equal_torchmetrics(relevance, k):
    retrieval = pytest.importorskip("torchmetrics.functional.retrieval")
    relevance = [row if any(row) else [True, *row[1:]] for row in relevance]
    ranking = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(len(relevance)), 6),
            "rank": np.tile(np.arange(1, 7), len(relevance)),
            "item_id": np.tile(np.arange(6), len(relevance)),
        }
    )
    ours = ranked_lists(
        ranking, {user: np.flatnonzero(row).tolist() for user, row in enumerate(relevance)}, k=6
    )
    theirs = {
        "hr": retrieval.retrieval_hit_rate,
        "precision": retrieval.retrieval_precision,
        "recall": retrieval.retrieval_recall,
        "ndcg": retrieval.retrieval_normalized_dcg,
        "mrr": retrieval.retrieval_reciprocal_rank,
    }
    scores = torch.arange(6, 0, -1.0)
    for name, function in theirs.items():
        expected = [function(scores, torch.tensor(row), top_k=k).item() for row in relevance]
        assert np.allclose(ACCURACY[name](ours.top(k)), expected, atol=1e-6), name
    whole = [
        retrieval.retrieval_average_precision(scores, torch.tensor(row)).item() for row in relevance
    ]
    assert np.allclose(ACCURACY["map"](ours), whole, atol=1e-6)
    for row, value in zip(relevance, auc(ours), strict=True):
        assert all(row) or np.isclose(
            value, retrieval.retrieval_auroc(scores, torch.tensor(row)).item(), atol=1e-6
        )


def test_average_precision_of_a_cut_list():
    ranking = pd.DataFrame({"user_id": 1, "rank": [1, 2, 3], "item_id": list("abc")})
    cut = ranked_lists(ranking, {1: list("acxyz")}, k=3)
    assert np.isclose(ACCURACY["map"](cut)[0], (1 / 1 + 2 / 3) / 3)
    with pytest.raises(DataError, match="k as large as the catalogue"):
        auc(cut)


LIST = pd.DataFrame(
    {"user_id": [1, 1, 2], "rank": [1, 2, 1], "item_id": ["a", "b", "a"], "score": [2.0, 1.0, 1.0]}
)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda frame: frame.assign(item_id="a"), "item 'a' twice for user 1"),
        (lambda frame: frame.assign(rank=[1, 1, 1]), "same rank twice"),
        (lambda frame: frame.assign(rank=[1, 3, 1]), "leaves a rank out"),
        (lambda frame: frame.assign(rank=[0, 1, 1]), "whole numbers from 1"),
        (lambda frame: frame.assign(rank=[1.0, 2.5, 1.0]), "whole numbers from 1"),
        (lambda frame: frame.assign(user_id=[1, 1, 3]), "user 3 has no target"),
        (
            lambda frame: frame.assign(item_id=["a", "b", "z"]),
            "recommended item 'z' is not in the catalogue",
        ),
        (lambda frame: frame.assign(score=[1, np.nan, 1]), "NaN in row 1"),
        (lambda frame: frame.drop(columns="item_id"), "is missing"),
    ],
)
def test_bad_lists_are_refused(spoil, words):
    with pytest.raises(DataError, match=words):
        ranked_lists(spoil(LIST), {1: ["a"], 2: ["c"]}, k=3, items=list("abc"))


def test_bad_targets_and_k_are_refused():
    with pytest.raises(DataError, match="target 'q' is not in the catalogue"):
        ranked_lists(LIST, {1: ["a"], 2: ["q"]}, items=list("abc"))
    for targets in ({}, {1: []}):
        with pytest.raises(DataError, match="at least one target"):
            ranked_lists(LIST, targets)
    for k in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="ks="):
            ranked_lists(LIST, {1: ["a"], 2: ["c"]}, k=k)


def test_fewer_than_k_are_misses_and_are_counted(tiny):
    split = tiny.split("leave_one_out")
    report = evaluate(Popular().fit(split.train), split, ks=(4,), metrics=("precision", "hr"))
    assert (
        report.attrs["short_lists"] == 2
        and report.set_index("metric").loc["precision", "value"] == 0.25
    )


def test_one_user_and_no_user(tiny):
    one = replace(tiny, interactions=tiny.interactions[tiny.interactions["user_id"] == 1])
    split = one.split("leave_one_out")
    report = evaluate(Popular().fit(split.train), split)
    assert (report["n_users"] == 1).all() and np.isinf(report.attrs["detectable"]["ndcg@10"])
    with pytest.raises(DataError, match="no user has a target"):
        evaluate(
            Popular().fit(split.train),
            replace(split, test=split.context, manifest={"protocol": "mine"}),
        )


def test_unknown_metrics_and_missing_vectors(split):
    system = Popular().fit(split.train)
    with pytest.raises(ValueError, match=r"\['accuracy'\] not known"):
        evaluate(system, split, metrics=("accuracy",))
    with pytest.raises(ValueError, match="diversity needs vectors"):
        evaluate(system, split, metrics=("diversity",))


def test_groups_add_up_and_shuffling_does_not_matter_to_counts(split):
    system = EASE().fit(split.train)
    table = evaluate_groups(
        evaluate_users(system, split, metrics=("hr",)), user_groups(split), metric="hr"
    )
    assert (table.groupby("group")["n_users"].sum() == len(split.targets())).all()
    assert abs(shuffle_test(system, split, n_shuffles=1)["difference"]) < 1e-3


def test_different_users_are_not_compared():
    with pytest.raises(DataError, match="same users"):
        compare_users({"a": pd.Series([1.0, 0.0]), "b": pd.Series([1.0])})


# Tuning, baselines, labels


def test_tuning_goes_on_from_its_log_and_never_sees_test(split, tmp_path):
    asked, space = [], {"regularisation": (1.0, 1_000.0, "log")}

    class Watched(EASE):
        def fit(self, train, valid=None):
            assert train is split.train and valid is split.valid
            return super().fit(train)

        def recommend(self, histories, *args, **options):
            asked.append(histories)
            return super().recommend(histories, *args, **options)

    tune(Watched, split, space, budget=2, log=tmp_path / "log.sqlite", progress=False)
    whole = tune(
        Watched,
        split,
        space,
        budget=3,
        log=tmp_path / "log.sqlite",
        start={"regularisation": 5.0},
        progress=False,
    )
    assert len(asked) == 3 and all(histories == split.histories("valid") for histories in asked)
    assert (
        len(whole.trials) == 3
        and whole.value == whole.trials["value"].max()
        and set(whole.best) == {"regularisation"}
    )
    with pytest.raises(ValueError, match="nothing to search"):
        tune(EASE, split, {}, budget=3)
    first = tune(EASE, split, space, budget=1, start={"regularisation": 5.0}, progress=False)
    assert first.trials["regularisation"].tolist() == [5.0]


def test_text_and_factor_baselines_keep_the_contract(split, encoder):
    for system in (RidgeFromText(encoder, n_factors=8), ALS(8, iterations=2)):
        top = system.fit(split.train).recommend(
            {"x": split.train.items["item_id"].tolist()[:3], "y": []}, k=5
        )
        assert len(top) == 10 and not set(top.loc[top["user_id"] == "x", "item_id"]) & set(
            split.train.items["item_id"][:3]
        )


def test_ridge_reads_another_catalogue(split, encoder):
    ridge = RidgeFromText(encoder, n_components=16, n_factors=4).fit(split.train)
    before, items = ridge.factors_.copy(), split.train.items
    assert np.allclose(ridge.with_items(items).factors_, before, atol=1e-3)  # nothing new to read
    foreign = ridge.with_items(items.iloc[:9].assign(item_id=range(-9, 0)))
    assert (
        foreign.factors_.shape == (9, 4)
        and foreign.popularity_.sum() == 0
        and np.array_equal(ridge.factors_, before)
    )
    # the same texts under other ids
    assert np.array_equal(foreign.factors_, ridge.with_items(items.iloc[:9]).factors_)
    assert set(foreign.recommend({"x": [-1, -2]}, k=3)["item_id"]) <= set(range(-9, -2))


def test_a_missing_extra_is_named(split, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "implicit.als", None)
    with pytest.raises(ImportError, match=r"llmrec\[baselines\]"):
        ALS().fit(split.train)


def test_classifier_report():
    report = evaluate_classifier(
        [1, 1, 0, 0], [1, 0, 0, 0], np.array([0.9, 0.4, 0.3, 0.2]), n_draws=50
    ).set_index("metric")
    assert (
        report.loc["accuracy", "value"] == 0.75
        and report.loc["recall", "n"] == 2
        and report.loc["auc", "value"] == 1
    )
    assert np.isnan(
        evaluate_classifier([1, 0], [0, 0]).set_index("metric").loc["precision", "value"]
    )
    with pytest.raises(ValueError, match="one prediction for each label"):
        evaluate_classifier([1], [1, 0])
    for n_right, n in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="no share"):
            wilson_interval(n_right, n)


def test_a_dataset_of_one_moment_is_still_split_by_file_order():
    log = pd.DataFrame({"user_id": [1] * 4, "item_id": list("abcd"), "timestamp": 7})
    split = Dataset.from_frames(
        log, pd.DataFrame({"item_id": list("abcd"), "text": list("abcd")})
    ).split("leave_one_out")
    assert split.targets("test") == {1: ["d"]} and leaks(split) == []


def test_a_list_of_one_has_no_diversity():
    # lengths that do not come out at exactly one
    vectors = np.random.default_rng(0).normal(size=(50, 7))
    lists = ranked_lists(
        pd.DataFrame({"user_id": range(50), "item_id": range(50), "rank": 1}),
        {user: [0] for user in range(50)},
        k=3,
        items=range(50),
    )
    assert np.isnan(diversity(lists, vectors)).all()


@pytest.mark.parametrize("harm", ["shorten", "reverse", "empty", "delete", "candidates"])
def test_no_system_changes_what_another_one_sees(harm, films):
    """A system may work on the lists it is handed; the next one must not notice."""
    split = films.sample_users(100).split("cold_items" if harm == "candidates" else "leave_one_out")

    class Greedy(ItemKNN):
        def recommend(self, histories, k=10, *, candidates=None, times=None):
            top = super().recommend(histories, k, candidates=candidates)
            for items in histories.values():
                items[:] = {"shorten": items[-1:], "reverse": items[::-1], "empty": []}.get(
                    harm, items
                )
            if harm == "delete":
                histories.clear()
            if candidates is not None:
                candidates.clear()
            return top

    polite, other = ItemKNN(fading="1/age").fit(split.train), Greedy().fit(split.train)
    alone, before = evaluate(polite, split), (split.histories(), split.candidates())
    assert compare({"greedy": other, "polite": polite}, split).equals(
        compare({"greedy": ItemKNN().fit(split.train), "polite": polite}, split)
    )
    shuffle_test(other, split, n_shuffles=1)
    assert (
        evaluate(polite, split).equals(alone) and (split.histories(), split.candidates()) == before
    )


@pytest.mark.parametrize("make", [EASE, ItemKNN, "ridge", "content"])
@pytest.mark.parametrize("fading", ["1/age", "exponential"])
def test_fading_lets_the_newest_event_speak(make, fading, films, encoder):
    """A half-life near zero leaves the last event; an endless one leaves all of the history."""
    split = films.sample_users(80).split("leave_one_out")
    content, ridge = (
        partial(ContentKNN, encoder, n_components=32, n_last=10**6),
        partial(RidgeFromText, encoder, n_components=32, n_factors=8),
    )
    make = {"ridge": ridge, "content": content}.get(make, make)
    histories = [np.arange(5, 45), np.array([7]), np.array([], dtype=int)]

    def scores(**options):
        return (
            make(**options)
            .fit(split.train)
            .score([history.copy() for history in histories])
            .numpy()
        )

    last = make().fit(split.train).score([history[-1:] for history in histories]).numpy()
    assert np.allclose(scores(fading=fading, half_life=1e-9), last, atol=1e-5) and np.allclose(
        scores(fading=fading, half_life=1e9), scores(), atol=1e-5
    )
    assert not np.allclose(scores(fading=fading, half_life=3.0), scores(), atol=1e-3)


def test_ease_with_fading_by_hand(films):
    split = films.sample_users(80).split("leave_one_out")
    system, history = EASE(100.0, fading="1/age").fit(split.train), np.array([3, 9, 3, 20])
    # item 3 counts at its newest place
    weights = system.weights_[20] + system.weights_[3] / 2 + system.weights_[9] / 3
    assert np.allclose(system.score([history])[0], weights, atol=1e-6)
    assert np.allclose(
        EASE(100.0).fit(split.train).score([history])[0],
        system.weights_[[3, 9, 20]].sum(0),
        atol=1e-6,
    )


def test_fading_by_time_needs_times_and_gets_them(films):
    split = films.sample_users(80).split("leave_one_out")
    system = EASE(100.0, fading="exponential", half_life=2.0, fading_by="time").fit(split.train)
    items, times = split.train.items["item_id"].tolist()[:2], [0, 4 * 86_400]
    by_hand = system.weights_[0] / 4 + system.weights_[1]
    top = system.recommend({"x": items}, k=3, times={"x": times})
    assert np.allclose(top["score"], np.sort(np.delete(by_hand, [0, 1]))[::-1][:3], atol=1e-6)
    dates = [pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-05")]
    assert system.recommend({"x": items}, k=3, times={"x": dates}).equals(top)
    zoned = [date.tz_localize("UTC").tz_convert("Asia/Shanghai") for date in dates]
    assert system.recommend({"x": items}, k=3, times={"x": zoned}).equals(top)
    # times that fall count as now
    assert np.isfinite(system.recommend({"x": items}, k=3, times={"x": times[::-1]})["score"]).all()
    log = pd.DataFrame({"user_id": ["x"] * 2, "item_id": items, "timestamp": times})
    assert system.recommend(replace(split.train, interactions=log), k=3).equals(top)
    # evaluate hands the times over, also to an ensemble
    assert (
        evaluate(Ensemble([system, Popular().fit(split.train)]).join(), split).loc[0, "n_users"]
        == 80
    )
    for wrong in (None, {"x": times[:1]}, {"y": times}):
        with pytest.raises(ValueError, match=r"[.!] [A-Z]"):
            system.recommend({"x": items}, times=wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"fading": "2/age"},
        {"fading": "1/age", "half_life": 0.0},
        {"fading": "1/age", "fading_by": "moon"},
    ],
)
def test_unknown_fading_is_refused(options, tiny, encoder):
    for make in (EASE, ItemKNN, partial(ContentKNN, encoder), partial(RidgeFromText, encoder)):
        with pytest.raises(ValueError, match=r"fading.*\. [A-Z]"):
            make(**options).fit(tiny)


def test_several_numbers_of_directions_are_the_mean_of_their_cosines(films, encoder):
    split, histories = films.sample_users(40).split("leave_one_out"), [np.array([1, 2, 3])]
    both, *each = (
        ContentKNN(encoder, n_components=n).fit(split.train).score(histories)
        for n in ((16, 64), 16, 64)
    )
    assert torch.allclose(both, sum(each) / 2, atol=1e-5)


def test_tune_chooses_the_fading_on_validation(films):
    split = films.sample_users(150).split("leave_one_out")
    found = tune(
        EASE,
        split,
        {
            "regularisation": (50.0, 2_000.0, "log"),
            "fading": [None, "1/age"],
            "half_life": (0.5, 20.0, "log"),
        },
        budget=8,
        progress=False,
    )
    # both were tried
    assert found.best["fading"] == "1/age" and found.trials["fading"].isna().any()
    flat = found.trials.loc[found.trials["fading"].isna(), "value"].max()
    assert found.value > flat and list(found.trials.columns) == [
        "trial",
        "value",
        "seconds",
        "regularisation",
        "fading",
        "half_life",
    ]


def test_choose_ranks_candidates_alone_and_keeps_the_first_of_equals(films):
    split = films.sample_users(60).split("leave_one_out")
    popular, ease = Popular().fit(split.train), EASE().fit(split.train)
    assert choose([popular, Popular().fit(split.train)], split.train, split.valid) is popular
    assert choose([popular, ease], split.train, None) is popular  # nothing to choose by
    new = split.train.items["item_id"][
        ~split.train.items["item_id"].isin(split.train.interactions["item_id"])
    ].tolist()
    assert choose([popular, ease], split.train, split.valid, candidates=new[:5]) is popular


def test_a_catalogue_too_large_for_pairs_is_named_and_the_rest_goes_on(
    films, encoder, monkeypatch, caplog
):
    split = films.sample_users(40).split("leave_one_out")
    for room in ("baselines", "tuning"):
        monkeypatch.setattr(f"llmrec.{room}.MOST_ITEMS", 1_000)
    for system in (EASE(), ItemKNN()):
        with pytest.raises(ValueError, match=r"1,682 x 1,682 pairs of items.*GB.*\. [A-Z]"):
            system.fit(split.train)
    with caplog.at_level("WARNING"):
        left = tuned_baselines(encoder, split.train, split.valid)
    assert (
        set(left) == {"popular", "recently popular", "content kNN, raw", "content kNN, fading"}
        and "left out" in caplog.text
    )


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_diversity_is_one_minus_the_mean_cosine_of_all_pairs(length):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(9, 4))
    chosen = {user: random.permutation(9)[:length] for user in "ab"}
    rows = [(u, rank, item) for u, own in chosen.items() for rank, item in enumerate(own, 1)]
    table = pd.DataFrame(rows, columns=["user_id", "rank", "item_id"])
    found = diversity(ranked_lists(table, {u: [0] for u in chosen}, k=5, items=range(9)), vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for value, own in zip(found, chosen.values(), strict=True):
        pairs = [unit[one] @ unit[other] for at, one in enumerate(own) for other in own[:at]]
        expected = 1 - np.mean(pairs) if pairs else np.nan
        np.testing.assert_allclose(value, expected, atol=1e-9)


def test_a_list_that_is_too_long_counts_as_far_as_it_is_asked_for():
    table = pd.DataFrame({"user_id": "u", "rank": range(1, 8), "item_id": list("abcdefg")})
    long = ranked_lists(table, {"u": ["c", "f"]}, k=3, items=list("abcdefg"))
    short = ranked_lists(table[:3], {"u": ["c", "f"]}, k=3, items=list("abcdefg"))
    np.testing.assert_array_equal(long.positions, short.positions)
    np.testing.assert_array_equal(long.hits, [[False, False, True]])
    assert long.n_targets.tolist() == short.n_targets.tolist() == [2]


@pytest.mark.parametrize("twice", list("abc"))
def test_an_item_that_stands_twice_in_a_list_is_named(twice):
    table = pd.DataFrame({"user_id": "u", "rank": [1, 2, 3], "item_id": [twice, "d", twice]})
    with pytest.raises(DataError, match=f"item '{twice}' twice for user 'u'"):
        ranked_lists(table, {"u": ["d"]}, k=3, items=list("abcd"))


def test_serendipity_is_by_how_much_a_hit_stands_above_its_popularity():
    log = pd.DataFrame(
        {"user_id": [1, 2, 3, 1, 2, 1], "item_id": list("aaabbc"), "timestamp": range(6)}
    )
    catalogue = pd.DataFrame({"item_id": list("abcd"), "text": list("abcd")})
    table = pd.DataFrame({"user_id": "u", "rank": [1, 2, 3], "item_id": list("cda")})
    lists = ranked_lists(table, {"u": ["c", "a", "d"]}, k=3, items=list("abcd"))
    # of 4 items: ranks 1, 2, 3 are worth 1, 3/4, 2/4; a, b, c are popular by 1, 3/4, 2/4; d by 0
    expected = np.mean([1 - 2 / 4, 3 / 4 - 0, max(0, 2 / 4 - 1)])
    found = serendipity(lists, Dataset.from_frames(log, catalogue))
    np.testing.assert_allclose(found, [expected])


def test_two_users_could_show_something_and_one_user_nothing():
    values = np.array([1.0, 3.0])  # the deviation and the root of the number are equal
    assert detectable_difference(values) == pytest.approx(1.959964 + 0.841621, abs=1e-5)
    assert np.isinf(detectable_difference(np.array([1.0])))
