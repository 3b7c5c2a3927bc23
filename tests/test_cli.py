"""The command line on files, as a user would run it."""

import csv
import io
import logging
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec import TransferRecommender
from llmrec.cli import main, write_table


@pytest.fixture(scope="module")
def files(films, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    few = films.sample_users(40)
    few.interactions.to_csv(folder / "log.csv", index=False)
    few.items[["item_id", "text"]].to_csv(folder / "items.csv", index=False)
    return folder


def test_fit_then_recommend(files, capsys):
    common = ["--interactions", str(files / "log.csv")]
    assert (
        main(
            [
                "fit",
                *common,
                "--items",
                str(files / "items.csv"),
                "--model",
                str(files / "model"),
                "--epochs",
                "1",
            ]
        )
        == 0
    )
    assert (
        main(
            [
                "recommend",
                *common,
                "--model",
                str(files / "model"),
                "--k",
                "3",
                "--out",
                str(files / "lists.csv"),
            ]
        )
        == 0
    )
    lists = pd.read_csv(files / "lists.csv")
    assert len(lists) == 40 * 3 and list(lists.columns) == ["user_id", "rank", "item_id", "score"]
    capsys.readouterr()
    assert (
        main(["fit", *common, "--items", str(files / "items.csv"), "--model", str(files / "model")])
        == 2
    )
    assert "exists already" in capsys.readouterr().err


def test_what_comes_out_joins_the_shops_own_table(films, tmp_path):
    """Ids as a shop writes them, in a CSV file and in a Parquet file with numbers; the log of the
    second one is a CSV all the same.
    """
    few = films.sample_users(30, seed=1)
    written = few.interactions.assign(
        item_id=few.interactions["item_id"].map("{:05d}".format),
        user_id=few.interactions["user_id"].map("{:04d}E1".format),
    )
    written.to_csv(tmp_path / "log.csv", index=False)
    few.items.assign(item_id=few.items["item_id"].map("{:05d}".format))[["item_id", "text"]].to_csv(
        tmp_path / "items.csv", index=False
    )
    few.interactions.to_parquet(tmp_path / "log.parquet")
    few.items[["item_id", "text"]].to_parquet(tmp_path / "items.parquet")
    few.interactions.to_csv(tmp_path / "numbers.csv", index=False)
    for kind, log in (("csv", "log.csv"), ("parquet", "numbers.csv")):
        common = [
            "--items",
            str(tmp_path / f"items.{kind}"),
            "--model",
            str(tmp_path / kind),
            "--epochs",
            "1",
        ]
        assert main(["fit", "--interactions", str(tmp_path / f"log.{kind}"), *common]) == 0
        assert (
            main(
                [
                    "recommend",
                    "--interactions",
                    str(tmp_path / log),
                    "--model",
                    str(tmp_path / kind),
                    "--k",
                    "3",
                    "--out",
                    str(tmp_path / "lists.csv"),
                ]
            )
            == 0
        )
        lists, source = (
            pd.read_csv(tmp_path / "lists.csv", dtype=str),
            pd.read_csv(tmp_path / log, dtype=str),
        )
        assert len(lists) == 90 and set(lists["user_id"]) == set(source["user_id"])
        assert set(lists["item_id"]) <= set(
            few.items["item_id"].map("{:05d}".format if kind == "csv" else str)
        )


def test_evaluate_writes_a_table(files):
    assert (
        main(
            [
                "evaluate",
                "--interactions",
                str(files / "log.csv"),
                "--items",
                str(files / "items.csv"),
                "--epochs",
                "1",
                "--out",
                str(files / "table.csv"),
            ]
        )
        == 0
    )
    table = pd.read_csv(files / "table.csv")
    assert len(table) == 11 and "NDCG@10" in table.columns


def test_errors_are_one_line_with_a_mend(files, capsys):
    assert main(["recommend", "--interactions", str(files / "log.csv"), "--model", str(files)]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("llmrec: error:")
        and re.search(r"[.!] [A-Z]", error)
        and "Traceback" not in error
    )


def test_installed_command_knows_its_commands():
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from llmrec.cli import main; sys.exit(main(['--help']))",
        ],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0 and all(
        command in answer.stdout for command in ("case-study", "fit", "recommend", "evaluate")
    )


@pytest.fixture(scope="module")
def model(files):
    """A model of the command line's own making."""
    paths = ["--interactions", str(files / "log.csv"), "--items", str(files / "items.csv")]
    assert main(["fit", *paths, "--model", str(files / "shipped"), "--epochs", "1"]) == 0
    return files / "shipped"


def ask(model, log, *options: str) -> int:
    return main(["recommend", "--model", str(model), "--interactions", str(log), *options])


