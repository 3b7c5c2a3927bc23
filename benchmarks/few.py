"""From no user of a foreign catalogue to all of them: `few_shot` and every baseline on the way.

Settings: ``films`` (500 users over films of most genres; the others over films of seven genres),
``groceries to drugs`` (600 households on either side) and ``films to books`` (500 users of films;
1,275 readers of Book-Crossing, events withheld at random), each with five draws of users. The
source is a ridge from texts. On each rung so many users of the target are learned from, and the
test events of *all* of its users are asked for; baselines are tuned on the same users.

A row of ``few.parquet``: ``setting, draw, n_users`` (0 and all included), NDCG@10 of each system,
the name of the best baseline on test, and the difference of `few_shot` to it over the same users,
with its 95 % interval. Written at once; what is there is left out.
"""

import functools

import transfer
import zero
from run import chosen_parts, measure_missing

from llmrec import load_dataset
from llmrec.baselines import RidgeFromText
from llmrec.domains import few_shot, sample_target_users, zero_shot
from llmrec.evaluation import compare_users
from llmrec.linear import ClosedForm
from llmrec.splits import Split
from llmrec.tuning import tuned_baselines

NAME, RUNGS = "few.parquet", (0, 5, 20, 80, 10**9)
BASELINES = ("popular", "content kNN, fading", "EASE", "EASE, fading")
BOTH = "EASE + content, both fading"


def books(draw: int) -> tuple[Split, Split]:
    """500 users of films, and readers of much-read books."""
    readers = load_dataset("book-crossing", progress=False).k_core(30)
    return transfer.films(draw)[0], readers.split("random", seed=draw)


SETTINGS = {
    "films": transfer.films,
    "groceries to drugs": zero.groceries,
    "films to books": books,
}


@functools.lru_cache(maxsize=1)
def source_and_target(setting: str, draw: int) -> tuple[RidgeFromText, Split]:
    """A ridge of the source, and the target."""
    source, target = SETTINGS[setting](draw)
    return RidgeFromText(zero.encoder()).fit(source.train_valid), target


def measure(setting: str, draw: int, n_users: int) -> dict:
    """One rung: every system on the test events of all users of the target."""
    ridge, target = source_and_target(setting, draw)
    n_all = target.train.interactions["user_id"].nunique()
    if not n_users:
        ours = {"few_shot": zero_shot([ridge], target.train)}
        baselines = {"content kNN, fading": ours["few_shot"].members[0]}
    else:
        share = min(1.0, n_users / n_all)
        train, valid, _ = sample_target_users(target, share, draw)
        ours = {
            "few_shot": few_shot([ridge], train, valid),
            "closed form": ClosedForm(zero.encoder()).fit(train, valid),
        }
        tuned = tuned_baselines(zero.encoder(), train, valid)
        baselines = {name: tuned[name]() for name in (*BASELINES, BOTH) if name in tuned}
    values = {
        name: transfer.per_user(system, target) for name, system in (ours | baselines).items()
    }
    means = {name: float(value.mean()) for name, value in values.items()}
    best = max(baselines, key=means.get)
    against = compare_users({"few_shot": values["few_shot"], best: values[best]}).iloc[0]
    columns = {name: against[name] for name in ("difference", "ci_low", "ci_high")}
    return means | {"best": best, **columns, "n_tested": len(values["few_shot"]), "n_all": n_all}


def main() -> None:
    """The settings that are named, or all."""
    options = chosen_parts(__doc__, tuple(SETTINGS))
    measure_missing(
        NAME,
        (
            {"setting": setting, "draw": draw, "n_users": n_users}
            for draw in range(options.seeds)
            for setting in options.parts
            for n_users in RUNGS
        ),
        measure,
    )


if __name__ == "__main__":
    main()
