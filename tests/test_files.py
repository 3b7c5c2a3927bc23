"""Files of every kind come out as they are written, or are refused by file, line and content."""

import bz2
import csv
import gzip
import io
import json
import logging
import lzma
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmrec import Dataset, TransferRecommender
from llmrec.checks import DataError
from llmrec.cli import main
from llmrec.files import read_amazon, read_movielens, read_recbole, read_sequences
from llmrec.models import TrainingConfig
from llmrec.tables import read_table, recognise_encoding

LOG = "user_id,item_id,timestamp\n007,红茶,5\n7,tea,6\n"
ITEMS = "item_id,text\n红茶,一只猫在喝茶\ntea,green tea\n"


def in_zip(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("log.csv", content)
    return packed.getvalue()


def in_zstd(content: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(content)
    return packed.getvalue().to_pybytes()


PACKED = {
    ".csv": bytes,
    ".csv.gz": gzip.compress,
    ".csv.bz2": bz2.compress,
    ".csv.xz": lzma.compress,
    ".csv.zst": in_zstd,
    ".csv.zip": in_zip,
    ".CSV": bytes,
}


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "gb18030"])
def test_packed_and_encoded_as_they_like(tmp_path, ending, encoding):
    for name, content in (("log", LOG), ("items", ITEMS)):
        (tmp_path / f"{name}{ending}").write_bytes(PACKED[ending](content.encode(encoding)))
    dataset = Dataset.from_files(tmp_path / f"log{ending}", tmp_path / f"items{ending}")
    assert dataset.histories() == {"007": ["红茶"], "7": ["tea"]}
    assert dataset.items["text"].tolist() == ["一只猫在喝茶", "green tea"]


