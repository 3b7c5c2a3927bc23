"""What each view of an item brings: titles with genres, or with the people and countries behind a
film, read by MiniLM, by multilingual E5, or by both; for known films and for withheld ones.

Parts: ``closed`` (`ClosedForm`, in seconds) and ``network`` (`TransferRecommender`, known films).
Films are withheld in five draws, and the users of all draws are taken together. Writes
``views.parquet``, a row a system, task and views (``system, task, views, seconds, ndcg@10,
n_users``), with the difference to the titles read by MiniLM over the same users (``difference,
ci_low, ci_high``). What stands there is not measured again.

    python benchmarks/views.py [part ...]
"""

import pandas as pd
from run import HERE, chosen_parts, save

from llmrec import TextEncoder, TransferRecommender, load_dataset
from llmrec.compute import Cost
from llmrec.evaluation import compare_users, evaluate_users
from llmrec.features import ItemViews
from llmrec.linear import ClosedForm
from llmrec.recommenders import Recommender

NAME = "views.parquet"
PLAIN = "{title} ({year}), {genres}"
FACTS = f"{PLAIN}, {{director}}, {{writer}}, {{cast}}, {{country}}"
BASE = "titles, MiniLM"
COMBINATIONS = {
    BASE: (["MiniLM"], {"plain": PLAIN}),
    "titles, E5": (["E5"], {"plain": PLAIN}),
    "titles, both": (["MiniLM", "E5"], {"plain": PLAIN}),
    "facts, MiniLM": (["MiniLM"], {"facts": FACTS}),
    "titles and facts, MiniLM": (["MiniLM"], {"plain": PLAIN, "facts": FACTS}),
    "titles and facts, both": (["MiniLM", "E5"], {"plain": PLAIN, "facts": FACTS}),
}
SYSTEMS = {
    "closed": lambda views, seed: ClosedForm(views, seed=seed),
    "network": lambda views, seed: TransferRecommender(views, seed=seed, progress=False),
}
TASKS = {
    "known": (
        "leave_one_out",
        [{}],
        {"closed": COMBINATIONS, "network": (BASE, [*COMBINATIONS][-1])},
    ),
    "withheld": (
        "cold_items",
        [{"seed": number} for number in range(5)],
        {"closed": COMBINATIONS, "network": ()},
    ),
}


def measured(make, splits, encoders: dict, views: str) -> tuple[pd.Series, float]:
    """NDCG@10 of each user of each split, and seconds a fit."""
    names, templates = COMBINATIONS[views]
    read, values = ItemViews([encoders[name] for name in names], templates), []
    with Cost() as cost:
        for seed, split in enumerate(splits):
            fitted: Recommender = make(read, seed).fit(split.train, split.valid)
            found = evaluate_users(fitted, split, metrics=("ndcg",))["ndcg", 10]
            values.append(found.rename(lambda user, seed=seed: (seed, user)))
    return pd.concat(values), cost.seconds / len(splits)


def main() -> None:
    films, path = load_dataset("movielens-100k", progress=False), HERE / NAME
    rows = pd.read_parquet(path) if path.exists() else pd.DataFrame({"system": [], "task": []})
    encoders = {"MiniLM": TextEncoder.from_pretrained()}
    encoders["E5"] = TextEncoder.from_pretrained("multilingual-e5-small")
    for system in chosen_parts(__doc__, list(SYSTEMS)).parts:
        for task, (protocol, draws, combinations) in TASKS.items():
            if ((rows["system"] == system) & (rows["task"] == task)).any():
                continue
            splits, values, new = [films.split(protocol, **draw) for draw in draws], {}, []
            for views in combinations[system]:
                values[views], seconds = measured(SYSTEMS[system], splits, encoders, views)
                row = {"system": system, "task": task, "views": views, "seconds": seconds}
                new.append(row | {"ndcg@10": values[views].mean(), "n_users": len(values[views])})
                print(new[-1], flush=True)
            if not new:
                continue
            against = compare_users(values).set_index("other")  # the base minus each of the others
            gains = -against[["difference", "ci_high", "ci_low"]]
            gains.columns = ["difference", "ci_low", "ci_high"]
            rows = pd.concat([rows, pd.DataFrame(new).join(gains, on="views")], ignore_index=True)
            save(rows, NAME)


if __name__ == "__main__":
    main()
