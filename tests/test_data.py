"""What comes in is checked; what is cut never overlaps."""

import gzip
import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec import Dataset, Split, load_dataset
from llmrec.assets import AssetError, fetch_asset
from llmrec.checks import DataError, occurs_in
from llmrec.datasets import normalise_title, plot_activity
from llmrec.files import read_amazon, read_movielens, read_recbole, read_table
from llmrec.splits import PROTOCOLS, LeakError, sample_task_users, split_reviews

BAD_LOGS = {
    "missing column": (
        lambda log: log.drop(columns="user_id"),
        r"interactions: column \['user_id'\] is missing",
    ),
    "duplicate column": (
        lambda log: pd.concat([log, log[["item_id"]]], axis=1),
        r"\['item_id'\] occurs more than once",
    ),
    "unparsable time": (
        lambda log: log.assign(timestamp=["2026-01-01"] * 7 + ["soon"]),
        r"'timestamp'.*row 7 .*'soon'",
    ),
    "mixed times": (
        lambda log: log.assign(timestamp=[1] * 7 + ["2026-01-01"]),
        r"'timestamp': numbers and dates mixed: row 7",
    ),
    "missing time": (
        lambda log: log.assign(timestamp=[np.nan] + [1.0] * 7),
        r"'timestamp': missing time: row 0",
    ),
    "infinite time": (
        lambda log: log.assign(timestamp=[np.inf] + [1.0] * 7),
        r"'timestamp': infinite",
    ),
    "missing id": (
        lambda log: log.assign(user_id=[None] + ["u"] * 7),
        r"'user_id': missing id: row 0",
    ),
    "NaN id": (
        lambda log: log.assign(user_id=[1.0] * 7 + [np.nan]),
        r"'user_id': missing id: row 7",
    ),
    "empty id": (
        lambda log: log.assign(user_id=["u"] * 3 + [" "] + ["u"] * 4),
        r"'user_id': empty id: row 3",
    ),
    "mixed ids": (
        lambda log: log.assign(user_id=[1] * 4 + ["1"] * 4),
        r"'user_id': ids of mixed type .*row 4",
    ),
    "odd ids": (
        lambda log: log.assign(user_id=[0.5] * 8),
        r"'user_id': ids must be integers or strings",
    ),
    "unknown item": (
        lambda log: log.assign(item_id=list("abcdbcez")),
        r"'item_id': not in items.*row 7 .*'z'",
    ),
    "other type of id": (
        lambda log: log.assign(item_id=range(8)),
        r"ids are int64 here and str in items",
    ),
    "no rows": (lambda log: log.iloc[:0], r"interactions: no rows"),
    "rating": (lambda log: log.assign(rating=["good"] * 8), r"'rating': not a number: row 0"),
}
BAD_ITEMS = {
    "missing text": (
        lambda items: items.drop(columns="text"),
        r"items: column \['text'\] is missing",
    ),
    "same item twice": (
        lambda items: items.assign(item_id=list("abcda")),
        r"'item_id': the same item twice: row 4",
    ),
    "empty text": (
        lambda items: items.assign(text=["x", "", "y", "z", "w"]),
        r"no text in column\(s\) \['text'\]: item 'b': row 1",
    ),
    "blank text": (lambda items: items.assign(text=["x", "y", " \t\n", "z", "w"]), r"item 'c'"),
    "NaN text": (lambda items: items.assign(text=["x", "y", "z", None, "w"]), r"item 'd'"),
    "number as text": (
        lambda items: items.assign(text=["x", 5, "y", "z", "w"]),
        r"'text': text must be a string: row 1",
    ),
    "no rows": (lambda items: items.iloc[:0], r"items: no rows"),
}


@pytest.mark.parametrize("case", BAD_LOGS)
def test_bad_interactions_name_the_place_and_the_mend(tables, case):
    log, items = tables
    spoil, words = BAD_LOGS[case]
    with pytest.raises(DataError, match=words) as caught:
        Dataset.from_frames(spoil(log), items)
    assert re.search(r"[.!] [A-Z]", str(caught.value))


