"""How far a log has recorded, and which windows that completes."""

import numpy as np
import pandas as pd

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.targets import churned

MIDNIGHTS = pd.date_range("2020-01-01", periods=1500, freq="D")


def test_one_moment_among_many_days_makes_no_log_of_days():
    """Found wherever it stands, here after a long run of midnights."""
    moments = MIDNIGHTS.insert(1200, MIDNIGHTS[1200] + pd.Timedelta("10h"))
    for times, is_complete in ((MIDNIGHTS, True), (moments, False)):
        log = EventLog(pd.DataFrame({"who": "a", "when": times}), "who", "when")
        X = log.attach(pd.DataFrame({"who": ["a"]}), cutoff=MIDNIGHTS[-1])
        y = churned(X, "24h", censored="nan")
        assert np.isfinite(y).tolist() == [is_complete]