def test_new_items_come_in_by_their_text(model, tmp_path, capsys):
    (tmp_path / "log.csv").write_text("user_id,item_id\nann,NEW-1\nann,176\nbob,NEW-2\n")
    (tmp_path / "new.csv").write_text("item_id,title\nNEW-1,Alien Returns\nNEW-2,Alien Again\n")
    options = ["--items", str(tmp_path / "new.csv"), "--text", "title", "--k", "1700"]
    assert ask(model, tmp_path / "log.csv", *options, "--out", str(tmp_path / "out.csv")) == 0
    lists = pd.read_csv(tmp_path / "out.csv", dtype=str)
    of_ann = set(lists[lists["user_id"] == "ann"]["item_id"])
    assert "NEW-2" in of_ann and "NEW-1" not in of_ann and "176" not in of_ann
    assert "left out" not in capsys.readouterr().err


def test_unknown_items_are_counted_and_nobody_is_lost(model, tmp_path, capsys, caplog):
    (tmp_path / "log.csv").write_text("user_id,item_id\nann,NEW-1\nann,176\nbob,NEW-2\n")
    assert ask(model, tmp_path / "log.csv", "--k", "2") == 0
    lists = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert lists["user_id"].tolist() == ["ann", "ann", "bob", "bob"]  # bob gets what is popular
    assert "2 of 3 events are left out: the model does not know their 2 item(s)" in caplog.text


def test_seen_items_may_be_let_in(model, tmp_path, capsys):
    (tmp_path / "log.csv").write_text("user_id,item_id\nann,176\n")
    for options, has_it in (([], False), (["--include-seen"], True)):
        assert ask(model, tmp_path / "log.csv", "--k", "1682", *options) == 0
        assert ("ann,1682" in capsys.readouterr().out) == has_it


def test_files_of_another_form(films, tmp_path):
    """As MovieLens writes them: no header, tabs, latin-1; then with dates as a spreadsheet does."""
    few = films.sample_users(30)
    log = few.interactions[["user_id", "item_id", "rating", "timestamp"]]
    log.to_csv(tmp_path / "u.data", sep="\t", header=False, index=False)
    items = few.items[["item_id", "title"]]
    items.to_csv(tmp_path / "u.item", sep="|", header=False, index=False, encoding="latin-1")
    common = ["--epochs", "1", "--text", "title", "--items", str(tmp_path / "u.item")]
    common += [
        "--items-columns",
        "item_id,title",
        "--items-encoding",
        "latin-1",
        "--items-sep",
        "|",
    ]
    written = ["--interactions", str(tmp_path / "u.data"), "--sep", "tab"]
    written += ["--columns", "user_id,item_id,rating,timestamp"]
    assert main(["fit", *written, *common, "--model", str(tmp_path / "one")]) == 0
    dated = log.assign(timestamp=pd.to_datetime(log["timestamp"], unit="s").dt.strftime("%d/%m/%Y"))
    dated = dated.rename(columns={"user_id": "userId", "timestamp": "when"})
    dated.to_csv(tmp_path / "views.csv", sep=";", index=False, encoding="utf-16")
    written = ["--interactions", str(tmp_path / "views.csv"), "--time-format", "%d/%m/%Y"]
    written += ["--columns", "userId=user_id,when=timestamp"]
    assert main(["fit", *written, *common, "--model", str(tmp_path / "two")]) == 0


def test_a_log_without_times_is_learned_from(films, tmp_path, capsys):
    few = films.sample_users(30)
    few.interactions[["user_id", "item_id"]].to_csv(tmp_path / "log.csv", index=False)
    few.items[["item_id", "text"]].to_csv(tmp_path / "items.csv", index=False)
    paths = ["--interactions", str(tmp_path / "log.csv"), "--items", str(tmp_path / "items.csv")]
    for name, order in (("set", "unknown"), ("sequence", "file")):
        command = ["fit", *paths, "--order", order, "--epochs", "1"]
        assert main([*command, "--model", str(tmp_path / name)]) == 0
        assert ask(tmp_path / name, tmp_path / "log.csv", "--k", "2") == 0
    assert main(["evaluate", *paths, "--epochs", "1"]) == 2
    assert "leave_one_out needs the order of the events" in capsys.readouterr().err