@pytest.mark.parametrize("case", BAD_ITEMS)
def test_bad_items_name_the_place_and_the_mend(tables, case):
    log, items = tables
    spoil, words = BAD_ITEMS[case]
    with pytest.raises(DataError, match=words) as caught:
        Dataset.from_frames(log, spoil(items))
    assert re.search(r"[.!] [A-Z]", str(caught.value))


def test_any_script_and_any_length_is_kept(tables):
    log, items = tables
    texts = ["x" * 100_000, "🍵🫖", "红楼梦", "كتاب ألف ليلة وليلة", "naïve"]
    assert Dataset.from_frames(log, items.assign(text=texts)).items["text"].tolist() == texts


def test_input_frames_stay_as_they_were(tables):
    before = [table.copy() for table in tables]
    Dataset.from_frames(*tables).k_core(2)
    assert all(table.equals(copy) for table, copy in zip(tables, before, strict=True))


def test_dates_and_zones_become_utc(tables):
    log, items = tables
    zoned = pd.to_datetime(["2026-01-01T12:00:00+02:00"] * 8, utc=False)
    assert Dataset.from_frames(log.assign(timestamp=zoned), items).interactions["timestamp"].iloc[
        0
    ] == pd.Timestamp("2026-01-01 10:00")
    as_text = Dataset.from_frames(log.assign(timestamp=["2026-01-01"] * 8), items)
    assert as_text.interactions["timestamp"].iloc[0] == pd.Timestamp("2026-01-01")


@pytest.mark.parametrize(
    "written",
    ["31.01.2026 18:05", "2026年1月31日 18:05", "31 Jan 2026 18:05", "Jan 31, 2026 18:05:00"],
)
def test_dates_that_can_be_read_in_one_way_are_read(tables, written):
    log, items = tables
    read = Dataset.from_frames(log.assign(timestamp=written), items)
    assert read.interactions["timestamp"].eq(pd.Timestamp("2026-01-31 18:05")).all()
    mixed = log.assign(timestamp=[written] * (len(log) - 1) + ["13.13.2026"])
    with pytest.raises(DataError, match=f"not a time: row {len(log) - 1} "):
        Dataset.from_frames(mixed, items)


def test_a_list_of_strings_is_a_text(tables):
    """As JSON and Parquet hold genres and tags; what is no list of strings is still refused."""
    log, items = tables
    tagged = items.assign(tags=[["tea", "绿"], [], None, ("pot",), np.array(["a", "b"], object)])
    texts = Dataset.from_frames(log, tagged, text=["text", "tags"]).items["text"]
    told = [
        ", ".join(map(str, [own, *tags]))
        for own, tags in zip(
            items["text"], [["tea", "绿"], [], [], ["pot"], ["a", "b"]], strict=True
        )
    ]
    assert texts.tolist() == told
    with pytest.raises(DataError, match="'tags': text must be a string: row 3"):
        Dataset.from_frames(
            log, tagged.assign(tags=[*tagged["tags"][:3], [1, 2], "x"]), text="tags"
        )


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl", "csv.gz", "jsonl.gz"])
def test_every_format_reads_the_same(tmp_path, tables, tiny, ending):
    paths = []
    for name, table in zip(("log", "items"), tables, strict=True):
        path = tmp_path / f"{name}.{ending}"
        if "parquet" in ending:
            table.to_parquet(path)
        elif "json" in ending:
            table.to_json(path, orient="records", lines=True)
        else:
            table.to_csv(path, index=False, sep="\t" if "tsv" in ending else ",")
        paths.append(path)
    # a CSV file does not say what is a number
    expected = (
        tiny.interactions
        if "parquet" in ending or "json" in ending
        else tiny.interactions.astype({"user_id": str})
    )
    assert Dataset.from_files(*paths).interactions.equals(expected)


