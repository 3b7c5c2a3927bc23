"""What a user gets who does it differently: a right answer, or an error that names the place and
the remedy.
"""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from llmrec import Dataset, TextEncoder, TransferRecommender
from llmrec.baselines import EASE
from llmrec.checks import DataError, as_dates, time_unit
from llmrec.cli import main
from llmrec.models import TrainingConfig
from llmrec.recommenders import Popular
from llmrec.sequential import SequentialRecommender
from llmrec.text import EncodingError, clean_text

SMALL = TrainingConfig(fusion="id", dim=8, n_layers=1)


@pytest.mark.parametrize("times", [False, True])
def test_a_table_of_histories_is_taken(times, tiny):
    log = pd.DataFrame({"user_id": ["x", "y", "x"], "item_id": ["b", "c", "a"]})
    log = log.assign(timestamp=[2, 1, 1]) if times else log
    by_hand = {"x": ["a", "b"] if times else ["b", "a"], "y": ["c"]}
    system = EASE(1.0, fading="1/age").fit(tiny)
    assert system.recommend(log, k=3).equals(system.recommend(by_hand, k=3))


@pytest.mark.parametrize(
    "histories",
    [
        [["a", "b"]],
        {"x": "ab"},
        {"x": None},
        {"x": 3},
        None,
        "x",
        pd.DataFrame({"user": [1], "item_id": ["a"]}),
    ],
)
def test_histories_of_another_form_are_refused(histories, tiny):
    with pytest.raises(DataError, match=r"histories: .*\. [A-Z]"):
        Popular().fit(tiny).recommend(histories)


def test_what_was_seen_may_be_taken_again(tiny):
    system = Popular().fit(tiny)
    again = system.recommend({"x": ["b", "c"]}, k=5, exclude_seen=False)
    assert {"b", "c"} < set(again["item_id"]) and len(again) == 5
    assert not set(system.recommend({"x": ["b", "c"]}, k=5)["item_id"]) & {"b", "c"}


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True, "3"])
def test_epochs_that_are_none_are_refused(epochs, tiny, fitted):
    for system in (SequentialRecommender(config=SMALL, progress=False), fitted):
        with pytest.raises(ValueError, match="epochs="):
            system.fit(tiny, epochs=epochs) if system is not fitted else system.adapt(
                tiny, epochs=epochs
            )


def test_the_command_line_trains_for_no_epochs_in_no_silence(tables, tmp_path, capsys):
    for name, table in zip(("log", "items"), tables, strict=True):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    files = ["--interactions", str(tmp_path / "log.csv"), "--items", str(tmp_path / "items.csv")]
    assert main(["fit", *files, "--model", str(tmp_path / "model"), "--epochs", "-1"]) == 2
    assert "epochs=-1" in capsys.readouterr().err and not (tmp_path / "model").exists()


@pytest.mark.parametrize("texts", [pd.DataFrame({"text": ["a"]}), {"text": "a"}, None, 5])
def test_a_table_is_no_list_of_texts(texts, encoder):
    with pytest.raises(EncodingError, match=r"a list of texts is expected, not .*\. [A-Z]"):
        encoder.encode(texts)


@pytest.mark.parametrize(
    "use",
    [
        lambda one: one.with_items(pd.DataFrame({"item_id": [1], "text": ["a"]})),
        lambda one: one.adapt(None),
        lambda one: one.save_pretrained("x"),
        lambda one: one.recommend({1: [1]}),
    ],
)
def test_what_has_learned_nothing_says_so(use):
    with pytest.raises(NotFittedError, match=r"learned nothing yet.*Call fit first"):
        use(TransferRecommender())


def test_numpy_numbers_as_settings_train_and_are_saved(tiny, encoder, tmp_path):
    config = TrainingConfig(
        dim=np.int64(8), hidden=np.int32(16), dropout=np.float32(0.25), n_components=np.int64(3)
    )
    model = TransferRecommender(
        encoder, closed_form=False, config=config, seed=np.int64(3), progress=False
    ).fit(tiny, epochs=np.int64(2), checkpoint=tmp_path / "run")
    again = TransferRecommender(
        encoder, closed_form=False, config=config, seed=np.int64(3), progress=False
    ).fit(tiny, epochs=2, checkpoint=tmp_path / "run")
    model.save_pretrained(tmp_path / "model")
    loaded = TransferRecommender.from_pretrained(tmp_path / "model", encoder=encoder)
    assert loaded.recommend(tiny).equals(model.recommend(tiny)) and again.recommend(tiny).equals(
        model.recommend(tiny)
    )


@pytest.mark.parametrize("max_tokens", [-1, 0, 2, 513, 10**6])
def test_more_tokens_than_the_model_takes_are_refused_at_once(max_tokens, encoder):
    with pytest.raises(
        ValueError, match=rf"max_tokens={max_tokens}: this model takes 3 to 512.*\. [A-Z]"
    ):
        TextEncoder(encoder.exact_model, encoder.tokenizer, name="MiniLM", max_tokens=max_tokens)


@pytest.mark.parametrize(
    "hostile", ["<!--", "<!-- <", "<a", "</", "&lt;!--", "<!---", "-->", "&amp;", "<a <!--"]
)
def test_cleaning_takes_time_in_proportion(hostile):
    """A megabyte of what made a pattern go back and forth: were the time its square, this test
    would not end.
    """
    text = hostile * (10**6 // len(hostile))
    assert len(clean_text(text)) <= len(text)


def test_comments_are_cut_as_before():
    assert (
        clean_text("a <!-- b --> c <!-- d <b> e") == "a c <!-- d e"
        and clean_text("<!----> x <!-- <i>y</i> -->z") == "x z"
    )


@pytest.mark.parametrize("factor, unit", [(1, "s"), (10**3, "ms"), (10**6, "us"), (10**9, "ns")])
def test_the_unit_of_a_time_is_recognised_and_said(factor, unit, tables):
    log, items = tables
    start = pd.Timestamp("2026-01-31 18:00")
    dataset = Dataset.from_frames(
        log.assign(
            timestamp=[int(start.timestamp() + hours * 3_600) * factor for hours in range(8)]
        ),
        items,
    )
    described = dataset.describe()
    assert described["first event"] == start and described["time is given in"] == unit
    system = EASE(1.0, fading="exponential", half_life=1 / 24, fading_by="time").fit(dataset)
    in_seconds = Dataset.from_frames(
        log.assign(timestamp=[int(start.timestamp() + hours * 3_600) for hours in range(8)]), items
    )
    assert np.allclose(
        system.recommend(dataset)["score"], system.recommend(in_seconds)["score"], atol=1e-6
    )


def test_counters_and_dates_have_no_unit():
    assert time_unit(pd.Series([1, 2, 3])) is None and as_dates(pd.Series([1, 2, 3])).tolist() == [
        1,
        2,
        3,
    ]
    dates = pd.Series(pd.to_datetime(["2026-01-31"]))
    assert time_unit(dates) is None and as_dates(dates).equals(dates)


def test_the_source_distribution_holds_what_setup_reads(tmp_path):
    root = Path(__file__).resolve().parent.parent
    for name in (
        "llmrec",
        "settings.ini",
        "setup.py",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "pyproject.toml",
    ):
        (shutil.copytree if (root / name).is_dir() else shutil.copy)(root / name, tmp_path / name)
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "sdist"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    with tarfile.open(next((tmp_path / "dist").iterdir())) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"settings.ini", "README.md", "llmrec/py.typed", "llmrec/data.py"} <= names


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out.startswith("llmrec 0.")
