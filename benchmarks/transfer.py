"""Is the move worth it? `transfer_report` in four directions, the price of each strategy, and the
cure of zero-shot step by step.

Parts: ``films`` (to other genres, other users), ``shop`` (groceries to drugs, cosmetics, nutrition
and floral, other households), ``films-shop``, ``shop-films``, ``choice`` (of the configuration),
``strategies``, ``content`` (how it looks at a history), ``overlap`` (what the source may count) and
``cure`` of zero-shot, ``encoders`` (contrastive tuning) and ``cold`` (withheld films).
Sources are fitted with early stopping on their own validation events. Writes
``transfer_<part>.parquet``.
"""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from itertools import product

import numpy as np
import pandas as pd
from run import HERE, RUNS, chosen_parts, machine, measure_missing, save

from llmrec import TextEncoder, TransferRecommender, load_dataset
from llmrec.baselines import ContentKNN, RidgeFromText
from llmrec.classification import co_occurring_items, tune_encoder
from llmrec.data import Dataset
from llmrec.domains import CONTENT, TRANSFERABLE, sample_target_users, transfer_report, zero_shot
from llmrec.ensembles import Ensemble
from llmrec.evaluation import compare_users, evaluate_users
from llmrec.linear import ClosedForm, refitted, with_members
from llmrec.metrics import bootstrap_interval, ndcg, ranked_lists
from llmrec.models import TrainingConfig
from llmrec.pretraining import PretrainingConfig, pretrain
from llmrec.sequential import mean_ndcg, validation_task
from llmrec.splits import Part, Split
from llmrec.transfer import STRATEGIES

GENRES = {"Sci-Fi", "Horror", "Western", "Children's", "Animation", "Fantasy", "Musical"}
DEPARTMENTS = {"DRUG GM", "COSMETICS", "NUTRITION", "FLORAL"}
WITH_FACTS = {"text": ["title_year", "genre_text", "director", "writer", "cast"]}


def domain(dataset: Dataset, users: np.ndarray, where) -> Split:
    """Leave-one-out of some users over the items where a function of the item table is true; users
    with five events or more there.
    """
    part = dataset.domain(where)
    log = part.interactions[part.interactions["user_id"].isin(users)]
    log = log[log.groupby("user_id")["item_id"].transform("size") >= 5]
    return Dataset.from_frames(log, part.items[part.items["item_id"].isin(log["item_id"])]).split(
        "leave_one_out"
    )


