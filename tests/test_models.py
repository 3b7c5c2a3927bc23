"""Training that survives a kill, and networks with an id table whose catalogue changes."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from llmrec import Dataset, TextEncoder, TransferRecommender
from llmrec.ensembles import Ensemble
from llmrec.evaluation import evaluate
from llmrec.losses import bpr, full_softmax, gbce, sampled_softmax
from llmrec.models import HISTORIES, Dropout, ItemTower, SequentialModel, TrainingConfig
from llmrec.recommenders import Popular
from llmrec.sequential import (
    NegativeSampler,
    SequentialRecommender,
    batch_loss,
    mean_ndcg,
    train,
    validation_task,
    with_enough_steps,
)
from llmrec.splits import PROTOCOLS, RankingTask
from llmrec.training import CheckpointError

SMALL = TrainingConfig(
    fusion="id", profile_dim=4, dim=8, n_layers=1, batch_size=16, warmup_epochs=1
)


@pytest.fixture(scope="module")
def few(films):
    return films.sample_users(40, seed=1).split("leave_one_out")


def weights(recommender):
    return recommender.network_.state_dict()


def same_bits(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("killed_after", [1, 2])
def test_killed_and_resumed_is_bit_identical(few, tmp_path, monkeypatch, killed_after):
    import llmrec.sequential as models

    whole = SequentialRecommender(config=SMALL, seed=3, progress=False).fit(
        few.train, few.valid, epochs=4
    )
    steps, original = [], models.batch_loss

    def fragile(*arguments, **options):
        steps.append(1)
        if len(steps) == 3 * killed_after + 2:  # in the middle of an epoch
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(models, "batch_loss", fragile)
    with pytest.raises(KeyboardInterrupt):
        SequentialRecommender(config=SMALL, seed=3, progress=False).fit(
            few.train, few.valid, epochs=4, checkpoint=tmp_path / "run"
        )
    monkeypatch.setattr(models, "batch_loss", original)
    resumed = SequentialRecommender(config=SMALL, seed=3, progress=False).fit(
        few.train, few.valid, epochs=4, checkpoint=tmp_path / "run"
    )
    assert (
        same_bits(weights(whole), weights(resumed))
        and resumed.history_.equals(whole.history_)
        and resumed.best_epoch_ == whole.best_epoch_
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_checkpoints_of_other_runs_and_damaged_ones_are_refused_and_kept(few, tmp_path):
    path = tmp_path / "run"
    SequentialRecommender(config=SMALL, progress=False).fit(few.train, epochs=1, checkpoint=path)
    before = path.read_bytes()
    others = {
        "config": SequentialRecommender(config=replace(SMALL, dim=4), progress=False),
        "seed": SequentialRecommender(config=SMALL, seed=9, progress=False),
    }
    for words, other in others.items():
        with pytest.raises(CheckpointError, match=f"another run .{words}, start weights differ"):
            other.fit(few.train, epochs=1, checkpoint=path)
    for spoiled in (before[:-50], b"\x80\x04.", b""):
        path.write_bytes(spoiled)
        with pytest.raises(CheckpointError, match=r"[.!] [A-Z]"):
            SequentialRecommender(config=SMALL, progress=False).fit(
                few.train, epochs=1, checkpoint=path
            )
        assert path.read_bytes() == spoiled


def test_a_full_disk_keeps_the_last_good_checkpoint(few, tmp_path, monkeypatch):
    import llmrec.training as training

    path = tmp_path / "run"
    SequentialRecommender(config=SMALL, progress=False).fit(few.train, epochs=1, checkpoint=path)
    good = path.read_bytes()

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        SequentialRecommender(config=SMALL, progress=False).fit(
            few.train, epochs=1, checkpoint=tmp_path / "other"
        )
    assert path.read_bytes() == good and [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_loss_that_is_no_number_stops_training():
    model = SequentialModel(4, 6, TrainingConfig(dim=8))
    with pytest.raises(ValueError, match="epoch 1, batch 0. Lower"):
        train(
            model,
            [np.array([0, 1, 2])],
            torch.full((6, 4), torch.nan),
            TrainingConfig(dim=8),
            epochs=1,
            progress=False,
        )


def test_new_items_under_an_id_table_speak_through_their_text(few, encoder):
    model = TransferRecommender(
        encoder, closed_form=False, config=replace(SMALL, fusion="sum"), progress=False
    ).fit(few.train, epochs=1)
    catalogue = pd.concat(
        [
            pd.DataFrame({"item_id": [10**6], "text": ["A brand new film (2026), Drama"]}),
            few.train.items[["item_id", "text"]],
        ],
        ignore_index=True,
    )
    larger = model.with_items(catalogue)
    assert set(larger.network_.id_tables()) == {
        "item_tower.ids",
        "id_profile.makes_likely",
        "id_profile.is_likely",
    }
    for name, table in larger.network_.id_tables().items():
        assert torch.equal(table.weight[0], torch.zeros_like(table.weight[0])) and torch.equal(
            table.weight[1:], model.network_.id_tables()[name].weight
        )
    history = {"x": few.train.items["item_id"].tolist()[:5]}
    shared = larger.recommend(history, k=20, candidates=model.items_["item_id"].tolist())
    assert shared["item_id"].tolist() == model.recommend(history, k=20)["item_id"].tolist()
    assert 10**6 in set(larger.recommend(history, k=2_000)["item_id"])


def test_unknown_choices_are_named():
    with pytest.raises(ValueError, match="fusion='magic'"):
        ItemTower(4, fusion="magic")
    with pytest.raises(ValueError, match="history='rnn'"):
        SequentialModel(4, 5, TrainingConfig(history="rnn"))


def test_a_large_catalogue_costs_only_what_is_sampled():
    """200,000 synthetic items: only the touched ones pass through the towers, and only they get a
    gradient.
    """
    model, n_items = SequentialModel(8, 0, TrainingConfig(dim=8, hidden=16, content_dim=4)), 200_000
    texts = torch.randn(n_items, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    inputs, targets = torch.tensor([[3, 7, -1]]), torch.tensor([[7, 9, -1]])
    loss = batch_loss(
        model,
        texts,
        inputs,
        targets,
        sampler=NegativeSampler(np.ones(n_items), 100),
        random=np.random.default_rng(0),
    )
    loss.backward()
    assert torch.isfinite(loss) and 50 < (texts.grad.abs().sum(1) > 0).sum() <= 103


def test_who_only_takes_the_same_again_teaches_nothing_and_breaks_nothing():
    """Two synthetic logs: in one everybody takes one item over and over, in the other one person
    does.
    """
    log = pd.DataFrame(
        {"user_id": ["a"] * 4 + ["b"] * 4, "item_id": [1] * 4 + [2] * 4, "timestamp": range(8)}
    )
    items = pd.DataFrame({"item_id": range(6), "text": [f"thing {number}" for number in range(6)]})
    for item_ids in ([1] * 4 + [2] * 4, [1] * 4 + [2, 3, 4, 5]):
        model = SequentialRecommender(config=replace(SMALL, averaging=0.0), progress=False).fit(
            Dataset.from_frames(log.assign(item_id=item_ids), items), epochs=2
        )
        assert np.isfinite(model.history_["loss"]).all() and (
            model.history_["loss"] == 0
        ).all() == (len(set(item_ids)) == 2)
        assert not set(model.recommend({"a": [1, 2]}, k=6)["item_id"]) & {1, 2}


@pytest.mark.parametrize(
    "change", ["texts", "order", "validation", "encoder", "one item more", "popularity"]
)
def test_a_checkpoint_of_other_data_is_refused(change, few, encoder, tmp_path):
    """Everything that decides the weights binds the checkpoint; it is left as it is, and the same
    run still goes on from it.
    """
    path, config = (
        tmp_path / "run.safetensors",
        replace(SMALL, fusion="text", popularity_prior=True),
    )

    def fit(train=few.train, valid=few.valid, reader=encoder, epochs=2):
        return TransferRecommender(reader, closed_form=False, config=config, progress=False).fit(
            train, valid, epochs=epochs, checkpoint=path
        )

    done, before = fit(), path.read_bytes()
    log, items = few.train.interactions, few.train.items
    other = {
        "texts": {"train": replace(few.train, items=items.assign(text=items["text"] + "!"))},
        "order": {
            "train": replace(few.train, interactions=log.assign(timestamp=-log["timestamp"]))
        },
        "validation": {"valid": replace(few.valid, interactions=few.valid.interactions.iloc[1:])},
        "encoder": {
            "reader": TextEncoder(
                encoder.exact_model, encoder.tokenizer, name="MiniLM", pooling="cls"
            )
        },
        "one item more": {
            "train": replace(
                few.train,
                items=pd.concat([items, items.iloc[:1].assign(item_id=-1)], ignore_index=True),
            )
        },
        "popularity": {
            "train": replace(
                few.train, interactions=pd.concat([log, log.iloc[:1].assign(user_id=-1)])
            )
        },
    }[change]
    with pytest.raises(CheckpointError, match=r"another run \(.* differ\).*\. [A-Z]"):
        fit(**other)
    assert path.read_bytes() == before
    assert all(
        torch.equal(one, two)
        for one, two in zip(done.network_.parameters(), fit().network_.parameters(), strict=True)
    )


@pytest.mark.parametrize("user", ["a", 1])
def test_validation_without_a_single_hit_is_zero(user):
    items = pd.DataFrame(
        {"item_id": range(30), "text": [f"thing {number}" for number in range(30)]}
    )
    log = pd.DataFrame({"user_id": [user] * 12, "item_id": range(12), "timestamp": range(12)})
    task = RankingTask({user: [0]}, {user: [29]})
    assert mean_ndcg(Popular().fit(Dataset.from_frames(log, items)), task) == 0


def test_validation_counts_each_target_once_and_never_more_than_one():
    items = pd.DataFrame({"item_id": range(5), "text": list("abcde")})
    train = Dataset.from_frames(
        pd.DataFrame({"user_id": [1, 1, 2], "item_id": [0, 1, 1], "timestamp": [1, 2, 1]}), items
    )
    valid = Dataset.from_frames(
        pd.DataFrame(
            {"user_id": [1, 1, 1, 2, 3], "item_id": [2, 2, 0, 2, 3], "timestamp": range(5)}
        ),
        items,
    )
    task = validation_task(train, valid)
    # a repeat counts once; who has no history gets what is popular
    assert task.targets == {1: [2], 2: [2], 3: [3]}
    assert task.histories == {1: [0, 1], 2: [1], 3: []}
    assert 0 <= mean_ndcg(Popular().fit(train), task) <= 1


def test_validation_that_says_nothing_stops_nothing(films, encoder, caplog):
    """Withheld users have no history in training: without their first events early stopping on
    them would keep the first epoch of any network.
    """
    split = films.sample_users(60).split("cold_users")
    valid = replace(split.valid, context=None)
    with caplog.at_level("WARNING"):
        model = TransferRecommender(
            encoder, closed_form=False, config=replace(SMALL, fusion="text"), progress=False
        ).fit(split.train, valid, epochs=3)
    assert (
        model.best_epoch_ == 3
        and "valid_ndcg@10" not in model.history_
        and "validation says nothing" in caplog.text
    )


@pytest.mark.parametrize("kind", ["ids", "text"])
def test_a_refit_keeps_the_schedule_and_sees_everything(kind, few, encoder, tmp_path):
    def make():
        ids = SequentialRecommender(config=SMALL, progress=False)
        return (
            ids
            if kind == "ids"
            else TransferRecommender(
                encoder, closed_form=False, config=replace(SMALL, fusion="text"), progress=False
            )
        )

    searched, path = make().fit(few.train, few.valid, epochs=6), tmp_path / "run"
    shipped = make().fit(few.train, few.valid, epochs=6, refit=True, checkpoint=path)
    assert shipped.best_epoch_ == searched.best_epoch_ and shipped.history_.equals(
        searched.history_
    )
    assert shipped.popularity_.sum() == len(few.train_valid.interactions) and {
        file.name for file in tmp_path.iterdir()
    } == {"run", "run.refit"}
    by_hand = make()
    if kind == "text":
        by_hand.fit(few.train, epochs=1)  # whitening
    by_hand._start(few.train_valid)
    by_hand._train(few.train_valid, None, 6, None, last_epoch=searched.best_epoch_)
    assert same_bits(weights(by_hand), weights(shipped))
    # both from their checkpoints
    again = make().fit(few.train, few.valid, epochs=6, refit=True, checkpoint=path)
    assert same_bits(weights(again), weights(shipped))


def test_losses_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="nothing to learn"):
        full_softmax(torch.zeros(0, 3, 4), torch.zeros(5, 4), torch.zeros(0, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="one probability for each negative"):
        sampled_softmax(
            torch.zeros(2, 4),
            torch.zeros(2, 4),
            torch.zeros(3, 4),
            targets=torch.zeros(2, dtype=torch.long),
            negatives=torch.zeros(3, dtype=torch.long),
            log_q=torch.zeros(2),
        )


def test_metadata_is_saved_and_asked_for_again(encoder, few, tmp_path):
    model = TransferRecommender(
        encoder, metadata=["year", "genres"], closed_form=False, config=SMALL, progress=False
    ).fit(few.train, epochs=1)
    model.save_pretrained(tmp_path / "model")
    again = TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)
    histories = few.histories("test")
    assert again.recommend(histories).equals(model.recommend(histories)) and again.metadata == (
        "year",
        "genres",
    )
    newer = few.train.items.head(50)
    assert again.with_items(newer).text_vectors_.shape == (50, model.text_vectors_.shape[1])
    with pytest.raises(KeyError, match="'year' is missing"):
        again.with_items(newer[["item_id", "text"]])
    assert (
        model.text_vectors_.shape[1]
        > TransferRecommender(encoder, closed_form=False, config=SMALL, progress=False)
        .fit(few.train, epochs=1)
        .text_vectors_.shape[1]
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_both_precisions_learn(few, precision):
    model = SequentialRecommender(
        config=TrainingConfig(fusion="id", dim=16, n_layers=1, batch_size=16, precision=precision),
        progress=False,
    )
    losses = model.fit(few.train, epochs=4).history_["loss"]
    assert losses.iloc[-1] < losses.iloc[0] and all(
        tensor.dtype == torch.float32 for tensor in model.network_.state_dict().values()
    )


@pytest.mark.parametrize("horizon", [1, 10])
@pytest.mark.parametrize("history", HISTORIES)
def test_whatever_reads_a_history_learns_and_travels(history, horizon, few, encoder, tmp_path):
    config = TrainingConfig(
        history=history, horizon=horizon, dim=16, hidden=32, n_components=16, batch_size=16
    )
    model = TransferRecommender(encoder, config=config, closed_form=False, progress=False)
    losses = model.fit(few.train, epochs=4).history_["loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    model.save_pretrained(tmp_path / "model")
    again = TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)
    assert again.config_ == model.config_ and same_bits(weights(again), weights(model))
    asked = few.histories("test")
    pd.testing.assert_frame_equal(again.recommend(asked, k=3), model.recommend(asked, k=3))


def test_a_horizon_of_nothing_is_refused():
    with pytest.raises(ValueError, match="horizon=0"):
        TrainingConfig(horizon=0)


def test_an_unknown_precision_is_refused(few):
    with pytest.raises(ValueError, match="precision='float16'"):
        SequentialRecommender(
            config=TrainingConfig(fusion="id", precision="float16"), progress=False
        ).fit(few.train, epochs=1)


def test_dropout_follows_the_seed():
    def masks(seed):
        torch.manual_seed(seed)
        return Dropout(0.5)(torch.ones(100))

    assert torch.equal(masks(1), masks(1)) and not torch.equal(masks(1), masks(2))


def test_an_ensemble_adds_scores_over_one_catalogue(few):
    config = TrainingConfig(fusion="id", dim=8, n_layers=1)
    members = [
        SequentialRecommender(config=config, seed=seed, progress=False).fit(few.train, epochs=1)
        for seed in (0, 1)
    ]
    histories, candidates = few.histories("test"), few.train.items["item_id"][:50].tolist()
    together = Ensemble(members).join().recommend(histories, k=50, candidates=candidates)
    each = [
        member.recommend(histories, k=50, candidates=candidates).set_index(["user_id", "item_id"])[
            "score"
        ]
        for member in members
    ]
    found = together.set_index(["user_id", "item_id"])["score"]
    assert np.allclose(found, (each[0] + each[1]).loc[found.index], atol=1e-4)
    assert (
        Ensemble(members[:1])
        .join()
        .recommend(histories, k=3)["item_id"]
        .equals(members[0].recommend(histories, k=3)["item_id"])
    )
    for wrong, message in (
        ([], "at least one"),
        ([members[0], smaller(members[1])], "different catalogues"),
    ):
        with pytest.raises(ValueError, match=message):
            Ensemble(wrong).join()
    with pytest.raises(ValueError, match=r"2 member\(s\) and 1 weight"):
        Ensemble(members, weights=[1.0]).join()


@pytest.mark.parametrize("standardise", [False, True])
def test_an_ensemble_takes_members_that_have_no_factors(few, standardise):
    network = SequentialRecommender(
        config=TrainingConfig(fusion="id", dim=8, n_layers=1), progress=False
    ).fit(few.train, epochs=1)
    histories = [np.array([1, 2, 3]), np.array([4])]
    popular = Popular().fit(few.train)
    scores = (
        Ensemble([network, popular], standardise=standardise, weights=[2.0, 1.0])
        .join()
        .score(histories)
    )
    by_hand = [
        member.score(histories)
        / (member.score(histories).std(1, correction=0, keepdim=True) if standardise else 1)
        for member in (network, popular)
    ]
    assert torch.allclose(scores, 2 * by_hand[0] + by_hand[1], atol=1e-3)
    assert torch.allclose(
        Ensemble([network], standardise=standardise, weights=[2.0]).join().score(histories),
        2 * by_hand[0],
        atol=1e-3,
    )


def test_an_ensemble_takes_a_member_of_another_make(few):
    popular = Popular().fit(few.train)

    class Foreign:
        items_, popularity_ = popular.items_, popular.popularity_

        def factors(self, histories):
            return None

        def score(self, histories):
            return popular.score(histories)

    together = Ensemble([Foreign(), popular]).join()
    assert not together.needs_times and torch.equal(
        together.score([np.array([1])]), 2 * popular.score([np.array([1])])
    )


def smaller(recommender):
    """The same, as if it had learned over one item less."""
    other = copy.copy(recommender)
    other.items_ = other.items_[:-1]
    return other


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
@pytest.mark.parametrize("repeats", [False, True])
def test_early_stopping_asks_what_evaluate_asks(protocol, repeats, films, encoder):
    """One ranking task for both: the same users, histories, targets and candidates."""
    split = films.sample_users(80, seed=2).split(protocol)
    config = replace(SMALL, fusion="text", repeats=repeats)
    model = TransferRecommender(encoder, closed_form=False, config=config, progress=False)
    model.fit(split.train, split.valid, epochs=1)
    report = evaluate(model, split, part="valid", metrics=("ndcg",), exclude_seen=not repeats)
    assert np.isclose(model.history_["valid_ndcg@10"].iloc[0], report["value"].iloc[0], atol=1e-9)
    assert report["value"].iloc[0] <= 1


def test_a_log_without_order_is_read_as_a_set(films, encoder, caplog):
    undated = replace(
        films.sample_users(60, seed=3),
        interactions=films.sample_users(60, seed=3).interactions.drop(columns="timestamp"),
        order="unknown",
    )
    split = undated.split("random")
    with caplog.at_level("INFO"):
        model = TransferRecommender(encoder, progress=False).fit(split.train, split.valid, epochs=1)
    assert model.config_.history == "mean" and "the order of events is not known" in caplog.text
    history = split.train.histories()[split.train.interactions["user_id"].iloc[0]]
    lists = [
        model.recommend({1: order}, k=10)["item_id"].tolist() for order in (history, history[::-1])
    ]
    assert lists[0] == lists[1]


@pytest.mark.parametrize(("n_users", "epochs"), [(943, 60), (5_000, 60), (640, 90), (60, 300)])
def test_a_short_log_is_passed_more_often(n_users, epochs):
    config = with_enough_steps(TrainingConfig(), n_users)
    assert config.epochs == epochs and abs(config.patience - epochs / 4) < 1


@pytest.mark.parametrize("wrong", [-2, 7, 100])
def test_a_target_outside_the_catalogue_is_refused(wrong):
    users, items = torch.ones(3, 4), torch.ones(7, 4)
    with pytest.raises(ValueError, match="outside the catalogue of 7 items"):
        full_softmax(users, items, torch.tensor([0, wrong, -1]))


@pytest.mark.parametrize("negatives", [(2, 4), (4, 4), (3,), (1, 3)])
def test_scores_of_pairs_that_do_not_fit_are_refused(negatives):
    with pytest.raises(ValueError, match="do not fit"):
        gbce(torch.zeros(3), torch.zeros(negatives), n_items=10)
    if negatives != (3,):
        with pytest.raises(ValueError, match="unlike shape"):
            bpr(torch.zeros(3), torch.zeros(negatives))


def test_what_is_excluded_and_what_is_the_target_are_both_left_out_of_the_negatives():
    torch.manual_seed(0)
    users, true, negative = torch.randn(2, 3), torch.randn(2, 3), torch.randn(4, 3)
    targets, negatives = torch.tensor([5, 9]), torch.tensor([5, 1, 2, 3])
    excluded = torch.tensor([[False, True, False, False], [False, False, True, True]])
    log_q = torch.full((4,), 0.1).log()
    found = sampled_softmax(
        users, true, negative, targets=targets, negatives=negatives, log_q=log_q, excluded=excluded
    )
    rest = users @ negative.T - log_q - torch.tensor(4.0).log()
    kept = [[2, 3], [0, 1]]  # without the target's own place, and without what is excluded
    losses = []
    for row, columns in enumerate(kept):
        own = users[row] @ true[row]
        losses.append(torch.logsumexp(torch.cat([own[None], rest[row, columns]]), 0) - own)
    torch.testing.assert_close(found, torch.stack(losses).mean())
