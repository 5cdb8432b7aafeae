"""Initial weights of readers, those of a fitted event model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from sklearn_seqcrm._recurrent.data import HistorySpec

# Parameters that determine the shapes of the weights of a reader.
_SIZES = ("cell", "hidden_size", "num_layers")


def refuse_other_architecture(estimator: Any) -> None:
    """Raise an error if the parameter `pretrained` of an estimator cannot be used.

    It must be None or an event model (else TypeError) that is fitted (NotFittedError)
    and has the architecture of the estimator (ValueError).
    """
    pretrained, name = estimator.pretrained, type(estimator).__name__
    if pretrained is None:
        return
    if not hasattr(pretrained, "predict_next"):
        raise TypeError(
            f"pretrained of {name} must be a fitted LSTMEventModel or None; got "
            f"{type(pretrained).__name__}."
        )
    if not hasattr(pretrained, "nets_"):
        raise NotFittedError(
            f"{name} needs pretrained to be a fitted LSTMEventModel, and it is not "
            "fitted. Fit it before, on rows that see no event of a test period; in a "
            "grid of several use FrozenEstimator(pretrained), as clones are unfitted."
        )
    net = pretrained.net_
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
            f"{name} cannot start from pretrained: it has {', '.join(other)}. Give "
            "both the same values."
        )


@torch.no_grad()
def copy_pretrained_weights(
    pretrained: Any, readers: Sequence[nn.Module], specs: Sequence[HistorySpec]
) -> None:
    """Copy the embeddings and recurrent layers of a fitted event model.

    They are copied into the readers of history columns that are encoded as the events
    of `pretrained`. Raises a ValueError if there are none.
    """
    learned, [encoder] = pretrained.net_.module_.reader, pretrained._encoders.values()
    # Equal digests: the same channels, levels and scales of single events. Row features
    # may differ, as the head is new.
    same = [
        reader
        for reader, spec in zip(readers, specs, strict=True)
        if spec.layout is not None and spec.layout.of_events == encoder.layout.of_events
    ]
    if not same:
        raise ValueError(
            f"No history column of X (of {len(specs)}) is encoded as the events that "
            "pretrained was fitted on: other channels, levels or scales mean other "
            "weights. HistoryEncoder(pretrained=event_model) encodes so, and "
            "make_history_pipeline(LSTMClassifier(pretrained=event_model)) has it."
        )
    for reader in same:
        reader.embeddings.load_state_dict(learned.embeddings.state_dict())
        reader.layers.load_state_dict(learned.layers.state_dict())
