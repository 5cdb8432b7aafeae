"""Warning about times that are integers written like dates: 20240131 or 202401."""

from __future__ import annotations

import pandas as pd

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import DATES_OF_NUMBERS, Timeline


def warn_date_like_times(timeline: Timeline, what: str) -> None:
    """Warn if all times are integers that are written like dates: 20240131 or 202401.

    From the end of January to the first of February they are 70 apart, and not 1, and
    from December to January 89, so that no duration is right. The warning names them
    `what`.
    """
    form = _date_format(timeline)
    if form is None:
        return
    low, high = timeline.span
    unit, way = ("days", "") if form == "%Y%m%d" else ("months", f", format={form!r}")
    warn_user(
        f"The {what} are plain numbers that look like dates, {int(low)} to {int(high)}."
        f" Differences between them are not numbers of {unit}. Convert them first, "
        f"with {DATES_OF_NUMBERS.removesuffix(')')}{way})."
    )


def are_date_like(timeline: Timeline) -> bool:
    """Return whether all times are integers that are written like dates or months."""
    return _date_format(timeline) is not None


def _date_format(timeline: Timeline) -> str | None:
    """Return the format of times that are integers like 20240131 or 202401, or None."""
    low, high = timeline.span
    # The span decides about most logs, without a pass over their times.
    spans = {"%Y%m%d": (1970_01_01, 2100_12_31), "%Y%m": (1970_01, 2100_12)}
    forms = [x for x, (first, last) in spans.items() if first <= low <= high <= last]
    if timeline.clock.unit is not None or not forms:
        return None
    times = pd.unique(timeline.times)
    if (times % 1).any():
        return None
    dates = pd.Series(times.astype("int64")).astype(str)
    are_dates = pd.to_datetime(dates, format=forms[0], errors="coerce").notna().all()
    return forms[0] if are_dates else None