@pytest.mark.parametrize("sep", [",", ";", "\t", "|", "::"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [True, False])
def test_separators_line_ends_and_headers(tmp_path, sep, newline, header):
    rows = [["user_id", "item_id", "timestamp"]] * header + [["007", "a b", "5"], ["7", "c", "6"]]
    path = tmp_path / "log.csv"
    path.write_bytes(newline.join(sep.join(row) for row in [*rows, []]).encode())
    columns = None if header else ["user_id", "item_id", "timestamp"]
    for said in (None, sep):
        table = read_table(path, sep=said, columns=columns)
        assert table.to_dict("list") == {
            "user_id": ["007", "7"],
            "item_id": ["a b", "c"],
            "timestamp": [5, 6],
        }


def test_a_recognised_encoding_that_is_a_guess_is_announced(tmp_path, caplog):
    path = tmp_path / "items.csv"
    path.write_bytes("item_id,text\n1,Café crème\n2,plain tea\n".encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        assert read_table(path)["text"].tolist() == ["Café crème", "plain tea"]
    assert "not UTF-8, read as cp1252" in caplog.text
    caplog.clear()
    assert read_table(path, encoding="latin-1")["text"].iloc[0] == "Café crème" and not caplog.text


@pytest.mark.parametrize(
    "text, encoding",
    [
        ("吾輩は猫である", "euc_jp"),
        ("吾輩は猫である", "shift_jis"),
        ("紅樓夢與綠茶", "big5"),
        ("녹차 가루와 책상 의자", "euc_kr"),
        ("Война и мир", "cp1251"),
    ],
)
def test_an_encoding_that_is_not_certain_is_asked_for(text, encoding):
    with pytest.raises(DataError, match=rf"As {encoding}: '{text[:5]}.*Say which one it is"):
        recognise_encoding(text.encode(encoding), "items.csv")


def test_reviews_are_recognised_as_gb18030():
    from llmrec import load_dataset

    texts = load_dataset("chinese-reviews", progress=False)["text"].sample(300, random_state=0)
    for n in (1, 10, 300):
        assert recognise_encoding("\n".join(texts[:n]).encode("gb18030")) == "gb18030"


MALFORMED = {
    "too many values": ("1,a,5\n2,b,6,7\n", r"log.csv, line 3: 4 value\(s\) where 3.*'2,b,6,7'"),
    "too few values": ("1,a,5\n2,b\n", r"log.csv, line 3: 2 value\(s\) where 3"),
    "after a value of two lines": ('1,"a\nb",5\n2,b\n', r"log.csv, line 4: 2 value\(s\) where 3"),
    "a quotation mark that is not closed": (
        '1,a,5\n2,"b,6\n3,c,7\n',
        r"log.csv, line 3: .*a quotation mark is opened and not closed",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_row_is_named_by_its_line(tmp_path, case):
    rows, words = MALFORMED[case]
    (tmp_path / "log.csv").write_text(f"user_id,item_id,timestamp\n{rows}", encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_table(tmp_path / "log.csv")


def test_malformed_rows_are_left_out_on_request_and_counted(tmp_path, caplog):
    rows = [f"{n},a,5" if n % 10 else f"{n},a" for n in range(100)]
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows))
    assert len(read_table(tmp_path / "log.csv", on_bad_lines="skip")) == 90
    assert "10 malformed row(s) left out" in caplog.text
    (tmp_path / "log.jsonl").write_text('{"user_id": 1}\nnot JSON\n{"user_id": 2}\n[1]\n')
    assert len(read_table(tmp_path / "log.jsonl", on_bad_lines="skip")) == 2
    assert "2 line(s) that are not JSON left out" in caplog.text


@pytest.mark.parametrize("name", ["items.jsonl", "items.json"])
def test_half_a_character_in_json_is_replaced_and_counted(tmp_path, caplog, name):
    row = r'{"item_id": 1, "text": "cut \ud83d, whole \ud83d\ude00, spelled \\ud83d"}'
    (tmp_path / name).write_text(f"[{row}]" if name.endswith(".json") else row)
    assert read_table(tmp_path / name)["text"].tolist() == [r"cut �, whole 😀, spelled \ud83d"]
    assert "1 half character(s)" in caplog.text


@pytest.mark.parametrize(
    "name, content, options, words",
    [
        ("a.csv", "", {}, "a.csv: no rows"),
        ("a.csv", "\n\n", {}, "a.csv: no rows"),
        ("a.csv", "1,2\n", {"header": False}, "header=False, so the columns have no names"),
        ("a.csv", "1,2\n", {"columns": ["x"]}, "1 names for 2 columns"),
        ("a.csv", "a,b\n1,2\n", {"encoding": "utf-99"}, "encoding='utf-99' is not known"),
        ("a.csv", "a,b\n1,é\n", {"encoding": "ascii"}, "a.csv, line 2: not ascii"),
        ("a.csv", "a,b\n", {"sep": ""}, "sep='': no separator"),
        ("a.csv", "a,b\n", {"on_bad_lines": "mend"}, "on_bad_lines='mend' is not known"),
        ("a.csv", "a,b\n", {"compression": "rar"}, "compression='rar' is not known"),
        ("a.csv.gz", "a,b\n", {}, "a.csv.gz: cannot be read as .csv"),
        ("a.jsonl", '{"a": ' + "[" * 100_000, {}, "a.jsonl"),
        ("a.json", "[1, 2", {}, "a.json: cannot be read"),
        ("a.xlsx", "no workbook", {}, "a.xlsx"),
        ("a.parquet", "PAR1", {}, "a.parquet: cannot be read"),
        ("a.txt.rar", "", {}, "unknown ending '.rar'"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, content, options, words):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_table(tmp_path / name, **options)


def test_an_archive_of_several_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "log.csv.zip", "w") as archive:
        archive.writestr("a.csv", LOG)
        archive.writestr("b.csv", LOG)
    with pytest.raises(DataError, match="an archive of 2 files"):
        read_table(tmp_path / "log.csv.zip")


def test_only_what_is_a_number_becomes_one(tmp_path):
    table = pd.DataFrame(
        {
            "price": ["1.5", "NA", "3"],
            "count": ["1", "2", "3"],
            "zip": ["01234", "10115", "99999"],
            "ean": ["4006381333931", "40063813339310000000", "1"],
            "sold": ["true", "false", "true"],
            "when": ["2026-01-31", "2026-02-01", "2026-02-02"],
        }
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    read = read_table(tmp_path / "t.csv")
    assert read["price"].sum() == 4.5 and read["price"].isna().sum() == 1
    assert read["count"].dtype == "int64" and read["sold"].dtype == bool
    for name in ("zip", "ean", "when"):
        assert read[name].tolist() == table[name].tolist()


def test_a_workbook_keeps_its_types(tmp_path):
    pytest.importorskip("openpyxl")
    table = pd.DataFrame({"user_id": ["007", "7"], "item_id": [1, 2], "timestamp": [5, 6]})
    table.to_excel(tmp_path / "log.xlsx", index=False)
    assert read_table(tmp_path / "log.xlsx").equals(table)


def test_two_files_that_are_written_differently(tmp_path):
    (tmp_path / "u.data").write_text("007\t1\t4\t880000000\n7\t2\t5\t880000001\n")
    (tmp_path / "u.item").write_bytes("1|Café (1990)\n2|Heat (1995)\n".encode("latin-1"))
    dataset = Dataset.from_files(
        tmp_path / "u.data",
        tmp_path / "u.item",
        text="title",
        sep="\t",
        columns=["user_id", "item_id", "rating", "timestamp"],
        items_options={"sep": "|", "encoding": "latin-1", "columns": ["item_id", "title"]},
    )
    assert dataset.histories() == {"007": ["1"], "7": ["2"]}
    assert dataset.items["text"].tolist() == ["Café (1990)", "Heat (1995)"]


def test_a_log_is_its_own_catalogue(tmp_path, caplog):
    (tmp_path / "log.csv").write_text(
        "user_id,item_id,timestamp,title\n1,a,1,Tea\n1,b,2,Cup\n2,a,3,Green tea\n"
    )
    dataset = Dataset.from_files(tmp_path / "log.csv", text="title")
    assert dataset.items[["item_id", "text"]].to_numpy().tolist() == [["a", "Tea"], ["b", "Cup"]]
    assert "1 of 2 items have several texts in the log" in caplog.text


def test_what_a_program_has_left_in_texts_is_noticed(tables, caplog):
    log, items = tables
    texts = ["Tea &amp; cake", "['a', 'b']", "x < y", "plain", "[1998]"]
    dataset = Dataset.from_frames(log, items.assign(text=texts))
    assert dataset.items["text"].tolist() == texts  # kept: it may be meant
    assert "1 of 5 texts hold an HTML entity or tag" in caplog.text
    assert "1 of 5 texts hold the written form of a list" in caplog.text


@pytest.mark.parametrize(
    "content, options",
    [
        ("ann x1 x7 x3\nbob x1\n", {}),
        ("ann\tx1\tx7\tx3\nbob\tx1\n", {}),
        ("ann,x1,x7,x3\nbob,x1\n", {}),
        ("ann;x1;x7;x3\nbob;x1\n", {"sep": ";"}),
        ('{"ann": ["x1", "x7", "x3"], "bob": ["x1"]}', {}),
    ],
)
def test_sequences_come_in_with_their_order(tmp_path, content, options):
    (tmp_path / "log.txt").write_text(content)
    items = pd.DataFrame({"item_id": ["x1", "x3", "x7"], "text": ["a", "b", "c"]})
    sequences = read_sequences(tmp_path / "log.txt", **options)
    dataset = Dataset.from_frames(sequences, items)
    assert dataset.order == "file"
    assert dataset.histories() == {"ann": ["x1", "x7", "x3"], "bob": ["x1"]}


def test_lists_without_users_are_numbered(tmp_path):
    (tmp_path / "log.txt").write_text("x1 x7\nx3\n")
    assert read_sequences(tmp_path / "log.txt", users=False).to_numpy().tolist() == [
        [0, ["x1", "x7"]],
        [1, ["x3"]],
    ]


def test_recbole_sequences(tmp_path):
    (tmp_path / "s.inter").write_text(
        "user_id:token\titem_id_list:token_seq\titem_id:token\nann\tx1\tx7\nann\tx1 x7\tx3\n"
    )
    (tmp_path / "s.item").write_text("item_id:token\ttitle:token_seq\nx1\ta\nx7\tb\nx3\tc\n")
    dataset = read_recbole(tmp_path / "s", text="title")
    assert dataset.histories() == {"ann": ["x1", "x7", "x3"]} and dataset.order == "file"


def test_readers_of_public_layouts_name_the_place(tmp_path):
    (tmp_path / "s.inter").write_text("user_id:token\titem_id:token\tx:float\nann\tx1\tmuch\n")
    (tmp_path / "s.item").write_text("item_id:token\ttitle:token_seq\nx1\ta\n")
    with pytest.raises(DataError, match="column 'x:float': a number is expected: row 0"):
        read_recbole(tmp_path / "s", text="title")
    folder = tmp_path / "ml"
    folder.mkdir()
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3\n")
    (folder / "movies.csv").write_text("movieId,title,genres\n2,Heat (1995),Crime\n")
    with pytest.raises(DataError, match="ratings.csv, line 2"):
        read_movielens(folder)
    (tmp_path / "r.jsonl").write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match="r.jsonl"):
        read_amazon(tmp_path / "r.jsonl", tmp_path / "r.jsonl")


def test_movielens_10m_is_utf_8(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::7::5::100\n")
    (tmp_path / "movies.dat").write_text("7::Café (1990)::Horror\n", encoding="utf-8")
    assert read_movielens(tmp_path).items["title"].tolist() == ["Café (1990)"]


def test_json_with_a_byte_order_mark_and_as_one_list(tmp_path):
    rows = [{"user_id": 1, "item_id": "a"}, {"user_id": 2, "item_id": "b"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8-sig")
    (tmp_path / "b.json").write_text(json.dumps(rows, indent=1), encoding="utf-16")
    for name in ("a.jsonl", "b.json"):
        assert read_table(tmp_path / name).to_dict("records") == rows


# what CSV can hold: no half characters, and not nothing but white space
any_id = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
several_ids = st.lists(any_id, min_size=4, max_size=6, unique=True)


@settings(max_examples=100, deadline=None)
@given(ids=several_ids)
def test_any_id_is_read_as_it_was_written(tmp_path_factory, ids):
    path = tmp_path_factory.mktemp("ids") / "log.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["item_id"], *([one] for one in ids)])
    assert read_table(path, encoding="utf-8")["item_id"].tolist() == ids


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(users=several_ids, items=several_ids)
def test_any_id_comes_back_from_the_command_line(tmp_path_factory, encoder, users, items):
    """Fit, save, load, recommend: what comes out joins what went in, character by character."""
    folder = tmp_path_factory.mktemp("round")
    log = [[user, item, n] for user in users for n, item in enumerate(items[:3])]
    catalogue = [[item, f"thing {n}"] for n, item in enumerate(items)]
    tables = {"log": (["user_id", "item_id", "timestamp"], log)}
    tables["items"] = (["item_id", "text"], catalogue)
    for name, (header, rows) in tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    paths = folder / "log.csv", folder / "items.csv"
    config = TrainingConfig(dim=8, hidden=16, n_components=3, content_dim=0)
    model = TransferRecommender(encoder, closed_form=False, config=config, progress=False)
    model.fit(Dataset.from_files(*paths, encoding="utf-8"), epochs=1)
    model.save_pretrained(folder / "model")
    command = ["recommend", "--interactions", str(paths[0]), "--encoding", "utf-8", "--k", "9"]
    assert main([*command, "--model", str(folder / "model"), "--out", str(folder / "out.csv")]) == 0
    with (folder / "out.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert {row["user_id"] for row in found} == set(users)
    assert {row["item_id"] for row in found} == set(items[3:])


def test_ten_thousand_numbers_keep_all_their_digits(tmp_path):
    ids = np.random.default_rng(0).integers(2**62, 2**63, 10_000)
    pd.DataFrame({"item_id": ids, "other": ids}).to_csv(tmp_path / "t.csv", index=False)
    table = read_table(tmp_path / "t.csv")
    assert (
        table["item_id"].astype(int).tolist() == table["other"].astype(int).tolist() == ids.tolist()
    )


def test_a_column_of_written_lists(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id\nann,\"['x1', 'x7']\"\nbob,\"[7]\"\n")
    (tmp_path / "items.csv").write_text("item_id,text\nx1,a\nx7,b\n7,c\n")
    dataset = Dataset.from_files(tmp_path / "log.csv", tmp_path / "items.csv")
    assert dataset.histories() == {"ann": ["x1", "x7"], "bob": ["7"]} and dataset.order == "file"
    (tmp_path / "log.csv").write_text('user_id,item_id\nann,"[x1, f()]"\n')
    with pytest.raises(DataError, match="a list of ids is expected"):
        Dataset.from_files(tmp_path / "log.csv", tmp_path / "items.csv")


@pytest.mark.parametrize("cell", [[], {}, [[]]])
def test_a_log_as_catalogue_with_a_nested_cell_is_refused_by_name(tmp_path, cell):
    rows = [
        {"user_id": 1, "item_id": 1, "text": "soap"},
        {"user_id": 1, "item_id": 2, "text": cell},
        {"user_id": 2, "item_id": 1, "text": "soap"},
    ]
    (tmp_path / "log.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="text"):
        Dataset.from_files(tmp_path / "log.json", tmp_path / "log.json", order="file")
