"""What pretraining is worth: accuracy on held-out Chinese reviews by number of labels; several
draws and seeds.

Parts, in the order of their cost: ``words`` (TF-IDF, snownlp), ``frozen`` (multilingual E5 as it
is), ``tuned`` (the same, fine-tuned, 200 labels), ``few`` (own model and from scratch, up to 1,000
labels), ``length`` (of pretraining, 200 labels), ``more`` (what else might help, 200 labels),
``5000``, ``all``, ``ends`` (of long reviews, all labels), ``tuned-more`` (E5 fine-tuned on other
numbers of labels), ``tuned-all``, and ``masked`` and ``masked-tuned`` (E5 that has first guessed
masked pieces of the reviews); each of the last four takes three quarters of an hour or more. Each
result is a row of ``labels.parquet``, written at once; what is there is left out, so that a second
call goes on. Settings that were chosen stand in ``labels_choices.json``. Of seed 0 with all labels
it also writes what two systems think of every held-out review, in order,
``labels_reviews.parquet``.
"""

import functools
import itertools
import json
from collections.abc import Callable

import jieba
import numpy as np
import pandas as pd
from run import HERE, RUNS, chosen_parts, measure_missing, save
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from snownlp import normal, seg
from snownlp.classification.bayes import Bayes
from transformers import AutoTokenizer, BertForMaskedLM

from llmrec import TextEncoder, TransferClassifier, atomic_file
from llmrec.compute import seeded
from llmrec.masking import new_model
from llmrec.pretraining import (
    MaskedLanguageModelTrainer,
    PretrainingConfig,
    review_model,
    split_reviews,
)

FEW, ALL = (50, 100, 200, 500, 1_000), 10**9
# "very [MASK]!": the vector of what the model would put there
PROMPT = {"pooling": "mask", "template": "非常[MASK]！{}"}
# "really", "on the whole", "I find it"
PROMPTS = (PROMPT["template"], "真的很[MASK]。{}", "总体来说很[MASK]。{}", "我觉得很[MASK]。{}")
RATES = 3e-5, 1e-4, 3e-4
E5_RATES = 2e-5, 5e-5  # of a model that was trained on more than reviews
CHOICES = HERE / "labels_choices.json"
LEARNED_FROM, TEST = split_reviews()


def labelled(n: int, seed: int) -> pd.DataFrame:
    """`n` reviews to learn from, or all, drawn by `seed`."""
    return LEARNED_FROM.sample(min(n, len(LEARNED_FROM)), random_state=seed)


jieba_words = functools.cache(jieba.lcut)
snownlp_words = functools.cache(lambda text: normal.filter_stop(seg.seg(text)))
pretrained = functools.cache(review_model)  # it reads all reviews to know its own name


@functools.cache
def multilingual() -> TextEncoder:
    """Multilingual E5 with the word pieces of the reviews to learn from."""
    encoder = TextEncoder.from_pretrained("multilingual-e5-small")
    return encoder.trim_vocabulary(LEARNED_FROM["text"].tolist())


@functools.cache
def masked_training() -> TextEncoder:
    """The same after it has guessed masked pieces of the reviews to learn from, in three passes;
    the head for that is new.
    """
    start = multilingual()
    with seeded(0):
        network = BertForMaskedLM(start.exact_model.config)
    network.bert.load_state_dict(start.exact_model.state_dict(), strict=False)  # but the pooler
    config = PretrainingConfig(epochs=3, learning_rate=1e-4)
    trainer = MaskedLanguageModelTrainer(network, start.tokenizer, config=config)
    texts = [start.template.format(text) for text in LEARNED_FROM["text"]]
    RUNS.mkdir(exist_ok=True)
    trainer.fit(texts, checkpoint=RUNS / "labels-masked.safetensors")
    print(trainer.records_.to_string(), flush=True)
    name = f"{start.name}, trained on reviews"
    return TextEncoder(network.bert, start.tokenizer, name=name, **start.options)