def two_groups(dataset: Dataset, n_first: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Users in an order drawn at random: the first so many, and the others."""
    users = np.sort(dataset.interactions["user_id"].unique())
    np.random.default_rng(seed).shuffle(users)
    return users[:n_first], users[n_first:]


def films(seed: int = 0, **text) -> tuple[Split, Split]:
    """500 users over films of most genres; the others over films of seven genres."""
    dataset = load_dataset("movielens-100k", **text)
    some, others = two_groups(dataset, 500, seed)

    def is_target(items: pd.DataFrame) -> pd.Series:
        return items["genres"].map(lambda own: bool(GENRES & set(own)))

    return domain(dataset, some, lambda items: ~is_target(items)), domain(
        dataset, others, is_target
    )


def shop() -> tuple[Split, Split]:
    """Half of the households over groceries; the others over drugs, cosmetics, nutrition and
    floral.
    """
    dataset = load_dataset("complete-journey")
    some, others = two_groups(dataset, len(dataset.interactions["user_id"].unique()) // 2)
    return domain(dataset, some, lambda items: items["department"] == "GROCERY"), domain(
        dataset, others, lambda items: items["department"].isin(DEPARTMENTS)
    )


SHORT = replace(TRANSFERABLE, epochs=15, batch_size=128)  # a shop has many more events
# layers to drop, and the plainest loss
LAYERED = replace(
    TRANSFERABLE, history="transformer", popularity_prior=False, exclude_history=False
)
DIRECTIONS = {
    "films": (films, TRANSFERABLE),
    "shop": (shop, SHORT),
    "films-shop": (lambda: (films()[0], shop()[1]), SHORT),
    "shop-films": (lambda: (shop()[0], films()[1]), SHORT),
}


def source_models(
    encoder: TextEncoder, split: Split, config: TrainingConfig, seeds: range
) -> list[TransferRecommender]:
    """Fitted sources, one a seed, kept in ``.runs`` for the other parts."""
    switches = f"{config.popularity_prior:d}{config.exclude_history:d}"
    what = f"{config.history}-{switches}-{config.epochs}-{config.shrinkage:g}"
    models, name = [], f"source-{split.manifest['content_hash'][:8]}-{what}"
    for seed in seeds:
        folder = RUNS / f"{name}-{seed}"
        if not folder.exists():
            TransferRecommender(
                encoder, closed_form=False, config=config, seed=seed, progress=False
            ).fit(split.train, split.valid).save_pretrained(folder)
        models.append(TransferRecommender.from_pretrained(folder, encoder=encoder, progress=False))
    return models


def per_user(recommender, split: Split) -> pd.Series:
    """Test NDCG@10 of each user."""
    return evaluate_users(recommender, split, metrics=("ndcg",))["ndcg", 10]


def report(encoder: TextEncoder, direction: str, seeds: range) -> None:
    """The ladder of one direction."""
    make, config = DIRECTIONS[direction]
    source, target = make()
    models = source_models(encoder, source, config, seeds)
    result = transfer_report(
        models, target, shares=(0.01, 0.05, 0.2, 1.0) if direction in ("films", "shop") else (1.0,)
    )
    print(
        direction,
        result.verdict,
        result.table.to_string(),
        result.comparison.to_string(),
        sep="\n",
        flush=True,
    )
    save(
        result.table.assign(verdict=result.verdict, n_seeds=len(models), machine=machine()),
        f"transfer_{direction}.parquet",
    )
    save(result.comparison, f"transfer_{direction}_comparison.parquet")


def choice(encoder: TextEncoder, direction: str, seeds: range) -> None:
    """How `TRANSFERABLE` was chosen: on validation events of the target's users, none of test, what
    reads a history and whether popularity is given.
    """
    rows = []
    for name in ("films", "shop"):
        make, config = DIRECTIONS[name]
        source, target = make()
        task = validation_task(target.train, target.valid)
        for history, prior in product(("transformer", "gru"), (False, True)):
            for model in source_models(
                encoder, source, replace(config, history=history, popularity_prior=prior), seeds
            ):
                row = {
                    "direction": name,
                    "history": history,
                    "popularity_prior": prior,
                    "seed": model.seed,
                }
                rows.append(
                    row
                    | {
                        "n_users": 0,
                        "valid_ndcg@10": mean_ndcg(model.with_items(target.train.items), task),
                    }
                )
                for share in (0.05, 0.2, 1.0):
                    train, valid, n_users = sample_target_users(target, share, model.seed)
                    rows.append(
                        row
                        | {
                            "n_users": n_users,
                            "valid_ndcg@10": mean_ndcg(model.adapt(train, valid), task),
                        }
                    )
                print(rows[-4:], flush=True)
    save(pd.DataFrame(rows), "transfer_choice.parquet")


def strategies(encoder: TextEncoder, direction: str, seeds: range) -> None:
    """Quality on the target, price, and what is forgotten on the source."""
    source, target = films()
    models, rows = source_models(encoder, source, LAYERED, seeds), []
    plans = {name: {"strategy": name} for name in STRATEGIES} | {
        "full, top layer dropped": {"drop_layers": 1},
        "full, top layer anew": {"reinit_layers": 1},
        "full, one layer more": {"new_layers": 1},
    }
    for model in models:
        before = per_user(model, source).mean()
        for name, options in plans.items():
            adapted = model.adapt(target.train, target.valid, **options)
            rows.append(
                {
                    "strategy": name,
                    "seed": model.seed,
                    "ndcg@10": per_user(adapted, target).mean(),
                    "seconds": adapted.cost_.seconds,
                    "peak_mb": adapted.cost_.peak_mb,
                    "n_trained": adapted.cost_.n_trained,
                    "source_before": before,
                    "source_after": per_user(adapted.with_items(source.train.items), source).mean(),
                }
            )
            print(rows[-1], flush=True)
        save(pd.DataFrame(rows), "transfer_strategies.parquet")


def content(encoder: TextEncoder, direction: str, seeds: range) -> None:
    """How `CONTENT` was chosen: validation NDCG@10 of each setting on the sources, whose people are
    known, and on the targets, to see whether the choice holds there.
    """
    rows = []
    for name, (make, _) in DIRECTIONS.items():
        if "-" in name:  # the other two are made of the same four parts
            continue
        for side, split in zip(("source", "target"), make(), strict=True):
            task = validation_task(split.train, split.valid)
            for n, last in product((None, 32, (32, 128, 256)), (20, 100)):
                for fitted in (
                    ContentKNN(encoder, n_components=n, n_last=last).fit(split.train).fadings()
                ):
                    rows.append(
                        {
                            "set": f"{name}, {side}",
                            "n_components": str(n),
                            "n_last": last,
                            "fading": str(fitted.fading),
                            "half_life": fitted.half_life,
                            "valid_ndcg@10": mean_ndcg(fitted, task),
                        }
                    )
    table = pd.DataFrame(rows)
    print(
        table.pivot_table(
            index=["n_components", "n_last", "fading", "half_life"],
            columns="set",
            values="valid_ndcg@10",
        )
        .round(4)
        .to_string(),
        flush=True,
    )
    save(table, "transfer_content.parquet")


def overlap(encoder: TextEncoder, direction: str, seeds: range) -> None:
    """What a ridge from the source adds to content in every direction, by how much it counts; on
    validation events of the target's users, none of test.
    """
    rows = []
    for name, (make, _) in DIRECTIONS.items():
        source, target = make()
        task = validation_task(target.train, target.valid)
        together = zero_shot([RidgeFromText(encoder).fit(source.train)], target.train)
        for weight in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, together.weights_[-1]):
            weights = [*together.weights_[:-1], weight]
            voters = Ensemble(together.members, standardise=True, weights=weights).join()
            rows.append(
                {
                    "direction": name,
                    "weight": weight,
                    "overlap": together.weights_[-1],
                    "valid_ndcg@10": mean_ndcg(voters, task),
                }
            )
    print(pd.DataFrame(rows).to_string(), flush=True)
    save(pd.DataFrame(rows), "transfer_overlap.parquet")


def cure(encoder: TextEncoder, direction: str, seeds: range) -> None:
    """Zero-shot in every direction, from films to films with the version that fails; a direction
    that is there already is not measured again.
    """
    path = HERE / "transfer_cure.parquet"
    rows = pd.read_parquet(path).to_dict("records") if path.exists() else []
    for name, (make, config) in (
        DIRECTIONS | {"films, with facts": (lambda: films(**WITH_FACTS), TRANSFERABLE)}
    ).items():
        if any(row["direction"] == name for row in rows):
            continue
        source, target = make()
        items = target.train.items
        soft = source_models(encoder, source, replace(config, popularity_prior=False), seeds)
        networks = {
            "network, shrunken whitening": soft,
            "network, popularity given": source_models(encoder, source, config, seeds),
        }
        if name == "films":
            networks = {
                "network, whitened texts": source_models(
                    encoder, source, replace(config, popularity_prior=False, shrinkage=0.0), seeds
                )
            } | networks
        settings = {
            "raw": {"n_components": None, "n_last": 20},
            "whitened": {"n_components": 32, "n_last": 20},
            "whitened, fading": CONTENT,
            "centred, fading": {"n_components": "centred", **CONTENT},
        }
        content = {
            f"content, {words}": ContentKNN(encoder, **options).fit(target.train)
            for words, options in settings.items()
        }
        ridge = RidgeFromText(encoder).fit(source.train)
        voters = {
            words: [system]
            for words, system in (content | {"ridge from text": ridge.with_items(items)}).items()
        }
        voters |= {
            words: [model.with_items(items) for model in models]
            for words, models in networks.items()
        }
        voters |= {
            "content and network, a vote each": [
                Ensemble([content["content, whitened, fading"], network], standardise=True).join()
                for network in voters["network, shrunken whitening"]
            ],
            "content and network, by overlap": [zero_shot([model], target.train) for model in soft],
            "content, ridge and network, by overlap": [
                zero_shot([ridge, model], target.train) for model in soft
            ],
        }
        # mean over seeds
        systems = {
            words: sum(per_user(one, target) for one in some) / len(some)
            for words, some in voters.items()
        }
        best = max(content, key=lambda words: systems[words].mean())
        against = compare_users(
            {
                best: systems[best],
                **{words: values for words, values in systems.items() if words != best},
            }
        ).set_index("other")
        for words, values in systems.items():
            low, high = bootstrap_interval(values.to_numpy())
            rows.append(
                {
                    "direction": name,
                    "system": words,
                    "ndcg@10": values.mean(),
                    "ci_low": low,
                    "ci_high": high,
                    "n_seeds": len(seeds),
                }
            )
            if words != best:
                # the other way round
                columns = {
                    "minus_content": "difference",
                    "minus_low": "ci_high",
                    "minus_high": "ci_low",
                }
                rows[-1] |= {mine: -against.loc[words, theirs] for mine, theirs in columns.items()}
        print(pd.DataFrame(rows).query("direction == @name").to_string(), flush=True)
        save(pd.DataFrame(rows), "transfer_cure.parquet")


def withhold(films: Dataset, share: float, seed: int) -> tuple[Dataset, dict, dict]:
    """A share of the films withheld with all their events: the rest to train on, over the whole
    catalogue; histories; and what each user has among the withheld.
    """
    withheld = set(
        np.random.RandomState(seed)
        .choice(np.sort(films.items["item_id"]), int(share * len(films.items)), replace=False)
        .tolist()
    )
    is_cold = films.interactions["item_id"].isin(withheld)
    rest = replace(films, interactions=films.interactions[~is_cold].reset_index(drop=True))
    targets = films.interactions[is_cold].groupby("user_id")["item_id"].agg(list).to_dict()
    histories = rest.histories()
    users = [user for user in targets if user in histories]
    return rest, {user: histories[user] for user in users}, {user: targets[user] for user in users}


def of_known_items(dataset: Dataset) -> Dataset:
    """The same events over a catalogue without the items that nobody took: when a model is trained,
    what comes later is not there yet.
    """
    return replace(
        dataset,
        items=dataset.items[
            dataset.items["item_id"].isin(dataset.interactions["item_id"])
        ].reset_index(drop=True),
    )


def all_items(targets: dict) -> list:
    """Every item that somebody took."""
    return sorted({item for items in targets.values() for item in items})


def withheld_ndcg(recommender, histories: dict, targets: dict, *, among_all: bool = False) -> float:
    """Mean NDCG@10 on withheld films, with those alone as candidates or the whole catalogue."""
    candidates = None if among_all else all_items(targets)
    lists = ranked_lists(
        recommender.recommend(histories, k=10, candidates=candidates), targets, k=10
    )
    return float(np.mean(ndcg(lists)))


def encoders(encoder: TextEncoder, direction: str, seeds: range) -> None:
    """What tuning the encoder does to recommendation by content, known films and withheld ones:
    further masked tokens, SimCSE, and films taken together in training.
    """
    films = load_dataset("movielens-100k")
    rows, split = [], films.split("leave_one_out")
    for seed in seeds:
        rest, histories, targets = withhold(films, 0.1, seed)
        texts = rest.items.set_index("item_id")["text"]
        with tempfile.TemporaryDirectory() as folder:
            config = PretrainingConfig(epochs=3, learning_rate=5e-5, n_records=1)
            further = pretrain(
                texts.tolist(),
                start="all-MiniLM-L6-v2",
                config=config,
                seed=seed,
                folder=f"{folder}/further",
                progress=False,
            )
            for name, make in {
                "MiniLM": lambda train: encoder,
                "masked tokens": lambda train, further=further: further,
                "SimCSE": lambda train, seed=seed, texts=texts: tune_encoder(
                    encoder, texts.tolist(), epochs=2, seed=seed, progress=False
                ),
                "taken together": lambda train, seed=seed: tune_together(encoder, train, seed),
            }.items():
                row = {
                    "encoder": name,
                    "seed": seed,
                    "cold": withheld_ndcg(
                        ContentKNN(made := make(rest), n_components=128, n_last=10**6).fit(rest),
                        histories,
                        targets,
                    ),
                }
                # the withheld films are known there
                made = make(split.train) if name == "taken together" else made
                rows.append(
                    row
                    | {
                        "warm": per_user(
                            ContentKNN(made, n_components=128, n_last=10).fit(split.train), split
                        ).mean()
                    }
                )
                print(rows[-1], flush=True)
        save(pd.DataFrame(rows), "transfer_encoders.parquet")


def tune_together(encoder: TextEncoder, train: Dataset, seed: int) -> TextEncoder:
    """The encoder after contrastive tuning on films that people took one after the other."""
    pairs, texts = (
        co_occurring_items(train, 12_800, seed=seed),
        train.items.set_index("item_id")["text"],
    )
    return tune_encoder(
        encoder,
        texts[pairs["item_id"]].tolist(),
        texts[pairs["partner_id"]].tolist(),
        seed=seed,
        progress=False,
    )


def readers_of_text(
    encoder: TextEncoder, rest: Dataset, share: float, seed: int, *, among_all: bool
) -> dict:
    """Content, ridge, and both, fitted; with the settings, and the ridge's weight beside content,
    that serve best for films withheld once more from what is left.
    """
    inner, histories, targets = withhold(rest, share, seed + 100)

    def score(recommender) -> float:
        return withheld_ndcg(recommender.fit(inner), histories, targets, among_all=among_all)

    grids = (
        [
            partial(ContentKNN, encoder, n_components=n, n_last=10**6)
            for n in (32, 64, 128, 256, (32, 128, 256))
        ],
        [
            partial(RidgeFromText, encoder, n_components=n, regularisation=strength)
            for n, strength in product((64, 128, 256), (3.0, 30.0, 300.0))
        ],
    )
    content, ridge = (max(grid, key=lambda make: score(make())) for grid in grids)
    both = max(
        (
            Ensemble([ridge(), content()], standardise=True, weights=[weight, 1.0])
            for weight in (0.5, 1.0, 2.0)
        ),
        key=score,
    )
    return {
        "content, whitened": content().fit(rest),
        "ridge from text": ridge().fit(rest),
        "ridge and content": both.fit(rest),
    }


def weighed_closed_form(
    encoder: TextEncoder, rest: Dataset, share: float, seed: int, *, among_all: bool
) -> dict:
    """The closed form with settings and weights from films withheld once more from what is left,
    which are ranked as the others will be, and learned again from all of it.
    """
    inner, _, targets = withhold(rest, share, seed + 100)
    is_withheld = ~rest.interactions["item_id"].isin(inner.interactions["item_id"])
    valid = replace(rest, interactions=rest.interactions[is_withheld].reset_index(drop=True))
    candidates = None if among_all else all_items(targets)
    closed = ClosedForm(encoder).fit(inner, Part(**vars(valid), candidates=candidates))
    members = refitted(closed.ensemble_.members, rest)
    return {"closed form": with_members(closed.ensemble_, members)}


def networks_beside(encoder: TextEncoder, rest: Dataset, seed: int, readers: dict) -> dict:
    """The network, trained with the withheld films in its catalogue or without, alone and beside
    those that read.
    """
    config = replace(TRANSFERABLE, popularity_prior=False)  # what nobody took has no counts
    wrong, later = (
        TransferRecommender(encoder, closed_form=False, config=config, seed=seed, progress=False)
        .fit(known, epochs=30)
        .with_items(rest.items)
        for known in (rest, of_known_items(rest))
    )
    both = readers["ridge and content"]
    weights = {"standardise": True, "weights": [1.0, *both.weights]}
    return {
        "network, trained with them": wrong,
        "network, they came later": later,
        "network and content": Ensemble(
            [later, readers["content, whitened"]], standardise=True
        ).join(),
        "ridge, network and content": Ensemble([later, *both.members], **weights).join(),
    }


COLD = {"10% withheld, among themselves": (0.1, False), "20% withheld, among all": (0.2, True)}
READERS = "content, whitened", "ridge from text", "ridge and content", "closed form"
NETWORKS = (
    "network, trained with them",
    "network, they came later",
    "network and content",
    "ridge, network and content",
)


def cold(encoder: TextEncoder, direction: str, seeds: range) -> None:
    """Withheld films, a tenth ranked among themselves and a fifth among all: content, factors from
    text, the closed form, the network, and what they make together. What is there is left out.
    """
    long_texts = TextEncoder.from_pretrained(max_tokens=256)
    texts = {
        "title and genres": (load_dataset("movielens-100k"), encoder, READERS + NETWORKS),
        "with facts": (load_dataset("movielens-100k", **WITH_FACTS), long_texts, READERS),
    }

    @lru_cache(maxsize=1)
    def asked(setting: str, text: str, seed: int) -> tuple:
        return withhold(texts[text][0], COLD[setting][0], seed)

    @lru_cache(maxsize=3)
    def fitted(fit: Callable, setting: str, text: str, seed: int) -> dict:
        rest, *_ = asked(setting, text, seed)
        if fit is networks_beside:
            return fit(encoder, rest, seed, fitted(readers_of_text, setting, text, seed))
        share, among_all = COLD[setting]
        return fit(texts[text][1], rest, share, seed, among_all=among_all)

    def measure(setting: str, text: str, system: str, seed: int) -> dict:
        fit = networks_beside if system in NETWORKS else readers_of_text
        fit = weighed_closed_form if system == "closed form" else fit
        one = fitted(fit, setting, text, seed)[system]
        _, histories, targets = asked(setting, text, seed)
        value = withheld_ndcg(one, histories, targets, among_all=COLD[setting][1])
        return {"n_users": len(targets), "ndcg@10": value}

    plans = [
        {"setting": setting, "text": text, "system": system, "seed": seed}
        for text, seed, setting in product(texts, seeds, COLD)
        for system in texts[text][2]
    ]
    measure_missing("transfer_cold.parquet", plans, measure)


PARTS = dict.fromkeys(DIRECTIONS, report) | {
    "choice": choice,
    "strategies": strategies,
    "content": content,
    "overlap": overlap,
    "cure": cure,
    "encoders": encoders,
    "cold": cold,
}


def main() -> None:
    """The parts that are named, or all."""
    options = chosen_parts(__doc__, PARTS)
    for part in options.parts:
        PARTS[part](TextEncoder.from_pretrained(), part, range(options.seeds))


if __name__ == "__main__":
    main()
