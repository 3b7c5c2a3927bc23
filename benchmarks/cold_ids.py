"""Can ids be generated for films that nobody has seen? Settings of the ids, and noise in them.

MovieLens-100K, a tenth of the films withheld with all their ratings (split ``cold_items``), and
only they are candidates. Parts are settings of `GenerativeRecommender` without its dense head:
``default`` (three levels of 64 codes), ``coarse`` and ``coarser`` (few codes, so that the code of a
new film has been written before), and ``noisy`` (the default, but each batch learns the ids of
texts that were moved a little at random, so that neighbours of known ids are learned, too). What is
best on the withheld films of validation is what one would choose. A row of ``cold_ids.parquet``:
``part, seed``, NDCG@10 on validation and test, that of content kNN, ``minutes``; it is written at
once, and what is there is left out.
"""

import functools
from unittest import mock

import numpy as np
import pandas as pd
import torch
from run import HERE, chosen_parts, save

from llmrec import TextEncoder, load_dataset
from llmrec.baselines import ContentKNN
from llmrec.compute import Cost
from llmrec.evaluation import evaluate_users
from llmrec.generation import GenerativeRecommender
from llmrec.models import TrainingConfig
from llmrec.semantic_ids import distinct, generative_loss

NAME, EPOCHS, NOISE = "cold_ids.parquet", 12, 0.5  # standard deviations of a whitened direction
PARTS = {
    "default": {},
    "coarse": {"n_levels": 3, "n_codes": 16, "id_components": 16},
    "coarser": {"n_levels": 2, "n_codes": 16, "id_components": 16},
    "noisy": {},
}


@functools.cache
def films():
    """The split."""
    return load_dataset("movielens-100k", progress=False).split("cold_items", seed=0)


def ndcg(model, part: str) -> float:
    """Mean NDCG@10 among the withheld films of a part."""
    return float(evaluate_users(model, films(), part=part, metrics=("ndcg",))["ndcg", 10].mean())


def noisy_loss(model: GenerativeRecommender, random: np.random.Generator):
    """`generative_loss` with ids of texts that were moved at random, anew for each batch."""

    def loss(network, text_vectors, inputs, targets, *, codes):
        vectors = text_vectors.cpu().numpy()[:, : model.id_components]
        moved = vectors + NOISE * random.normal(size=vectors.shape).astype(np.float32)
        codes = torch.from_numpy(distinct(model.ids_.codes(moved), model.ids_.n_codes))
        return generative_loss(network, text_vectors, inputs, targets, codes=codes)

    return loss


def attempt(part: str, seed: int) -> dict:
    """A row."""
    encoder = TextEncoder.from_pretrained()
    config = TrainingConfig(epochs=EPOCHS)
    options = {"config": config, "hybrid": False, "seed": seed, "device": "cpu", "progress": False}
    model = GenerativeRecommender(encoder, **PARTS[part], **options)
    loss = noisy_loss(model, np.random.default_rng(seed)) if part == "noisy" else generative_loss
    with Cost() as cost, mock.patch("llmrec.semantic_ids.generative_loss", loss):
        model.fit(films().train, films().valid)
    content = ContentKNN(encoder).fit(films().train)
    row = {"part": part, "seed": seed, "valid": ndcg(model, "valid"), "test": ndcg(model, "test")}
    return row | {"content kNN": ndcg(content, "test"), "minutes": cost.seconds / 60}


def main() -> None:
    """The parts that are named, or all."""
    options, path = chosen_parts(__doc__, tuple(PARTS)), HERE / NAME
    rows = pd.read_parquet(path).to_dict("records") if path.exists() else []
    finished = {(row["part"], row["seed"]) for row in rows}
    for part in options.parts:
        for seed in range(options.seeds):
            if (part, seed) not in finished:
                rows.append(attempt(part, seed))
                print(rows[-1], flush=True)
                save(pd.DataFrame(rows), NAME)


if __name__ == "__main__":
    main()
