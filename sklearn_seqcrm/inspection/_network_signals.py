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
from sklearn_seqcrm.inspection._attribution_table import WHOLE_EVENT, event_lines
from sklearn_seqcrm.inspection._explained_quantity import ExplainedQuantity
from sklearn_seqcrm.inspection._explained_rows import named_history
from sklearn_seqcrm.inspection._perturbations import RowEvents


def network_of(estimator: Any, caller: str) -> Any:
    """Return the LSTM estimator at the end of a pipeline, or raise a TypeError."""
    if _ends_with_network(estimator):
        return estimator[-1]
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    way_out = " Pass its network, `lstm_`." if hasattr(last, "lstm_") else ""
    if _ends_with_network(getattr(estimator, "best_estimator_", None)):
        way_out = " Pass its `best_estimator_`."
    raise TypeError(
        f"{caller} needs a pipeline with an LSTM estimator at its end, "
        "make_history_pipeline(LSTMClassifier()) for example; got "
        f"{type(last).__name__}, which has no gradients.{way_out}"
    )


def _ends_with_network(estimator: Any) -> bool:
    return isinstance(estimator, Pipeline) and hasattr(
        estimator[-1], "_integrated_gradients"
    )


class InspectedNetwork(NamedTuple):
    """A network at the end of a pipeline, and the rows it is inspected on."""

    network: Any  # last step of the pipeline
    encoded: pd.DataFrame  # output of the steps before it
    frame: pd.DataFrame  # raw rows
    name: Any  # of the history column
    array: HistoryArray  # its raw histories
    at: int  # position of that column among the history columns

    @classmethod
    def of(
        cls, estimator: Any, X: Any, caller: str, history: Any, network: int
    ) -> Self:
        """Validate the arguments of a function that inspects a network.

        That function is `caller`, for errors; `network` is a position in the ensemble.
        """
        check_is_fitted(estimator)
        found = network_of(estimator, caller)
        table = Table.of(X).refuse_no_rows(caller).refuse_encoded(caller)
        name, array = named_history(table.refuse_missing(), history)
        n_networks = len(found.nets_)
        if not -n_networks <= network < n_networks:
            raise ValueError(
                f"network={network!r} is none of the {n_networks} networks, which are "
                "counted from 0."
            )
        encoded = estimator[:-1].transform(table.frame)
        at = list(table.histories).index(name)
        return cls(found, encoded, table.frame, name, array, at)

    def events(self) -> pd.DataFrame:
        """Return a line for each visible event, row by row."""
        events = RowEvents.of(self.array)
        # The table of attributions has all other columns that are needed.
        nothing = np.zeros(len(events.event))
        lines = event_lines(self.name, self.array, events, WHOLE_EVENT, nothing)
        return lines.drop(columns=["field", "value", "attribution"])


