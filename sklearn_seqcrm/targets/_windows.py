"""The window after each row's cutoff: its events, and whether it is complete."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, TypeAlias, TypedDict

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray

from sklearn_seqcrm._columns import (
    check_raw,
    one_history,
    store_horizon,
    warn_other_order,
)
from sklearn_seqcrm._ragged import first_at_or_after, is_run_start, starts_of_nonempty
from sklearn_seqcrm._sklearn_compat import StrOptions, validate_params
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import (
    TICKS_PER_SECOND,
    RawLog,
    Timeline,
    events_of_kinds,
    saturating_add,
    seconds_of_day,
    warn_all_kinds,
)
from sklearn_seqcrm._typing import Duration, ListLike

_LIST_LIKE = (list, tuple, np.ndarray, pd.Index, pd.Series, ExtensionArray)

Censored: TypeAlias = Literal["raise", "drop", "nan"]


class WindowOptions(TypedDict, total=False):
    """Keyword arguments of all targets, for the overloads that type checkers read."""

    gap: Duration
    censored: Censored
    observed_until: ListLike | None
    history: str | int | None
    kinds: str | Sequence[str] | None
    kind_field: str


class CountOptions(WindowOptions, total=False):
    """Keyword arguments of `future_count`."""

    moments: bool | Duration


TARGET_PARAMS: dict[str, Any] = {
    "field": [str],
    "censored": [StrOptions({"raise", "drop", "nan"})],
    "history": [str, Integral, None],
    "kind_field": [str],
    "moments": "no_validation",  # the clock of the log validates it
    "observed_until": "no_validation",
}
check_target_params = validate_params(TARGET_PARAMS)


@dataclass(frozen=True)
class Windows:
    """Windows ``[cutoff + gap, cutoff + gap + horizon)`` of n rows."""

    index: pd.Index  # (n,): that of the rows
    log: RawLog
    # (n_counted,), int64, or slice: positions in the log of the events that count, of
    # the chosen kinds and at the beginning of a moment; a slice for all events.
    events: np.ndarray | slice
    # (n,), int64: ``events[first:last]`` are the events in the window and not in the
    # history.
    first: np.ndarray
    last: np.ndarray
    begin: np.ndarray  # (n,): ``cutoff + gap`` on the time axis of the log
    # The horizon on that axis; None for a window without an end.
    length: int | float | None
    # (n,), bool: whether the window runs past the end of the record; for a window
    # without an end, whether its first event has not been recorded.
    censored: np.ndarray
    # (n,), int or float: the last time at which each customer, or all, were observed.
    until: Any
    # The latest cutoff with a complete window, on the axis of the log; None if the
    # window has no end, or customers were observed until different times.
    latest: int | float | None
    # ``"horizon"``, None for a window without an end, ``"gap"``, and True as
    # ``"keeps_censored"`` if censored times are kept, which `store_horizon` stores in
    # the ``attrs`` of the target.
    attrs: dict[str, Any]

    def next_events(self) -> np.ndarray:
        """Return the position in the log of each first event, -1 for none, (n,)."""
        found = np.flatnonzero(self.first < self.last)
        position = np.full(len(self.first), -1)
        at = self.first[found]
        position[found] = at if isinstance(self.events, slice) else self.events[at]
        return position


def windows_after(
    X: Any,
    horizon: Any,
    gap: Any,
    ends: tuple[np.ndarray, np.ndarray] | None,
    history: str | int | None,
    kinds: Any,
    kind_field: str,
    *,
    endless: bool = False,
    moments: Any = False,
) -> Windows:
    """Find the window of each row.

    `X` is a DataFrame, Series or HistoryArray with raw histories; `history` is the name
    of the history column. `horizon` and `gap` are the length of the window, and the
    embargo before it, and `ends` is until when each customer was observed, as
    `ends_of_rows` returned it. Only events of the `kinds`, levels of the field
    `kind_field`, count; None: all. With `endless`, ``horizon=None`` is allowed and
    means a window without an end.

    `moments` says whether only the first event of each moment counts: of the events at
    the same time (True) or in the same period, whose length it is.

    Notes
    -----
    With ``allow_exact_matches=True`` the events *at* the cutoff lie both in the history
    and in ``[cutoff, ...)``. A target must not count events of the history, so the
    window begins where the history stops::

        history           gap      horizon
        ------------------|.......|================|
        events[..stop)  cutoff  begin             end <= end of the record: complete
    """
    array = check_raw(one_history(X, history), "A target")
    log: Any = array.log
    rows, timeline = array.rows, log.timeline
    cutoff, times = rows.cutoff, timeline.times
    _refuse_unknown_end(timeline)
    clock, until, recorded = timeline.clock, timeline.observed_until, timeline.end
    if ends is not None and (ends[0] < until).any():
        until, recorded = ends
    # On an axis of integers, the gap may end between two ticks; `wait` is rounded up.
    gap_ticks, wait = clock.duration(gap, "gap"), clock.rounded_up(gap=gap)
    begin = saturating_add(cutoff, wait)
    # To the end of the customer's segment; (n,) each. Unknown customers have code -1,
    # so that their empty segment ends at offsets[0] = 0.
    first, last = rows.stop, timeline.offsets[rows.codes + 1]
    # Without a gap the window begins where the history stops; no search is needed.
    if gap_ticks > 0:
        first = first_at_or_after(times, first, last, begin)
    if gap_ticks != wait:
        begin = cutoff + gap_ticks
    length = latest = None
    attrs = {"horizon": None, "gap": _plain(gap)}
    end = np.broadcast_to(recorded, cutoff.shape)
    if horizon is not None or not endless:
        length = clock.duration(horizon, "horizon", positive=True)
        wait = clock.rounded_up(gap=gap, horizon=horizon)
        end = saturating_add(cutoff, wait)
        censored = end > recorded
        latest = None if np.ndim(recorded) else recorded - wait
        attrs = {"horizon": _plain(horizon), "gap": _plain(gap)}
        # Events after the end of the record may be of some kinds only: do not count.
        end = np.minimum(end, recorded)
    last = first_at_or_after(times, first, last, end)
    events = _events_that_count(log, kinds, kind_field, moments)
    if not isinstance(events, slice):
        n_before = _n_before(events, len(log))
        first, last = n_before[first], n_before[last]
    if length is None:
        censored = first == last
    index = X.index if hasattr(X, "index") else pd.RangeIndex(len(array))
    return Windows(
        index, log, events, first, last, begin, length, censored, until, latest, attrs
    )


def ends_of_rows(
    X: Any, observed_until: Any, history: str | int | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Read until when the customer of each row was observed, once for all horizons.

    `observed_until` (n,) is the last time at which each customer was observed, missing
    for that of the log. Returns `Timeline.own_ends`; None without `observed_until`,
    where all ends are that of the log. `X` and `history` are as in `windows_after`.
    """
    if observed_until is None:
        return None
    array = check_raw(one_history(X, history), "A target")
    timeline = array.log.timeline
    own = _one_per_row(observed_until, X, len(array))
    ends = timeline.own_ends(own)
    _warn_midnights(own, timeline)
    return ends


