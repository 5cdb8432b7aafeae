"""Rules of marketing that give credit to channels, each with its formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_consistent_length

from sklearn_seqcrm._columns import check_raw, one_history, warn_other_order
from sklearn_seqcrm._ragged import is_run_start
from sklearn_seqcrm._store import column_of_kinds, is_of_kinds
from sklearn_seqcrm._typing import Duration
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._perturbations import RowEvents


class Touches(NamedTuple):
    """Touches of n rows: events that have a channel."""

    # Levels of the field that occur in the rows, in ascending order.
    channels: list[Any]
    # (n_events,), bool: whether each event of the rows has a channel.
    is_touch: np.ndarray
    row: np.ndarray  # (n_touches,): row of each touch, ascending
    times: np.ndarray  # (n_touches,): ascending within a row
    # (n_touches,), int64: position of the channel of each touch in `channels`.
    channel: np.ndarray

    @classmethod
    def of(
        cls, array: HistoryArray, field: str, kinds: Any, kind_field: str
    ) -> Touches:
        """Find the touches of rows, of some kinds (None for all).

        Raises a KeyError if the log has no such field, or no field of kinds, and a
        ValueError if the field is not categorical, or there are no events of one of
        `kinds`.
        """
        column = array.log.column(field)
        if column.categories is None:
            raise ValueError(
                f"field={field!r} is {column.type}, and channels are levels of a "
                f"categorical field; build the log with categorical=[{field!r}, ...]."
            )
        events = RowEvents.of(array)
        codes = column.values[events.event]
        is_touch = codes >= 0  # code -1: events without a channel
        if kinds is not None:
            of_event = column_of_kinds(array.log, kinds, kind_field)
            is_touch &= is_of_kinds(of_event.take(events.event), kinds)
        used, channel = np.unique(codes[is_touch], return_inverse=True)
        channels = column.categories[used].tolist()
        return cls(
            channels, is_touch, events.row[is_touch], events.times[is_touch], channel
        )


def first_touch_credit(
    X: pd.DataFrame | pd.Series | HistoryArray,
    field: str,
    *,
    history: str | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.DataFrame:
    """Give all credit of a row to the channel of its first touch.

    Parameters
    ----------
    X : DataFrame, Series or HistoryArray of n rows
        Rows with raw histories, usually those that converted.
    field : str
        Categorical field of the log that holds the channel. Events without a channel
        are not touches.
    history : str or None, default=None
        Name of the history column; None: the only one.
    kinds : str, list of str or None, default=None
        Kinds of events that can be touches, as `EventLog.concat` named them: without
        the orders, for example. None: all.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.

    Returns
    -------
    DataFrame of shape (n, n_channels)
        Credit of each channel; 1 in each row, 0 in one without touches.

    Raises
    ------
    KeyError
        If the log has no `field`, or no `kind_field` while `kinds` are given, or `X` no
        column `history`.
    TypeError
        If `X` is of another type, `history` is a column without histories, or the
        histories are encoded.
    ValueError
        If `field` or `kind_field` is not categorical, there are no events of one of
        `kinds`, histories are missing, or `history` is None and `X` has no history
        column or several.

    See Also
    --------
    channel_attribution : Credit for the prediction of a model.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.inspection import first_touch_credit
    >>> touches = pd.DataFrame({"who": 0, "day": [1, 2, 5], "channel": ["a", "b", "b"]})
    >>> X = EventLog(touches, "who", "day").attach(pd.DataFrame({"who": [0]}))
    >>> first_touch_credit(X, "channel")
         a    b
    0  1.0  0.0
    """
    return _divide_credit(
        X, field, history, kinds, kind_field, lambda place, n, _: (place == 0) * 1.0
    )


def last_touch_credit(
    X: pd.DataFrame | pd.Series | HistoryArray,
    field: str,
    *,
    history: str | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.DataFrame:
    """Give all credit of a row to the channel of its last touch.

    Parameters
    ----------
    X, field, history, kinds, kind_field : object
        As in `first_touch_credit`.

    Returns
    -------
    DataFrame of shape (n, n_channels)
        Credit of each channel; 1 in each row, 0 in one without touches.

    Raises
    ------
    KeyError, TypeError, ValueError
        As in `first_touch_credit`.

    See Also
    --------
    channel_attribution : Credit for the prediction of a model.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.inspection import last_touch_credit
    >>> touches = pd.DataFrame({"who": 0, "day": [1, 2, 5], "channel": ["a", "b", "b"]})
    >>> X = EventLog(touches, "who", "day").attach(pd.DataFrame({"who": [0]}))
    >>> last_touch_credit(X, "channel")
         a    b
    0  0.0  1.0
    """
    return _divide_credit(
        X, field, history, kinds, kind_field, lambda place, n, _: (place == n - 1) * 1.0
    )


def linear_credit(
    X: pd.DataFrame | pd.Series | HistoryArray,
    field: str,
    *,
    history: str | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.DataFrame:
    """Give each of the n touches of a row the same credit, 1 / n.

    Parameters
    ----------
    X, field, history, kinds, kind_field : object
        As in `first_touch_credit`.

    Returns
    -------
    DataFrame of shape (n, n_channels)
        Credit of each channel; 1 in each row, 0 in one without touches.

    Raises
    ------
    KeyError, TypeError, ValueError
        As in `first_touch_credit`.

    See Also
    --------
    channel_attribution : Credit for the prediction of a model.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.inspection import linear_credit
    >>> touches = pd.DataFrame({"who": 0, "day": [1, 2, 5], "channel": ["a", "b", "b"]})
    >>> X = EventLog(touches, "who", "day").attach(pd.DataFrame({"who": [0]}))
    >>> linear_credit(X, "channel").round(3)
           a      b
    0  0.333  0.667
    """
    return _divide_credit(
        X, field, history, kinds, kind_field, lambda place, n, _: np.ones(len(place))
    )


def time_decay_credit(
    X: pd.DataFrame | pd.Series | HistoryArray,
    field: str,
    half_life: Duration,
    *,
    history: str | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.DataFrame:
    """Give a touch half the credit of one that came a half-life later.

    The credit of a touch is ``0.5 ** (age / half_life)`` over the sum of that of all
    touches of the row.

    Parameters
    ----------
    X, field : object
        As in `first_touch_credit`.
    half_life : Timedelta, str or number
        The half-life.
    history : str or None, default=None
        Name of the history column; None: the only one.
    kinds, kind_field : object
        As in `first_touch_credit`.

    Returns
    -------
    DataFrame of shape (n, n_channels)
        Credit of each channel; 1 in each row, 0 in one without touches.

    Raises
    ------
    KeyError
        As in `first_touch_credit`.
    TypeError
        As in `first_touch_credit`, or if `half_life` does not fit the times of the log.
    ValueError
        As in `first_touch_credit`, or if `half_life` is not longer than 0.

    See Also
    --------
    channel_attribution : Credit for the prediction of a model.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.inspection import time_decay_credit
    >>> touches = pd.DataFrame({"who": 0, "day": [1, 4], "channel": ["a", "b"]})
    >>> X = EventLog(touches, "who", "day").attach(pd.DataFrame({"who": [0]}))
    >>> time_decay_credit(X, "channel", half_life=3).round(3)
           a      b
    0  0.333  0.667
    """
    clock = _raw_history(X, history).log.timeline.clock
    ticks = clock.duration(half_life, "half_life", positive=True)
    # Ages are counted from the last touch: counted from the cutoff, all weights of an
    # old history would underflow to 0. The ratio is the same.
    return _divide_credit(
        X, field, history, kinds, kind_field, lambda place, n, age: 0.5 ** (age / ticks)
    )


def position_based_credit(
    X: pd.DataFrame | pd.Series | HistoryArray,
    field: str,
    *,
    first: float = 0.4,
    last: float = 0.4,
    history: str | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.DataFrame:
    """Give fixed shares to the first and the last touch, and the rest to those between.

    With two touches, their shares are scaled to a sum of 1; a single touch gets all.

    Parameters
    ----------
    X, field : object
        As in `first_touch_credit`.
    first, last : float, default=0.4
        Shares of the first and the last touch, not negative, whose sum is more than 0
        and at most 1.
    history : str or None, default=None
        Name of the history column; None: the only one.
    kinds, kind_field : object
        As in `first_touch_credit`.

    Returns
    -------
    DataFrame of shape (n, n_channels)
        Credit of each channel; 1 in each row, 0 in one without touches.

    Raises
    ------
    KeyError, TypeError
        As in `first_touch_credit`.
    ValueError
        As in `first_touch_credit`, or if a share is out of range.

    See Also
    --------
    channel_attribution : Credit for the prediction of a model.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.inspection import position_based_credit
    >>> touches = pd.DataFrame({"who": 0, "day": [1, 2, 5], "channel": ["a", "b", "b"]})
    >>> X = EventLog(touches, "who", "day").attach(pd.DataFrame({"who": [0]}))
    >>> position_based_credit(X, "channel").round(3)
         a    b
    0  0.4  0.6
    """
    if min(first, last) < 0 or not 0 < first + last <= 1:
        raise ValueError(
            "first and last must not be negative, and sum to more than 0 and to 1 at "
            f"most; got {first!r} and {last!r}."
        )

    # One touch is first and last at once. Of two, the weights are `first` and `last`,
    # which _divide_credit scales to a sum of 1.
    def weigh(place: np.ndarray, n: np.ndarray, age: np.ndarray) -> np.ndarray:
        middle = (1 - first - last) / np.maximum(n - 2, 1)
        weight = np.where(place == 0, first, middle)
        weight = np.where(place == n - 1, last, weight)
        return np.where(n == 1, 1.0, weight)

    return _divide_credit(X, field, history, kinds, kind_field, weigh)


def markov_credit(
    X: pd.DataFrame | pd.Series | HistoryArray,
    field: str,
    converted: ArrayLike,
    *,
    history: str | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
) -> pd.Series:
    """Compute shares of channels from removal effects in a Markov chain of touches.

    The states of the chain are a start, the channels, conversion and no conversion. A
    journey moves from touch to touch with the observed transition probabilities, which
    depend only on the channel of the last touch. The removal effect of a channel is
    the loss of conversion probability if every journey that reaches the channel ends
    there without conversion. Shares are removal effects over their sum.

    Parameters
    ----------
    X, field : object
        As in `first_touch_credit`, with rows that converted and rows that did not.
    converted : array-like of shape (n,)
        Whether each row converted: booleans, or 0 and 1.
    history : str or None, default=None
        Name of the history column; None: the only one.
    kinds, kind_field : object
        As in `first_touch_credit`.

    Returns
    -------
    Series of shape (n_channels,)
        Shares, which sum to 1, or are 0 if no row with a touch converted.

    Raises
    ------
    KeyError, TypeError
        As in `first_touch_credit`.
    ValueError
        As in `first_touch_credit`, or if `converted` has another length or other
        values.

    Warns
    -----
    UserWarning
        If `converted` has the index of `X` in another order: rows are matched by
        position.

    See Also
    --------
    channel_attribution : Credit for the prediction of a model.

    Notes
    -----
    With the transition probabilities ``Q`` between channels, ``b`` from the start to
    channels, and ``c`` from channels to conversion, the probability of conversion is
    ``b' (I - Q)^-1 c``, since ``(I - Q)^-1 = I + Q + Q^2 + ...`` sums over journeys of
    all lengths.

    References
    ----------
    E. Anderl, I. Becker, F. von Wangenheim and J. H. Schumann, "Mapping the customer
    journey", International Journal of Research in Marketing 33(3), 2016.
    https://doi.org/10.1016/j.ijresmar.2016.03.001

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.inspection import markov_credit
    >>> touches = pd.DataFrame(
    ...     {"who": [0, 0, 1], "day": [1, 2, 1], "channel": ["a", "b", "a"]}
    ... )
    >>> X = EventLog(touches, "who", "day").attach(pd.DataFrame({"who": [0, 1]}))
    >>> markov_credit(X, "channel", [1, 0])
    a    0.5
    b    0.5
    dtype: float64
    """
    array = _raw_history(X, history)
    warn_other_order(X, converted, "converted")
    is_converted = _booleans(converted)
    check_consistent_length(array, is_converted)
    touches = Touches.of(array, field, kinds, kind_field)
    row, channel, n = touches.row, touches.channel, len(touches.channels)
    # Rows of `steps`: channels, then the start; columns: channels, then the two ends.
    start, end, lost = n, n, n + 1
    # Rows are sorted: a row begins where its number differs from that before.
    first = is_run_start(row)
    last = np.append(first[1:], True)[: len(row)]
    steps = np.zeros((n + 1, n + 2))
    np.add.at(steps, (start, channel[first]), 1)
    np.add.at(steps, (channel[~last], channel[~first]), 1)
    np.add.at(steps, (channel[last], np.where(is_converted[row[last]], end, lost)), 1)
    steps /= np.maximum(steps.sum(axis=1, keepdims=True), 1)
    full = _conversion_probability(steps, np.arange(n))
    without = [
        _conversion_probability(steps, np.delete(np.arange(n), i)) for i in range(n)
    ]
    effects = full - np.array(without)
    # Without conversions all effects are 0, and so are the shares.
    return pd.Series(effects / (effects.sum() or 1.0), index=touches.channels)


def _booleans(converted: Any) -> np.ndarray:
    """Return whether each row converted, shape (n,); "no" is not taken for True."""
    if np.ndim(converted) == 0:
        raise TypeError(
            "converted must have a boolean, or 0 or 1, for each row of X; got "
            f"{converted!r}."
        )
    found = pd.Series(column_or_1d(converted), dtype=object)
    other = found[~found.isin([True, False])]
    if len(other):
        raise ValueError(
            f"converted must be booleans, or 0 and 1; {len(other)} of {len(found)} are "
            f"other values, such as {other.iloc[0]!r}. Compare them: y > 0, or y == "
            "'yes'."
        )
    return found.to_numpy(dtype=bool)


def _conversion_probability(steps: np.ndarray, channels: np.ndarray) -> float:
    """Return ``b' (I - Q)^-1 c`` over some channels; journeys to others are lost."""
    n = len(steps) - 1
    between = steps[np.ix_(channels, channels)]
    arrive = np.linalg.solve(np.eye(len(channels)) - between, steps[channels, n])
    return float(steps[n, channels] @ arrive)


