"""Do the reasons hold? Explanations of `TransferRecommender`, as it is by default, over films and
groceries.

Parts: ``films`` and ``shop``. Each fits the default with seed 0 on the training part, explains one
random place of the first ten of 150 users, and writes to ``explanation.parquet``: the four measures
of every method (``measure`` "judged", a row a user and method); rank correlations with other
methods, with another seed, with a network of random weights, and of the words under a synonym
("agreement", a row a user); the size of the smallest counterfactual ("counterfactual", a row for
each place of 30 whole lists); and seconds of one explanation of 100 events ("seconds"). A part that
stands there is not run again.
"""

import statistics
import time

import numpy as np
import pandas as pd
from default import SETS
from run import HERE, chosen_parts, save

from llmrec import TextEncoder, TransferRecommender
from llmrec.effects import Margins, leave_one_out_effects
from llmrec.explanation import counterfactual, explain, word_effects
from llmrec.faithfulness import explanations, faithfulness, rank_correlation, with_random_weights

NAME, N_USERS, N_LISTS, SEED = "explanation.parquet", 150, 30, 0
PARTS = {"films": "films, leave-one-out", "shop": "shop, leave-one-out"}
SYNONYMS = {
    "Sci-Fi": "Science Fiction",
    "Children's": "Family",
    "Film-Noir": "Noir",
    "Thriller": "Suspense",
    "Comedy": "Funny",
    "War": "Military",
    "BEEF": "STEER",
    "SOFT DRINKS": "SODA",
    "CANDY": "SWEETS",
    "BREAD": "LOAF",
    "CHEESE": "CHEDDAR",
    "FROZEN": "ICED",
}


def fitted(encoder: TextEncoder, split, config, seed: int) -> TransferRecommender:
    model = TransferRecommender(encoder, config=config, seed=seed, progress=False)
    return model.fit(split.train, split.valid)


def effects_of(model, history, item) -> np.ndarray:
    return leave_one_out_effects(Margins(model, history, item))


def under_a_synonym(model: TransferRecommender, history: list, item) -> float:
    """Rank correlation of the effects of words before and after one of them is replaced."""
    items = model.items_[["item_id", "text"]].copy()
    row = items.index[items["item_id"] == item][0]
    text = items.loc[row, "text"]
    found = next((word for word in SYNONYMS if word in text), None)
    if found is None:
        return np.nan
    items.loc[row, "text"] = text.replace(found, SYNONYMS[found])
    before, after = (
        word_effects(one, history, item).groupby("word")["effect"].sum()
        for one in (model, model.with_items(items))
    )
    both = before.index.intersection(after.index)
    return rank_correlation(before[both], after[both])


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
        "words under a synonym": under_a_synonym(network, history, item),
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


def measured(encoder: TextEncoder, part: str) -> pd.DataFrame:
    make, protocol, config = SETS[PARTS[part]]
    split = make().split(protocol)
    model, other = (fitted(encoder, split, config, seed) for seed in (SEED, SEED + 1))
    print(part, model.ensemble_.named_weights().round(2).to_dict(), flush=True)
    histories = {
        user: history[-100:] for user, history in split.histories().items() if len(history) >= 10
    }
    random = np.random.default_rng(SEED)
    users = random.choice(sorted(histories), N_USERS, replace=False).tolist()
    lists = model.recommend({user: histories[user] for user in users}, k=10)
    places = dict(zip(users, random.integers(1, 11, N_USERS), strict=True))
    chosen = lists[lists["rank"] == lists["user_id"].map(places)]
    items = dict(zip(chosen["user_id"], chosen["item_id"], strict=True))
    vectors = model.ensemble_.members[-1].vectors_.numpy()
    tables = [faithfulness(model, histories, items, vectors, seed=SEED).assign(measure="judged")]
    rows = [
        {"user_id": user, **agreement(model, other, histories[user], item, vectors, number)}
        for number, (user, item) in enumerate(items.items())
    ]
    tables.append(pd.DataFrame(rows).assign(measure="agreement"))
    whole = lists[lists["user_id"].isin(users[:N_LISTS])]
    asked = zip(whole["user_id"], whole["item_id"], strict=True)
    found = [counterfactual(Margins(model, histories[user], item)) for user, item in asked]
    sizes = [len(one.items) if one.rank_without > 10 else np.nan for one in found]
    tables.append(whole[["user_id", "rank"]].assign(n_items=sizes, measure="counterfactual"))
    tables.append(pd.DataFrame([seconds_of(model, histories)]).assign(measure="seconds"))
    table = pd.concat(tables, ignore_index=True).assign(set=part)
    return table.astype({"user_id": "string", "item_id": "string"})


def main() -> None:
    """The parts that are named, or all."""
    options, encoder = chosen_parts(__doc__, PARTS), TextEncoder.from_pretrained()
    path = HERE / NAME
    done = pd.read_parquet(path) if path.exists() else pd.DataFrame({"set": []})
    for part in options.parts:
        if part not in set(done["set"]):
            done = pd.concat([done, measured(encoder, part)], ignore_index=True)
            save(done, NAME)


if __name__ == "__main__":
    main()