@validate_params(
    {"layer": [Integral], "network": [Integral], "as_frame": ["boolean"]},
    # The estimator validates its own parameters.
    prefer_skip_nested_validation=False,
)
def lstm_gates(
    estimator: Pipeline,
    X: pd.DataFrame,
    *,
    history: str | None = None,
    layer: int = -1,
    network: int = 0,
    as_frame: bool = True,
) -> Any:
    """Return the gates and states of a network after every event of each row.

    Parameters
    ----------
    estimator : Pipeline
        Fitted, with a network of ``cell="lstm"`` or ``"gru"`` at its end.
    X : DataFrame of shape (n, n_columns)
        Rows with raw histories.
    history : str or None, default=None
        Name of the history column; None: the only one.
    layer : int, default=-1
        Position of the layer; -1: the last one. For a bidirectional network, its
        forward direction is returned.
    network : int, default=0
        Position of the network in an ensemble (``n_networks`` above 1).
    as_frame : bool, default=True
        Whether to return one table, instead of arrays.

    Returns
    -------
    DataFrame or Bunch
        A line for each row of `X`, event of its history, and unit of the layer:
        ``row`` (position in `X`), ``history`` (name of the column), ``position`` (from
        0, the first event of the history), ``customer``, ``time``, ``unit``, and for an
        LSTM ``input``, ``forget``, ``cell``, ``output``, ``cell_state`` and
        ``hidden_state``; for a GRU ``reset``, ``update``, ``new`` and ``hidden_state``.

        The Bunch holds ``events``, the table without units, of m lines, and for each of
        the other names an array of shape (m, n_units). Write ``found["update"]``, since
        ``found.update`` is the method of a dict.

    Raises
    ------
    TypeError
        If histories are encoded, or there is no network at the end of a pipeline.
    KeyError
        If there is no such column.
    ValueError
        If the cell is ``"rnn"``, which has no gates, there is no such layer or network,
        or there are several history columns and none is chosen.

    See Also
    --------
    GateDisplay : Plot of the gates of one row.
    gradient_flow : Sensitivity of the output to the states.

    Notes
    -----
    With the input ``x`` of the layer at an event and the hidden state ``h`` before it,
    each gate of an LSTM is ``sigmoid(W x + b + U h + c)`` with weights of its own, and
    ``cell``, the candidate for the new state, is ``tanh(W x + b + U h + c)``
    (Hochreiter and Schmidhuber, 1997; Gers et al., 2000). Then::

        cell_state = forget * cell_state + input * cell
        hidden_state = output * tanh(cell_state)

    In a GRU (Cho et al., 2014), with the elementwise product ``*``::

        new = tanh(W x + b + reset * (U h + c))
        hidden_state = (1 - update) * new + update * hidden_state

    These are the numbers that torch computes, to float32 rounding. If `HistoryEncoder`
    joins the events of a moment (`moments`), the network takes one step for all of
    them, and they have equal gates and states.

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
    inspected = InspectedNetwork.of(estimator, X, "lstm_gates", history, network)
    net = inspected.network
    if not -net.num_layers <= layer < net.num_layers:
        raise ValueError(
            f"layer={layer!r} is none of the {net.num_layers} layers, which are "
            "counted from 0."
        )
    found = net._gates(inspected.encoded, inspected.at, layer, network)  # (m, units)
    events = inspected.events()
    if not as_frame:
        return Bunch(events=events, **found)
    size = net.hidden_size
    # Unit after unit of the first event, then of the next: as ravel orders (m, units).
    table = events.loc[events.index.repeat(size)].reset_index(drop=True)
    table["unit"] = np.tile(np.arange(size), len(events))
    numbers = pd.DataFrame({name: one.ravel() for name, one in found.items()})
    return pd.concat([table, numbers], axis=1)


@validate_params(
    {"unit": [StrOptions({"log_odds", "probability"})], "network": [Integral]},
    # The estimator validates its own parameters.
    prefer_skip_nested_validation=False,
)
def gradient_flow(
    estimator: Pipeline,
    X: pd.DataFrame,
    *,
    history: str | None = None,
    target: object = None,
    unit: Literal["log_odds", "probability"] = "log_odds",
    network: int = 0,
) -> pd.DataFrame:
    """Compute the norm of an output's gradient with respect to the state after events.

    Where that norm falls by a factor with each later event, gradients vanish: training
    cannot learn the effect of old events (Bengio et al., 1994).

    Parameters
    ----------
    estimator : Pipeline
        Fitted, with an LSTM estimator at its end, of any cell.
    X : DataFrame of shape (n, n_columns)
        Rows with raw histories.
    history : str or None, default=None
        Name of the history column; None: the only one.
    target : object, default=None
        As in `event_attributions`.
    unit : {"log_odds", "probability"}, default="log_odds"
        Unit of a classifier's output. Other estimators: the output of `predict`.
    network : int, default=0
        Position of the network in an ensemble, whose output is then that of this
        network.

    Returns
    -------
    DataFrame
        A line for each row of `X` and event of its history: ``row`` (position in `X`),
        ``history`` (name of the column), ``position`` (from 0, the first event of the
        history), ``customer``, ``time``, ``age`` (1 for the last event) and ``norm``.

    Raises
    ------
    TypeError
        If histories are encoded, or there is no network at the end of a pipeline.
    KeyError
        If there is no such column.
    ValueError
        If the network is bidirectional, `target` is not a class, there is no such
        network, or there are several history columns and none is chosen.

    See Also
    --------
    GradientFlowDisplay : Plot for several networks.
    lstm_gates : The gates, which decide what is forgotten.
    event_attributions : Effects of the events themselves.

    Notes
    -----
    The state ``s_t`` after event ``t`` is all that the network keeps of the events up
    to it: the hidden states of all layers, and the cell states of an LSTM. The norm is
    ``||df / ds_t||``, over all paths from there to the output ``f``: through later
    states, and through the pooling. With ``pooling="last"`` there are only later
    states, as in textbooks. All other poolings include the outputs at old events as
    well, which is a short path for gradients.

    If `HistoryEncoder` joins the events of a moment (`moments`), they have one state
    and one norm, while ``age`` still counts events.

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
    inspected = InspectedNetwork.of(estimator, X, "gradient_flow", history, network)
    if inspected.network.bidirectional:
        raise ValueError(
            "A bidirectional network has no state that only later events update: its "
            "backward half starts at the last event."
        )
    quantity = ExplainedQuantity.of(estimator, inspected.frame, target, unit)
    norm = inspected.network._gradient_norms(
        inspected.encoded, quantity.of_outputs, inspected.at, network
    )
    events = inspected.events()
    # Position counts from the first event, age from the last one.
    lengths = inspected.array.lengths[events["row"]]
    age = lengths - events["position"].to_numpy("int64")
    return events.assign(age=age, norm=norm)
