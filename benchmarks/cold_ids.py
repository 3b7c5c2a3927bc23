"""Can ids be generated for films that nobody has seen? Settings of the ids, and noise in them.

MovieLens-100K, by two protocols: a tenth of the films withheld with all their ratings, which alone
are candidates (``cold_items``), and the last film of each user (``leave_one_out``). Parts are
settings of `GenerativeRecommender` without its dense head: ``default`` (three levels of 64 codes
over 64 directions of the text), ``coarse`` and ``coarser`` (few codes over few directions, so that
the code of a new film has been written before), ``noisy`` (the default, but each batch learns the
ids of texts that were moved a little at random, so that neighbours of known ids are learned, too),
and ``dense``, the network without ids. What is best on validation is what one would choose. A row
of ``cold_ids.parquet``: ``part, protocol, seed``, NDCG@10 on validation and test, that of content
kNN, ``minutes``; it is written at once, and what is there is left out.
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
from llmrec.splits import Split
from llmrec.transfer import TransferRecommender

NAME, EPOCHS, NOISE = "cold_ids.parquet", 12, 0.5  # standard deviations of a whitened direction
PARTS = {
    "default": {},
    "coarse": {"n_levels": 3, "n_codes": 16, "id_components": 16},
    "coarser": {"n_levels": 2, "n_codes": 16, "id_components": 16},
    "noisy": {},
    "dense": {},
}
PROTOCOLS = ("cold_items", "leave_one_out")


@functools.cache
def films(protocol: str) -> Split:
    """The split, with the seed of the protocol."""
    return load_dataset("movielens-100k", progress=False).split(protocol)


def ndcg(model, split: Split, part: str) -> float:
    """Mean NDCG@10 on a part."""
    return float(evaluate_users(model, split, part=part, metrics=("ndcg",))["ndcg", 10].mean())


def noisy_loss(model: GenerativeRecommender, random: np.random.Generator):
    """`generative_loss` with ids of texts that were moved at random, anew for each batch."""

    def loss(network, text_vectors, inputs, targets, *, codes):
        vectors = text_vectors.cpu().numpy()[:, : model.id_components]
        moved = vectors + NOISE * random.normal(size=vectors.shape).astype(np.float32)
        codes = torch.from_numpy(distinct(model.ids_.codes(moved), model.ids_.n_codes))
        return generative_loss(network, text_vectors, inputs, targets, codes=codes)

    return loss


def attempt(part: str, protocol: str, seed: int) -> dict:
    """A row."""
    encoder, split = TextEncoder.from_pretrained(), films(protocol)
    options = {"config": TrainingConfig(epochs=EPOCHS), "seed": seed, "progress": False}
    if part == "dense":
        model = TransferRecommender(encoder, closed_form=False, **options)
    else:
        model = GenerativeRecommender(encoder, hybrid=False, **PARTS[part], **options)
    loss = noisy_loss(model, np.random.default_rng(seed)) if part == "noisy" else generative_loss
    with Cost() as cost, mock.patch("llmrec.semantic_ids.generative_loss", loss):
        model.fit(split.train, split.valid)
    content = ContentKNN(encoder).fit(split.train)
    row = {"part": part, "protocol": protocol, "seed": seed}
    row |= {name: ndcg(model, split, name) for name in ("valid", "test")}
    return row | {"content kNN": ndcg(content, split, "test"), "minutes": cost.seconds / 60}


def main() -> None:
    """The parts that are named, or all."""
    options, path = chosen_parts(__doc__, tuple(PARTS)), HERE / NAME
    rows = pd.read_parquet(path).to_dict("records") if path.exists() else []
    finished = {(row["part"], row["protocol"], row["seed"]) for row in rows}
    for protocol in PROTOCOLS:
        for part in options.parts:
            for seed in range(options.seeds):
                if (part, protocol, seed) not in finished:
                    rows.append(attempt(part, protocol, seed))
                    print(rows[-1], flush=True)
                    save(pd.DataFrame(rows), NAME)


if __name__ == "__main__":
    main()
