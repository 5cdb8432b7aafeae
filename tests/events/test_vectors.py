"""Fields of vectors: from any table to logs, files and histories."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import next_value
from tests.logs import log_of_table

NAN = np.nan
# By customer and time, as the log has them.
STORED = np.array([[2, 3], [NAN, NAN], [0, 1], [6, 7]], "float32")


def events(vectors=([0, 1], [2, 3], None, [6, 7]), **more):
    """Four events of two customers, which the log stores in another order."""
    vectors = pd.Series(list(vectors), dtype=object)
    return pd.DataFrame(
        {"who": ["b", "a", "a", "b"], "day": [1, 2, 3, 4], "vector": vectors, **more}
    )


def as_arrow(type_of_lists):
    pa = pytest.importorskip("pyarrow")
    table = events()
    vectors = pa.array(table["vector"].tolist(), type_of_lists(pa))
    return pa.table({"who": table["who"], "day": table["day"], "vector": vectors})


def as_polars(type_of_lists):
    pl = pytest.importorskip("polars")
    return pl.from_pandas(events().drop(columns="vector")).with_columns(
        pl.Series("vector", [[0, 1], [2, 3], None, [6, 7]], type_of_lists(pl))
    )


def of_arrays(make):
    """Arrays of another library as objects, as ``list(matrix)`` gives them."""
    vectors = np.full(4, None, dtype=object)
    for i, numbers in enumerate(events()["vector"]):
        if numbers is not None:
            vectors[i] = make(numbers)
    return events().assign(vector=pd.Series(vectors))


class OnlyDLPack:
    """What else a library of arrays may offer."""

    def __init__(self, numbers):
        self._numbers = np.array(numbers, "float32")

    def __dlpack__(self, **options):
        return self._numbers.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._numbers.__dlpack_device__()


def as_unordered_list_view():
    """Vectors may be in any order in the array of numbers, even missing ones."""
    pa = pytest.importorskip("pyarrow")
    places, sizes = (pa.array(x, pa.int32()) for x in ([4, 2, 9, 0], [2, 2, 0, 2]))
    numbers = pa.array([6.0, 7, 2, 3, 0, 1, 9, 9, 9, 9])
    mask = pa.array([False, False, True, False])
    vectors = pa.ListViewArray.from_arrays(places, sizes, numbers, mask=mask)
    table = events()
    return pa.table({"who": table["who"], "day": table["day"], "vector": vectors})


def as_pandas_list_view():
    table = as_arrow(lambda pa: pa.list_view(pa.float32()))
    vectors = pd.arrays.ArrowExtensionArray(table["vector"])
    return events().assign(vector=pd.Series(vectors))


def as_polars_objects():
    pl = pytest.importorskip("polars")
    vectors = of_arrays(torch.tensor)["vector"].tolist()
    return pl.from_pandas(events().drop(columns="vector")).with_columns(
        pl.Series("vector", vectors, pl.Object)
    )


TABLES = {
    "pandas, lists": events,
    "pandas, float32 arrays": lambda: events(
        [np.array(v, "float32") if v else None for v in events()["vector"]]
    ),
    "pandas, NaN for a missing vector": lambda: events([[0, 1], [2, 3], NAN, [6, 7]]),
    "pandas, a vector of NaN": lambda: events([[0, 1], [2, 3], [NAN, NAN], [6, 7]]),
    "pandas, an index that repeats": lambda: events().set_axis([7, 7, 8, 8]),
    "pandas, Arrow": lambda: as_arrow(lambda pa: pa.list_(pa.float64(), 2)).to_pandas(
        types_mapper=pd.ArrowDtype
    ),
    "tensors of torch": lambda: of_arrays(torch.tensor),
    "rows of a matrix of torch": lambda: of_arrays(
        lambda v: torch.arange(8.0).reshape(4, 2)[v[0] // 2]
    ),
    "series of pandas": lambda: of_arrays(pd.Series),
    "arrays that know DLPack alone": lambda: of_arrays(OnlyDLPack),
    "tensors in polars": as_polars_objects,
    "masked arrays of NumPy": lambda: events(
        [[0, 1], [2, 3], np.ma.array([4, 5], mask=True), np.ma.array([6, 7])]
    ),
    "Arrow, list views": lambda: as_arrow(lambda pa: pa.list_view(pa.float32())),
    "Arrow, large list views": lambda: as_arrow(
        lambda pa: pa.large_list_view(pa.float64())
    ),
    "Arrow, list views in no order": as_unordered_list_view,
    "pandas, Arrow's list views": as_pandas_list_view,
    "Arrow, fixed size": lambda: as_arrow(lambda pa: pa.list_(pa.float32(), 2)),
    "Arrow, lists of integers": lambda: as_arrow(lambda pa: pa.list_(pa.int16())),
    "Arrow, lists of decimals": lambda: as_arrow(
        lambda pa: pa.list_(pa.decimal128(5, 2))
    ),
    "Arrow, list views of decimals": lambda: as_arrow(
        lambda pa: pa.list_view(pa.decimal128(5, 2))
    ),
    "Arrow, large lists": lambda: as_arrow(lambda pa: pa.large_list(pa.float64())),
    "polars, arrays": lambda: as_polars(lambda pl: pl.Array(pl.Float32, 2)),
    "polars, lists": lambda: as_polars(lambda pl: pl.List(pl.Float64)),
}


@pytest.mark.parametrize("table", TABLES)
def test_tables(table):
    column = EventLog(TABLES[table](), "who", "day").column("vector")
    assert column.type.name == "vector"
    assert column.values.dtype == "float32"
    np.testing.assert_array_equal(column.values, STORED)


def test_a_slice_of_an_arrow_table():
    fixed = as_arrow(lambda pa: pa.list_(pa.float32(), 2))
    for table in (fixed, as_unordered_list_view()):
        values = EventLog(table.slice(1, 2), "who", "day").column("vector").values
        np.testing.assert_array_equal(values, STORED[:2])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda v: torch.tensor(v, dtype=torch.bfloat16), r"BFloat16.*\.detach\(\)"),
        (lambda v: torch.tensor([1.0] * len(v), requires_grad=True), "requires grad"),
        (lambda v: torch.tensor([v]), "type Tensor, and a field of vectors needs"),
        (lambda v: torch.tensor(v[: 1 + v[0] % 4]), "differ in length"),
        (lambda v: torch.tensor([1.0, 0.0]) / (v[0] - 2), "in 1 of its 3 vectors"),
    ],
)  # fmt: skip
def test_bad_arrays_of_another_library(make, text):
    with pytest.raises((TypeError, ValueError), match=text):
        EventLog(of_arrays(make), "who", "day")


def test_bad_list_views():
    pa = pytest.importorskip("pyarrow")
    table = events()
    for vectors, text in (([[1], [2, 3]] * 2, "differ in length"),
                          ([["a", "b"]] * 4, "list of string")):  # fmt: skip
        values = pa.array(vectors[0] + vectors[1] + vectors[0] + vectors[1])
        sizes = pa.array([len(v) for v in vectors], pa.int32())
        places = pa.array(np.cumsum([0, *(len(v) for v in vectors)])[:-1], pa.int32())
        column = pa.ListViewArray.from_arrays(places, sizes, values)
        with pytest.raises((TypeError, ValueError), match=text):
            EventLog(
                pa.table({"who": table["who"], "day": table["day"], "vector": column}),
                "who",
                "day",
            )


WHOLE = "The vectors of a field have one length; write None for a missing vector"


def numbers(n_bad, row):
    return (
        "Column 'vector' of events holds numbers that are missing, infinite or too "
        f"large for float32 in {n_bad} of its 3 vectors, the first in row {row}; "
    )


BAD = {
    "ragged": (
        [[0, 1], [2, 3], None, [6]], ValueError,
        "Column 'vector' of events holds vectors that differ in length or are empty: "
        f"2 of length 2, 1 of length 1. {WHOLE}",
    ),
    "empty": ([[], [], [], []], ValueError, "or are empty: 4 of length 0. " + WHOLE),
    "NaN inside": ([[0, 1], [NAN, 3], None, [6, NAN]], ValueError,
        numbers(2, 1) + "fill them in, or write None"),
    "None inside": ([[0, 1], [2, 3], None, [6, None]], ValueError,
        numbers(1, 3)),
    "infinite": ([[0, np.inf], [2, 3], None, [6, 7]], ValueError,
        numbers(1, 0)),
    "too large": ([[0, 1], [2, 1e39], None, [6, 7]], ValueError,
        numbers(1, 1)),
    "text": ([["1", "2"], ["3", "4"], None, None], TypeError,
        "Column 'vector' of events holds values of the type list of string, and a "
        "field of vectors needs lists of numbers"),
    "matrices": ([[[0]], [[1]], None, None], TypeError, "values of the type list,"),
    "among others": ([[0, 1], "2, 3", None, None], TypeError, "of the type str,"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_vectors(case):
    vectors, error, text = BAD[case]
    with pytest.raises(error) as caught:
        log_of_table(events(vectors))
    assert text in str(caught.value)


@pytest.mark.parametrize("case", ["ragged", "empty", "NaN inside", "text"])
@pytest.mark.parametrize("library", ["pyarrow", "polars"])
def test_bad_lists_of_other_libraries(case, library):
    pytest.importorskip("pyarrow")
    vectors, error, text = BAD[case]
    table = {"who": list("baab"), "day": [1, 2, 3, 4], "vector": vectors}
    module = pytest.importorskip(library)
    if library == "polars":
        table = module.DataFrame(table, strict=False)
    else:
        table = module.table(table)
    with pytest.raises(error) as caught:
        EventLog(table, "who", "day")
    if error is TypeError:
        text = "Column 'vector' of events holds values of the type list"
    assert text in str(caught.value)


def test_categories_are_not_vectors():
    for table, found in ((events(), "list"), (of_arrays(torch.tensor), "Tensor")):
        text = f"'vector' holds values of the type {found}"
        with pytest.raises(TypeError, match=text):
            EventLog(table, "who", "day", categorical=["vector"])


def test_frames_show_vectors_as_given():
    frame = log_of_table(events()).to_frame()
    assert [None if v is None else v.tolist() for v in frame["vector"]] == [
        [2, 3], None, [0, 1], [6, 7],
    ]  # fmt: skip
    # And is read again.
    again = EventLog(frame, "who", "day").column("vector").values
    np.testing.assert_array_equal(again, STORED)


def test_histories_and_pictures():
    log = log_of_table(events())
    X = log.attach(pd.DataFrame({"who": ["a", "b", "eve"]}), cutoff=4)
    history = X["history"][1]
    assert history.to_dict()["events"] == [{"day": 1, "vector": [0.0, 1.0]}]
    assert json.loads(X[["history"]].to_json(orient="values"))[1][0]["events"] == [
        {"day": 1, "vector": [0.0, 1.0]}
    ]
    assert "<td" in history._repr_html_()
    assert "[0, 1]" in history._repr_html_()
    assert "vector, 2 components" in log._repr_html_()
    assert "0 to 7" in log._repr_html_()


def test_rows_pickle_only_their_vectors():
    X = log_of_table(events()).attach(pd.DataFrame({"who": ["b"]}), cutoff=2)
    for again in (pickle.loads(pickle.dumps(X))["history"][0],
                  pickle.loads(pickle.dumps(X["history"][0]))):  # fmt: skip
        assert again.to_frame()["vector"][0].tolist() == [0, 1]


def test_parquet_of_a_log(tmp_path):
    pytest.importorskip("pyarrow")
    log = log_of_table(events(amount=[1.0, 2, 3, 4]))
    log.to_parquet(tmp_path / "log.parquet")
    again = EventLog.from_parquet(tmp_path / "log.parquet")
    assert again.fields == ["vector", "amount"]
    np.testing.assert_array_equal(again.column("vector").values, STORED)
    plain = pd.read_parquet(tmp_path / "log.parquet")
    assert plain["vector"][0].tolist() == [2, 3]


def test_parquet_of_rows(tmp_path):
    pytest.importorskip("pyarrow")
    X = log_of_table(events()).attach(
        pd.DataFrame({"who": ["a", "b", "eve"]}), cutoff=4
    )
    X.to_parquet(tmp_path / "rows.parquet")
    again = pd.read_parquet(tmp_path / "rows.parquet")["history"].array
    np.testing.assert_array_equal(again.log.column("vector").values, STORED[:3])


@pytest.mark.parametrize("cutoff", [0, 1, 3.5])
def test_parquet_keeps_the_length_of_missing_vectors(cutoff, tmp_path):
    pytest.importorskip("pyarrow")
    log = log_of_table(events([None, None, None, [6, 7]]))
    X = log.attach(pd.DataFrame({"who": ["a", "b"]}), cutoff=cutoff)
    X.to_parquet(tmp_path / "rows.parquet")
    again = pd.read_parquet(tmp_path / "rows.parquet")["history"].array
    n_events = int((np.array([1, 2, 3, 4]) < cutoff).sum())
    np.testing.assert_array_equal(
        again.log.column("vector").values, np.full((n_events, 2), NAN)
    )


def test_concat_and_only():
    orders = EventLog(events().drop(columns="vector"), "who", "day")
    log = EventLog.concat({"order": orders, "text": log_of_table(events())})
    values = log.column("vector").values
    is_text = log.to_frame()["event"] == "text"
    np.testing.assert_array_equal(values[is_text], STORED)
    assert np.isnan(values[~is_text]).all()
    np.testing.assert_array_equal(log.only("text").column("vector").values, STORED)


def test_logs_of_other_lengths_do_not_join():
    other = log_of_table(events([[1, 2, 3], None, None, None]))
    text = r"'vector' has vectors of the lengths \{'one': 2, 'other': 3\}"
    with pytest.raises(ValueError, match=text):
        EventLog.concat({"one": log_of_table(events()), "other": other})
    numbers = log_of_table(events([1.0, 2, 3, 4]))
    with pytest.raises(ValueError, match="'one': 'vector', 'other': 'numeric'"):
        EventLog.concat({"one": log_of_table(events()), "other": numbers})


def test_append_finds_the_same_vectors():
    log = log_of_table(events())
    assert log.append(events(), duplicates="drop") is log
    other = events([[0, 1], [2, 4], None, [6, 7]])
    assert len(log.append(other, duplicates="drop")) == 5
    joint = log.append(events([None] * 4), duplicates="keep")
    assert np.isfinite(joint.column("vector").values).all(axis=1).sum() == 3


def test_append_blanks_vectors_of_other_kinds():
    orders = EventLog(events().drop(columns="vector"), "who", "day")
    log = EventLog.concat({"order": orders, "text": log_of_table(events())})
    more = events().assign(event=["order", "order", "text", "text"], day=9)
    values = log.append(more).column("vector").values
    assert np.isfinite(values).all(axis=1).sum() == 4  # one of the new ones


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", [[2, 3], [3, 4]]),
        ("first", [[2, 3], [0, 1]]),
        ("last", [[2, 3], [6, 7]]),
    ],
)
def test_resample(how, expected):
    log = log_of_table(events()).resample(10, how={"vector": how})
    np.testing.assert_array_equal(log.column("vector").values, expected)
    default = log_of_table(events()).resample(10).column("vector").values
    np.testing.assert_array_equal(default, [[2, 3], [3, 4]])
    missing = (
        log_of_table(events([None, [2, 3], None, None]))
        .resample(10)
        .column("vector")
        .values
    )
    np.testing.assert_array_equal(missing, [[2, 3], [NAN, NAN]])


def test_resample_refuses_summaries_of_numbers():
    with pytest.raises(
        ValueError, match=r"vector, for which how is one of \['mean', 'first'"
    ):
        log_of_table(events()).resample(10, how={"vector": "sum"})


def test_a_vector_is_no_target():
    X = log_of_table(events()).attach(pd.DataFrame({"who": ["a", "b"]}), cutoff=2)
    with pytest.raises(ValueError, match="Field 'vector' is vector, and next_value"):
        next_value(X, "vector")
