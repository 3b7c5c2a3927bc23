"""Do the reasons hold? Explanations of `TransferRecommender`, as it is by default, over films and
groceries.

Parts: ``films`` and ``shop``. Each fits the default with seed 0 on the training part, explains one
random place of the first ten of 150 users, and writes to ``explanation.parquet``: the four measures
of every method (``measure`` "judged", a row a user and method); rank correlations with other
methods, with another seed and with a network of random weights ("agreement", a row a user); the
size of the smallest counterfactual ("counterfactual", a row for each place of 30 whole lists); and
seconds of one explanation of 100 events ("seconds"). ``films-words`` and ``shop-words`` do the same
for the words of the items and the network alone ("words", a row a user). A part that stands there
is not run again.
"""

import statistics
import time

import numpy as np
import pandas as pd
from default import SETS
from run import HERE, chosen_parts, save

from llmrec import TextEncoder, TransferRecommender
from llmrec.effects import Margins, leave_one_out_effects
from llmrec.explanation import counterfactual, explain
from llmrec.faithfulness import explanations, faithfulness, rank_correlation, with_random_weights
from llmrec.words import WORD_METHODS, word_effects

NAME, N_USERS, N_LISTS, SEED = "explanation.parquet", 150, 30, 0
SETS_OF = {"films": "films, leave-one-out", "shop": "shop, temporal"}
PARTS = [*SETS_OF, *(f"{name}-words" for name in SETS_OF)]
SYNONYMS = {
    "Sci-Fi": "Science Fiction",
    "Children's": "Family",
    "Film-Noir": "Noir",
    "Thriller": "Suspense",
    "Comedy": "Funny",
    "War": "Military",
    "soft drinks": "soda",
    "candy": "sweets",
    "cookies": "biscuits",
    "vegetables": "veggies",
    "frozen": "iced",
    "frzn": "frozen",
    "seasonal": "holiday",
    "baby": "infant",
    "snacks": "nibbles",
    "drug": "pharmacy",
    "grocery": "groceries",
}


def fitted(encoder: TextEncoder, split, config, seed: int, **options) -> TransferRecommender:
    model = TransferRecommender(encoder, config=config, seed=seed, progress=False, **options)
    return model.fit(split.train, split.valid)


def effects_of(model, history, item) -> np.ndarray:
    return leave_one_out_effects(Margins(model, history, item))


def with_a_synonym(model: TransferRecommender, item) -> TransferRecommender | None:
    """The model over a catalogue in which a word of an item is another, if it has one of ours."""
    items = model.items_[["item_id", "text"]].copy()
    row = items.index[items["item_id"] == item][0]
    found = next((word for word in SYNONYMS if word in items.loc[row, "text"]), None)
    if found is None:
        return None
    items.loc[row, "text"] = items.loc[row, "text"].replace(found, SYNONYMS[found])
    return model.with_items(items)


def in_common(before: pd.DataFrame, after: pd.DataFrame) -> float:
    """Rank correlation of the effects of the words that both tables hold."""
    before, after = (one.groupby("word")["effect"].sum() for one in (before, after))
    both = before.index.intersection(after.index)
    return rank_correlation(before[both], after[both])


def agreement_of_words(model, chance, history, item, seed: int) -> dict:
    """Rank correlations of the effects of words, and what the margin loses without the word that
    each method puts first, against a word of chance.
    """
    found = {how: word_effects(model, history, item, method=how) for how in WORD_METHODS}
    lost = found["occlusion"]["effect"].to_numpy()
    row = {
        "n_words": len(lost),
        "both methods": in_common(*found.values()),
        "a random order": rank_correlation(lost, np.random.default_rng(seed).random(len(lost))),
        "lost, a word of chance": lost.mean(),
    }
    other = with_a_synonym(model, item)
    for how, table in found.items():
        row[f"lost, first by {how}"] = lost[table["effect"].to_numpy().argmax()]
        by_chance = word_effects(chance, history, item, method=how)
        row[f"{how}: random weights"] = in_common(table, by_chance)
        if other is not None:
            after = word_effects(other, history, item, method=how)
            row[f"{how}: a synonym"] = in_common(table, after)
    return row


