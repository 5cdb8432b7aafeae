"""What functions of rows by partition may return."""

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from joblib import parallel_config
from pandas.testing import assert_frame_equal

from sklearn_seqcrm.partitions import load_rows
from sklearn_seqcrm.targets import churned
from tests.partitions.visits import VISITS, log_of_parts, rows_before_all_events

IN_ANOTHER_ORDER = r"has the index of X in another order.*\.loc\[X\.index\]"


def backwards(X):
    """Targets in another order than the rows."""
    return pd.Series(1.0, X.index[::-1])


def test_map_checks_what_a_function_returns():
    rows = log_of_parts().snapshots([5])
    with pytest.raises(ValueError, match="returned 1 rows for 2"):
        log_of_parts().snapshots([5, 7]).map(lambda X: np.zeros(1))
    with pytest.raises(ValueError, match="names of the keys"):
        rows.map(lambda X: X[["who"]])
    with pytest.raises(TypeError, match="must return a pandas DataFrame"):
        rows.map(len)
    with pytest.raises(TypeError, match=r"got polars\..*DataFrame.*to_pandas"):
        rows.map(lambda X: pl.DataFrame({"x": [1.0] * len(X)}))
    with pytest.raises(ZeroDivisionError):
        rows.map(lambda X: 1 / 0)
    with pytest.raises(ValueError, match="several columns"):
        rows.map(lambda X: pd.concat([X["who"].rename("x")] * 2, axis=1))
    with pytest.raises(TypeError, match="function must be a function of the rows"):
        rows.map([1.0])
    with pytest.raises(ValueError, match="must return the same"):
        rows.map(lambda X: pd.Series(1.0, X.index, name=f"of_{X['who'].iloc[0]}"))


def test_results_in_another_order_of_rows_warn(tmp_path):
    """They would be those of other customers, without a sign of it."""
    people = pd.DataFrame({"who": list("abc"), "age": [3, 1, 2]}, index=[7, 8, 9])
    rows = log_of_parts([VISITS]).attach(people, cutoff=5)
    with pytest.warns(UserWarning, match=f"result {IN_ANOTHER_ORDER}"):
        rows.map(lambda X: X["age"].sort_values())
    with pytest.warns(UserWarning, match=f"y {IN_ANOTHER_ORDER}"):
        rows.to_disk(tmp_path / "rows", y=lambda X: X["age"].sort_values())
    found = rows.map(lambda X: X["age"].sort_values().loc[X.index])
    assert found["age"].tolist() == [3, 1, 2]


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_partitions_warn_once_of_the_line_of_the_user(tmp_path, n_jobs):
    """Each worker printed its own, with a line of a library."""
    rows = log_of_parts(n_jobs=n_jobs).snapshots([5, 7])
    with pytest.warns(UserWarning, match=f"y {IN_ANOTHER_ORDER}") as found:
        rows.to_disk(tmp_path / "rows", y=backwards)
    assert [one.filename for one in found] == [__file__]
    with pytest.warns(UserWarning, match=f"result {IN_ANOTHER_ORDER}") as found:
        rows.map(backwards)  # which tries a sample before
    assert [one.filename for one in found] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of the caller, not of a worker
        with pytest.raises(UserWarning, match=IN_ANOTHER_ORDER):
            rows.to_disk(tmp_path / "other", y=backwards)


def test_warnings_before_an_error_are_shown(tmp_path):
    """They may explain it."""
    rows = log_of_parts().snapshots([5, 7])

    def target(X):
        warnings.warn("values are infinite", UserWarning, stacklevel=2)
        raise RuntimeError("no target")

    with (
        pytest.warns(UserWarning, match="values are infinite"),
        pytest.raises(RuntimeError, match="no target"),
    ):
        rows.to_disk(tmp_path / "rows", y=target)


def test_warnings_of_threads_are_shown_at_once(tmp_path):
    """Filters hold for all threads of a process."""
    rows = log_of_parts(n_jobs=2).snapshots([5, 7])
    warns = pytest.warns(UserWarning, match=f"y {IN_ANOTHER_ORDER}")
    with parallel_config("threading"), warns as found:
        rows.to_disk(tmp_path / "rows", y=backwards)
    assert len(found) == 3


def test_a_function_that_fails_on_a_sample_is_tried_on_partitions():
    """A sample has customers without statics; a model may refuse their rows."""
    people = pd.DataFrame({"who": list("abc"), "age": [1.0, 2, 3]})

    def double(X):
        assert X["age"].notna().all()
        return 2 * X["age"]

    rows = log_of_parts([VISITS[4:], VISITS[:4]]).snapshots([5], statics=people)
    assert rows.map(double)["age"].tolist() == [6, 2, 4]