def _one_per_row(times: Any, X: Any, n: int) -> pd.Series:
    """Return `observed_until` as a Series of n times; refuse anything else."""
    if not isinstance(times, _LIST_LIKE) or getattr(times, "ndim", 1) != 1:
        raise TypeError(
            "observed_until must be a list, an array or a pandas Series with a time "
            f"for each row, such as X['contract_end']; got {type(times).__name__}. "
            "EventLog(..., observed_until=...) sets one for all."
        )
    warn_other_order(X, times, "observed_until")
    times = times if isinstance(times, pd.Series) else pd.Series(times)
    if len(times) != n:
        raise ValueError(
            f"observed_until has {len(times)} times, and X has {n} rows; each row "
            "needs one, or a missing value for the end of the log."
        )
    return times


def _warn_midnights(times: pd.Series, timeline: Timeline) -> None:
    """Warn if ends are dates and events have times of day: days end at midnight."""
    known = times.dropna()
    if timeline.clock.unit is None or timeline.observation.in_days or known.empty:
        return
    if not seconds_of_day(known).any():
        warn_user(
            "All times of observed_until are midnights, and the events have times of "
            "day: what happens on such a day is not observed. Add pd.Timedelta('1D') - "
            "pd.Timedelta('1s') if days were observed to their end, or subtract "
            "pd.Timedelta('1s') if they were not."
        )