def test_ids_of_a_csv_stay_as_they_are_written(tmp_path):
    ids = [
        "007",
        "07",
        "7",
        "0001",
        "1E5",
        "1.0",
        "NA",
        "null",
        "None",
        "nan",
        "true",
        " 7",
        "7 ",
        "+7",
        "1_000",
        "9007199254740993",
        "184467440737095516160",
        "零七",
    ]
    rows = "".join(f'"{one}","{one}",{time}\n' for time, one in enumerate(ids))
    (tmp_path / "log.csv").write_text(f"user_id,item_id,timestamp\n{rows}", encoding="utf-8")
    (tmp_path / "items.tsv").write_text(
        "sku\ttitle\n" + "".join(f"{one}\tNA\n" for one in ids), encoding="utf-8"
    )
    read = Dataset.from_files(
        tmp_path / "log.csv", tmp_path / "items.tsv", text="title", columns={"sku": "item_id"}
    )
    assert (
        read.interactions["user_id"].tolist()
        == read.interactions["item_id"].tolist()
        == read.items["item_id"].tolist()
        == ids
    )
    assert (
        read.items["text"].unique().tolist() == ["NA"]
        and read.interactions["timestamp"].dtype == "int64"
    )


@pytest.mark.parametrize("log, items", [("csv", "parquet"), ("parquet", "csv"), ("jsonl", "csv")])
def test_a_typed_table_meets_one_of_text(tmp_path, log, items):
    tables = {
        "log": pd.DataFrame({"user_id": [1, 1], "item_id": [7, 10], "timestamp": [1, 2]}),
        "items": pd.DataFrame({"item_id": [7, 10], "text": ["a", "b"]}),
    }
    for (name, table), ending in zip(tables.items(), (log, items), strict=True):
        write = {
            "csv": lambda p, t=table: t.to_csv(p, index=False),
            "parquet": table.to_parquet,
            "jsonl": lambda p, t=table: t.to_json(p, orient="records", lines=True),
        }
        write[ending](tmp_path / f"{name}.{ending}")
    assert Dataset.from_files(tmp_path / f"log.{log}", tmp_path / f"items.{items}").interactions[
        "item_id"
    ].tolist() == ["7", "10"]


@pytest.mark.parametrize(
    "ids",
    [
        np.array([2**63, 2**63 + 1], dtype=np.uint64),
        np.array([1e19, 2e19]),
        np.array([2.0**53, 1.0]),
        np.array([2**24, 2**24 + 2], dtype=np.float32),
        pd.array([2**53, 1], dtype="Float64"),
    ],
)
@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_a_number_that_cannot_be_held_exactly_is_no_id(ids, column):
    log = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "timestamp": [1, 2]}).assign(
        **{column: ids}
    )
    items = pd.DataFrame({"item_id": ids if column == "item_id" else [1, 2], "text": ["a", "b"]})
    with pytest.raises(
        DataError,
        match=rf"column '{column}': a number that .* does not hold exactly.*row 0.*Read "
        r"these ids as text",
    ):
        Dataset.from_frames(log, items)


def test_numbers_that_are_held_exactly_are_ids(tables):
    log, items = tables
    largest = [2**63 - 1, 5, 5, 5, 2**53 + 1, 6, 6, 7]
    assert (
        Dataset.from_frames(log.assign(user_id=np.array(largest, dtype=np.uint64)), items)
        .interactions["user_id"]
        .tolist()
        == largest
    )
    assert (
        Dataset.from_frames(log.assign(user_id=log["user_id"].astype("float32")), items)
        .interactions["user_id"]
        .tolist()
        == log["user_id"].tolist()
    )


@pytest.mark.parametrize("kind", ["float32", "float16", "Float32"])
def test_times_that_have_lost_their_order_are_refused(tables, kind):
    log, items = tables
    start = 1_600_000_000 if kind != "float16" else 4_000
    with pytest.raises(
        DataError,
        match=r"column 'timestamp': .loat.*cannot hold seconds of this size, moments are .* "
        r"apart: row 0.*int64 or float64",
    ):
        Dataset.from_frames(
            log.assign(timestamp=pd.Series(start + np.arange(8)).astype(kind)), items
        )
    assert (
        len(
            Dataset.from_frames(
                log.assign(timestamp=pd.Series(np.arange(8)).astype(kind)), items
            ).interactions
        )
        == 8
    )


