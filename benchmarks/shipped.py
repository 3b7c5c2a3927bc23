"""MovieLens-100K as one would ship it, the next film, all films ranked: what several networks add.

Each of `SETTINGS` is fitted with ``refit=True``: the best epoch and the weights of the closed form
from validation, then all of it once more on training and validation together; several seeds. Beside
each fit stand `Ensemble`s of them, standardised, one vote each: both settings of a seed, all seeds
of a setting, and all there are. Each is scored once on test. A row of ``shipped.parquet``: ``what,
seed`` (-1: all), ``n_networks``, ``ndcg@10, hr@10``; what is there is left out, and fits are kept
in ``.runs``.

    python benchmarks/shipped.py --seeds 3
"""

import functools

from default import films
from run import RUNS, chosen_parts, measure_missing, slug

from llmrec import TextEncoder, TransferRecommender
from llmrec.ensembles import Ensemble
from llmrec.evaluation import evaluate_users
from llmrec.models import TEXT_AND_ID, TrainingConfig

NAME, EVERY = "shipped.parquet", -1
SETTINGS = {"text": TrainingConfig(), "text + id": TEXT_AND_ID}
encoder = functools.cache(TextEncoder.from_pretrained)


@functools.cache
def split():
    return films().split("leave_one_out")


@functools.cache
def shipped(setting: str, seed: int) -> TransferRecommender:
    """A fit, or what an earlier call has kept of it."""
    folder = RUNS / f"shipped-{slug(setting)}-{seed}"
    if not folder.exists():
        config = SETTINGS[setting]
        model = TransferRecommender(encoder(), config=config, seed=seed, progress=False)
        model.fit(split().train, split().valid, refit=True).save_pretrained(folder)
    return TransferRecommender.from_pretrained(folder, encoder=encoder())


def main() -> None:
    seeds = range(chosen_parts(__doc__, []).seeds)
    together = {
        (f"{setting}, all seeds", EVERY): [(setting, seed) for seed in seeds]
        for setting in SETTINGS
    }
    fits = {
        **{(setting, seed): [(setting, seed)] for seed in seeds for setting in SETTINGS},
        **{("both", seed): [(setting, seed) for setting in SETTINGS] for seed in seeds},
        **together,
        ("both, all seeds", EVERY): [one for some in together.values() for one in some],
    }

    def measure(what: str, seed: int, n_networks: int) -> dict:
        models = [shipped(*plan) for plan in fits[what, seed]]
        system = models[0] if len(models) == 1 else Ensemble(models, standardise=True).join()
        means = evaluate_users(system, split(), metrics=("ndcg", "hr")).mean()
        return {f"{metric}@10": means[metric, 10] for metric in ("ndcg", "hr")}

    plans = [
        {"what": what, "seed": seed, "n_networks": len(members)}
        for (what, seed), members in fits.items()
    ]
    measure_missing(NAME, plans, measure)


if __name__ == "__main__":
    main()