REFUSALS = {
    "an empty log": ("", ["--epochs", "1"], "log.csv: no rows"),
    "a header alone": ("user_id,item_id,timestamp\n", ["--epochs", "1"], "no rows"),
    "no epochs": (
        "user_id,item_id,timestamp\n1,1,1\n1,2,2\n1,3,3\n",
        ["--epochs", "0"],
        "epochs=0",
    ),
    "a broken row": ("user_id,item_id,timestamp\n1,1\n", [], "log.csv, line 2"),
    "an unknown unit": (
        "user_id,item_id,timestamp\n1,1,1\n",
        ["--time-unit", "h"],
        "time_unit='h'",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_mistake_is_one_line_and_exit_code_2(case, files, tmp_path, capsys):
    log, options, words = REFUSALS[case]
    (tmp_path / "log.csv").write_text(log)
    paths = ["--interactions", str(tmp_path / "log.csv"), "--items", str(files / "items.csv")]
    assert main(["fit", *paths, "--model", str(tmp_path / "model"), *options]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("llmrec: error:") and words in error
    assert not (tmp_path / "model").exists()


def test_a_place_that_cannot_be_written_to_is_noticed_before_training(files, tmp_path, capsys):
    (tmp_path / "file").touch()
    paths = ["--interactions", str(files / "log.csv"), "--items", str(files / "items.csv")]
    assert main(["fit", *paths, "--model", str(tmp_path / "file" / "model")]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_trained_model_is_kept_where_there_is_room(files, tmp_path, capsys, monkeypatch):
    """The disk is full when the model is to be saved: it is saved elsewhere, and the error says
    where.
    """
    save = TransferRecommender.save_pretrained

    def full(self, folder, **options):
        if folder.parent == tmp_path:
            raise OSError(28, "No space left on device")
        save(self, folder, **options)

    monkeypatch.setattr(TransferRecommender, "save_pretrained", full)
    paths = ["--interactions", str(files / "log.csv"), "--items", str(files / "items.csv")]
    assert main(["fit", *paths, "--model", str(tmp_path / "model"), "--epochs", "1"]) == 2
    refuge = re.search(r"The trained model is in (\S+);", capsys.readouterr().err)[1]
    assert len(TransferRecommender.from_pretrained(refuge).items_) == 1_682


def test_formulas_and_control_characters(model, tmp_path, caplog, capsys, monkeypatch):
    """Ids come back as they are, and a warning says what a spreadsheet would make of them; a screen
    shows control characters and does not obey them.
    """
    users = ["=1+2", "\x1b[31mred", "plain"]
    table = pd.DataFrame({"user_id": users, "item_id": "176"})
    table.to_csv(tmp_path / "log.csv", index=False)
    assert ask(model, tmp_path / "log.csv", "--k", "1", "--out", str(tmp_path / "out.csv")) == 0
    assert pd.read_csv(tmp_path / "out.csv", dtype=str)["user_id"].tolist() == users
    assert "1 cell(s) begin with =, +, - or @" in caplog.text
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert ask(model, tmp_path / "log.csv", "--k", "1") == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\\x1b[31mred" in shown


def test_a_list_is_explained_in_both_languages(model, files, tmp_path, capsys):
    common = ["explain", "--interactions", str(files / "log.csv"), "--model", str(model)]
    user = str(pd.read_csv(files / "log.csv")["user_id"].iloc[0])
    out = tmp_path / "reasons.csv"
    assert main([*common, "--user", user, "--k", "2", "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("is at rank") == 2
    table = pd.read_csv(out)
    assert table["item"].nunique() == 2 and {"effect", "age", "text", "rank"} <= set(table.columns)
    item = str(table["item"].iloc[0])
    assert main([*common, "--user", user, "--item", item, "--lang", "zh"]) == 0
    assert "排在第 1 位" in capsys.readouterr().out
    assert main([*common, "--user", "nobody"]) == 2
    assert "nobody" in capsys.readouterr().err
    assert main([*common, "--user", user, "--item", "nothing"]) == 2


def test_personal_data_is_taken_out_before_training(files, tmp_path, capsys):
    items = pd.read_csv(files / "items.csv")
    items.loc[0, "text"] += ", write to someone@example.com"
    items.to_csv(tmp_path / "items.csv", index=False)
    common = ["--interactions", str(files / "log.csv"), "--items", str(tmp_path / "items.csv")]
    options = ["--model", str(tmp_path / "clean"), "--epochs", "1", "--scrub", "email, phone"]
    assert main(["fit", *common, *options]) == 0
    assert "1 place(s)" in capsys.readouterr().out
    saved = TransferRecommender.from_pretrained(tmp_path / "clean")
    assert "someone" not in saved.items_["text"].iloc[0]
    assert "[email]" in saved.items_["text"].iloc[0]


@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_table_reads_back_cell_by_cell_and_formulas_are_told(texts):
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    logging.getLogger("llmrec").addHandler(handler)
    try:
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "table.csv"
            write_table(pd.DataFrame({"item_id": texts, "text": texts[::-1]}), file)
            with file.open(encoding="utf-8", newline="") as lines:
                read = list(csv.reader(lines))
    finally:
        logging.getLogger("llmrec").removeHandler(handler)
    assert read == [["item_id", "text"], *map(list, zip(texts, texts[::-1], strict=True))]
    begins = [text for text in texts if text[:1] == "=" or re.match(r"[+@-]\D", text)]
    assert ("formulas" in told.getvalue()) == bool(begins)
