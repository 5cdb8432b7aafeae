"""Credit of channels for what a model predicts: Shapley values over channels."""

from __future__ import annotations

from itertools import product
from math import comb
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.utils import Bunch, check_random_state

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._sklearn_compat import Interval, StrOptions, validate_params
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._other_events import OwnEvents
from sklearn_seqcrm.inspection._question import Question
from sklearn_seqcrm.inspection._read import read_asked, with_column
from sklearn_seqcrm.inspection._touches import Touches

# Events of the rows that are asked about at once.
_EVENTS_AT_ONCE = 2**18


@validate_params(
    {
        "field": [str],
        "unit": [StrOptions({"log_odds", "probability"})],
        "max_exact": [Interval(Integral, 1, 12, closed="both")],
        "n_orders": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    # Not of the estimator, which is not ours.
    prefer_skip_nested_validation=False,
)
def channel_attribution(
    estimator: Any,
    X: Any,
    field: str,
    *,
    history: Any = None,
    target: Any = None,
    unit: str = "probability",
    max_exact: int = 6,
    n_orders: int = 50,
    n_jobs: int | None = None,
    random_state: Any = 0,
) -> Bunch:
    """Credit of each channel for what a model predicts of each row.

    Channels are the players of a game: with some of them, a row is worth what the model
    predicts of it without all touches of the others. The credit of a channel is its
    Shapley value, what it adds on average over all orders in which channels may come.

    This is credit, not cause: it is for what the *model* sees. It is for what happens
    only if touches were random, or whatever chose them is in `X`. Where customers who
    were about to buy anyway are touched more, touches get credit that they do not
    deserve, here as with any rule.

    Parameters
    ----------
    estimator : fitted estimator
        A classifier or regressor that takes raw `X`.
    X : DataFrame of shape (n, n_columns)
        Rows with raw histories. All rows, and not those alone that converted: what
        channels add is in the difference.
    field : str
        Categorical field of the log that holds the channel. Events without a channel
        always stay.
    history : str or None, default=None
        Name of the history column; None: the only one.
    target : object, default=None
        As in `event_attributions`.
    unit : {"log_odds", "probability"}, default="probability"
        What a classifier's credit is in.
    max_exact : int, default=6
        Rows with as many channels, or fewer, get exact values, which take a prediction
        for each set of their channels, 64 of them for 6. At most 12.
    n_orders : int, default=50
        For rows with more: how many orders of their channels to draw, each of which is
        read forwards and backwards.
    n_jobs : int or None, default=None
        Tables to ask about at a time, as in joblib.
    random_state : int, RandomState or None, default=0
        Draws the orders.

    Returns
    -------
    Bunch
        ``credit``, a DataFrame of shape (n, n_channels) that has the index of `X`: what
        each channel adds to the prediction of each row; ``output`` and ``baseline`` of
        shape (n,), what is predicted with all channels and without any, whose
        difference the credit of a row sums to; ``total``, a Series with the sum of the
        credit of each channel; and ``share``, the totals that are positive over their
        sum.

    Raises
    ------
    KeyError
        If there is no such field or column.
    TypeError
        If histories are encoded.
    ValueError
        If the field is not categorical, or a parameter is out of range.

    See Also
    --------
    last_touch_credit : The rules that marketers know; also first touch, linear, time
        decay and position based.
    markov_credit : Removal from a Markov chain.
    sklearn_seqcrm.datasets.make_campaign_journeys : Channels whose effect is known.

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_seqcrm.datasets import make_campaign_journeys
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.feature_extraction import HistoryAggregator
    >>> from sklearn_seqcrm.inspection import channel_attribution
    >>> data = make_campaign_journeys(300, random_state=0)
    >>> log = EventLog(data.events, "customer_id", "timestamp")
    >>> X = log.attach(data.rows, cutoff="cutoff")
    >>> model = make_pipeline(HistoryAggregator(), HistGradientBoostingClassifier())
    >>> found = channel_attribution(model.fit(X, data.target), X, "channel")
    >>> found.credit.shape, f"{found.share.sum():.3f}"
    ((300, 5), '1.000')
    """
    asked = read_asked(estimator, X, history, "channel_attribution")
    question = Question.of(estimator, asked.frame, target, unit)
    touches = Touches.of(asked.array, field)
    rng = check_random_state(random_state)
    n_rows = len(asked.frame)
    credit = np.zeros((n_rows, len(touches.channels)))
    output, baseline = np.zeros((2, n_rows))
    n_channels = touches.present.sum(axis=1)
    game = _Game(estimator, asked.frame, asked.name, asked.array, touches, question)
    for size in np.unique(n_channels):
        rows = np.flatnonzero(n_channels == size)
        sets = _sets_of(int(size), max_exact, n_orders, rng)
        values = game.values(rows, sets.members, n_jobs)
        output[rows], baseline[rows] = values[:, -1], values[:, 0]
        own = np.nonzero(touches.present[rows])[1].reshape(len(rows), size)
        credit[rows[:, None], own] = values @ sets.weights
    found = pd.DataFrame(credit, index=asked.frame.index, columns=touches.channels)
    total = found.sum()
    positive = total.clip(lower=0)
    return Bunch(
        credit=found,
        output=output,
        baseline=baseline,
        total=total,
        share=positive / (positive.sum() or 1.0),
    )


class _Sets(NamedTuple):
    """Sets of the k channels of a row, and what follows from their values.

    Parameters
    ----------
    members : ndarray of shape (n_sets, k), bool
        Which channels are in each set; in the first none, in the last all.
    weights : ndarray of shape (n_sets, k)
        Credits of the channels are the values of the sets times these.
    """

    members: np.ndarray
    weights: np.ndarray


def _sets_of(
    size: int, max_exact: int, n_orders: int, rng: np.random.RandomState
) -> _Sets:
    """All sets of so many channels, or those that some orders go through."""
    if size <= max_exact:
        members = np.array(list(product([False, True], repeat=size)), dtype=bool)
        members = members.reshape(2**size, size)
        n_in = members.sum(axis=1)
        # A set with a channel counts as often as orders have the others before it.
        gained = np.array(
            [1 / (size * comb(size - 1, n - 1)) if n else 0 for n in n_in]
        )
        missed = np.array(
            [1 / (size * comb(size - 1, n)) if n < size else 0 for n in n_in]
        )
        return _Sets(members, np.where(members, gained[:, None], -missed[:, None]))
    place: dict[bytes, int] = {}
    found: list[np.ndarray] = []
    gains: list[tuple[int, int, int]] = []

    def position(members: np.ndarray) -> int:
        key = members.tobytes()
        if key not in place:
            place[key] = len(found)
            found.append(members.copy())
        return place[key]

    position(np.zeros(size, dtype=bool))
    orders = [rng.permutation(size) for _ in range(n_orders)]
    for order in [*orders, *(order[::-1] for order in orders)]:
        members = np.zeros(size, dtype=bool)
        before = position(members)
        for channel in order[:-1]:
            members[channel] = True
            after = position(members)
            gains.append((channel, before, after))
            before = after
        gains.append((order[-1], before, -1))
    found.append(np.ones(size, dtype=bool))
    weights = np.zeros((len(found), size))
    for channel, before, after in gains:
        weights[before, channel] -= 1 / (2 * n_orders)
        weights[after, channel] += 1 / (2 * n_orders)
    return _Sets(np.array(found), weights)


class _Game(NamedTuple):
    """What rows are worth with some of their channels.

    Parameters
    ----------
    estimator : fitted estimator
        Who says so.
    frame : DataFrame of n rows
        The rows.
    name : str
        Name of their history column.
    array : HistoryArray of shape (n,)
        Its histories.
    touches : Touches
        The channels of their events.
    question : Question
        What is asked.
    """

    estimator: Any
    frame: pd.DataFrame
    name: Any
    array: HistoryArray
    touches: Touches
    question: Question

    def values(
        self, rows: np.ndarray, members: np.ndarray, n_jobs: int | None
    ) -> np.ndarray:
        """Values of each of some sets of the channels of some rows.

        Parameters
        ----------
        rows : ndarray of shape (m,), int64
            Rows with the same number of channels.
        members : ndarray of shape (n_sets, k), bool
            The sets.
        n_jobs : int or None
            Calls at a time.

        Returns
        -------
        ndarray of shape (m, n_sets)
            Values.
        """
        row = np.repeat(rows, len(members))
        chosen = np.tile(np.arange(len(members)), len(rows))
        loads = np.cumsum(self.array.lengths[row] + 1)
        cuts = np.flatnonzero(np.diff(loads // _EVENTS_AT_ONCE)) + 1
        parts = zip(np.split(row, cuts), np.split(chosen, cuts), strict=True)
        found = Parallel(n_jobs=n_jobs)(
            delayed(self._ask)(some, members[which]) for some, which in parts
        )
        return np.concatenate(found).reshape(len(rows), len(members))

    def _ask(self, row: np.ndarray, members: np.ndarray) -> np.ndarray:
        """What copies of rows are worth with some channels, shape (m,)."""
        events = self.touches.events
        stop = np.cumsum(self.array.lengths)[row]
        index, offsets = ranges(stop - self.array.lengths[row], stop)
        copy = np.repeat(np.arange(len(row)), np.diff(offsets))
        place = self.touches.place[index]
        kept = place < 0
        kept[~kept] = members[copy[~kept], place[~kept]]
        own = OwnEvents(copy, events.event[index], events.times[index]).take(kept)
        X = with_column(self.frame.iloc[row], self.name, own.seen_from(self.array[row]))
        return self.question.ask(self.estimator, X, row)
