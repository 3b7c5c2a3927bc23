"""Effects, reasons and whether they hold; personal data, membership and forgetting."""

import copy
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec import Dataset, Ensemble
from llmrec.attacks import attack, frequent_words, hidden, stuffed
from llmrec.baselines import EASE, ContentKNN, ItemKNN, RidgeFromText
from llmrec.checks import DataError
from llmrec.effects import (
    METHODS,
    Margins,
    effects_by_member,
    event_effects,
    exact_effects,
    leave_one_out_effects,
    scaled_scorers,
    shapley_effects,
    shares_of_chance,
)
from llmrec.explanation import counterfactual, explain, words_to_add
from llmrec.faithfulness import (
    deletion_curve,
    insertion_curve,
    judge,
    rank_correlation,
    with_random_weights,
)
from llmrec.linear import ClosedForm
from llmrec.models import TEXT_AND_ID, TrainingConfig
from llmrec.personal_data import (
    KINDS,
    is_account,
    is_card,
    is_chinese_id,
    personal_data,
    scrub,
    scrub_items,
)
from llmrec.privacy import ShardedRecommender, forget, membership_inference
from llmrec.private_training import NextItemRidge, Privacy, delta_of, next_item_sums, noise_for
from llmrec.recommenders import Popular
from llmrec.sequential import SequentialRecommender
from llmrec.text import honest_text
from llmrec.transfer import TransferRecommender
from llmrec.words import (
    TextLines,
    margin_of_text,
    with_variants,
    without_span,
    word_effects,
    word_spans,
)

SMALL = TrainingConfig(dim=8, hidden=16, epochs=3, n_components=16, content_dim=8)


@pytest.fixture(scope="module")
def split(films):
    return films.sample_users(120).split("leave_one_out")


@pytest.fixture(scope="module")
def default(split, encoder):
    """Network and closed form, weighed on validation; the network must count for these tests."""
    model = TransferRecommender(encoder, config=SMALL, progress=False)
    model.fit(split.train, split.valid)
    model.ensemble_.weights_ = [0.5, *model.ensemble_.weights_[1:]]
    return model


@pytest.fixture(scope="module")
def history(split):
    histories = split.histories()
    return next(own for own in histories.values() if 15 <= len(own) <= 30)


def first_of(model, history, k=1):
    return model.recommend({0: history}, k=k)["item_id"].iloc[k - 1]


def systems(split, encoder) -> dict:
    network = {"config": SMALL, "closed_form": False, "progress": False}
    with_ids = {**network, "config": TEXT_AND_ID.__class__(**{**vars(SMALL), "fusion": "sum"})}
    mean = {**network, "config": TrainingConfig(**{**vars(SMALL), "history": "mean"})}
    return {
        "EASE": EASE(fading="1/age"),
        "kNN": ItemKNN(),
        "content": ContentKNN(encoder, n_components=(8, 32), fading="1/age"),
        "closed form": ClosedForm(encoder),
        "network": TransferRecommender(encoder, **network),
        "text and id": TransferRecommender(encoder, **with_ids),
        "mean tower": TransferRecommender(encoder, **mean),
        "ids": SequentialRecommender(config=TrainingConfig(**{**vars(SMALL), "fusion": "id"})),
        "ensemble": Ensemble([EASE(), ContentKNN(encoder, n_components=8)], standardise=True),
    }


NAMES = list(systems(None, None))


