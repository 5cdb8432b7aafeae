"""A few visits of three customers, one of them in each partition."""

import pandas as pd
import pytest

from sklearn_seqcrm.partitions import PartitionedLog

VISITS = pd.DataFrame(
    {"who": list("aabbcc"), "day": [1, 9, 3, 8, 2, 4], "spend": [1.0, 2, 3, 4, 5, 6]}
)
PARTS = [VISITS[:2], VISITS[2:4], VISITS[4:]]


def log_of_parts(parts=PARTS, **options):
    return PartitionedLog(parts, "who", "day", **options)


def rows_before_all_events():
    """Return snapshots without rows."""
    with pytest.warns(UserWarning, match="No cutoff lies after the first event"):
        return log_of_parts().snapshots([0])