def test_broken_files_are_named(tmp_path, tables):
    with pytest.raises(FileNotFoundError, match="nothing.csv"):
        read_table(tmp_path / "nothing.csv")
    (tmp_path / "log.xyz").write_text("")
    with pytest.raises(DataError, match="log.xyz: unknown ending"):
        read_table(tmp_path / "log.xyz")
    (tmp_path / "log.jsonl").write_text('{"user_id": 1}\n{"user_id": \n')
    with pytest.raises(DataError, match="log.jsonl, line 2: not JSON"):
        read_table(tmp_path / "log.jsonl")
    (tmp_path / "log.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(DataError, match="log.parquet: cannot be read"):
        read_table(tmp_path / "log.parquet")
    tables[0].drop(columns="item_id").to_csv(tmp_path / "log.csv", index=False)
    tables[1].to_csv(tmp_path / "items.csv", index=False)
    with pytest.raises(
        DataError, match=r"in log.csv and items.csv: interactions: column \['item_id'\] is missing"
    ):
        Dataset.from_files(tmp_path / "log.csv", tmp_path / "items.csv")


def test_movielens_layouts(tmp_path):
    old, dat = tmp_path / "ml-100k", tmp_path / "ml-1m"
    old.mkdir(), dat.mkdir()
    (old / "u.data").write_text("1\t7\t5\t100\n")
    (old / "u.item").write_text(
        "|".join(["7", "Café (1990)", "", "", "", *("0" * 11), "1", *("0" * 7)]) + "\n",
        encoding="latin-1",
    )
    (dat / "ratings.dat").write_text("1::7::5::100\n")
    (dat / "movies.dat").write_text("7::Café (1990)::Horror\n", encoding="latin-1")
    for folder in (old, dat):
        assert read_movielens(folder).items["text"].tolist() == ["Café (1990), Horror"]
        assert read_movielens(folder).histories() == {1: [7]}
    with pytest.raises(FileNotFoundError, match="u.data"):
        read_movielens(tmp_path)


def test_real_recbole_files():
    dataset = (
        read_recbole(fetch_asset("movielens-100k", progress=False) / "ml-100k", text="movie_title")
        if _all_titled()
        else pytest.fail("a film without a title")
    )
    assert len(dataset.interactions) == 100_000 and dataset.interactions["user_id"].dtype == "str"


def _all_titled():
    folder = fetch_asset("movielens-100k", progress=False)
    return all(
        line.split("\t")[1].strip() for line in (folder / "ml-100k.item").read_text().splitlines()
    )


def test_amazon_2018_gzip(tmp_path):
    with gzip.open(tmp_path / "reviews.json.gz", "wt") as file:
        for user, item in (("A", "B1"), ("A", "lost")):
            file.write(
                json.dumps(
                    {
                        "reviewerID": user,
                        "asin": item,
                        "overall": 4.0,
                        "unixReviewTime": 1_400_000_000,
                    }
                )
                + "\n"
            )
    with gzip.open(tmp_path / "meta.json.gz", "wt") as file:
        file.write(
            json.dumps({"asin": "B1", "title": "Lamp", "brand": "Lux", "category": ["Home"]}) + "\n"
        )
    dataset = read_amazon(tmp_path / "reviews.json.gz", tmp_path / "meta.json.gz")
    assert dataset.items["text"].tolist() == ["Lamp, Lux, Home"] and dataset.histories() == {
        "A": ["B1"]
    }


def test_title_normalisation():
    assert normalise_title("Godfather, The") == normalise_title("The Godfather") == "the godfather"
    assert (
        normalise_title("Amélie (Le fabuleux destin...)") == "amelie"
        and normalise_title("Fast & Furious") == "fast and furious"
    )


def test_options_of_complete_journey():
    with pytest.raises(DataError, match="purchases='some'"):
        load_dataset("complete-journey", purchases="some", progress=False)
    products = load_dataset("complete-journey", item="product", purchases="all", progress=False)
    assert (
        len(products.items) > 60_000
        and products.interactions.duplicated(["user_id", "item_id"]).any()
    )


def test_unknown_names(tiny):
    with pytest.raises(KeyError, match="movielens-100k"):
        load_dataset("netflix")
    with pytest.raises(DataError, match="protocol='chance'"):
        tiny.split("chance")
    with pytest.raises(DataError, match="fraction=1.5"):
        tiny.split("temporal", test_fraction=1.5)
    with pytest.raises(DataError, match="smaller number"):
        tiny.k_core(50)


def test_user_with_one_interaction_stays_in_training(tiny):
    split = tiny.split("leave_one_out")
    assert 3 in split.train.interactions["user_id"].tolist() and 3 not in split.targets()


def test_nothing_to_test_on_is_an_error(tables):
    log, items = tables
    with pytest.raises(DataError, match="three events"):
        Dataset.from_frames(log.iloc[:1], items).split("leave_one_out")


def test_k_core_is_told_in_the_manifest(films):
    assert films.k_core(10).split("leave_one_out").manifest["steps"] == [
        "10-core over all interactions, before any split: 943 of 943 users, 1,152 of 1,682 items "
        "are left"
    ]


def test_changed_split_folder_is_refused(tmp_path, tiny):
    split = tiny.split("leave_one_out")
    split.save(tmp_path / "split")
    with pytest.raises(DataError, match="exists already"):
        split.save(tmp_path / "split")
    parts = pd.read_parquet(tmp_path / "split" / "train.parquet")
    parts.iloc[::-1].to_parquet(tmp_path / "split" / "train.parquet")
    with pytest.raises(DataError, match="do not fit the hash"):
        Split.load(tmp_path / "split")
    with pytest.raises(FileNotFoundError):
        Split.load(tmp_path)


def test_activity_plot_of_counters(tiny):
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    plot_activity(tiny, ax)
    assert sum(patch.get_height() for patch in ax.patches) == len(tiny.interactions)
    plt.close(figure)


logs = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 8), st.integers(0, 5)), min_size=12, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(rows=logs, protocol=st.sampled_from(sorted(PROTOCOLS)), seed=st.integers(0, 3))
def test_splits_never_leak(rows, protocol, seed):
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    dataset = Dataset.from_frames(
        log, pd.DataFrame({"item_id": range(9), "text": [f"thing {i}" for i in range(9)]})
    )
    options = {"seed": seed} if protocol.startswith("cold") else {}
    try:
        split, again = dataset.split(protocol, **options), dataset.split(protocol, **options)
    except LeakError:
        raise
    except DataError:
        return  # too little data for this protocol, and it says so
    assert (
        split.manifest == again.manifest
        and json.loads(json.dumps(split.manifest)) == split.manifest
    )
    parts = {
        name: getattr(split, name).interactions for name in ("train", "valid", "test", "context")
    }
    rows_of = [set(part.index) for part in parts.values()]
    assert sum(map(len, rows_of)) == len(set().union(*rows_of))
    assert all(part.index.is_monotonic_increasing for part in parts.values())  # file order is kept
    histories = split.histories("test")
    for user, targets in split.targets("test").items():
        assert targets and not set(targets) & set(histories[user])
    if protocol == "temporal":
        assert parts["train"]["timestamp"].max() < parts["test"]["timestamp"].min()
    if protocol == "leave_one_out":
        last = parts["train"].groupby("user_id")["timestamp"].max()
        held = parts["test"].set_index("user_id")["timestamp"]
        assert (last.reindex(held.index).dropna() <= held[last.reindex(held.index).notna()]).all()
    if protocol == "cold_items":
        assert not set(split.train_valid.interactions["item_id"]) & set(split.candidates("test"))
    if protocol == "cold_users":
        assert not set(parts["test"]["user_id"]) & set(split.train_valid.interactions["user_id"])


