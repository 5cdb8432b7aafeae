"""Credit of channels for what a model predicts: Shapley values over channels."""

from __future__ import annotations

from itertools import product
from math import comb
from numbers import Integral
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.utils import Bunch, check_random_state

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._sklearn_compat import Interval, StrOptions, validate_params
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._other_events import OwnEvents
from sklearn_seqcrm.inspection._question import Question, read_asked, with_column
from sklearn_seqcrm.inspection._touch_rules import Touches

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
    unit: Literal["log_odds", "probability"] = "probability",
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

    Notes
    -----
    There are no intervals. Resampling the rows of ``credit`` makes narrow ones around
    what the model made up: where conversions were shuffled, 38 of 40 such intervals of
    95% left out 0. What chance gives is seen by fitting the model to shuffled
    conversions, several times.

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
    touches = Touches.of(asked.array, field)
    question = Question.of(estimator, asked.frame, target, unit)
    rng = check_random_state(random_state)
    n_rows = len(asked.frame)
    credit = np.zeros((n_rows, len(touches.channels)))
    output, baseline = np.zeros((2, n_rows))
    n_channels = touches.present.sum(axis=1)
    game = _Game(estimator, asked.frame, asked.name, asked.array, touches, question)
    for size in np.unique(n_channels).tolist():
        rows = np.flatnonzero(n_channels == size)
        exact = size <= max_exact
        sets = _all_sets(size) if exact else _drawn_sets(size, n_orders, rng)
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


def _all_sets(size: int) -> _Sets:
    """All sets of so many channels, for exact values."""
    every = list(product([False, True], repeat=size))
    members = np.array(every, dtype=bool).reshape(2**size, size)
    n_in = members.sum(axis=1)
    # How often orders have just these channels before one, or with it.
    before = [1 / (size * comb(size - 1, n)) for n in range(size)]
    gained = np.array([0.0, *before])[n_in]
    missed = np.array([*before, 0.0])[n_in]
    return _Sets(members, np.where(members, gained[:, None], -missed[:, None]))


def _drawn_sets(size: int, n_orders: int, rng: np.random.RandomState) -> _Sets:
    """The sets that some orders of so many channels go through, both ways."""
    orders = np.array([rng.permutation(size) for _ in range(n_orders)])
    orders = np.concatenate([orders, orders[:, ::-1]])
    # Place k of an order: the set of its first k channels.
    ranks = np.argsort(orders, axis=1)
    paths = ranks[:, None, :] < np.arange(size + 1)[:, None]  # (orders, size + 1, size)
    by_size = np.lexsort((*paths.reshape(-1, size).T, paths.sum(axis=2).ravel()))
    ordered = paths.reshape(-1, size)[by_size]
    is_new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    number = np.empty(len(by_size), dtype="int64")
    number[by_size] = np.cumsum(is_new) - 1
    place = number.reshape(len(orders), size + 1)
    weights = np.zeros((is_new.sum(), size))
    np.add.at(weights, (place[:, 1:], orders), 1 / len(orders))
    np.add.at(weights, (place[:, :-1], orders), -1 / len(orders))
    return _Sets(ordered[is_new], weights)


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
