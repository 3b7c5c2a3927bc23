"""The case study's own questions: nothing of a department's past may reach the model that was
fitted before it opened; new products are new.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec import TextEncoder, TransferRecommender, case_study, load_dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from fuzz import Elements, person


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder.from_pretrained()


@pytest.fixture(scope="module")
def purchases():
    return load_dataset("complete-journey", purchases="all").sample_users(60, seed=1)


def test_sales_before_the_opening_change_nothing(encoder, purchases, monkeypatch):
    """With the department's early sales taken out beforehand, and the moments of the split kept,
    every number stays the same. Three departments are enough.
    """
    few = {"DRUG GM", "PRODUCE", "MEAT"}
    purchases = purchases.domain(lambda items: items["department"].isin(few))
    cut = purchases.first_interactions().split("temporal")
    opened = pd.Timestamp(cut.manifest["valid_from"])
    log = purchases.interactions
    is_early = log["item_id"].str.startswith("DRUG GM") & (log["timestamp"] < opened)
    assert is_early.any()
    without = replace(purchases, interactions=log[~is_early])
    columns = ["NDCG@10", "HR@10", "coverage@10"]
    table = case_study.opened_department(purchases, encoder)[columns]
    monkeypatch.setattr(type(purchases), "split", lambda self, protocol: cut)
    assert case_study.opened_department(without, encoder)[columns].equals(table)


def test_unknown_department_is_named(encoder, purchases):
    with pytest.raises(ValueError, match=r"'WINDOWS'.*\. [A-Z]"):
        case_study.opened_department(purchases, encoder, "WINDOWS")


def test_new_products_were_never_sold_before(encoder, purchases, monkeypatch):
    """What is ranked was first sold in the last days; and if nothing was, that is said."""
    products = load_dataset("complete-journey", item="product")
    split = purchases.first_interactions().split("temporal")
    recommender = TransferRecommender(encoder, progress=False).fit(split.train, epochs=1)
    seen = {}
    monkeypatch.setattr(
        case_study,
        "score_lists",
        lambda systems, histories, targets, candidates, seed: seen.update(
            targets=targets, candidates=candidates
        ),
    )
    case_study.new_products(recommender, split, products, days=28)
    log = products.interactions.merge(products.items[["item_id", "text"]], on="item_id")
    old = set(log.loc[log["timestamp"] < log["timestamp"].max() - pd.Timedelta(days=28), "text"])
    assert (
        seen["candidates"] and not {item.removeprefix("new: ") for item in seen["candidates"]} & old
    )
    assert set(seen["targets"]) <= set(split.histories("test")) and all(
        set(items) <= set(seen["candidates"]) for items in seen["targets"].values()
    )
    with pytest.raises(ValueError, match="Pass a larger number of days"):
        case_study.new_products(recommender, split, products, days=-1)


HTML = st.sampled_from(
    ["<script>", "</td>", "<img src=x onerror=y>", "<!--", "&lt;", "'", '"', "]]>"]
)


@given(st.lists(st.lists(HTML | st.text(max_size=9)).map("".join), min_size=5, max_size=5))
@settings(max_examples=200, deadline=None)
def test_whatever_a_text_holds_it_shows_as_a_text(texts):
    def page(texts):
        return Elements(case_study.person_section(person(texts)))

    assert page(texts).elements == page(["soap"] * 5).elements
    assert all(text in page(texts).text for text in texts)
