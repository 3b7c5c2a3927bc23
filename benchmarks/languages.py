"""A model that was trained on English films recommends from the same films in Chinese, untouched.

The films that have a Chinese title in ``film_titles_zh.csv`` are the target, 500 users and all
other films, in English, the source: neither the users nor the films of the target have been seen.
The target's texts are once in English and once in Chinese, with the same users and targets,
leave-one-out. Each part is an encoder; five seeds. Writes ``languages.parquet`` after every seed,
and leaves out what is there.

    python benchmarks/languages.py [minilm | e5] [--seeds 5]
"""

import pandas as pd
from run import HERE, chosen_parts, save
from transfer import domain, two_groups

from llmrec import Dataset, TextEncoder, TransferRecommender, load_dataset
from llmrec.baselines import ContentKNN
from llmrec.domains import CONTENT, TRANSFERABLE, zero_shot
from llmrec.evaluation import compare_users, evaluate_users
from llmrec.recommenders import Recommender
from llmrec.splits import Split

NAME = "languages.parquet"
ENCODERS = {"minilm": "all-MiniLM-L6-v2", "e5": "multilingual-e5-small"}
GENRES = {
    "Action": "动作",
    "Adventure": "冒险",
    "Animation": "动画",
    "Children's": "儿童",
    "Comedy": "喜剧",
    "Crime": "犯罪",
    "Documentary": "纪录片",
    "Drama": "剧情",
    "Fantasy": "奇幻",
    "Film-Noir": "黑色电影",
    "Horror": "恐怖",
    "Musical": "歌舞",
    "Mystery": "悬疑",
    "Romance": "爱情",
    "Sci-Fi": "科幻",
    "Thriller": "惊悚",
    "War": "战争",
    "Western": "西部",
}


def chinese_text(film: pd.Series) -> str:
    """Title, year and genres in Chinese, as the English text has them."""
    genres = " ".join(GENRES[genre] for genre in film["genres"])
    return f"{film['chinese_title']} ({film['year']:.0f}), {genres}"


def source_and_targets() -> tuple[Split, dict[str, Split]]:
    """The source, and the target in both languages."""
    films = load_dataset("movielens-100k", progress=False)
    titles = pd.read_csv(HERE / "film_titles_zh.csv")
    some, others = two_groups(films, 500)
    source = domain(films, some, lambda items: ~items["item_id"].isin(titles["item_id"]))
    english = domain(films, others, lambda items: items["item_id"].isin(titles["item_id"]))
    items = english.train.items.merge(titles, on="item_id")
    items["text"] = items.apply(chinese_text, axis=1)
    log = pd.concat([part.interactions for part in (english.train, english.valid, english.test)])
    chinese = Dataset.from_frames(log, items[["item_id", "text"]]).split("leave_one_out")
    for part in ("valid", "test"):
        assert chinese.targets(part) == english.targets(part)
    return source, {"English": english, "Chinese": chinese}


def systems(
    encoder: TextEncoder, model: TransferRecommender, split: Split
) -> dict[str, Recommender]:
    """What knows nothing of the target but its texts."""
    return {
        "content": ContentKNN(encoder, **CONTENT).fit(split.train),
        "network": model.with_items(split.train.items),
        "zero_shot": zero_shot([model], split.train),
    }


def measured(name: str, seed: int) -> list[dict]:
    """NDCG@10 in both languages, and the difference with its interval over users."""
    source, targets = source_and_targets()
    encoder = TextEncoder.from_pretrained(ENCODERS[name])
    model = TransferRecommender(
        encoder, closed_form=False, config=TRANSFERABLE, seed=seed, progress=False
    ).fit(source.train, source.valid)
    both = {language: systems(encoder, model, split) for language, split in targets.items()}
    rows = []
    for system in both["English"]:
        users = {
            language: evaluate_users(both[language][system], split)["ndcg", 10]
            for language, split in targets.items()
        }
        lost = compare_users({name: users[name] for name in ("Chinese", "English")}).iloc[0]
        rows.append(
            {
                "encoder": ENCODERS[name],
                "system": system,
                "seed": seed,
                **{language.lower(): values.mean() for language, values in users.items()},
                **{column: lost[column] for column in ("difference", "ci_low", "ci_high")},
                "n_users": len(users["English"]),
                "n_films": len(targets["English"].train.items),
            }
        )
    return rows


def main() -> None:
    """The encoders that are named, or both."""
    options = chosen_parts(__doc__, ENCODERS)
    path = HERE / NAME
    rows = pd.read_parquet(path).to_dict("records") if path.exists() else []
    finished = {(row["encoder"], row["seed"]) for row in rows}
    for name in options.parts:
        for seed in range(options.seeds):
            if (ENCODERS[name], seed) not in finished:
                rows += measured(name, seed)
                save(pd.DataFrame(rows), NAME)
                print(pd.DataFrame(rows[-3:]).to_string(), flush=True)


if __name__ == "__main__":
    main()