@pytest.fixture(scope="module")
def fitted_systems(split, encoder):
    made = systems(split, encoder)
    return {name: model.fit(split.train, split.valid) for name, model in made.items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_system_can_be_explained_by_every_method(fitted_systems, history, name):
    model = fitted_systems[name]
    item = first_of(model, history)
    for method in METHODS:
        table = event_effects(model, history[-8:], item, method=method)
        assert table["item_id"].tolist() == history[-8:] and table["age"].iloc[-1] == 1
        assert np.isfinite(table["effect"]).all()
    why = explain(model, history, item)
    assert why.rank == 1 and why.sentence() and why.sentence("zh")
    assert set(why.words.columns) == {"item_id", "word", "effect"}


@pytest.mark.parametrize("name", ["EASE", "kNN", "content", "ensemble"])
def test_exact_effects_of_linear_models_add_up(fitted_systems, history, name):
    margins = Margins(fitted_systems[name], history, first_of(fitted_systems[name], history))
    whole = margins(margins.everything)[0]
    assert exact_effects(margins).sum() == pytest.approx(whole, abs=1e-3)


@pytest.mark.parametrize("name", ["network", "text and id", "mean tower", "ids"])
def test_integrated_gradients_lead_from_nothing_to_the_score(fitted_systems, history, name):
    """The reference is computed from the network itself, with its input embeddings at zero."""
    model = fitted_systems[name]
    margins = Margins(model, history, first_of(model, history))
    inputs, outputs = model.item_embeddings
    rows = torch.arange(len(history))[None]
    with torch.inference_mode():
        start, end = (
            model.network_.user_embeddings(scale * inputs[margins.history], rows)[0, -1]
            @ (outputs[margins.item] - outputs.mean(0))
            for scale in (1e-9, 1.0)
        )
    found = exact_effects(margins).sum() * margins.spread
    assert found == pytest.approx(float(end - start), abs=0.1 * abs(float(end - start)) + 1e-3)


def test_shapley_values_add_up_and_share_what_repeats(split, history):
    ease = EASE().fit(split.train)
    margins = Margins(ease, [*history[:4], history[3]], first_of(ease, history))
    values, errors = shapley_effects(margins, n_orders=100)
    assert values.sum() == pytest.approx(margins(margins.everything)[0], abs=1e-5)
    assert abs(values[3] - values[4]) <= 4 * (errors[3] + errors[4]) + 1e-6
    assert np.abs(leave_one_out_effects(margins)[3:]).max() < 1e-6


def test_effects_of_members_add_up_to_those_of_the_whole(default, history):
    margins = Margins(default, history, first_of(default, history))
    table = effects_by_member(margins)
    assert "TransferRecommender" in table and len(table.columns) > 1
    np.testing.assert_allclose(table.sum(axis=1), leave_one_out_effects(margins), atol=2e-3)
    single = Margins(default.alone(), history, first_of(default, history))
    assert effects_by_member(single).empty


def test_parts_of_an_ensemble_add_up_to_its_scores_with_new_items_too(default, history):
    new = pd.DataFrame({"item_id": [9_001], "text": ["Alien 9 (1999), Horror"]})
    known = default.items_[["item_id", "text"]]
    more = default.with_items(pd.concat([known, new], ignore_index=True))
    indices = [more._item_indices(history)]
    for model in (default, more):
        parts = dict(model.ensemble_.parts(indices))
        torch.testing.assert_close(sum(parts.values()), model.score(indices))
    assert any(name.startswith("new items") for name in parts)


def test_an_event_that_decides_is_above_chance_and_an_idle_one_is_not():
    """Whoever took "a" takes "b" next; nothing else says anything."""
    rows = [(user, "a") for user in range(30)] + [(user, "b") for user in range(30)]
    random = np.random.default_rng(0)
    rows += [(user, f"x{random.integers(60)}") for user in range(200) for _ in range(4)]
    log = pd.DataFrame(rows, columns=["user_id", "item_id"]).drop_duplicates()
    items = pd.DataFrame({"item_id": sorted(log["item_id"].unique())})
    ease = EASE(regularisation=10.0).fit(
        Dataset.from_frames(log, items.assign(text=items["item_id"]), order="file")
    )
    margins = Margins(ease, ["x1", "a", "x2"], "b")
    decides, idle = shares_of_chance(margins, [1, 0], n_drawn=100)
    assert decides <= 0.02 and idle > 0.05
    why = explain(ease, ["x1", "a", "x2"], "b", k=1)
    assert why.kind == "events" and why.reasons["item_id"].tolist() == ["a"]
    assert why.counterfactual.items["item_id"].tolist() == ["a"]
    assert "“a”" in why.sentence() and "《a》" in why.sentence("zh")


def test_popularity_is_said_to_be_popularity(split, history):
    popular = Popular().fit(split.train)
    why = explain(popular, history, first_of(popular, history))
    assert why.kind == "popular" and "popular, and little else" in why.sentence()
    unpopular = popular.items_["item_id"].iloc[int(popular.popularity_.argmin())]
    assert explain(popular, history, unpopular).kind == "unclear"


def test_a_counterfactual_is_kept_by_the_model(default, history):
    item = first_of(default, history, k=5)
    found = counterfactual(Margins(default, history, item))
    left = [one for one in history if one not in set(found.items["item_id"])]
    lists = default.recommend({0: left}, k=len(default.items_))
    lists = lists[~lists["item_id"].isin(history)]["item_id"].tolist()
    assert found.rank == 5 and lists.index(item) + 1 == found.rank_without > 10


def test_a_smallest_set_of_one_is_found_wherever_there_is_one(default, history):
    for k in (1, 3, 10):
        item = first_of(default, history, k=k)
        margins = Margins(default, history, item)
        without_one = margins.ranks(~np.eye(len(history), dtype=bool))
        found = counterfactual(margins, k=k)
        assert (len(found.items) == 1) == bool((without_one > k).any())


@pytest.mark.parametrize("name", ["network", "text and id", "content", "closed form", "EASE"])
def test_a_variant_with_its_own_text_scores_like_its_original(fitted_systems, history, name):
    model = fitted_systems[name]
    before = model.score([model._item_indices(history)])
    ids = model.items_["item_id"].iloc[[3, 700]].tolist()
    texts = model.items_["text"].iloc[[3, 700]].tolist()
    other = with_variants(model, ids, texts)
    scores = other.score([model._item_indices(history)])
    np.testing.assert_allclose(scores[0, -2:], scores[0, [3, 700]], atol=2e-3)
    assert torch.equal(model.score([model._item_indices(history)]), before)
    in_history = np.append(model._item_indices(history)[:-1], len(model.items_))
    assert other.score([in_history]).shape == scores.shape


def test_a_ridge_from_texts_reads_variants(split, encoder, history):
    model = RidgeFromText(encoder).fit(split.train)
    table = word_effects(model, history, first_of(model, history))
    assert table["effect"].abs().max() > 0


def test_words_move_who_reads_and_nobody_else(fitted_systems, history):
    for name, reads in (("network", True), ("content", True), ("EASE", False), ("ids", False)):
        model = fitted_systems[name]
        effects = word_effects(model, history, first_of(model, history), of=history[-1:])["effect"]
        assert (effects.abs().max() > 1e-3) == reads, name


@pytest.mark.parametrize("name", ["network", "text and id", "mean tower", "content"])
def test_gradients_of_words_lead_from_padding_to_the_text(fitted_systems, history, name):
    model = fitted_systems[name]
    item = first_of(model, history)
    for read in (item, history[-1]):
        items = model.items_.copy()  # a text of nothing but words
        items.loc[items["item_id"] == read, "text"] = "Alien horror and war"
        model = model.with_items(items)
        rows = model._item_indices(history), *model._item_indices([item, read])
        margin, lines = margin_of_text(model, *rows), TextLines(items.iloc[[rows[-1]]], 64)
        gained = lines.effects(margin)["effect"].sum()
        (line,) = lines.lines.values()
        half = line.way / 64 / 2
        line.points = torch.stack([line.points[0] - half, line.points[-1] + half]).detach()
        line.batch = {name: part[:2] for name, part in line.batch.items()}
        first, last = margin(lines).tolist()
        assert gained == pytest.approx(last - first, rel=0.05, abs=0.01), read


def test_gradients_go_through_vectors_that_nobody_whitened(split, encoder, history):
    model = ContentKNN(encoder, n_components=None).fit(split.train)
    table = word_effects(model, history, first_of(model, history), method="gradients")
    assert table["effect"].abs().max() > 1e-3


def test_both_ways_to_the_words_agree_and_say_nothing_of_who_does_not_read(
    fitted_systems, default, history
):
    for name in ("EASE", "ids", "network", "content"):
        model = fitted_systems[name]
        item = first_of(model, history)
        left_out, gradients = (
            word_effects(model, history, item, of=history[-2:], method=method)
            for method in ("occlusion", "gradients")
        )
        assert left_out[["item_id", "word"]].equals(gradients[["item_id", "word"]])
        assert (gradients["effect"].abs().max() > 1e-3) == (name in ("network", "content")), name
    # an ensemble adds its members up, with the factors of its scores
    item = first_of(default, history)
    whole = word_effects(default, history, item, method="gradients")["effect"].to_numpy()
    added = sum(
        factor
        * word_effects(model, history, item, method="gradients")["effect"].to_numpy()
        * Margins(model, history, item).spread
        for model, factor in scaled_scorers(
            default.ensemble_, default._item_indices(history), default._item_indices([item])[0]
        )
    )
    np.testing.assert_allclose(whole * Margins(default, history, item).spread, added, atol=1e-4)


def test_words_that_are_added_bring_an_item_up(default, history):
    new = pd.DataFrame({"item_id": [9_001], "text": ["A visit"]})
    both = pd.concat([default.items_[["item_id", "text"]], new], ignore_index=True)
    for model in (default, default.alone()):
        more = model.with_items(both)
        found = words_to_add(more, history, 9_001)
        assert found.words and found.rank_with < found.rank
    # the network whitens a changed catalogue as before, so that it must keep what was found
    again = more.with_items(both.replace("A visit", f"A visit {' '.join(found.words)}"))
    lists = again.recommend({0: history}, k=len(again.items_))["item_id"].tolist()
    assert lists.index(9_001) + 1 == found.rank_with


@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_can_lose_any_of_its_words(text):
    for start, end in word_spans(text):
        assert start < end and any(map(str.isalnum, text[start:end]))
        assert without_span(text, (start, end)).strip()


def test_what_cannot_be_explained_is_refused(default, history):
    for call in (
        lambda: explain(default, [], history[0]),
        lambda: explain(default, history, "no such film"),
        lambda: explain(default, ["no such film"], history[0]),
        lambda: explain(EASE(), history, history[0]),
        lambda: explain(default, history, first_of(default, history)).sentence("fr"),
        lambda: event_effects(default, history, history[0], method="attention"),
    ):
        with pytest.raises((ValueError, KeyError)) as error:
            call()
        assert len(str(error.value)) > 20


def test_curves_begin_and_end_where_they_must(default, history):
    margins = Margins(default, history, first_of(default, history))
    effects = leave_one_out_effects(margins)
    down, up = deletion_curve(margins, effects), insertion_curve(margins, effects)
    whole = margins(margins.everything)[0]
    # a batch of another size is summed in another order
    assert [down[0], up[-1]] == pytest.approx([whole, whole], rel=1e-6)
    assert down[-1] == up[0] == 0
    one = effects.argmax()
    assert down[1] == pytest.approx(whole - effects[one], abs=1e-4)
    table = judge(margins, {"ours": effects, "backwards": -effects}).set_index("method")
    assert table.loc["ours", "deletion"] < table.loc["backwards", "deletion"]
    assert table.loc["ours", "insertion"] > table.loc["backwards", "insertion"]


def test_random_weights_leave_the_model_alone(default, history):
    before = copy.deepcopy(default.network_.state_dict())
    chance = with_random_weights(default, seed=1)
    after = default.network_.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    margins = [Margins(one, history, history[-1]) for one in (default.alone(), chance)]
    assert rank_correlation(*map(leave_one_out_effects, margins)) < 0.9
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == 0


# personal data


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("mail a.b+c@example.co.uk now", ["email"]),
        ("邮箱zhang@example.com，电话13800138000", ["email", "phone"]),
        ("card 4111-1111-1111-1111 or 4111-1111-1111-1112", ["card"]),
        ("IBAN DE89370400440532013000 and DE89370400440532013001", ["account"]),
        ("ssn 078-05-1120, order 000-12-3456", ["id"]),
        ("tel +44 20 7946 0321 and 2024-11-29 at 12:30", ["phone"]),
        ("order 20250117-4471, ISBN 978-0-306-40615-7, 100-240 VAC", []),
        ("350 Fifth Avenue, New York, NY 10118", ["address"]),
        ("北京市东城区景山前街4号", ["address"]),
        ("", []),
    ],
)
def test_what_has_a_form_is_found_and_nothing_else(text, kinds):
    found = personal_data([text], kinds=[kind for kind in KINDS if kind != "name"])[0]
    assert [one.kind for one in found] == kinds


