"""Gates and states of a recurrent layer after every event."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm.neural_network._looking_inside import (
    as_float64,
    full_precision_copy,
    n_visible,
    put_events,
    sequences_of_rows,
)
from sklearn_seqcrm.neural_network._net import HistoryNet
from sklearn_seqcrm.neural_network._padding import HistoryBatch
from sklearn_seqcrm.neural_network._reader import HistoryReader, read_both_ways
from sklearn_seqcrm.neural_network._rows import RowData
from sklearn_seqcrm.neural_network._settings import own_settings

# In the order in which torch stacks their weights.
GATES = {
    "lstm": ("input", "forget", "cell", "output"),
    "gru": ("reset", "update", "new"),
}


def gates(net: HistoryNet, data: RowData, i: int, layer: int) -> dict[str, np.ndarray]:
    """Gates of a layer, and the states that they lead to.

    Parameters
    ----------
    net : HistoryNet
        A trained net of cells with gates.
    data : RowData
        Rows.
    i : int
        Which of the history columns.
    layer : int
        Which layer.

    Returns
    -------
    dict of str to ndarray of shape (n_visible, H), float64
        By the name of the gate, and ``"cell_state"`` (of an LSTM) and
        ``"hidden_state"``, for the events that each row sees, row by row.
    """
    source = data.sources[i]
    size = net.module__hidden_size
    found: dict[str, np.ndarray] = {}
    with own_settings(net.device), torch.no_grad():
        reader = full_precision_copy(net.module_).readers[i]
        for rows, part in sequences_of_rows(data, net.device):
            for name, numbers in _gates_of(reader, part.histories[i], layer).items():
                if name not in found:
                    found[name] = np.zeros((n_visible(source), size))
                put_events(found[name], as_float64(numbers), source, rows)
    return found


def _gates_of(
    reader: HistoryReader, batch: HistoryBatch, layer: int
) -> dict[str, torch.Tensor]:
    """Gates of padded sequences, shape (B, T, H) each."""
    steps = reader.embed(batch.values, batch.codes)
    below, at = reader.layers[:layer], reader.layers[layer][0]
    for directions in below:
        steps, _ = read_both_ways(directions, steps, batch.lengths)
    hidden, _ = at(steps)
    # The state before the first event is 0, and that before others is known.
    before = nn.functional.pad(hidden, (0, 0, 1, 0))[:, :-1]
    from_events = nn.functional.linear(steps, at.weight_ih_l0, at.bias_ih_l0)
    from_state = nn.functional.linear(before, at.weight_hh_l0, at.bias_hh_l0)
    of_cell = _gru_gates if isinstance(at, nn.GRU) else _lstm_gates
    return {**of_cell(from_events, from_state), "hidden_state": hidden}


def _lstm_gates(
    from_events: torch.Tensor, from_state: torch.Tensor
) -> dict[str, torch.Tensor]:
    enters, stays, new, leaves = (from_events + from_state).chunk(4, dim=2)
    found = [enters.sigmoid(), stays.sigmoid(), new.tanh(), leaves.sigmoid()]
    state, states = torch.zeros_like(new[:, 0]), []
    for enter, stay, more in zip(*(one.unbind(1) for one in found[:3]), strict=True):
        state = stay * state + enter * more
        states.append(state)
    named = dict(zip(GATES["lstm"], found, strict=True))
    return {**named, "cell_state": torch.stack(states, dim=1)}


def _gru_gates(
    from_events: torch.Tensor, from_state: torch.Tensor
) -> dict[str, torch.Tensor]:
    event = from_events.chunk(3, dim=2)
    state = from_state.chunk(3, dim=2)
    reset, update = (event[k].add(state[k]).sigmoid() for k in (0, 1))
    new = (event[2] + reset * state[2]).tanh()
    return dict(zip(GATES["gru"], (reset, update, new), strict=True))
