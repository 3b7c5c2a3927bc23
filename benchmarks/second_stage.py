"""What a tuned language model adds to the first twenty: three ways to ask and to tune.

MovieLens-100K, leave-one-out, over the closed form of chapter 23, the last ten films of a history.
Parts: ``likelihood`` (the lines of histories), ``yes_no`` (targets against other candidates of the
first stage) and ``listwise`` (the letter of the target in a list of candidates). Each tunes SmolLM2
with LoRA on 200 training users, and learns the weights of both stages on 200 users of validation,
some of whom also decide the checkpoint. A row of ``second_stage.parquet``: ``how, seed``, the loss
on validation before and at the best check, what `earned_weights` says of NDCG@10 among the twenty,
the weight of the language model, and ``minutes``. It is written at once; what is there is left out,
so that a second call goes on.
"""

from run import chosen_parts, measure_missing

from llmrec import TextEncoder, load_dataset
from llmrec.compute import Cost
from llmrec.generation import LanguageModelRanker
from llmrec.linear import ClosedForm
from llmrec.reranking import HOW, RankingPrompt

NAME, N_USERS = "second_stage.parquet", 200
HEAD = "Films that one person watched, in this order:\n"
QUESTION = "Would the same person watch {item}? Answer yes or no. Answer:"
LISTING = "Which of these films will the same person watch next?\n"


def attempt(how: str, seed: int) -> dict:
    """The rest of a row."""
    split = load_dataset("movielens-100k").split("leave_one_out")
    stage = ClosedForm(TextEncoder.from_pretrained()).fit(split.train, split.valid)
    prompt = RankingPrompt(item="{title}", head=HEAD, question=QUESTION, listing=LISTING)
    options = {"prompt": prompt, "n_users": N_USERS, "n_last": 10, "seed": seed, "progress": False}
    rate = {} if how == "likelihood" else {"learning_rate": 3e-4}
    ranker = LanguageModelRanker(first_stage=stage, how=how, **options, **rate)
    with Cost() as cost:
        ranker.fit(split.train, split.valid)
    print(ranker.tuning_.round(3).to_string(), ranker.verdict_.round(4).to_string(), flush=True)
    losses = ranker.tuning_["held_out_loss"]
    row = {"loss_before": losses.iloc[0], "loss_after": losses.min()}
    row |= ranker.verdict_.to_dict() | {"weight": ranker.weights_[1:].sum()}
    return row | {"minutes": cost.seconds / 60}


def main() -> None:
    """The ways that are named, or all."""
    options = chosen_parts(__doc__, HOW)
    plans = ({"how": how, "seed": seed} for how in options.parts for seed in range(options.seeds))
    measure_missing(NAME, plans, attempt)


if __name__ == "__main__":
    main()