def _raw_history(X: Any, history: Any) -> HistoryArray:
    return check_raw(one_history(X, history), "Credit of channels")


def _divide_credit(
    X: Any, field: str, history: Any, kinds: Any, kind_field: str, weigh: Any
) -> pd.DataFrame:
    """Divide the credit of each row among its touches in proportion to weights.

    ``weigh(place, n, age)`` returns the weights of touches, (n_touches,), as its
    arguments: position among the n touches of the row, n, and age at the last of them.
    """
    array = _raw_history(X, history)
    touches = Touches.of(array, field, kinds, kind_field)
    row, times = touches.row, touches.times
    counts = np.bincount(row, minlength=len(array))
    stop = np.cumsum(counts)  # touches of row i: stop[i] - counts[i] : stop[i]
    place = np.arange(len(row)) - (stop - counts)[row]
    age = times[stop[row] - 1] - times
    with np.errstate(under="ignore"):  # touches many half-lives before the last
        weight = weigh(place, counts[row], age)
        # Weights of each row sum to 1.
        weight = weight / np.bincount(row, weight, minlength=len(array))[row]
    credit = np.zeros((len(array), len(touches.channels)))
    np.add.at(credit, (row, touches.channel), weight)
    index = X.index if isinstance(X, pd.DataFrame | pd.Series) else None
    return pd.DataFrame(credit, index=index, columns=touches.channels)
