"""The text model on MovieLens-100K, leave-one-out, all films ranked, trained without the validation film, three seeds.

Writes benchmarks/movielens.json and prints the same: NDCG@10 of each seed, their mean, and seconds to fit.
"""
import json
import platform
import time
from pathlib import Path

import numpy as np

from llmrec import TextEncoder, TransferRecommender, evaluate, load_dataset
from llmrec.data import atomic_file
from llmrec.evaluation import EASE, ItemKNN, Popular

SEEDS = (0, 1, 2)


def main() -> None:
    """Fit ours with each seed and the baselines once; report."""
    split, encoder = load_dataset("movielens-100k").split("leave_one_out"), TextEncoder.from_pretrained()
    results = []
    for name, make, seeds in (("ours, text only", lambda seed: TransferRecommender(encoder, seed=seed), SEEDS),
                              ("EASE", lambda _: EASE(), (0,)), ("item kNN", lambda _: ItemKNN(), (0,)), ("popular", lambda _: Popular(), (0,))):
        for seed in seeds:
            started = time.perf_counter()
            system = make(seed).fit(split.train, split.valid)
            seconds = time.perf_counter() - started
            report = evaluate(system, split).set_index("metric")["value"]
            results.append({"system": name, "seed": seed, "ndcg@10": report["ndcg"], "hr@10": report["hr"], "seconds": round(seconds, 1)})
            print(results[-1], flush=True)
    ours = [result["ndcg@10"] for result in results if result["system"].startswith("ours")]
    record = {"split": split.manifest, "machine": f"{platform.machine()}, {platform.system()}", "results": results,
              "ours_mean_ndcg@10": float(np.mean(ours)), "ours_sd_over_seeds": float(np.std(ours, ddof=1))}
    print({key: record[key] for key in ("ours_mean_ndcg@10", "ours_sd_over_seeds")})
    with atomic_file(Path(__file__).with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