def test_meta_gives_names_and_types():
    rows = log_of_parts().snapshots([5])
    meta = pd.DataFrame({"one": [1.0]})
    found = rows.map(lambda X: pd.Series(1, X.index, name="one"), meta=meta)
    assert found["one"].tolist() == [1.0] * 3
    assert found["one"].dtype == "float64"
    with pytest.raises(ValueError, match=r"'0'\], and in meta= or on a sample \["):
        rows.map(lambda X: np.zeros(len(X)), meta=meta)
    with pytest.raises(ValueError, match="There are no rows"):
        rows_before_all_events().map(lambda X: 1 / 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2.5),
        (np.int8(1), 1000),
        (True, 7),
        (True, None),
        (1, np.nan),
        (1, "x"),
        (pd.Categorical(["u"]), pd.Categorical(["v"])),
    ],
)
def test_a_list_keeps_the_values_of_each_partition(one, other):
    people = [pd.DataFrame({"who": [who]}) for who in "ab"]
    people = [t.assign(x=x) for t, x in zip(people, (one, other), strict=True)]
    rows = log_of_parts([VISITS[:2], VISITS[2:4]]).attach(people, cutoff=5)
    found = rows.map(lambda X: X["x"])["x"].tolist()
    wanted = [own["x"].tolist()[0] for own in people]
    assert found == wanted or (found[0] == wanted[0] and pd.isna(found[1]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([3, 2**53 + 1]), np.array([2**64 - 1], "uint64")),
        (np.array([-3, 2**53 + 1]), np.array([2**64 - 1], "uint64")),
        (np.array([3, 2**53 + 1]), np.array([1.5])),
        (np.array([3, 2**53 + 1]), np.array([5.0])),
    ],
)
@pytest.mark.parametrize("by_attach", [False, True])
def test_ids_of_64_bits_stay_exact(one, other, by_attach, tmp_path):
    parts = [pd.DataFrame({"who": who, "day": range(len(who))}) for who in (one, other)]
    log = log_of_parts(parts)
    rows = log.snapshots([5])
    if by_attach:
        rows = log.attach([part[["who"]] for part in parts], cutoff=5)
    wanted = [*one.tolist(), *other.tolist()]
    assert rows.map(lambda X: X.index.to_numpy())["who"].tolist() == wanted
    rows.to_disk(tmp_path / "rows")
    X, _ = load_rows(tmp_path / "rows")
    assert X["who"].tolist() == wanted
    assert X["history"].array.lengths.tolist() == [1, 1, 1]


def test_a_type_that_cannot_hold_the_values_is_refused():
    people = pd.DataFrame({"who": list("abc"), "age": [1, 2, 3]})
    rows = log_of_parts().attach(people, cutoff=5)
    meta = pd.DataFrame({"age": [1]})
    message = r"Column 'age' of partition 0 has the type float64.*int64.*customer 'a'"
    with pytest.raises(TypeError, match=message):
        rows.map(lambda X: X["age"] / 2, meta=meta)
    with pytest.raises(TypeError, match="partition 2"):
        rows.map(lambda X: X["age"].where(X["age"] < 3), meta=meta)
    levels = pd.DataFrame({"age": pd.Categorical(["1", "2"])})
    with pytest.raises(TypeError, match="partition 2"):
        rows.map(lambda X: X["age"].astype(str), meta=levels)
    assert rows.map(lambda X: X["age"] * 1.0, meta=meta)["age"].dtype == "int64"


def test_types_of_a_sample_hold_those_of_other_partitions():
    from sklearn_seqcrm.partitions._types import widened, without_loss

    sample = pd.DataFrame({"n": np.array([1], "int8"), "b": [True], "f": [1.0]})
    types = widened(sample[:0], ["n", "b", "f"]).dtypes
    assert types.astype(str).tolist() == ["Int64", "boolean", "float64"]
    who = pd.Series(["a", "b"])
    for values, name in [([1000, np.nan], "n"), ([True, None], "b")]:
        own = pd.Series(values, name=name)
        found = without_loss(own, types[name], 1, who)
        assert found[0] == values[0]
        assert found.isna().tolist() == [False, pd.isna(values[1])]
    large = pd.Series([1, 2**53 + 1], name="f")
    with pytest.raises(TypeError, match="customer 'b'"):
        without_loss(large, types["f"], 1, who)
    # No meta= has types of ids.
    ids = pd.Series([2, -1], name="who")
    with pytest.raises(
        TypeError, match=r"Customers .*'who' of partition 1 .* -1\)"
    ) as e:
        without_loss(ids, "uint64", 1, ids)
    assert "meta" not in str(e.value)
    assert "make text of all ids" in str(e.value)


def test_meta_may_be_an_earlier_result_or_a_series():
    rows = log_of_parts().snapshots([5])
    first = rows.map(lambda X: churned(X, 4))
    for meta in (first, first["churned"]):
        assert_frame_equal(rows.map(lambda X: churned(X, 4), meta=meta), first)
    with pytest.raises(TypeError, match=r"meta must be .* got dict"):
        rows.map(lambda X: churned(X, 4), meta={"churned": int})
    with pytest.raises(TypeError, match=r"returned the histories \['history'\]"):
        rows.map(lambda X: X[["history"]])


def test_names_of_columns_are_text():
    rows = log_of_parts().snapshots([5])
    found = rows.map(lambda X: pd.DataFrame(np.zeros((len(X), 2))))
    assert found.columns.tolist() == ["who", "cutoff", "0", "1"]


def test_whole_numbers_that_floats_hold_are_joined_as_vectors():
    """One object for each value took forty times as long."""
    from sklearn_seqcrm.partitions._types import joined_tables

    n = 100_000
    ages = np.append(np.arange(n - 2), [2**53, -(2**53)])
    for one in (ages, pd.array(ages, "Int64")):
        tables = [pd.DataFrame({"age": v}) for v in (one, np.full(n, np.nan))]
        tracemalloc.start()
        found = joined_tables(tables)["age"]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50 * n  # bytes; objects are 32 and a pointer each
        assert found.dtype.kind == "f"
        assert found[:n].tolist() == ages.tolist()
        assert found[n:].isna().all()