def test_asset_error_is_a_file_error():
    assert issubclass(AssetError, FileNotFoundError) and issubclass(LeakError, ValueError)


def test_of_a_withheld_user_the_last_event_is_asked_for_and_the_first_ones_are_known(films):
    split = films.split("cold_users", n_context=3)
    parts = {name: getattr(split, name).histories() for name in ("test", "valid", "context")}
    whole = films.histories()
    for part in ("test", "valid"):
        assert len(parts[part]) > 10
        for user, asked in parts[part].items():
            assert len(asked) == 1
            assert parts["context"].get(user, []) == whole[user][:3][: len(whole[user]) - 1]
    assert not (set(parts["test"]) | set(parts["valid"])) & set(split.train.histories())


@pytest.mark.parametrize("most", [1, 5, 39, 40, 41, 1_000])
def test_a_sample_of_users_has_the_size_that_was_asked_for(films, most):
    task = films.sample_users(40).split("leave_one_out").task("valid")
    some = sample_task_users(task, most)
    assert len(some.targets) == min(most, len(task.targets)) == len(some.histories)
    assert all(some.targets[user] == task.targets[user] for user in some.targets)
    assert list(some.targets) == [user for user in task.targets if user in some.targets]


def test_a_task_knows_times_exactly_where_the_log_has_them(films):
    some = films.sample_users(20)
    timed = some.split("leave_one_out").task("test")
    assert timed.times is not None and set(timed.times) == set(timed.targets)
    in_order = some.interactions.drop(columns="timestamp")
    filed = Dataset.from_frames(in_order, some.items, order="file").split("leave_one_out")
    assert filed.task("test").times is None