def test_check_digits():
    assert is_card("378282246310005") and not is_card("378282246310006")
    assert not is_card("0000 0000 0000 0000") and not is_card("4111")
    assert is_chinese_id("11010519491231002x") and not is_chinese_id("11010519491331002X")
    assert is_account("FR1420041010050500013M02606") and not is_account("FR14")


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_scrubbing_any_text_keeps_what_is_not_found(text):
    kinds = [kind for kind in KINDS if kind != "name"]
    clean, report = scrub([text], kinds=kinds)
    text = text.encode("utf-8", "replace").decode()
    rest, last = "", 0
    for row in report.itertuples():
        rest += text[last : row.start] + f"[{row.kind}]"
        last = row.end
    assert clean == [rest + text[last:]]


@pytest.mark.parametrize("unit", ["1", "1 ", "1-", "a@", "+1 ", "A1", "0 ", "路", "1 A ", "4111 "])
def test_a_hostile_text_comes_to_an_end(unit):
    """A pattern that backtracks would take hours for it."""
    kinds = [kind for kind in KINDS if kind != "name"]
    text = unit * (100_000 // len(unit))
    (found,) = personal_data([text], kinds=kinds)
    assert all(0 <= one.start < one.end <= len(text) for one in found)


def test_a_catalogue_is_scrubbed_and_the_report_holds_no_data():
    log = pd.DataFrame({"user_id": [1, 1], "item_id": ["a", "b"]})
    items = pd.DataFrame({"item_id": ["a", "b"], "text": ["mail x@example.com", "soap"]})
    clean, report = scrub_items(Dataset.from_frames(log, items, order="file"), kinds=["email"])
    assert clean.items["text"].tolist() == ["mail [email]", "soap"]
    assert report.to_dict("records") == [{"item_id": "a", "kind": "email", "start": 5, "end": 18}]
    with pytest.raises(DataError, match="e-mail"):
        scrub(["x"], kinds=["e-mail"])
    with pytest.raises(DataError):
        scrub("not a list")


# what a model gives away


def test_who_is_forgotten_was_never_there(films):
    some = films.sample_users(60)
    users = sorted(some.interactions["user_id"].unique())
    for model in (EASE(), ShardedRecommender(EASE(), n_shards=3)):
        fitted = model.fit(some)
        scores = fitted.score([np.array([1, 2])])
        after, left, certificate = forget(fitted, some, users[:2])
        never = type(model)(**model.get_params(deep=False)).fit(left)
        known = [np.array([1, 2, 3])]
        assert torch.equal(after.score(known), never.score(known))
        assert (after.popularity_ == never.popularity_).all()
        assert torch.equal(fitted.score([np.array([1, 2])]), scores)
        assert not set(users[:2]) & set(left.interactions["user_id"])
        assert certificate.n_events == some.interactions["user_id"].isin(users[:2]).sum()
    assert certificate.n_trained <= 2 < certificate.n_models == 3
    with pytest.raises(KeyError, match="nobody"):
        forget(fitted, some, ["nobody"])


def test_nothing_of_a_user_is_in_a_saved_folder(default, split, tmp_path):
    default.save_pretrained(tmp_path / "model")
    user = "customer-4711-of-the-log"
    log = split.train.interactions.assign(
        user_id=lambda table: table["user_id"].astype(str).replace({"1": user})
    )
    log.loc[log.index[:5], "user_id"] = user
    model = TransferRecommender(default.encoder_, config=SMALL, closed_form=False, progress=False)
    model.fit(Dataset.from_frames(log, split.train.items), epochs=1)
    model.save_pretrained(tmp_path / "other")
    for file in (tmp_path / "other").rglob("*"):
        assert not file.is_file() or user.encode() not in file.read_bytes()


def test_an_attack_on_a_model_without_memory_is_chance_and_on_a_table_is_not(films):
    users = films.sample_users(120).interactions["user_id"].unique()
    inside, outside = users[:60], users[60:]
    histories = {user: own[-30:] for user, own in films.histories().items() if user in set(users)}
    sides = [{user: histories[user] for user in side} for side in (inside, outside)]
    content = Popular().fit(films)  # counts of everybody: nobody is special
    row = membership_inference(content, *sides).iloc[0]
    assert row["auc_low"] <= 0.5 <= row["auc_high"]
    tight = EASE(regularisation=1.0).fit(films.of_users(inside))
    row = membership_inference(tight, *sides).iloc[0]
    assert row["auc"] > 0.6 and row["auc_low"] > 0.5
    with pytest.raises(DataError):
        membership_inference(tight, {}, sides[1])
    with pytest.raises(DataError, match="fewer than two"):
        membership_inference(tight, {"u": histories[inside[0]][:1]}, sides[1])


def test_sentences_name_only_what_is_in_the_tables(default, split):
    for user, own in list(split.histories().items())[:6]:
        item = first_of(default, own)
        why = explain(default, own, item)
        named = re.findall("“([^”]*)”", why.sentence())
        allowed = [why.item, *(default.items_.iloc[default._item_indices(own)].itertuples())]
        known = {getattr(one, "title", None) or one.text for one in allowed[1:]}
        known.add(why.item.get("title") or why.item["text"])
        assert {name.rstrip("…") for name in named} <= known | {name[:59] for name in known}, user


def test_models_that_fade_by_time_are_explained_with_times(split, history):
    model = EASE(fading="1/age", fading_by="time").fit(split.train)
    times = [1_000_000 + 86_400 * place for place in range(len(history))]
    item = first_of_timed(model, history, times)
    why = explain(model, history, item, times=times)
    assert why.rank == 1 and why.sentence()
    exact = event_effects(model, history, item, method="exact", times=times)["effect"]
    margins = Margins(model, history, item, times=times)
    assert exact.sum() == pytest.approx(margins(margins.everything)[0], abs=1e-3)
    with pytest.raises(ValueError, match="asks when events happened"):
        explain(model, history, item)


def first_of_timed(model, history, times):
    return model.recommend({0: history}, k=1, times={0: times})["item_id"].iloc[0]


def test_the_context_of_a_long_history_stays(default, split):
    long = max(split.histories().values(), key=len)[-60:]
    item = first_of(default, long)
    whole, last = (Margins(default, long, item, n_events=n) for n in (None, 10))
    np.testing.assert_allclose(
        leave_one_out_effects(last), leave_one_out_effects(whole)[-10:], atol=1e-3
    )
    np.testing.assert_allclose(exact_effects(last), exact_effects(whole)[-10:], atol=1e-3)
    assert last.ranks(last.everything) == whole.ranks(whole.everything)
    why = explain(default, long, item, n_events=10)
    assert len(why.events) == 10 and why.events["item_id"].tolist() == long[-10:]
    assert set(why.counterfactual.items["item_id"]) <= set(long[-10:])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_accountant_agrees_with_that_of_opacus():
    from opacus.accountants.utils import get_noise_multiplier

    for epsilon, delta in ((1.0, 1e-5), (8.0, 1e-5), (3.0, 1e-7)):
        ours = noise_for(Privacy(epsilon, delta))
        theirs = get_noise_multiplier(
            target_epsilon=epsilon,
            target_delta=delta,
            sample_rate=1.0,
            steps=1,
            accountant="prv",
            epsilon_tolerance=1e-3,
        )
        assert ours == pytest.approx(theirs, rel=0.01)
        assert delta_of(ours, epsilon) == pytest.approx(delta, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 11), max_size=40), min_size=1, max_size=5),
    st.integers(1, 30),
)
def test_no_user_adds_more_than_was_accounted_for(histories, n_events):
    vectors = np.random.default_rng(0).normal(size=(12, 3))
    histories = [np.array(history, dtype=int) for history in histories]
    sums = np.array([0.0]), np.array([0.0])
    for history in histories:
        one = next_item_sums([history], vectors, n_lags=4, n_events=n_events)
        assert np.linalg.norm(one[0]) <= n_events**0.5 + 1e-6
        assert np.linalg.norm(one[1]) <= 1 + 1e-6
        sums = tuple(before + now for before, now in zip(sums, one, strict=True))
    together = next_item_sums(histories, vectors, n_lags=4, n_events=n_events)
    for all_at_once, added_up in zip(together, sums, strict=True):
        np.testing.assert_allclose(all_at_once, added_up, atol=1e-5)


