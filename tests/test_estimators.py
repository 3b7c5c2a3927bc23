"""scikit-learn's manners: constructors that only store, clones, errors before `fit`, copies and
pickles of what is fitted.
"""

import copy
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

from llmrec import (
    ALS,
    EASE,
    ContentKNN,
    Ensemble,
    FeatureExtractor,
    ItemColumns,
    ItemKNN,
    NextItemRidge,
    Popular,
    RecentlyPopular,
    RidgeFromText,
    SequentialRecommender,
    TrainingConfig,
    TransferClassifier,
    TransferRecommender,
    Whitening,
    compute,
    load_dataset,
)

TINY = TrainingConfig(epochs=1, dim=8, hidden=16, n_components=16, profile_dim=0, content_dim=0)

# the others fit on a Dataset, an item table or texts, and scikit-learn's checks pass matrices of
# numbers: what they say of constructors, parameters, clones and the state before fit holds for all
FORM = [
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_parameters_default_constructible",
    "check_mixin_order",
    "check_get_params_invariance",
    "check_set_params",
]


def recommenders(encoder) -> list:
    return [
        Popular(),
        RecentlyPopular(share=0.3),
        ItemKNN(n_neighbours=20),
        EASE(fading="1/age"),
        ALS(n_factors=8, iterations=2),
        ContentKNN(encoder),
        RidgeFromText(encoder, n_factors=8),
        NextItemRidge(encoder, n_components=8),
        Ensemble([Popular(), EASE()], standardise=True),
        SequentialRecommender(config=TINY, progress=False),
        TransferRecommender(encoder, closed_form=False, config=TINY, progress=False),
    ]


N_RECOMMENDERS = 11


@pytest.fixture(scope="module")
def films():
    return load_dataset("movielens-100k").sample_users(60, seed=0)


@pytest.fixture(scope="module")
def fitted(encoder, films):
    split = films.split("leave_one_out")
    return [one.fit(split.train, split.valid) for one in recommenders(encoder)]


def test_whitening_passes_every_check_of_scikit_learn_but_one():
    reason = "vectors are float32 whatever comes in, half the memory for the same ranking"
    estimator_checks.check_estimator(
        Whitening(), expected_failed_checks={"check_transformer_preserve_dtypes": reason}
    )


@pytest.mark.parametrize(
    "estimator",
    [
        Popular(),
        RecentlyPopular(),
        ItemKNN(),
        EASE(),
        ALS(),
        NextItemRidge(),
        ItemColumns(),
        FeatureExtractor(),
        TransferRecommender(progress=False),
    ],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("check", FORM)
def test_estimators_have_the_form_of_scikit_learn(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))


@pytest.mark.parametrize("number", range(N_RECOMMENDERS))
def test_recommenders_are_cloned_with_their_settings_and_say_what_they_are(encoder, number):
    one = recommenders(encoder)[number]
    other = clone(one)
    assert repr(other) == repr(one) and type(one).__name__ in repr(one)
    assert "0x" not in repr(one)
    with pytest.raises(NotFittedError):
        other.recommend({"me": []})


def test_an_encoder_says_which_it_is(encoder):
    assert "384" in repr(encoder) and "float" in repr(encoder) and "MiniLM" in repr(encoder)


def through_joblib(one):
    buffer = io.BytesIO()
    joblib.dump(one, buffer)
    return joblib.load(buffer)


@pytest.mark.parametrize("number", range(N_RECOMMENDERS))
@pytest.mark.parametrize(
    "travel",
    [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one)), through_joblib],
    ids=["deepcopy", "pickle", "joblib"],
)
def test_what_is_fitted_travels(fitted, films, number, travel):
    histories = dict(list(films.histories().items())[:5])
    before = fitted[number].recommend(histories)
    pd.testing.assert_frame_equal(travel(fitted[number]).recommend(histories), before)


@pytest.mark.parametrize("travel", [copy.deepcopy, through_joblib], ids=["deepcopy", "joblib"])
def test_fitted_transformers_and_classifiers_travel(encoder, films, travel):
    items = films.items.head(200)
    columns = ItemColumns(["year", "genres"]).fit(items)
    table = FeatureExtractor(encoder, n_components=8, entities=False).fit(items)
    for one in (columns, table):
        assert np.array_equal(travel(one).transform(items), one.transform(items))
        assert len(one.get_feature_names_out()) == one.transform(items).shape[1]
    texts, labels = ["good", "very good", "bad", "very bad"], ["+", "+", "-", "-"]
    classifier = TransferClassifier(encoder).fit(texts, labels)
    assert list(travel(classifier).predict(texts)) == list(classifier.predict(texts)) == labels
    with pytest.raises(NotFittedError):
        clone(classifier).predict(texts)


def test_tables_come_out_where_they_are_asked_for(films):
    vectors = np.random.default_rng(0).normal(size=(50, 6))
    table = Whitening(3).set_output(transform="pandas").fit_transform(vectors)
    assert list(table.columns) == ["whitening0", "whitening1", "whitening2"]
    items = films.items.head(200)
    columns = ItemColumns(["year"]).set_output(transform="pandas").fit(items)
    assert list(columns.transform(items).columns) == ["year"]


def test_joules_are_read_where_a_processor_counts_them_and_counters_may_start_anew(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(compute, "COUNTERS", tmp_path)
    with compute.Cost() as cost:
        pass
    assert np.isnan(cost.joules)
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "max_energy_range_uj").write_text("9999999")
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of it, which would count twice
    for before, after, joules in ((1_000_000, 3_500_000, 2.5), (9_000_000, 1_000_000, 2.0)):
        (zone / "energy_uj").write_text(str(before))
        with compute.Cost() as cost:
            (zone / "energy_uj").write_text(str(after))
        assert cost.joules == joules
    (zone / "energy_uj").write_text("no number")
    assert compute.energy() == {}
