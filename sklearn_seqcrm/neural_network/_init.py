"""Start readers where an event model has got to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from sklearn_seqcrm.neural_network._reader import HistorySpec

# What the shapes of all weights of a reader follow from, beside the events.
_SIZES = ("cell", "hidden_size", "num_layers")


def refuse_other_reader(estimator: Any) -> None:
    """Raise an error if the network could not start from ``estimator.init``.

    Parameters
    ----------
    estimator : estimator
        Whose parameters these are.

    Raises
    ------
    TypeError
        If `init` is no event model.
    NotFittedError
        If it has not been fitted.
    ValueError
        If it reads events otherwise.
    """
    init, name = estimator.init, type(estimator).__name__
    if init is None:
        return
    if not hasattr(init, "predict_next"):
        raise TypeError(
            f"init of {name} must be a fitted LSTMEventModel or None; got "
            f"{type(init).__name__}."
        )
    if not hasattr(init, "nets_"):
        raise NotFittedError(
            f"{name} starts from an LSTMEventModel that has been fitted, and init has "
            "not. Fit it before, on rows that see nothing of what is to be predicted; "
            "a grid of several takes FrozenEstimator(init), as clones forget."
        )
    net = init.net_
    other = [
        f"{size}={getattr(estimator, size)!r} where it has "
        f"{getattr(net, 'module__' + size)!r}"
        for size in _SIZES
        if getattr(estimator, size) != getattr(net, "module__" + size)
    ]
    if estimator.bidirectional:
        other.append("bidirectional=True where it reads forward alone")
    if other:
        raise ValueError(
            f"{name} cannot start from init: it has {', '.join(other)}. Give both the "
            "same."
        )


@torch.no_grad()
def start_from(
    init: Any, readers: Sequence[nn.Module], specs: Sequence[HistorySpec]
) -> None:
    """Copy the embeddings and recurrent layers of a fitted event model.

    Parameters
    ----------
    init : LSTMEventModel
        The fitted model.
    readers : sequence of HistoryReader
        One for each history column.
    specs : sequence of HistorySpec
        What they read. Those that read what `init` does start from it.

    Raises
    ------
    ValueError
        If none does.
    """
    learned, [encoder] = init.net_.module_.reader, init._encoders.values()
    same = [
        reader
        for reader, spec in zip(readers, specs, strict=True)
        if spec.of_events == encoder.layout.of_events
    ]
    if not same:
        raise ValueError(
            f"No history column of X (of {len(specs)}) is encoded as the events that "
            "init was fitted on: other channels, levels or scales mean other weights. "
            "HistoryEncoder(init=event_model) encodes so, and make_history_pipeline("
            "LSTMClassifier(init=event_model)) has it."
        )
    for reader in same:
        reader.embeddings.load_state_dict(learned.embeddings.state_dict())
        reader.layers.load_state_dict(learned.layers.state_dict())