def test_noise_is_drawn_anew_unless_a_seed_is_named(split, encoder):
    def fitted(seed, privacy):
        return NextItemRidge(encoder, n_components=8, seed=seed).fit(split.train, privacy=privacy)

    loose, strict = Privacy(1e6), Privacy(0.5)
    exact = fitted(None, None)
    assert exact.noise_ == 0
    torch.testing.assert_close(
        torch.from_numpy(fitted(1, loose).weights_),
        torch.from_numpy(exact.weights_),
        atol=0.1,
        rtol=0.5,
    )
    np.testing.assert_array_equal(fitted(1, strict).weights_, fitted(1, strict).weights_)
    drawn = [fitted(None, strict) for _ in range(2)]
    assert not np.array_equal(drawn[0].weights_, drawn[1].weights_)
    assert not np.array_equal(drawn[0].popularity_, split.train.item_counts())


def test_a_private_model_recommends_without_a_history_what_is_popular(split, encoder):
    model = NextItemRidge(encoder, n_components=16).fit(split.train)
    lists = model.recommend({"nobody": []}, k=10)
    often = pd.Series(split.train.item_counts(), index=split.train.items["item_id"])
    assert often.rank(pct=True)[lists["item_id"]].mean() > 0.9


@pytest.mark.parametrize("wrong", [{"epsilon": 0}, {"epsilon": float("nan")}, {"delta": 1.0}])
def test_a_promise_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Privacy(**wrong)