def _n_before(events: np.ndarray, n: int) -> np.ndarray:
    """Return how many of some events stand before each of n positions, (n + 1,)."""
    n_before = np.zeros(n + 1, dtype="int64")
    n_before[events + 1] = 1
    return np.cumsum(n_before, out=n_before)


def _refuse_unknown_end(timeline: Timeline) -> None:
    """Raise a ValueError if the end of the record of a log is unknown."""
    if not timeline.end_is_known:
        raise ValueError(
            "The end of the record of these histories is unknown: they were joined "
            "from several logs, each of which may end at another time, or read from a "
            "file, which has no events after the cutoffs. Compute the target of each "
            "part of X as EventLog.attach or snapshots returned it, then join the "
            "parts, or write the target with X."
        )


def _events_that_count(
    log: Any, kinds: Any, kind_field: str, moments: Any
) -> np.ndarray | slice:
    """Return the positions of the events of the chosen kinds that begin a moment."""
    events: np.ndarray | slice = slice(None)
    if kinds is not None:
        events = events_of_kinds(log, kinds, kind_field)
    # 0 equals False, but is a length, which is refused.
    if not isinstance(moments, bool | np.bool_) or moments:
        events = _first_of_moments(log, events, moments)
    return events


def warn_without_kinds(
    X: Any, history: Any, kinds: Any, what: str, field: str | None = None
) -> None:
    """Warn if `kinds` is None and several kinds of a merged log count.

    `what` is the target and its verb, as the beginning of the warning. With `field`,
    only kinds that have this field matter.
    """
    if kinds is None:
        log = one_history(X, history).log
        warn_all_kinds(log, what, field)


def _plain(length: Any) -> str | int | float:
    """Return a length of time as text or a number, which any file format stores.

    ``DataFrame.to_parquet`` writes ``attrs`` as JSON, which has no Timedeltas.
    """
    if isinstance(length, str | datetime.timedelta | np.timedelta64):
        return str(pd.Timedelta(length))
    return length.item() if isinstance(length, np.generic) else length


def _first_of_moments(log: Any, events: np.ndarray | slice, moments: Any) -> np.ndarray:
    """Return those of some events, ascending, that are the first of their moment.

    A moment happens when it begins, so that it lies in one window only::

        day           |    Monday    |   Tuesday    |
        events         e0  e1 |   e2     e3    e4   |
        begin          *      |          *          |
                           cutoff                        e3 is the next moment
    """
    timeline = log.timeline
    clock, times, offsets = timeline.clock, timeline.times, timeline.offsets
    if isinstance(events, slice):
        events = np.arange(len(times))
    else:
        times, offsets = times[events], np.searchsorted(events, offsets)
    if not isinstance(moments, bool | np.bool_):
        times = times // clock.duration(moments, "moments", positive=True)
    return events[is_run_start(times, starts_of_nonempty(offsets))]


def target_of(values: Any, windows: Windows, censored: str, name: str) -> pd.Series:
    """Return targets of n rows as a Series, missing as `censored` says.

    Integers and booleans become floats for ``censored="nan"``.
    """
    target = pd.Series(values, index=windows.index, name=name)
    if censored != "nan":
        return target
    if target.dtype.kind in "ib":
        target = target.astype("float64")
    return target.mask(windows.censored)


