"""Horizons of targets, stored in their ``attrs``: when a label is known.

Without one, rows cannot be split forward in time: `NoForwardSplitError`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import Clock, parse_timedelta

# The key of all that this library stores in the ``attrs`` of a target. Other tools use
# keys such as "horizon" for something else.
_KEY = "sklearn_seqcrm"


class NoForwardSplitError(Exception):
    """Rows cannot be split forward in time; the message is the reason."""


def store_horizon(y: Any, lengths: Mapping[str, Any]) -> None:
    """Store lengths of time in the ``attrs`` of a target, with its names.

    The format, which file formats can write as JSON::

        {
            "sklearn_seqcrm": {
                "horizon": "90 days 00:00:00",
                "gap": 0,
                "names": ["churned"],
            }
        }

    `lengths` are the horizon, None for windows without an end, the gap, and what else
    `Windows.attrs` has; empty to delete what `y` holds.
    """
    y.attrs.pop(_KEY, None)
    if lengths:
        y.attrs[_KEY] = {**lengths, "names": _names(y)}


def endless_gap(y: Any) -> Any:
    """Return the gap of a target whose windows have no end, None for other targets."""
    stored = stored_lengths(y)
    # A single column lacks the events or the times.
    if not isinstance(y, pd.DataFrame) or stored.get("horizon", 0) is not None:
        return None
    gap = stored.get("gap")
    are_known = set(_names(y)) <= set(stored.get("names", []))
    return gap if are_known and _is_length(gap) else None


def known_horizon(y: Any, horizon: Any = None) -> dict[str, Any]:
    """Return the lengths of time from a cutoff until its label is known.

    They are to be added up, and have the names that errors use. `horizon` is the
    parameter of an estimator, which replaces what the ``attrs`` of `y` hold. Raises a
    NoForwardSplitError if neither has a horizon, or `y` is not the target that its
    ``attrs`` describe.
    """
    if horizon is not None:
        return {"horizon": horizon}
    stored = stored_lengths(y)
    # pandas passes `attrs` on to results of two Series, and to columns added to a
    # frame. Their horizons may differ, and so do their names in most cases.
    known = stored.get("names", [])
    others = [name for name in _names(y) if name not in known] if stored else []
    if others:
        raise NoForwardSplitError(
            f"the horizon of the target is unknown: the attrs of y describe {known}, "
            f"and y has {others}; keep the names, or set horizon, to the longest one "
            "if y was computed from several targets"
        )
    if stored.get("horizon") is None:
        why = (
            "y was computed without one, so that its windows have no end; compute it "
            "with one, or set horizon to the time after which most labels are known"
            if "horizon" in stored
            else "y is no target of sklearn_seqcrm.targets with a horizon, whose attrs "
            "have it; functions such as np.where drop them: set horizon"
        )
        raise NoForwardSplitError(f"the horizon of the target is unknown: {why}")
    lengths = {name: stored[name] for name in ("horizon", "gap") if name in stored}
    for name, length in lengths.items():
        if not _is_length(length):
            raise NoForwardSplitError(
                f"the attrs of y have {name}={length!r}, which is no length of time"
            )
    return lengths


def warn_short_horizon(
    clock: Clock, lengths: Mapping[str, Any], y: Any, when: str
) -> None:
    """Warn if lengths that a user gave are shorter than those that `y` holds.

    `lengths` are the horizon, and possibly the gap, on the `clock` of the cutoffs.
    There is no warning if `y` holds no lengths, or some that do not fit the clock.
    `when` is the time at which labels may be unknown, for the warning.
    """
    try:
        of_y = known_horizon(y)
        is_short = clock.rounded_up(**lengths) < clock.rounded_up(**of_y)
    except (NoForwardSplitError, TypeError, ValueError):
        return
    if is_short:
        given = " and ".join(f"{name}={length!r}" for name, length in lengths.items())
        warn_user(
            f"{given} is shorter than horizon and gap of y, {of_y}: labels of "
            f"training rows may have been unknown {when}. horizon=None uses those of "
            "y."
        )


def stored_lengths(y: Any) -> Mapping[str, Any]:
    """Return what `store_horizon` stored in a target; empty for other objects."""
    stored = y.attrs.get(_KEY) if isinstance(y, pd.Series | pd.DataFrame) else None
    return stored if isinstance(stored, Mapping) else {}


def _names(y: Any) -> list[str]:
    """Return the name of a Series or the columns of a DataFrame, as text."""
    return [str(name) for name in ([y.name] if y.ndim == 1 else y.columns)]


def _is_length(length: Any) -> bool:
    """Return whether text or a number is a length of time, of any clock."""
    if isinstance(length, str):
        try:
            parse_timedelta(length, "length")
        except ValueError:
            return False
        return True
    is_number = isinstance(length, int | float) and not isinstance(length, bool)
    return is_number and math.isfinite(length)
