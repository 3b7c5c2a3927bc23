"""Can ids be generated for items that nobody has seen? Settings of the ids, and noise in them.

MovieLens-100K, 800 readers of Book-Crossing (readers and books with fifteen ratings) and 800
households of The Complete Journey, each by two protocols: a tenth of the items withheld with all
their events, which alone are candidates (``cold_items``), and the last item of each user
(``leave_one_out``; of books, whose order nobody noted, a ``random`` tenth). Parts are settings of
`GenerativeRecommender` without its dense head: ``default`` (three levels of few codes over 16
directions of the text, so that the code of a new item has been written before), ``fine`` (three
levels of 64 codes over 64 directions), ``coarser`` (two levels of 16 codes), ``noisy`` (fine, but
each batch learns the ids of texts that were moved a little at random, so that neighbours of known
ids are learned, too), and ``dense``, the network without ids. What is best on validation is what
one would choose. A row of ``cold_ids.parquet``: ``data, part, protocol, seed``, NDCG@10 on
validation and test, that of content kNN, ``minutes``; it is written at once, and what is there is
left out.
"""

import functools
import itertools
from unittest import mock

import numpy as np
import torch
from run import chosen_parts, measure_missing

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
FINE = {"n_levels": 3, "n_codes": 64, "id_components": 64}
PARTS = {
    "default": {},
    "fine": FINE,
    "coarser": {"n_levels": 2, "n_codes": 16, "id_components": 16},
    "noisy": FINE,
    "dense": {},
}
KNOWN = {"films": "leave_one_out", "groceries": "leave_one_out", "books": "random"}


@functools.cache
def split_of(name: str, protocol: str) -> Split:
    """The split, with the seed of the protocol."""
    if name == "films":
        data = load_dataset("movielens-100k", progress=False)
    elif name == "books":
        data = load_dataset("book-crossing", progress=False).k_core(15).sample_users(800, seed=0)
    else:
        data = load_dataset("complete-journey", progress=False).sample_users(800, seed=0)
    return data.split(protocol)


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


def attempt(data: str, part: str, protocol: str, seed: int) -> dict:
    """The rest of a row."""
    encoder, split = TextEncoder.from_pretrained(), split_of(data, protocol)
    order = {"history": "mean", "fading": False} if data == "books" else {}  # they have no times
    options = {"config": TrainingConfig(epochs=EPOCHS, **order), "seed": seed, "progress": False}
    if part == "dense":
        model = TransferRecommender(encoder, closed_form=False, **options)
    else:
        model = GenerativeRecommender(encoder, hybrid=False, **PARTS[part], **options)
    loss = noisy_loss(model, np.random.default_rng(seed)) if part == "noisy" else generative_loss
    with Cost() as cost, mock.patch("llmrec.semantic_ids.generative_loss", loss):
        model.fit(split.train, split.valid)
    content = ContentKNN(encoder).fit(split.train)
    row = {half: ndcg(model, split, half) for half in ("valid", "test")}
    return row | {"content kNN": ndcg(content, split, "test"), "minutes": cost.seconds / 60}


def main() -> None:
    """The parts that are named, or all."""
    options = chosen_parts(__doc__, tuple(PARTS))
    withheld = ((name, "cold_items") for name in KNOWN)
    asked = (*withheld, *KNOWN.items())
    every = itertools.product(range(options.seeds), asked, options.parts)
    plans = (
        {"data": name, "part": part, "protocol": protocol, "seed": seed}
        for seed, (name, protocol), part in every
    )
    measure_missing(NAME, plans, attempt)


if __name__ == "__main__":
    main()
