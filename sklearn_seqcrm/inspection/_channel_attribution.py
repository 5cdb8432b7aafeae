"""Credit of channels for the prediction of a model: Shapley values over channels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from math import comb
from numbers import Integral
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

from sklearn_seqcrm._sklearn_compat import Interval, StrOptions, validate_params
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._explained_quantity import ExplainedQuantity
from sklearn_seqcrm.inspection._explained_rows import ExplainedRows
from sklearn_seqcrm.inspection._perturbations import RowCopies
from sklearn_seqcrm.inspection._touch_rules import Touches


@validate_params(
    {
        "field": [str],
        "kind_field": [str],
        "unit": [StrOptions({"log_odds", "probability"})],
        "max_exact": [Interval(Integral, 1, 12, closed="both")],
        "n_orders": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    # The estimator validates its own parameters.
    prefer_skip_nested_validation=False,
)
def channel_attribution(
    estimator: Estimator,
    X: pd.DataFrame,
    field: str,
    *,
    history: str | None = None,
    kinds: str | Sequence[str] | None = None,
    kind_field: str = "event",
    target: object = None,
    unit: Literal["log_odds", "probability"] = "probability",
    max_exact: int = 6,
    n_orders: int = 50,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> Bunch:
    """Compute the credit of each channel for the prediction of each row.

    Channels are the players of a cooperative game: the value ``v(S)`` of a set ``S`` of
    channels is the prediction for the row without the touches of all other channels.
    The credit of a channel is its Shapley value [1]_, its mean contribution over all
    orders in which channels can join.

    This is credit, not cause: it explains the *model*. It holds for conversions only if
    touches were random, or whatever chose them is in `X`. Where customers who would buy
    anyway are touched more, touches get credit that they do not deserve, here as with
    any rule.

    Parameters
    ----------
    estimator : fitted estimator
        A classifier or regressor that takes raw `X`.
    X : DataFrame of shape (n, n_columns)
        Rows with raw histories. Pass rows that did not convert as well: the effect of
        channels is in the difference.
    field : str
        Categorical field of the log that holds the channel. Events without a channel
        are never removed.
    history : str or None, default=None
        Name of the history column; None: the only one.
    kinds : str, list of str or None, default=None
        Kinds of events that can be touches, as `EventLog.concat` named them; None: all.
        Events of other kinds are never removed.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.
    target : object, default=None
        Explained class, or position of a label or target. None: the second of two
        classes, in the order of `classes_`. Of "bought" and "lost", pass "bought". With
        more classes it is needed, because credits for different classes have no sum.
    unit : {"log_odds", "probability"}, default="probability"
        Unit of a classifier's credit.
    max_exact : int, default=6
        Largest number of channels of a row for exact values, which take ``2 ** k``
        predictions for ``k`` channels, 64 of them for 6. At most 12.
    n_orders : int, default=50
        Number of random orders for rows with more channels [2]_, each of which is used
        forwards and backwards (antithetic sampling).
    n_jobs : int or None, default=None
        Number of predictions at a time, as in joblib.
    random_state : int, RandomState or None, default=0
        Draws the orders.

    Returns
    -------
    Bunch
        ``credit``, a DataFrame of shape (n, n_channels) that has the index of `X`: the
        contribution of each channel in `X` to the prediction of each row; ``output``
        and ``baseline`` of shape (n,), the predictions with all channels and without
        any, whose difference is the sum of the credit of a row; ``total``, a Series
        with the sum of the credit of each channel; and ``share``, the positive totals
        over their sum.

    Raises
    ------
    KeyError
        If there is no such field or column, or no field `kind_field` for `kinds`.
    TypeError
        If histories are encoded.
    ValueError
        If the field is not categorical, there are no events of one of `kinds`, `target`
        is None with three or more classes, or a parameter is out of range.

    See Also
    --------
    last_touch_credit : A rule of marketing; the others are first touch, linear, time
        decay and position based.
    markov_credit : Removal effects in a Markov chain.
    sklearn_seqcrm.datasets.make_campaign_journeys : Channels whose effect is known.

    Notes
    -----
    With the ``K`` channels of a row, the Shapley value of channel ``c`` is the sum over
    all sets ``S`` of the other channels of ``|S|! (K - |S| - 1)! / K! * (v(S with c) -
    v(S))``.

    There are no intervals. Resampling the rows of ``credit`` gives intervals that are
    too narrow, because the model stays as it is: where conversions were shuffled, 38 of
    40 such intervals of 95% excluded 0. To see the credit that chance gives, fit the
    model to shuffled conversions several times.

    References
    ----------
    .. [1] L. S. Shapley, "A Value for n-Person Games", Contributions to the Theory of
       Games II, 1953. https://doi.org/10.1515/9781400881970-018
    .. [2] J. Castro, D. Gómez and J. Tejada, "Polynomial calculation of the Shapley
       value based on sampling", Computers & Operations Research 36, 2009.
       https://doi.org/10.1016/j.cor.2008.04.004

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
    explained = ExplainedRows.of(estimator, X, history, "channel_attribution")
    frame, name, array = explained
    touches = Touches.of(array, field, kinds, kind_field)
    quantity = ExplainedQuantity.of(estimator, frame, target, unit)
    classes = quantity.classes
    if target is None and classes is not None and len(classes) > 2:
        raise ValueError(
            f"target must be one of the {len(classes)} classes {classes.tolist()}: "
            "credits of rows are added up, and those for different classes have no sum."
        )
    rng = check_random_state(random_state)
    present, place = _channels_of_rows(touches, len(frame))
    credit = np.zeros(present.shape)
    output, baseline = np.zeros((2, len(frame)))
    n_channels = present.sum(axis=1)
    # Rows with as many channels have the same sets of them: K columns of `present`.
    for size in np.unique(n_channels).tolist():
        rows = np.flatnonzero(n_channels == size)
        exact = size <= max_exact
        sets = _all_sets(size) if exact else _sets_of_orders(size, n_orders, rng)
        n_sets = len(sets.members)
        copies = np.repeat(rows, n_sets)
        keep = partial(_keep_channels, place, sets.members)
        values = quantity.predict_copies(name, array, copies, keep, n_jobs)
        values = values.reshape(len(rows), n_sets)
        output[rows], baseline[rows] = values[:, -1], values[:, 0]
        own = np.nonzero(present[rows])[1].reshape(len(rows), size)
        credit[rows[:, None], own] = values @ sets.weights  # (rows, sets) (sets, size)
    found = pd.DataFrame(credit, index=frame.index, columns=touches.channels)
    total = found.sum()
    positive = total.clip(lower=0)
    return _Attribution(
        credit=found,
        output=output,
        baseline=baseline,
        total=total,
        share=positive / (positive.sum() or 1.0),
    )


