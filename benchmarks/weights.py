"""How many standard errors must a change of a weight gain before it counts?

The members of the default, fitted on sets of ``default.py`` with seed 0, and what they say of the
validation users. Weights are learned from some of these users, drawn several times, and judged by
others, at most 800. `ERRORS` are the values of ``n_errors`` of `learn_weights`; with the last one
no change counts, so that the likelihood alone decides. A row of ``weights.parquet``: ``name,
n_users, draw, n_errors, ndcg@10``; what is there is left out, and what the members say is kept in
``.runs``. The test part is not looked at.

    python benchmarks/weights.py [set ...]
"""

import functools

import numpy as np
import torch
from default import SETS
from run import RUNS, chosen_parts, measure_missing, slug
from safetensors.torch import load_file, save_file

from llmrec import TextEncoder, TransferRecommender
from llmrec.ensembles import MemberScores, learn_weights, member_scores, weighted_ndcg
from llmrec.sequential import validation_task

NAME = "weights.parquet"
ASKED = (
    "some films, leave-one-out",
    "drugs, leave-one-out",
    "drugs, temporal",
    "shop, temporal",
    "films, leave-one-out",
    "shop, leave-one-out",
)
N_DRAWS = {20: 8, 60: 8, 200: 4, 0: 3}  # 0: four fifths of all
ERRORS = (0.0, 1.0, 1.5, 2.0, 3.0, 1e9)
MOST = 800


@functools.cache
def told_of(name: str) -> MemberScores:
    """What the members of the default say of the validation users of a set, or what an earlier call
    has kept of it.
    """
    path = RUNS / f"weights-{slug(name)}.safetensors"
    if not path.exists():
        make, protocol, config = SETS[name]
        split = make().split(protocol)
        model = TransferRecommender(TextEncoder.from_pretrained(), config=config, progress=False)
        members = model.fit(split.train, split.valid).ensemble_.members
        told = member_scores(members, validation_task(split.train, split.valid))
        save_file({field: one.contiguous() for field, one in told._asdict().items()}, path)
    return MemberScores(**load_file(path))


def measure(name: str, n_users: int, draw: int, n_errors: float) -> dict:
    """Learned from some users, judged by others."""
    told = told_of(name)
    order = torch.from_numpy(np.random.default_rng(draw).permutation(len(told.scores)))
    n_users = n_users or len(order) * 4 // 5
    some, others = (
        MemberScores(*(field[rows] for field in told))
        for rows in (order[:n_users], order[n_users:][:MOST])
    )
    weights, _ = learn_weights(some, n_errors=n_errors)
    return {"ndcg@10": weighted_ndcg(others, np.array(weights)).mean()}


def main() -> None:
    plans = [
        {"name": name, "n_users": n_users, "draw": draw, "n_errors": n_errors}
        for name in chosen_parts(__doc__, ASKED).parts
        for n_users, n_draws in N_DRAWS.items()
        for draw in range(n_draws)
        for n_errors in ERRORS
    ]
    measure_missing(NAME, plans, measure)


if __name__ == "__main__":
    main()
