"""What a promise to every user costs: NDCG@10 under differential privacy, three logs.

Systems: popularity, the ridge of chapter 39 with noise on its sums, and DP-SGD (Abadi et al.,
2016): the same profiles, a bilinear softmax over all items, the gradient of each user cut to a
length, noise in every step, accounted for by opacus. The settings of both were chosen on
validation: those of the ridge on all three logs, among six, those of DP-SGD on the small one,
among six. Five draws of the noise, two of DP-SGD. Writes ``private.parquet`` after every row, and
leaves out what is there.

    python benchmarks/private.py [part ...]
"""

import functools
import itertools
import sys

import numpy as np
import pandas as pd
import torch
from opacus.accountants.utils import get_noise_multiplier
from run import HERE, save
from sklearn.preprocessing import normalize

from llmrec import TextEncoder, load_dataset
from llmrec.evaluation import evaluate_users
from llmrec.linear import past_and_next
from llmrec.private_training import NextItemRidge, Privacy, noise_for
from llmrec.recommenders import Popular, history_indices

NAME = "private.parquet"
SETS = {
    "films, leave-one-out": "movielens-100k",
    "many films, leave-one-out": "movielens-1m",
    "shop, leave-one-out": "complete-journey",
}
EPSILONS = (1.0, 2.0, 4.0, 8.0, np.inf)
SEEDS = range(5)
DELTA = 1e-5
EPOCHS, BATCH, CLIP, RATE, LENGTH = 20, 256, 1.0, 0.1, 50  # of DP-SGD


@functools.cache
def split_of(name: str):
    """The last event of every user is test."""
    return load_dataset(SETS[name]).split("leave_one_out")


@functools.cache
def encoder() -> TextEncoder:
    """MiniLM."""
    return TextEncoder.from_pretrained()


def ndcg(model, name: str) -> float:
    """NDCG@10 on test."""
    users = evaluate_users(model, split_of(name), part="test", ks=(10,), metrics=("ndcg",))
    return float(users["ndcg", 10].mean())


def promise(epsilon: float, share: float = 1.0) -> Privacy | None:
    """A share of a promise; none for infinity."""
    return Privacy(epsilon * share, DELTA * share) if np.isfinite(epsilon) else None


def popular(name: str, epsilon: float, seed: int) -> Popular:
    """Counts without noise."""
    return Popular().fit(split_of(name).train_valid)


def ridge(name: str, epsilon: float, seed: int) -> NextItemRidge:
    """Noise once."""
    model = NextItemRidge(encoder(), seed=seed)
    return model.fit(split_of(name).train_valid, privacy=promise(epsilon))


class Softmax(NextItemRidge):
    """A matrix between profiles and the texts of items, and how popular an item is."""

    def score(self, histories, times=None):
        """Scores ``[n_users, n_items]``."""
        return super().score(histories) + self.prior_


def dp_sgd(name: str, epsilon: float, seed: int) -> Softmax:
    """Noise in every step: four fifths of the promise for the steps, the rest for popularity."""
    train, random = split_of(name).train_valid, np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = Softmax(encoder(), seed=seed).fit(train, privacy=promise(epsilon))  # for its vectors
    users = [own for own in history_indices(model, train.histories()) if len(own) > 1]
    counts = noisy_counts(users, len(model.items_), epsilon, random)
    model.prior_ = torch.from_numpy(np.log1p(counts)).float()
    items, rate = torch.from_numpy(model.vectors_), min(1.0, BATCH / len(users))
    weights = torch.zeros(items.shape[1], items.shape[1], requires_grad=True)
    optimizer, steps = torch.optim.Adam([weights], lr=RATE), round(EPOCHS / rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    noise = step_noise(epsilon, rate, steps)
    for _ in range(steps):
        drawn = [own for own in users if random.random() < rate]
        total = clipped_sum(drawn, model, weights.detach(), random)
        weights.grad = (total + noise * CLIP * torch.randn_like(total)) / (rate * len(users))
        optimizer.step()
        schedule.step()
    model.weights_ = (weights.detach() @ items.T).numpy()
    return model


def noisy_counts(users: list, n_items: int, epsilon: float, random) -> np.ndarray:
    """Users of each item, what a user adds cut to the length of 64 items, with noise."""
    counts, longest = np.zeros(n_items), 8.0
    for items in map(np.unique, users):
        counts[items] += min(1.0, longest / len(items) ** 0.5)
    if np.isfinite(epsilon):
        counts += noise_for(promise(epsilon, 0.2)) * longest * random.normal(size=n_items)
    return np.maximum(counts, 0)


def step_noise(epsilon: float, rate: float, steps: int) -> float:
    """The noise of a step, as a multiple of the longest gradient."""
    if np.isinf(epsilon):
        return 0.0
    return get_noise_multiplier(
        target_epsilon=0.8 * epsilon, target_delta=0.8 * DELTA, sample_rate=rate, steps=steps
    )


def clipped_sum(users: list, model: Softmax, weights: torch.Tensor, random) -> torch.Tensor:
    """The sum of the gradients of users, each of a window of the history and no longer than
    `CLIP`.
    """
    total, items = torch.zeros_like(weights), torch.from_numpy(model.vectors_)
    starts = (random.random(len(users)) * [max(1, len(own) - LENGTH) for own in users]).astype(int)
    windows = [own[at : at + LENGTH + 1] for own, at in zip(users, starts, strict=True)]
    for at in range(0, len(windows), 32):
        some = windows[at : at + 32]
        past, following = past_and_next(some, len(items))
        profiles = torch.from_numpy(normalize(past @ model.vectors_))
        wrong = torch.softmax(profiles @ (weights @ items.T) + model.prior_, dim=1)
        wrong = wrong @ items - torch.from_numpy(following @ model.vectors_)
        lengths = [len(own) for own in some]
        for one, miss in zip(profiles.split(lengths), wrong.split(lengths), strict=True):
            gradient = one.T @ miss / (len(one) - 1)  # the first event has no profile
            total += gradient * (CLIP / gradient.norm().clamp(min=1e-12)).clamp(max=1.0)
    return total


def is_wanted(system: str, epsilon: float, seed: int) -> bool:
    """Whether a row says something new: without noise one seed is enough."""
    if system == "DP-SGD":
        return seed < 2 and epsilon in (8.0, np.inf)
    return (system == "ridge" and np.isfinite(epsilon)) or (seed == 0 and np.isinf(epsilon))


SYSTEMS = {"popular": popular, "ridge": ridge, "DP-SGD": dp_sgd}


def main() -> None:
    """Every set, system, promise and seed that is not there yet."""
    path, parts = HERE / NAME, sys.argv[1:] or list(SETS)
    rows = pd.read_parquet(path).to_dict("records") if path.exists() else []
    keys = ("set", "system", "epsilon", "seed")
    done = {tuple(row[key] for key in keys) for row in rows}
    for plan in itertools.product(parts, SYSTEMS, EPSILONS, SEEDS):
        name, system, epsilon, seed = plan
        if plan in done or not is_wanted(system, epsilon, seed):
            continue
        value = ndcg(SYSTEMS[system](name, epsilon, seed), name)
        n_users = split_of(name).train_valid.interactions["user_id"].nunique()
        rows.append(dict(zip(keys, plan, strict=True)) | {"n_users": n_users, "ndcg@10": value})
        save(pd.DataFrame(rows), NAME)
        print(plan, round(value, 4), flush=True)


if __name__ == "__main__":
    main()
