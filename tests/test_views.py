"""Several texts of an item and several encoders: what is read, whitened apart, saved and moved; and
a closed form that is fitted once for two systems.
"""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from llmrec import TextEncoder, TransferRecommender
from llmrec.baselines import RidgeFromText
from llmrec.checks import DataError
from llmrec.features import ItemViews
from llmrec.folders import SETTINGS, ModelError
from llmrec.linear import ClosedForm
from llmrec.models import TrainingConfig
from llmrec.whitening import UnitViews, Whitening

SMALL = TrainingConfig(dim=8, hidden=16, epochs=2, n_components=16)
VIEWS = {"plain": "{title} ({year}), {genres}", "facts": "{title}, {director}, {cast}"}


@pytest.fixture(scope="module")
def split(films):
    """A small catalogue, so that the closed form is solved in no time."""
    strange = films.domain(lambda items: items["genres"].map(lambda own: "Sci-Fi" in own))
    return strange.at_least(user_events=5).split("leave_one_out")


@pytest.fixture(scope="module")
def two(encoder):
    """The encoder in the box, and the same one with other words before each text."""
    return [encoder, TextEncoder.from_pretrained(template="A film: {}")]


@pytest.fixture(scope="module")
def fitted(split, two):
    model = TransferRecommender(two, views=VIEWS, config=SMALL, progress=False)
    return model.fit(split.train, split.valid)


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ({"title": "Alien", "genres": ["Horror", "Sci-Fi"]}, "Alien, Horror, Sci-Fi, 1979, by R."),
        ({"title": "Alien", "genres": []}, "Alien, 1979, by R."),
        ({"title": None, "genres": ["Horror"]}, "Horror, 1979, by R."),
        ({"title": "Alien", "genres": np.array(["Horror"]), "year": None}, "Alien, Horror, by R."),
        ({"title": "1,000 years", "genres": pd.NA, "year": 1979.5}, "1,000 years, 1979.5, by R."),
        ({"title": "{year} {0.__class__}", "genres": None}, "{year} {0.__class__}, 1979, by R."),
    ],
)
def test_a_template_is_filled_without_gaps(encoder, cells, text):
    row = {"text": "as it is", "year": 1979.0, "by": "R."} | cells
    items = pd.DataFrame({name: [value] for name, value in row.items()})
    views = ItemViews(encoder, {"all": "{title}, {genres}, {year}, by {by}"})
    assert views.texts(items) == {"all": [text]}


def test_an_item_without_anything_to_fill_in_is_told_by_its_text(encoder):
    items = pd.DataFrame({"text": ["as it is"], "title": [None]})
    assert ItemViews(encoder, {"t": "{title}"}).texts(items) == {"t": ["as it is"]}


@pytest.mark.parametrize("views", [{}, {"a": "no column"}, {"a": 3}, {"a": "{}"}])
def test_templates_without_columns_are_refused(encoder, views):
    with pytest.raises(ValueError, match="templates that name a column"):
        ItemViews(encoder, views)


def test_a_missing_column_is_named(encoder, split):
    model = TransferRecommender(encoder, views={"a": "{title}, {colour}"}, progress=False)
    with pytest.raises(KeyError, match="'colour' is missing"):
        model.fit(split.train)


def test_parts_are_whitened_as_if_they_were_alone():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(60, 5)), random.normal(size=(60, 7)) @ np.diag(range(1, 8))
    both = np.hstack([one, other])
    together = Whitening(4, shrinkage=0.5, widths=[5, 7]).fit(both).transform(both)
    alone = [Whitening(4, shrinkage=0.5).fit(part).transform(part) for part in (one, other)]
    assert np.allclose(together, np.hstack(alone), atol=1e-5)
    with pytest.raises(ValueError, match=r"widths=\[5, 8\] for vectors that are 12 wide"):
        Whitening(4, widths=[5, 8]).fit(both)


def test_the_kernel_of_several_views_is_the_mean_of_theirs():
    random = np.random.default_rng(1)
    parts = [random.normal(size=(50, width)) for width in (9, 12)]
    joined = UnitViews((3, 8)).fit(parts).transform(parts)
    alone = [UnitViews((3, 8)).fit(part).transform(part) for part in parts]
    kernels = [vectors @ vectors.T for vectors in alone]
    assert np.allclose(joined @ joined.T, sum(kernels) / 2, atol=1e-5)


def test_every_system_reads_all_views(fitted, split, two):
    n_views = len(VIEWS) * len(two)
    n_items = len(split.train.items)
    numbers = [n for n in fitted.ensemble_.members[-1].n_components if 2 * n <= n_items]
    assert fitted.text_vectors_.shape[1] == n_views * SMALL.n_components
    assert fitted.ensemble_.members[-1].vectors_.shape[1] == n_views * sum(numbers) > 0
    ridge = RidgeFromText(ItemViews(two, VIEWS)).fit(split.train)
    assert ridge.recommend(split.histories("test"), k=3)["rank"].max() == 3


def test_a_model_with_views_is_saved_with_its_encoders(fitted, split, two, tmp_path):
    fitted.save_pretrained(tmp_path / "model")
    noted = json.loads((tmp_path / "model" / SETTINGS).read_text())
    assert noted["views"] == VIEWS and len(noted["further_encoders"]) == 1
    histories = split.histories("test")
    for encoder in (None, two):
        loaded = TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)
        assert loaded.recommend(histories).equals(fitted.recommend(histories))
    moved = [model.with_items(split.train.items) for model in (fitted, loaded)]
    assert moved[0].recommend(histories).equals(moved[1].recommend(histories))
    with pytest.raises(ModelError, match=r"1 encoder\(s\) given, and .* with 2"):
        TransferRecommender.from_pretrained(tmp_path / "model", encoder=two[0])
    with pytest.raises(ModelError, match="not the one it was trained with"):
        TransferRecommender.from_pretrained(tmp_path / "model", encoder=two[::-1])


def test_new_items_need_the_columns_of_the_views(fitted, split):
    bare = split.train.items[["item_id", "text"]]
    with pytest.raises(KeyError, match="'title' is missing"):
        fitted.with_items(bare)


def test_a_closed_form_that_is_handed_over_is_not_fitted_again(films, split, encoder):
    closed = ClosedForm(encoder).fit(split.train, split.valid)
    lists = []
    for form in (True, closed):
        model = TransferRecommender(encoder, closed_form=form, config=SMALL, progress=False)
        model.fit(split.train, split.valid)
        lists.append(model.recommend(split.histories("test")))
    assert model.ensemble_.members[1] is closed.ensemble_.members[0] and lists[0].equals(lists[1])
    other = films.sample_users(40, seed=3).split("leave_one_out")
    model = TransferRecommender(encoder, closed_form=closed, config=SMALL, progress=False)
    with pytest.raises(DataError, match="learned from other events"):
        model.fit(other.train, other.valid)


def test_views_are_given_once_and_shared_by_clones(encoder, split):
    views = ItemViews(encoder, VIEWS)
    assert clone(ClosedForm(views)).encoder is views
    with pytest.raises(ValueError, match="which hold their own"):
        TransferRecommender(views, views=VIEWS, progress=False).fit(split.train)