class _Attribution(Bunch):
    """Result whose values are not printed: they would fill a screen."""

    def __repr__(self) -> str:
        shown = (
            f"{name}=<{type(one).__name__} of shape {one.shape}>"
            for name, one in self.items()
        )
        return f"Bunch({', '.join(shown)})"


def _channels_of_rows(touches: Touches, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which channels each row has, and the channel of each event among these.

    The latter, (n_events,), is a position in the channels of the row; -1 for events
    without a channel.
    """
    present = np.zeros((n_rows, len(touches.channels)), dtype=bool)
    present[touches.row, touches.channel] = True
    rank = np.cumsum(present, axis=1) - 1
    place = np.full(len(touches.is_touch), -1)
    place[touches.is_touch] = rank[touches.row, touches.channel]
    return present, place


def _keep_channels(
    place: np.ndarray, members: np.ndarray, copies: RowCopies
) -> HistoryArray:
    """Return copies of histories; copy k keeps the channels of set k.

    The sets repeat from row to row, so that copy k has the set ``k % n_sets``.
    """
    place, own = place[copies.place], copies.number % len(members)
    kept = place < 0  # events without a channel stay
    kept[~kept] = members[own[~kept], place[~kept]]
    return copies.events.take(kept).as_histories(copies.array)


class _Sets(NamedTuple):
    """Sets of the K channels of a row, and the weights of Shapley values."""

    # (n_sets, K), bool: channels in each set: none in the first, all in the last.
    members: np.ndarray
    weights: np.ndarray  # (n_sets, K): Shapley values are ``values @ weights``


def _all_sets(size: int) -> _Sets:
    """Return all sets of K channels, for exact values.

    ``|S|! (K - |S| - 1)! / K! = 1 / (K comb(K - 1, |S|))`` is the share of the orders
    in which exactly the channels of S join before channel c. It is the weight of the
    set with c, and, negative, of the one without.
    """
    every = list(product([False, True], repeat=size))
    members = np.array(every, dtype=bool).reshape(2**size, size)
    n_in = members.sum(axis=1)
    share = [1 / (size * comb(size - 1, n)) for n in range(size)]
    with_c = np.array([0.0, *share])[n_in]  # |S| = n_in - 1
    without_c = np.array([*share, 0.0])[n_in]  # |S| = n_in
    return _Sets(members, np.where(members, with_c[:, None], -without_c[:, None]))


def _sets_of_orders(size: int, n_orders: int, rng: np.random.RandomState) -> _Sets:
    """Return the sets on the paths of random orders of K channels, both ways.

    An order such as b, a, c passes the sets {}, {b}, {a, b}, {a, b, c}. Orders share
    sets, each of which is predicted once.
    """
    orders = np.array([rng.permutation(size) for _ in range(n_orders)])
    # A path backwards cancels much of the noise of the path forwards.
    orders = np.concatenate([orders, orders[:, ::-1]])
    ranks = np.argsort(orders, axis=1)
    # Set k of a path has the first k channels of the order.
    paths = ranks[:, None, :] < np.arange(size + 1)[:, None]  # (orders, K + 1, K)
    # Distinct sets, the empty one first and the full one last.
    by_size = np.lexsort((*paths.reshape(-1, size).T, paths.sum(axis=2).ravel()))
    ordered = paths.reshape(-1, size)[by_size]
    is_new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    number = np.empty(len(by_size), dtype="int64")
    number[by_size] = np.cumsum(is_new) - 1
    place = number.reshape(len(orders), size + 1)
    weights = np.zeros((is_new.sum(), size))
    # Channel orders[:, k] contributes v(set k + 1) - v(set k).
    np.add.at(weights, (place[:, 1:], orders), 1 / len(orders))
    np.add.at(weights, (place[:, :-1], orders), -1 / len(orders))
    return _Sets(ordered[is_new], weights)