def complete_rows(
    target: Any, windows: Sequence[Windows], censored: str, *, may_keep: bool = False
) -> Any:
    """Raise an error for incomplete windows or drop them, and store the horizon.

    `target` are targets, (n,) or (n, k), that `target_of` returned, with windows for
    each horizon. `censored` is "raise", "drop", "nan" or "keep"; a row is dropped for
    any of its windows. `may_keep` says whether an error may recommend
    ``censored="keep"``. The ``attrs`` of the result have the horizon, the gap and the
    names.
    """
    # Splits forward in time need to know when a label was known: all labels of a row
    # are at the end of its longest window. pandas keeps `attrs` through selections of
    # rows, comparisons and arithmetic.
    store_horizon(target, max(windows, key=lambda one: one.length or 0).attrs)
    if censored == "raise":
        # The error counts the rows of the horizon with the most incomplete windows.
        _refuse_incomplete(max(windows, key=lambda one: one.censored.sum()), may_keep)
    if censored == "drop":
        _refuse_repeated_index(target.index)
        target = target[~np.any([one.censored for one in windows], axis=0)]
    return target


def _refuse_repeated_index(index: pd.Index) -> None:
    """Raise a ValueError if repeated labels hide which rows were dropped."""
    if not index.is_unique:
        raise ValueError(
            "censored='drop' needs an index without repeated labels, so that "
            "X.loc[y.index] finds the rows that are left; X.reset_index(drop=True) "
            "makes one."
        )


def _refuse_incomplete(windows: Windows, may_keep: bool) -> None:
    """Raise a ValueError with the ways out if a window is incomplete."""
    cut = windows.censored
    if not cut.any():
        return
    ways = "'drop', 'nan' or 'keep'" if may_keep else "'drop' or 'nan'"
    which = f"{cut.sum()} of {len(cut)} rows"
    rows = ", ".join(str(label) for label in windows.index[cut][:5])
    what, longer = "the log", _longer_record(windows)
    if np.ndim(windows.until):
        what, longer = "the log or observed_until", ""
    if windows.length is None:
        raise ValueError(
            f"The next event of {which} is not known, because {what} ends before it, "
            f"the first in the rows {rows}. Use censored={ways}, or a horizon{longer}."
        )
    raise ValueError(
        f"The windows of {which} run past the end of {what}, the first in the rows "
        f"{rows}. Use {_earlier_cutoffs(windows)}a shorter horizon, censored={ways}"
        f"{longer}."
    )


def _longer_record(windows: Windows) -> str:
    """Return the advice for a log whose record is longer than it says."""
    log, timeline = windows.log, windows.log.timeline
    if timeline.observation.is_simulated:
        return "; or simulate for longer, by horizon= of simulate_targets"
    # A merged log ends with the kind that was recorded for the shortest time.
    limit = timeline.observation.limited_by
    if limit is not None:
        return (
            f"; or, as its record ends at {log.observed_until} with the events of kind "
            f"{limit!r}, before those of other kinds: if all were recorded for longer, "
            "pass observed_until=... to EventLog.concat or append"
        )
    if windows.length is not None:
        last = windows.begin[windows.censored].max().item()
        end = math.ceil(last + windows.length)
        if end <= timeline.end + _ticks_per_second(timeline):
            # For example observed_until="2024-03-31 11:59:59" for the morning.
            return (
                f"; or, as they lack less than a second after {log.observed_until}: if "
                "that was recorded as well, EventLog(..., "
                f"observed_until={str(timeline.clock.as_scalar(end))!r})"
            )
    return (
        "; or, if the log was recorded for longer than until its last event, "
        "EventLog(..., observed_until=...)"
    )


def _earlier_cutoffs(windows: Windows) -> str:
    """Return the advice to use earlier cutoffs, empty if all would be too early."""
    timeline, latest = windows.log.timeline, windows.latest
    if latest is None:
        return ""
    if timeline.clock.dtype == "int64":
        latest //= 1  # a cutoff is a whole tick
    if not len(timeline.times) or latest < timeline.times.min():
        return ""
    if second := _ticks_per_second(timeline):
        latest = latest // second * second  # not 00:00:00.000001
    return f"cutoffs up to {timeline.clock.as_scalar(latest)}, "


def _ticks_per_second(timeline: Timeline) -> int:
    """Return the ticks of a second, 0 if times are plain numbers."""
    return TICKS_PER_SECOND.get(timeline.clock.unit or "", 0)
