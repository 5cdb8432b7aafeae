import numpy as np
import pytest

from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._recurrent.training._set_aside import set_customers_aside


@pytest.mark.parametrize(
    ("n_customers", "rows_of_each", "n_aside"),
    [
        (49, 1, 0),
        (50, 1, 10),
        (300, 2, 60),
        (700, 1, 100),
        (2000, 1, 200),
        (10, 100, 2),  # few customers, and 1,000 rows
        (1, 1000, 0),
    ],
)
def test_number_of_customers_set_aside(n_customers, rows_of_each, n_aside):
    customers = np.repeat(np.arange(n_customers), rows_of_each)
    data = RowData((), customers[:, None].astype("float32"))
    train, valid = set_customers_aside(data, customers, "auto", "auto", 0)
    assert len(train) == len(data) - n_aside * rows_of_each
    assert (valid is None) == (n_aside == 0)
    if valid is not None:
        assert len(np.unique(valid.static)) == n_aside
        assert not np.intersect1d(valid.static, train.static).size
