"""Attributions of predictions to single events and their fields."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm._sklearn_compat import Interval, StrOptions, validate_params
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.inspection._attribution_table import as_table
from sklearn_seqcrm.inspection._explained_quantity import ExplainedQuantity
from sklearn_seqcrm.inspection._network_attributions import (
    blanking,
    integrated_gradients,
)
from sklearn_seqcrm.inspection._occlusion import occlusion


@validate_params(
    {
        "method": [StrOptions({"occlusion", "blanking", "integrated_gradients"})],
        "by": [StrOptions({"event", "field"})],
        "fields": ["array-like", None],
        "unit": [StrOptions({"log_odds", "probability"})],
        "last_events": [Interval(Integral, 1, None, closed="left"), None],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "n_baselines": [Interval(Integral, 0, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "return_outputs": ["boolean"],
    },
    # The estimator validates its own parameters.
    prefer_skip_nested_validation=False,
)
def event_attributions(
    estimator: Estimator,
    X: pd.DataFrame,
    method: Literal["occlusion", "blanking", "integrated_gradients"] = "occlusion",
    *,
    by: Literal["event", "field"] = "event",
    fields: Sequence[str] | None = None,
    target: object = None,
    unit: Literal["log_odds", "probability"] = "log_odds",
    last_events: int | None = None,
    n_steps: int = 32,
    n_baselines: int = 0,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    return_outputs: bool = False,
) -> Any:
    """Attribute the prediction of each row to its events, or to their fields.

    Parameters
    ----------
    estimator : fitted estimator
        A classifier or regressor that takes raw `X`.
    X : DataFrame of shape (n, n_columns)
        Rows with raw histories.
    method : {"occlusion", "blanking", "integrated_gradients"}, default="occlusion"
        ``"occlusion"``, for any estimator: the output less that of the row without the
        event, as if it had not happened, or, with ``by="field"``, with that field of
        the event missing. Each static is set to missing too, except columns that a
        parameter `exposure` names, which have no line.

        ``"integrated_gradients"``, for a pipeline with an LSTM estimator at its end:
        gradients of the output, integrated on the straight path from a baseline of
        zeros to the inputs of the network. See the Notes.

        ``"blanking"``, for the same pipelines: the output less that with one event, or
        one field of it, at that baseline. All other inputs stay, row features included:
        the event still happened, but its fields are unknown. Only events have lines.
    by : {"event", "field"}, default="event"
        A line for each event, or for each field of each event.
    fields : list of str or None, default=None
        Fields of the log to explain. All other inputs stay as they are and have no
        lines: other fields, the number of events and their times, row features and
        statics. With ``"integrated_gradients"`` the baseline is the row without these
        fields. None: whole events, row features and statics.
    target : object, default=None
        The class to explain; None: the second of two classes, or the most probable
        class of each row if there are more. For several labels or targets, the position
        of one, which has to be given; for the effects of several treatments, the label
        of one.
    unit : {"log_odds", "probability"}, default="log_odds"
        Unit of a classifier's attributions: the log odds of the class, or its
        probability. Those of a classifier without ``predict_proba`` are in units of its
        decision function, those of a regressor in units of its target, and those of
        `LSTMSurvival` in units of its risk.
    last_events : int or None, default=None
        Number of events at the end of each history to attribute; None: all.
    n_steps : int, default=32
        Points on the path of integrated gradients.
    n_baselines : int, default=0
        With integrated gradients and `fields`: number of paths to average over, each of
        `n_steps` points, whose baselines are values of these fields in other events,
        drawn from the events of the rows (expected gradients); 0: one path, whose
        baseline is no value.
    n_jobs : int or None, default=None
        Number of predictions at a time, as in joblib, for ``"occlusion"``.
    random_state : int, RandomState or None, default=0
        Draws the baselines.
    return_outputs : bool, default=False
        Whether to return the explained quantity as well.

    Returns
    -------
    attributions : DataFrame
        A line for each row of `X` and event, or field of it: ``row`` (position in `X`),
        ``history`` (name of the column), ``position`` (from 0, the first event of the
        history), ``customer``, ``time``, ``field`` (``"event"`` for a whole event),
        ``value`` (of the field) and ``attribution``. After the events of a row follow
        lines without a position and time: with integrated gradients its row features,
        named in words, then its statics, which have no history either.
    outputs : DataFrame of shape (n, 2) or (n, 3)
        Only if `return_outputs` is True. ``output``, the explained quantity;
        ``baseline``, its value at the start of the path of integrated gradients (the
        mean over `n_baselines`), NaN with other methods; and ``target``, the class, or
        the position of the label or target, if there are several.

    Raises
    ------
    KeyError
        If no history has one of the `fields`.
    TypeError
        If histories are encoded, or the method needs gradients that the estimator does
        not have.
    ValueError
        If `target` is not a class, or missing where there are several labels or
        targets, the unit needs ``predict_proba`` and there is none, `fields` is empty,
        or a parameter is out of range.

    See Also
    --------
    EventAttributionDisplay : Plot of mean attributions by position from the end.
    HistoryDisplay : Plot of one row.
    history_importance : Importance of parts of histories for the score of a model.

    Notes
    -----
    Attributions explain the model, not the world: an event with a large attribution
    need not have caused anything.

    **Occlusion** [1]_, with the output ``f`` and the row ``x``, is ``f(x) - f(x without
    the event)``. It predicts a copy of the row for each of its events, so that its time
    grows with the square of the length of histories; `last_events` bounds it. Two
    redundant events both have an attribution of 0, as either one is enough. The effect
    of a missing value depends on the model. A network takes it as no information,
    except a missing category if none was missing in training: its embedding was never
    trained.

    **Integrated gradients** [2]_ of input ``i`` are ``(x_i - b_i)`` times the mean of
    ``df/dx_i`` on the path from the baseline ``b`` to ``x``. Those of a row sum to its
    output less that of the baseline (completeness). The baseline is a row with as many
    events, at the same times, whose fields are unknown: channels of numbers, of
    interarrival times and of the calendar are 0 (with `HistoryEncoder`, the median of a
    field), embeddings are 0 (that of an unknown level), and so are row features and
    statics (with `make_history_pipeline`, the mean of the training rows, or no level at
    all). Ages of events, the weights of decayed poolings, stay. The time of an event
    has a line of its own, named after the time column of the log: its interarrival time
    and the calendar. Row features, such as decayed counts, are inputs like others:
    ``"number of events, half-life 30 days"``, with the value in units of the log,
    where the network takes its scaled logarithm. The sine and cosine of a calendar
    cycle are one input, such as ``"weekday of the cutoff"``. The decayed sums of the
    linear parts of a regressor (``"sum of amount, half-life 30 days"``) have the
    baseline 0, too: no purchase. For an ensemble, its combined output
    is explained (log odds of the mean probability, for example); an attribution is the
    sum of the effects through all networks. The exposure of a row is a static, whose
    baseline is the mean exposure.

    In the middle of the path, the kind of an event is half present, which never occurs
    in training. Where the meaning of an amount depends on the kind,
    ``fields=["amount"]`` keeps kinds as they are, and `n_baselines` starts from amounts
    that occur [3]_.

    If `HistoryEncoder` joins the events of a moment (`moments`), an event still has
    lines of its own: sums over the events of a moment are part of the differentiated
    function. The number of events is not an input of the path. The times of a moment
    are those of its first event, and each event has an equal share in them. Equal
    events of a moment have equal attributions.

    **Blanking** moves one event at a time to the same baseline, and its signs agree
    with those of integrated gradients: on 92 to 99% of the 10 events of a row with the
    largest attributions, where occlusion agrees on 38 to 83% (networks with different
    poolings on two simulated logs). Occlusion also includes the effect of the event as
    such: it counts, it ends a time without events, and it divides an interarrival time.

    The integral is computed by Gauss-Legendre quadrature, with mean slopes over the
    interval around a point: of each ReLU of the head, of each piece of a static, and of
    the explained quantity over the outputs of networks. For 1,000 rows of 50 events,
    whose log odds had a standard deviation of 5.3, sums had an error of 8e-4 with 16
    points, 2e-4 with 32, and 8e-5 with 50, which took 10 s on one core; with the slopes
    at 50 points themselves, as captum computes them, of 2e-2. A non-smooth pooling,
    ``"max"``, increases the error.

    References
    ----------
    .. [1] M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional
       Networks", ECCV 2014. https://doi.org/10.1007/978-3-319-10590-1_53
    .. [2] M. Sundararajan, A. Taly and Q. Yan, "Axiomatic Attribution for Deep
       Networks", ICML 2017. https://arxiv.org/abs/1703.01365
    .. [3] G. Erion, J. D. Janizek, P. Sturmfels, S. M. Lundberg and S.-I. Lee,
       "Improving performance of deep learning models with axiomatic attribution priors
       and expected gradients", Nature Machine Intelligence 3, 2021.
       https://doi.org/10.1038/s42256-021-00343-w

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.inspection import event_attributions
    >>> orders = pd.DataFrame(
    ...     {"who": list("aabbb"), "day": range(5), "amount": [5.0, 7, 6, 1, 2]}
    ... )
    >>> X = EventLog(orders, "who", "day").attach(pd.DataFrame({"who": ["a", "b"]}))
    >>> def spent(X):
    ...     amount = X["history"].array.to_frame()["amount"]
    ...     return amount.groupby(level=0).sum().to_frame()
    >>> model = make_pipeline(FunctionTransformer(spent), LinearRegression())
    >>> found = event_attributions(model.fit(X, [12.0, 9.0]), X)
    >>> found[["row", "position", "time", "attribution"]].round(6)
       row  position  time  attribution
    0    0         0     0          5.0
    1    0         1     1          7.0
    2    1         0     2          6.0
    3    1         1     3          1.0
    4    1         2     4          2.0
    """
    check_is_fitted(estimator)
    caller = "event_attributions"
    table = Table.of(X).refuse_no_rows(caller).refuse_encoded(caller).refuse_missing()
    quantity = ExplainedQuantity.of(estimator, table.frame, target, unit)
    chosen = None if fields is None else _check_fields(fields, table)
    if n_baselines and (chosen is None or method != "integrated_gradients"):
        raise ValueError(
            "n_baselines draws values of fields for method='integrated_gradients': "
            "give fields=, those to be explained, or leave it out."
        )
    # Only a path has a baseline; the columns are the same for all methods.
    baseline = np.full(len(table.frame), np.nan)
    if method == "occlusion":
        lines, output = occlusion(table, quantity, by, chosen, last_events, n_jobs)
    elif method == "blanking":
        lines, output = blanking(table, quantity, by, chosen)
    else:
        seed = check_random_state(random_state).randint(2**31)
        lines, output, baseline = integrated_gradients(
            table, quantity, by, chosen, n_steps, n_baselines, seed
        )
    attributions = as_table(lines)
    # Occlusion saves the predictions of older events. Networks attribute to all events
    # at once, so that there is nothing to save.
    if method != "occlusion" and last_events is not None:
        attributions = _of_last_events(attributions, last_events)
    if not return_outputs:
        return attributions
    outputs = {"output": output, "baseline": baseline}
    if quantity.targets is not None:
        outputs["target"] = quantity.targets
    return attributions, pd.DataFrame(outputs)


def _of_last_events(attributions: pd.DataFrame, last_events: int) -> pd.DataFrame:
    """Return the lines of the last events of each history, and those of no event."""
    positions = attributions.groupby(["row", "history"], sort=False)["position"]
    is_old = positions.transform("max") - attributions["position"] >= last_events
    # Missing for statics and row features, which stay.
    return attributions[~is_old.fillna(False)].reset_index(drop=True)


def _check_fields(fields: Sequence[str], table: Table) -> list[str]:
    """Return the fields as a list; raise if it is empty or no history has one."""
    known = {name for array in table.histories.values() for name in array.log.fields}
    if not len(fields):
        raise ValueError(
            f"fields={fields!r} has no field to explain; there are {sorted(known)}. "
            "Leave it out to explain whole events."
        )
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise KeyError(
            f"No history has the fields {unknown}; there are {sorted(known)}."
        )
    return list(fields)