def agreement(model, other, history, item, vectors, seed: int) -> dict:
    """Rank correlations of one explanation with others of the same recommendation."""
    found = explanations(Margins(model, history, item), vectors, seed=seed)
    ours, network = found["leave one out"], model.alone()
    alone = effects_of(network, history, item)
    chance = effects_of(with_random_weights(network, seed=seed), history, item)
    return {
        "exact": rank_correlation(ours, found["exact"]),
        "Shapley": rank_correlation(ours, found["Shapley"]),
        "another seed": rank_correlation(ours, effects_of(other, history, item)),
        "network: another seed": rank_correlation(alone, effects_of(other.alone(), history, item)),
        "network: random weights": rank_correlation(alone, chance),
    }


def seconds_of(model, histories) -> dict:
    """Median seconds of an explanation of 100 events."""
    long = [history[-100:] for history in histories.values() if len(history) >= 100][:20]
    events, words, sentences = [], [], []
    for history in long:
        item = model.recommend({0: history}, k=1)["item_id"].iloc[0]
        start = time.perf_counter()
        why = explain(model, history, item)
        events.append(time.perf_counter() - start)
        why.words  # noqa: B018
        words.append(time.perf_counter() - start - events[-1])
        why.sentence()
        sentences.append(time.perf_counter() - start)
    named = {"events": events, "words": words, "sentence": sentences}
    return {name: statistics.median(values) for name, values in named.items()}


def asked_of(model, split) -> tuple[dict, pd.DataFrame, dict]:
    """Histories, the lists of some users, and the item at a random place of each."""
    histories = {
        user: history[-100:] for user, history in split.histories().items() if len(history) >= 10
    }
    random = np.random.default_rng(SEED)
    users = random.choice(sorted(histories), N_USERS, replace=False).tolist()
    lists = model.recommend({user: histories[user] for user in users}, k=10)
    places = dict(zip(users, random.integers(1, 11, N_USERS), strict=True))
    chosen = lists[lists["rank"] == lists["user_id"].map(places)]
    return histories, lists, dict(zip(chosen["user_id"], chosen["item_id"], strict=True))


def measured_words(encoder: TextEncoder, split, config) -> pd.DataFrame:
    """Rows of the measure "words"."""
    model = fitted(encoder, split, config, SEED, closed_form=False)
    chance = with_random_weights(model, seed=SEED)
    histories, _, items = asked_of(model, split)
    rows = [
        {"user_id": user, **agreement_of_words(model, chance, histories[user], item, number)}
        for number, (user, item) in enumerate(items.items())
    ]
    return pd.DataFrame(rows).assign(measure="words")


def measured(encoder: TextEncoder, split, config) -> pd.DataFrame:
    """Rows of the other measures."""
    model, other = (fitted(encoder, split, config, seed) for seed in (SEED, SEED + 1))
    print(model.ensemble_.named_weights().round(2).to_dict(), flush=True)
    histories, lists, items = asked_of(model, split)
    vectors = model.ensemble_.members[-1].vectors_.numpy()
    tables = [faithfulness(model, histories, items, vectors, seed=SEED).assign(measure="judged")]
    rows = [
        {"user_id": user, **agreement(model, other, histories[user], item, vectors, number)}
        for number, (user, item) in enumerate(items.items())
    ]
    tables.append(pd.DataFrame(rows).assign(measure="agreement"))
    whole = lists[lists["user_id"].isin(list(items)[:N_LISTS])]
    asked = zip(whole["user_id"], whole["item_id"], strict=True)
    found = [counterfactual(Margins(model, histories[user], item)) for user, item in asked]
    sizes = [len(one.items) if one.rank_without > 10 else np.nan for one in found]
    tables.append(whole[["user_id", "rank"]].assign(n_items=sizes, measure="counterfactual"))
    tables.append(pd.DataFrame([seconds_of(model, histories)]).assign(measure="seconds"))
    return pd.concat(tables, ignore_index=True)


def main() -> None:
    """The parts that are named, or all."""
    options, encoder = chosen_parts(__doc__, PARTS), TextEncoder.from_pretrained()
    path = HERE / NAME
    done = pd.read_parquet(path) if path.exists() else pd.DataFrame({"set": [], "measure": []})
    for part in options.parts:
        name, _, is_words = part.partition("-")
        if ((done["set"] == name) & ((done["measure"] == "words") == bool(is_words))).any():
            continue
        make, protocol, config = SETS[SETS_OF[name]]
        measure = measured_words if is_words else measured
        table = measure(encoder, make().split(protocol), config).assign(set=name)
        ids = [column for column in ("user_id", "item_id") if column in table]
        table = table.astype(dict.fromkeys(ids, "string"))
        done = pd.concat([done, table], ignore_index=True)
        save(done, NAME)


if __name__ == "__main__":
    main()
