"""How far back what is predicted depends on the state of a network."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

import pandas as pd

from sklearn_seqcrm._sklearn_compat import StrOptions, validate_params
from sklearn_seqcrm.inspection._inside import Inside
from sklearn_seqcrm.inspection._question import Question


@validate_params(
    {"unit": [StrOptions({"log_odds", "probability"})], "network": [Integral]},
    # Not of the estimator, which is not ours.
    prefer_skip_nested_validation=False,
)
def gradient_flow(
    estimator: Any,
    X: Any,
    *,
    history: Any = None,
    target: Any = None,
    unit: Literal["log_odds", "probability"] = "log_odds",
    network: int = 0,
) -> pd.DataFrame:
    """Measure how much the output depends on the state after each event.

    Where the norm of that derivative falls by a factor with each event that came since,
    gradients vanish: training cannot learn what old events were worth.

    Parameters
    ----------
    estimator : Pipeline
        Fitted, with one of our networks at its end, of any cell.
    X : DataFrame of shape (n, n_columns)
        Rows with raw histories.
    history : str or None, default=None
        Name of the history column; None: the only one.
    target : object, default=None
        As in `event_attributions`.
    unit : {"log_odds", "probability"}, default="log_odds"
        What the output of a classifier is. That of others is what `predict` returns.
    network : int, default=0
        Which network, if there are several; the output is that of this one alone.

    Returns
    -------
    DataFrame
        A line for each row of `X` and event that it sees: ``row`` (position in `X`),
        ``history`` (name of the column), ``position`` (from 0, the first event that
        the row sees), ``customer``, ``time``, ``age`` (1 for the last event) and
        ``norm``.

    Raises
    ------
    TypeError
        If histories are encoded, or there is no network at the end of a pipeline.
    ValueError
        If the network is bidirectional, `target` is no class, or there is no such
        history or network.

    See Also
    --------
    GradientFlowDisplay : A picture of it, for several networks.
    lstm_gates : What forgets.
    event_attributions : What events did, instead of what changes would do.

    Notes
    -----
    The state after an event is all that the network keeps of events until then: the
    hidden states of all layers, and the cell states of an LSTM. The derivative goes all
    ways from there to the output: through later states, and through poolings. With
    ``pooling="last"`` there are only later states, as in a textbook. All others read
    the outputs at old events as well, which is a short way for gradients.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.inspection import gradient_flow
    >>> from sklearn_seqcrm.neural_network import LSTMClassifier
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> orders = pd.DataFrame(
    ...     {"who": list("aabbb"), "day": range(5), "amount": [5.0, 7, 6, 1, 2]}
    ... )
    >>> X = EventLog(orders, "who", "day").attach(pd.DataFrame({"who": ["a", "b"]}))
    >>> network = LSTMClassifier(hidden_size=4, max_epochs=1, random_state=0)
    >>> model = make_history_pipeline(network).fit(X, [0, 1])
    >>> found = gradient_flow(model, X)
    >>> found[["row", "position", "age"]].values.tolist()
    [[0, 0, 2], [0, 1, 1], [1, 0, 3], [1, 1, 2], [1, 2, 1]]
    """
    inside = Inside.of(estimator, X, "gradient_flow", history, network)
    if inside.network.bidirectional:
        raise ValueError(
            "A bidirectional network has no state that later events go on from, as it "
            "reads them backwards as well."
        )
    question = Question.of(estimator, inside.table.frame, target, unit)
    norm = inside.network._gradient_norms(
        inside.encoded, question.of_predicted, inside.at, network
    )
    events = inside.events()
    age = inside.array.lengths[events["row"]] - events["position"].to_numpy("int64")
    return events.assign(age=age, norm=norm)
