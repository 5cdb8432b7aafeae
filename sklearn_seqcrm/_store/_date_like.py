"""Warning about times that are integers written like dates, such as 20240131."""

from __future__ import annotations

import pandas as pd

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store._time_values import DATES_OF_NUMBERS
from sklearn_seqcrm._store._timeline import Timeline


def warn_date_like_times(timeline: Timeline, what: str) -> None:
    """Warn if all times are integers that are written like dates, such as 20240131.

    From the end of January to the first of February they are 70 apart, and not 1, so
    that no duration is right.

    Parameters
    ----------
    timeline : Timeline
        Times of a log with events.
    what : str
        How the warning names the times.
    """
    if not are_date_like(timeline):
        return
    low, high = timeline.span
    warn_user(
        f"The {what} are plain numbers that look like dates, {int(low)} to {int(high)}."
        " Differences between them are not numbers of days. Convert them first, with "
        f"{DATES_OF_NUMBERS}."
    )


def are_date_like(timeline: Timeline) -> bool:
    """Return whether all times are integers that are written like dates.

    Parameters
    ----------
    timeline : Timeline
        Times of a log with events.
    """
    low, high = timeline.span
    # The span decides about most logs, without a pass over their times.
    if timeline.clock.unit is not None or not 1970_01_01 <= low <= high <= 2100_12_31:
        return False
    times = pd.unique(timeline.times)
    if (times % 1).any():
        return False
    dates = pd.Series(times.astype("int64")).astype(str)
    return bool(pd.to_datetime(dates, format="%Y%m%d", errors="coerce").notna().all())