@pytest.mark.parametrize("seed", [2**32, 2**32 + 1, -1])
def test_a_seed_that_no_generator_takes_is_refused(films, seed):
    with pytest.raises(ValueError, match="seed"):
        films.split("random", seed=seed)


@pytest.mark.parametrize("protocol", ["random", "cold_items", "cold_users"])
def test_the_largest_seed_is_taken_and_draws_other_rows(films, protocol):
    some = films.sample_users(30)
    first, last = (some.split(protocol, seed=seed) for seed in (0, 2**32 - 1))
    assert first.manifest["content_hash"] != last.manifest["content_hash"]


@pytest.mark.parametrize(("protocol", "helps"), [("leave_one_out", True), ("temporal", False)])
def test_a_protocol_says_whether_the_order_of_the_file_would_do(films, protocol, helps):
    undated = films.sample_users(20).interactions.drop(columns="timestamp")
    some = Dataset.from_frames(undated, films.items, order="unknown")
    with pytest.raises(DataError, match=protocol) as refused:
        some.split(protocol)
    assert ("order='file'" in str(refused.value)) == helps


def test_a_fifth_of_the_reviews_is_held_out_in_runs():
    learned, held = split_reviews()
    assert len(held) / (len(learned) + len(held)) == pytest.approx(0.2, abs=0.01)
    both = pd.concat([learned, held])
    assert len(both) == len(load_dataset("chinese-reviews", progress=False))


COLUMNS = {
    "in pieces": pd.concat([pd.Series(["a", "b"]), pd.Series(["c", "a"])]),
    "missing": pd.Series(["a", None, "c"], index=[5, 6, 7]),
    "nullable": pd.Series(["a", None, "c"], dtype=pd.StringDtype("pyarrow")),
    "of Python": pd.Series(["a", "c"], dtype=pd.StringDtype("python")),
    "mixed": pd.Series(["a", 3], dtype=object),
    "category": pd.Series(["a", "b"], dtype="category"),
    "whole numbers": pd.Series([1, 2, 3]),
    "empty": pd.Series([], dtype="str"),
}


@pytest.mark.parametrize("values", COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize("others", [["c", "a"], [], [1, 3], *COLUMNS.values()])
def test_what_occurs_is_what_pandas_says(values, others):
    found = occurs_in(values, others)
    pd.testing.assert_series_equal(found, values.isin(others), check_names=False)
