"""pandas' own tests of extension arrays, run on a column of histories.

Left out as classes: arithmetic, unary operators, reductions and accumulations (a
history is no number), plots, two-dimensional arrays, and the parsing of CSV files
(a history is no text).
"""

import operator

import numpy as np
import pandas as pd
import pytest
from pandas.tests.extension import base

from sklearn_seqcrm.events import EventLog

# The tests of pandas 3.1 want ten rows, earlier ones a hundred.
PANDAS = tuple(map(int, pd.__version__.split(".")[:2]))
N_ROWS = 10 if PANDAS >= (3, 1) else 100

NO_ORDER = "No history is smaller than another, so that they cannot be sorted."
NO_TEXT = "JSON holds the visible events as plain values, not the histories."
OWN_ROWS = (
    "An item that is set may bring another log along, so that the array takes new "
    "rows instead of writing into those that a slice or view of it shares."
)
NOT_APPLICABLE = {
    "test_argmin_argmax": NO_ORDER,
    "test_argreduce_series[idxmax-True-0]": NO_ORDER,
    "test_argreduce_series[idxmin-True-2]": NO_ORDER,
    "test_argreduce_series[argmax-True-0]": NO_ORDER,
    "test_argreduce_series[argmin-True-2]": NO_ORDER,
    "test_argsort": NO_ORDER,
    "test_argsort_missing": NO_ORDER,
    "test_argsort_missing_array": NO_ORDER,
    "test_combine_le": NO_ORDER,
    "test_groupby_extension_agg": NO_ORDER,
    "test_groupby_extension_apply": NO_ORDER,
    "test_groupby_extension_transform": NO_ORDER,
    "test_is_monotonic_decreasing": NO_ORDER,
    "test_is_monotonic_increasing": NO_ORDER,
    "test_nargsort": NO_ORDER,
    "test_rank": NO_ORDER,
    "test_rank_method": NO_ORDER,
    "test_rank_missing": NO_ORDER,
    "test_searchsorted": NO_ORDER,
    "test_sort_inplace": NO_ORDER,
    "test_sort_inplace_descending": NO_ORDER,
    "test_sort_inplace_na_position": NO_ORDER,
    "test_sort_values": NO_ORDER,
    "test_sort_values_frame": NO_ORDER,
    "test_sort_values_missing": NO_ORDER,
    "test_value_counts[data-False]": NO_ORDER,
    "test_value_counts[data-True]": NO_ORDER,
    "test_value_counts_with_normalize": NO_ORDER,
    "test_json_roundtrip": NO_TEXT,
    "test_getitem_propagates_readonly_property": OWN_ROWS,
    "test_setitem_preserves_views": OWN_ROWS,
    "test_transpose": OWN_ROWS,
    "test_view": OWN_ROWS,
    "test_readonly_propagates_to_numpy_array_method": (
        "pandas cannot know that the object array of a history column is a new one, "
        "and marks it read-only, which is safe."
    ),
}


@pytest.fixture(autouse=True)
def _expect_failure(request):
    name = request.node.name
    reason = NOT_APPLICABLE.get(name) or NOT_APPLICABLE.get(name.split("[")[0])
    if reason:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(scope="module")
def log():
    customers = np.concatenate([np.arange(n) for n in (N_ROWS, 5, 2)])
    events = pd.DataFrame(
        {
            "customer": customers,
            "time": pd.date_range("2024-01-01", periods=len(customers)),
            "amount": np.arange(float(len(customers))),
        }
    )
    return EventLog(events, customer="customer", time="time")


@pytest.fixture
def data(log):
    rows = pd.DataFrame({"customer": range(N_ROWS)})
    return log.attach(rows)["history"].array


@pytest.fixture
def dtype(data):
    return data.dtype


@pytest.fixture
def data_missing(data):
    return data[:1].take([-1, 0], allow_fill=True)


@pytest.fixture
def data_for_sorting(data):
    return data.take([1, 2, 0])


@pytest.fixture
def data_missing_for_sorting(data):
    return data.take([1, -1, 0], allow_fill=True)


@pytest.fixture
def data_for_grouping(data):
    return data.take([1, 1, -1, -1, 0, 0, 1, 2], allow_fill=True)


@pytest.fixture
def data_repeated(data):
    return lambda count: (data for _ in range(count))


@pytest.fixture(params=["data", "data_missing"])
def all_data(request, data, data_missing):
    return data if request.param == "data" else data_missing


@pytest.fixture
def na_value(dtype):
    return dtype.na_value


@pytest.fixture
def na_cmp():
    return operator.is_


@pytest.fixture
def invalid_scalar():
    return object()


def _one_of(*params):
    return pytest.fixture(params=params)(lambda request: request.param)


sort_by_key = _one_of(None, lambda x: x)  # of pandas 2
as_array = _one_of(True, False)
as_frame = _one_of(True, False)
as_series = _one_of(True, False)
box_in_series = _one_of(True, False)
comparison_op = _one_of(operator.eq, operator.ne)
use_numpy = _one_of(True, False)
using_nan_is_na = _one_of(True)
fillna_method = _one_of("ffill", "bfill")
groupby_apply_op = _one_of(
    lambda x: 1, lambda x: [1] * len(x), lambda x: pd.Series([1] * len(x)), lambda x: x
)


@pytest.mark.filterwarnings("ignore:Histories become text")
class TestCasting(base.BaseCastingTests):
    pass


class TestComparison(base.BaseComparisonOpsTests):
    pass


class TestConstructors(base.BaseConstructorsTests):
    pass


class TestDtype(base.BaseDtypeTests):
    pass


class TestGetitem(base.BaseGetitemTests):
    pass


class TestGroupby(base.BaseGroupbyTests):
    pass


class TestIndex(base.BaseIndexTests):
    pass


class TestInterface(base.BaseInterfaceTests):
    pass


class TestMethods(base.BaseMethodsTests):
    pass


class TestMissing(base.BaseMissingTests):
    def _honors_copy_keyword(self, data):
        return False


class TestPrinting(base.BasePrintingTests):
    pass


class TestReshaping(base.BaseReshapingTests):
    pass


class TestSetitem(base.BaseSetitemTests):
    pass
