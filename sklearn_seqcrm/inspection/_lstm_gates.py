"""The gates of recurrent cells after every event."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from sklearn_seqcrm._sklearn_compat import validate_params
from sklearn_seqcrm.inspection._inside import Inside


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