@functools.cache
def frozen(n: int, seed: int, *, encoder: Callable = multilingual) -> np.ndarray:
    """Probability that each test review is praise, by logistic regression on vectors of E5."""
    some = labelled(n, seed)
    classifier = TransferClassifier(encoder(), strategy="probe")
    return praise(classifier.fit(some["text"].tolist(), some["label"].to_numpy()), TEST["text"])


def best_of(name: str, settings: list[dict], n: int, fit) -> dict:
    """The settings that are best with `n` labels, judged on a thousand other reviews of the part
    that is learned from. They stand beside the results, so that a choice is made once.
    """
    made = json.loads(CHOICES.read_text(encoding="utf-8")) if CHOICES.exists() else {}
    if name not in made:
        some = labelled(n, 99)
        others = LEARNED_FROM.drop(some.index).sample(1_000, random_state=99)
        found = (fit(some, 99, **one).predict(others["text"].tolist()) for one in settings)
        right = [float((labels == others["label"]).mean()) for labels in found]
        print(name, right, flush=True)
        made[name] = {"settings": settings[int(np.argmax(right))], "accuracy": right}
        with atomic_file(CHOICES) as temporary:
            temporary.write_text(json.dumps(made, indent=1), encoding="utf-8")
    return made[name]["settings"]


def tuned_e5(
    some: pd.DataFrame, seed: int, rate: float, encoder: Callable = multilingual
) -> TransferClassifier:
    """E5, fine-tuned in full on labelled reviews."""
    classifier = TransferClassifier(
        encoder(), strategy="full", learning_rate=rate, epochs=2, seed=seed
    )
    return classifier.fit(some["text"].tolist(), some["label"].to_numpy())


@functools.cache
def tuned(n: int, seed: int, *, encoder: Callable = multilingual) -> np.ndarray:
    """The same after fine-tuning, at the rate that is best with 200 labels on a thousand other
    reviews of the part that is learned from.
    """
    name = "E5" if encoder is multilingual else "E5, masked"
    fit = functools.partial(tuned_e5, encoder=encoder)
    rate = best_of(name, [{"rate": rate} for rate in E5_RATES], 200, fit)["rate"]
    return praise(tuned_e5(labelled(n, seed), seed, rate, encoder), TEST["text"])


def with_words(n: int, seed: int, *, method) -> np.ndarray:
    """Mean of what a method and TF-IDF think; all reviews can be drawn in one way only, so that
    TF-IDF needs no further seed there.
    """
    return (method(n, seed) + tf_idf(n, 0 if n == ALL else seed)) / 2


@functools.cache
def tf_idf(n: int, seed: int) -> np.ndarray:
    """Probability that each test review is praise, by logistic regression on TF-IDF of characters
    or words, chosen with its penalty by cross-validation.
    """
    some, pipeline = (
        labelled(n, seed),
        make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(max_iter=1_000)),
    )
    penalties = {"logisticregression__C": [1, 10, 100]}
    grid = [
        penalties
        | {"tfidfvectorizer__analyzer": ["char"], "tfidfvectorizer__ngram_range": [(1, 2)]},
        penalties | {"tfidfvectorizer__analyzer": [jieba_words]},
    ]
    return (
        GridSearchCV(pipeline, grid, cv=3)
        .fit(some["text"], some["label"])
        .predict_proba(TEST["text"])[:, 1]
    )


def snownlp(n: int, seed: int) -> np.ndarray:
    """The same for snownlp's naive Bayes, retrained on its own words."""
    some, bayes = labelled(n, seed), Bayes()
    bayes.train(
        [
            [snownlp_words(text), label]
            for text, label in zip(some["text"], some["label"], strict=True)
        ]
    )
    found = (bayes.classify(snownlp_words(text)) for text in TEST["text"])
    return np.array([share if label else 1 - share for label, share in found])


