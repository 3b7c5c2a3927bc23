"""What other settings of the network would bring to the default, the closed form beside it.

Of sets of `default.py`: the library's own settings (``text``), the same with a learned vector of
each item beside its text (``text + id``), and on the drugs also both with fewer passes and larger
batches (``short``, ``short + id``). All are fitted on the training part. A row of
``configurations.parquet``: ``set, kind, seed``, NDCG@10 of the network and of the whole
(``network_valid, network_test, blend_valid, blend_test``), ``best_epoch``, and ``seconds`` of the
fit without the closed form; what is there is left out. Who chooses looks at ``_valid`` alone.

    python benchmarks/configurations.py [set ...] [--seeds 3]
"""

import functools
from dataclasses import replace

from default import OWN, SETS, SHORT
from run import chosen_parts, measure_missing

from llmrec import TextEncoder, TransferRecommender
from llmrec.compute import Cost
from llmrec.evaluation import evaluate_users
from llmrec.linear import ClosedForm
from llmrec.models import TEXT_AND_ID

NAME = "configurations.parquet"
KINDS = {"text": OWN, "text + id": TEXT_AND_ID}
ON_DRUGS = {"text": OWN, "short": SHORT, "short + id": replace(SHORT, fusion="sum")}
COMPARED = {
    "some films, leave-one-out": KINDS,
    "films, leave-one-out": KINDS,
    "drugs, leave-one-out": ON_DRUGS,
}
encoder = functools.cache(TextEncoder.from_pretrained)


@functools.lru_cache(maxsize=1)
def closed_form(name: str) -> tuple:
    """The split of a set and what all its networks stand beside."""
    make, protocol, _ = SETS[name]
    split = make().split(protocol)
    return split, ClosedForm(encoder()).fit(split.train, split.valid)


def measure(set: str, kind: str, seed: int) -> dict:
    """One fit, the network and the whole on both parts."""
    split, closed = closed_form(set)
    model = TransferRecommender(
        encoder(), config=COMPARED[set][kind], closed_form=closed, seed=seed, progress=False
    )
    with Cost() as cost:
        model.fit(split.train, split.valid)
    values = {
        f"{what}_{part}": evaluate_users(system, split, part=part, metrics=("ndcg",)).mean().item()
        for what, system in {"network": model.alone(), "blend": model}.items()
        for part in ("valid", "test")
    }
    return values | {"best_epoch": model.best_epoch_, "seconds": cost.seconds}


def main() -> None:
    options = chosen_parts(__doc__, list(COMPARED))
    plans = [
        {"set": name, "kind": kind, "seed": seed}
        for name in options.parts
        for seed in range(options.seeds)
        for kind in COMPARED[name]
    ]
    measure_missing(NAME, plans, measure)


if __name__ == "__main__":
    main()
