"""The command line on files, as a user would run it."""

import re
import subprocess
import sys

import pandas as pd
import pytest

from llmrec.cli import main


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
    assert len(table) == 13 and "NDCG@10" in table.columns


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