def encoder_after(percent: int, seed: int, **options) -> TextEncoder:
    """The small BERT after so many percent of its pretraining; 0 is from scratch, with weights of
    that seed.
    """
    folder = str(pretrained() / str(percent or 100))
    if percent:
        return TextEncoder.from_pretrained(folder, **options)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return TextEncoder(
        new_model(tokenizer, seed=seed).bert, tokenizer, name="from scratch", cache=False, **options
    )


def fine_tuned(
    percent: int, some: pd.DataFrame, seed: int, *, rate: float, **options
) -> TransferClassifier:
    """That encoder, fine-tuned in full on labelled reviews."""
    classifier = TransferClassifier(
        encoder_after(percent, seed, **options),
        strategy="full",
        learning_rate=rate,
        epochs=2,
        seed=seed,
    )
    return classifier.fit(some["text"].tolist(), some["label"].to_numpy())


def praise(classifier: TransferClassifier, texts: pd.Series) -> np.ndarray:
    """Probability that each text is praise."""
    return classifier.predict_proba(texts.tolist())[:, 1]


@functools.cache
def chosen(n: int, is_pretrained: bool) -> dict:
    """Settings for `n` labels: with or without a prompt, and the rate, by what is best with 200
    labels; from 5,000 on the rate by what is best with these.

    Judged on a thousand other reviews of the part that is learned from.
    """
    if n < 5_000:
        n, settings = 200, [{"rate": rate, **prompt} for prompt in ({}, PROMPT) for rate in RATES]
    else:
        n, settings = 5_000, [chosen(200, is_pretrained) | {"rate": rate} for rate in RATES]
    name = f"{'pretrained' if is_pretrained else 'scratch'}, {n}"
    return best_of(name, settings, n, functools.partial(fine_tuned, 100 * is_pretrained))


@functools.lru_cache(maxsize=1)
def fitted(n: int, seed: int, percent: int) -> TransferClassifier:
    """The small BERT, fine-tuned with the chosen settings."""
    return fine_tuned(percent, labelled(n, seed), seed, **chosen(n, percent > 0))


@functools.cache
def own(n: int, seed: int, *, percent: int) -> np.ndarray:
    """The same for the small BERT."""
    return praise(fitted(n, seed, percent), TEST["text"])


def of_prompts(some: pd.DataFrame, texts: pd.Series, seed: int) -> np.ndarray:
    """Probability that each text is praise: mean of one fine-tuned BERT a prompt (Schick and
    Schütze, *Exploiting Cloze Questions*, 2021).
    """
    settings = [chosen(len(some), True) | PROMPT | {"template": prompt} for prompt in PROMPTS]
    return np.mean(
        [praise(fine_tuned(100, some, seed, **options), texts) for options in settings], axis=0
    )


def several_prompts(n: int, seed: int) -> np.ndarray:
    """What the fine-tuned BERTs behind four prompts think of the test reviews."""
    return of_prompts(labelled(n, seed), TEST["text"], seed)


