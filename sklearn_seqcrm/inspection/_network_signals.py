"""Gates and gradients of a recurrent network inside a pipeline."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm._sklearn_compat import StrOptions, validate_params
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._lines import event_lines
from sklearn_seqcrm.inspection._other_events import OwnEvents
from sklearn_seqcrm.inspection._question import Question


def network_of(estimator: Any, caller: str) -> Any:
    """Our network at the end of a pipeline; a TypeError if there is none."""
    network: Any = estimator[-1] if isinstance(estimator, Pipeline) else None
    if not hasattr(network, "_integrated_gradients"):
        last = type(estimator if network is None else network).__name__
        raise TypeError(
            f"{caller} needs a pipeline with one of our networks at its end, "
            f"make_history_pipeline(LSTMClassifier()) for example; got {last}, which "
            "has no gradients."
        )
    return network


class Inside(NamedTuple):
    """What is needed to look into a network.

    Parameters
    ----------
    network : estimator
        The last step of the pipeline.
    encoded : DataFrame of n rows
        What the steps before it make of X.
    table : Table of n rows
        X itself.
    history : str
        Name of the history column.
    at : int
        Its place among the history columns.
    """

    network: Any
    encoded: pd.DataFrame
    table: Table
    history: Any
    at: int

    @classmethod
    def of(
        cls, estimator: Any, X: Any, caller: str, history: Any, network: int
    ) -> Self:
        """Look into a fitted pipeline.

        Parameters
        ----------
        estimator : Pipeline
            Fitted, with one of our networks at its end.
        X : DataFrame of n rows
            Raw rows.
        caller : str
            Who asks, for errors.
        history : str or None
            Name of the history column; None: the only one.
        network : int
            Which of several networks.
        """
        check_is_fitted(estimator)
        found = network_of(estimator, caller)
        table = Table.of(X).refuse_no_rows(caller).refuse_encoded(caller)
        names = list(table.refuse_missing().histories)
        if history is None and len(names) > 1:
            raise ValueError(f"X has the histories {names}; say which: history=.")
        history = names[0] if history is None else history
        if history not in names:
            raise ValueError(f"history={history!r} is none of the histories {names}.")
        n_networks = len(found.nets_)
        if not -n_networks <= network < n_networks:
            raise ValueError(
                f"network={network!r} is none of the {n_networks} networks, which are "
                "counted from 0."
            )
        encoded = estimator[:-1].transform(table.frame)
        return cls(found, encoded, table, history, names.index(history))

    @property
    def array(self) -> HistoryArray:
        """The raw histories."""
        return self.table.histories[self.history]

    def events(self) -> pd.DataFrame:
        """A line for each event that each row sees, row by row."""
        own = OwnEvents.of(self.array)
        nothing = np.zeros(len(own.event))
        lines = event_lines(self.history, self.array, own, "", None, nothing)
        return lines.drop(columns=["field", "value", "attribution"])


@validate_params(
    {"layer": [Integral], "network": [Integral], "as_frame": ["boolean"]},
    # Not of the estimator, which is not ours.
    prefer_skip_nested_validation=False,
)
def lstm_gates(
    estimator: Any,
    X: Any,
    *,
    history: Any = None,
    layer: int = -1,
    network: int = 0,
    as_frame: bool = True,
) -> Any:
    """Find gates and states of a network after every event of each row.

    Parameters
    ----------
    estimator : Pipeline
        Fitted, with a network of ``cell="lstm"`` or ``"gru"`` at its end.
    X : DataFrame of shape (n, n_columns)
        Rows with raw histories.
    history : str or None, default=None
        Name of the history column; None: the only one.
    layer : int, default=-1
        Which layer; -1: the last one. Of a bidirectional network, its forward
        direction.
    network : int, default=0
        Which network, if there are several.
    as_frame : bool, default=True
        Whether to return one table, instead of arrays.

    Returns
    -------
    DataFrame or Bunch
        A line for each row of `X`, event that it sees, and unit of the layer: ``row``
        (position in `X`), ``history`` (name of the column), ``position`` (from 0, the
        first event that the row sees), ``customer``, ``time``, ``unit``, and of an LSTM
        ``input``, ``forget``, ``cell``, ``output``, ``cell_state`` and
        ``hidden_state``; of a GRU ``reset``, ``update``, ``new`` and ``hidden_state``.

        As a Bunch: ``events``, the table without units, of m lines, and by each of the
        other names an array of shape (m, n_units). Take them as ``found["update"]``,
        which as an attribute is the method of a dict.

    Raises
    ------
    TypeError
        If histories are encoded, or there is no network at the end of a pipeline.
    ValueError
        If the cell is ``"rnn"``, which has no gates, or there is no such history, layer
        or network.

    See Also
    --------
    GateDisplay : A picture of the gates of one row.
    gradient_flow : What a state matters for what is predicted.

    Notes
    -----
    With the event ``x`` as the layer sees it and the hidden state ``h`` before it, in
    an LSTM each gate is ``sigmoid(W x + b + U h + c)`` with weights of its own, and
    ``cell`` is ``tanh`` of the like, what the event has to say. Then::

        cell_state = forget * cell_state + input * cell
        hidden_state = output * tanh(cell_state)

    In a GRU ``hidden_state = (1 - update) * new + update * hidden_state``, where
    ``new`` sees as much of the hidden state before as ``reset`` lets through. They are
    the numbers that torch computes, to its rounding.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.inspection import lstm_gates
    >>> from sklearn_seqcrm.neural_network import LSTMClassifier
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> orders = pd.DataFrame(
    ...     {"who": list("aabbb"), "day": range(5), "amount": [5.0, 7, 6, 1, 2]}
    ... )
    >>> X = EventLog(orders, "who", "day").attach(pd.DataFrame({"who": ["a", "b"]}))
    >>> network = LSTMClassifier(hidden_size=4, max_epochs=1, random_state=0)
    >>> model = make_history_pipeline(network).fit(X, [0, 1])
    >>> found = lstm_gates(model, X, as_frame=False)
    >>> found.forget.shape
    (5, 4)
    >>> found.events["customer"].tolist()
    ['a', 'a', 'b', 'b', 'b']
    """
    inside = Inside.of(estimator, X, "lstm_gates", history, network)
    net = inside.network
    if net.cell == "rnn":
        raise ValueError(
            "A cell 'rnn' has no gates; they are those of cell='lstm' and 'gru'."
        )
    if not -net.num_layers <= layer < net.num_layers:
        raise ValueError(
            f"layer={layer!r} is none of the {net.num_layers} layers, which are "
            "counted from 0."
        )
    found = net._gates(inside.encoded, inside.at, layer, network)
    events = inside.events()
    if not as_frame:
        return Bunch(events=events, **found)
    size = net.hidden_size
    table = events.loc[events.index.repeat(size)].reset_index(drop=True)
    table["unit"] = np.tile(np.arange(size), len(events))
    numbers = pd.DataFrame({name: one.ravel() for name, one in found.items()})
    return pd.concat([table, numbers], axis=1)


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