@pytest.mark.parametrize(
    ("text", "words"), [("Alien (1979), Horror", ["Drama"]), ("异形", ["剧情"]), ("", ["a", "b"])]
)
def test_a_stuffed_text_holds_both_and_a_hidden_one_is_undone_by_honest_text(text, words):
    assert stuffed(text, words).split() == text.split() + words
    assert honest_text(hidden(text)) == honest_text(text)


def test_frequent_words_count_texts_and_not_repetitions():
    assert frequent_words(["a a a a b", "b c", "b c"], n=2) == ["b", "c"]


def test_who_reads_texts_can_be_moved_by_them_and_who_does_not_cannot(fitted_systems, split):
    own = dict(list(split.histories().items())[:20])
    rare = split.train.items["item_id"][np.argsort(split.train.item_counts())[:5]].tolist()
    copied = split.train.items["text"][int(np.argmax(split.train.item_counts()))]
    for name, reads in (("content", True), ("EASE", False)):
        found = attack(fitted_systems[name], own, rare, lambda text: copied)
        assert list(found["item_id"]) == rare and (found[["rank", "rank_after"]] >= 1).all(
            axis=None
        )
        assert found[["shown", "shown_after"]].stack().between(0, 1).all()
        assert (found["rank"] != found["rank_after"]).any() == reads
    with pytest.raises(DataError, match="item_ids"):
        attack(fitted_systems["EASE"], own, [], str)