def self_trained(n: int, seed: int, *, several: bool = False) -> np.ndarray:
    """The small BERT after it has learned again, from guesses too: its own, or those behind several
    prompts, of the other reviews, the surer half of them.

    Source: Lee, *Pseudo-Label*, 2013; with several prompts, Schick and Schütze as above.
    """
    some = labelled(n, seed)
    others = LEARNED_FROM.drop(some.index)
    guesses = (
        of_prompts(some, others["text"], seed)
        if several
        else praise(fitted(n, seed, 100), others["text"])
    )
    surest = np.argsort(-np.abs(guesses - 0.5), kind="stable")[: len(others) // 2]
    guessed = others.iloc[surest].assign(label=(guesses[surest] > 0.5).astype(int))
    return praise(
        fine_tuned(100, pd.concat([some, guessed]), seed, **chosen(n, True)), TEST["text"]
    )


def both_ends(n: int, seed: int) -> np.ndarray:
    """The small BERT on the beginning and the end of long reviews, which are cut after 128 tokens
    otherwise (Sun et al., *How to Fine-Tune BERT*, 2019).
    """

    def shortened(texts: pd.Series) -> pd.Series:
        return texts.where(texts.str.len() <= 120, texts.str[:40] + texts.str[-80:])

    some = labelled(n, seed)
    classifier = fine_tuned(100, some.assign(text=shortened(some["text"])), seed, **chosen(n, True))
    return praise(classifier, shortened(TEST["text"]))


def bert(*sizes: int, percents=(0, 100)) -> list[tuple]:
    """Plans of the small BERT: system, function, options."""
    return [
        ("own, pretrained" if percent else "from scratch", own, n, {"percent": percent})
        for n in sizes
        for percent in percents
    ]


OWN = functools.partial(own, percent=100)
PARTS = {
    "words": [
        (name, method, n, {})
        for name, method in (("TF-IDF", tf_idf), ("snownlp", snownlp))
        for n in (*FEW, 5_000, ALL)
    ],
    "frozen": [
        plan
        for n in (*FEW, 5_000, ALL)
        for plan in (
            ("E5, frozen", frozen, n, {}),
            ("E5, frozen, and TF-IDF", with_words, n, {"method": frozen}),
        )
    ],
    **{
        part: [
            ("E5, fine-tuned", tuned, n, {}),
            ("E5, fine-tuned, and TF-IDF", with_words, n, {"method": tuned}),
        ]
        for part, n in (("tuned", 200), ("tuned-all", ALL))
    },
    "tuned-more": [("E5, fine-tuned", tuned, n, {}) for n in (50, 1_000)],
    **{
        part: [
            (f"E5 after masked tokens, {how}", method, n, {"encoder": masked_training})
            for n in sizes
        ]
        for part, how, method, sizes in (
            ("masked", "frozen", frozen, (*FEW, 5_000, ALL)),
            ("masked-tuned", "fine-tuned", tuned, (200,)),
        )
    },
    "few": bert(*FEW),
    "length": bert(200, percents=(25, 50, 75)),
    "more": [
        ("own and TF-IDF", with_words, 200, {"method": OWN}),
        ("own, four prompts", several_prompts, 200, {}),
        ("own, self-trained", self_trained, 200, {}),
        ("own, four prompts, self-trained", self_trained, 200, {"several": True}),
        ("own, both ends", both_ends, 200, {}),
    ],
    **{
        name: [*bert(n), ("own and TF-IDF", with_words, n, {"method": OWN})]
        for name, n in (("5000", 5_000), ("all", ALL))
    },
    "ends": [("own, both ends", both_ends, ALL, {})],
}


def main() -> None:
    """The parts that are named, or all."""
    options = chosen_parts(__doc__, PARTS)
    keys = ("system", "n_labels", "pretraining", "seed")
    probabilities = {}
    for part, seed in itertools.product(options.parts, range(options.seeds)):
        for system, method, n, extra in PARTS[part]:
            # all reviews can be drawn in one way only
            if part not in ("words", "frozen", "masked") or n != ALL or not seed:
                plan = system, min(n, len(LEARNED_FROM)), float(extra.get("percent", np.nan)), seed
                probabilities[plan] = functools.partial(method, n, seed, **extra)

    def measure(**plan) -> dict:
        said = probabilities[tuple(plan.values())]()
        right = (said > 0.5) == TEST["label"].to_numpy()
        return {"accuracy": float(right.mean()), "n_test": len(right)}

    plans = (dict(zip(keys, plan, strict=True)) for plan in probabilities)
    measure_missing("labels.parquet", plans, measure)
    if "all" in options.parts:
        save(
            TEST[["label"]].assign(own=own(ALL, 0, percent=100), tf_idf=tf_idf(ALL, 0)),
            "labels_reviews.parquet",
        )


if __name__ == "__main__":
    main()
