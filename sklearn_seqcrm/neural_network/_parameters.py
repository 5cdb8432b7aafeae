"""Parameters of the recurrent estimators: what they may be, here and on this machine.

What scikit-learn's constraints cannot say of a single parameter, functions say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias

import torch

from sklearn_seqcrm._sklearn_compat import Interval, StrOptions, is_count
from sklearn_seqcrm.neural_network._poolings import POOLINGS
from sklearn_seqcrm.neural_network._reader import (
    CELLS,
    PRECISIONS,
    trains_in_bfloat16,
)

Pooling: TypeAlias = Literal["last", "mean", "max", "attention", "decay"]

CONSTRAINTS: dict[str, list[Any]] = {
    "cell": [StrOptions(set(CELLS))],
    "hidden_size": [Interval(Integral, 1, None, closed="left")],
    "num_layers": [Interval(Integral, 1, None, closed="left")],
    "bidirectional": ["boolean"],
    "pooling": [StrOptions(set(POOLINGS)), list, tuple],
    "bptt_steps": [Interval(Integral, 1, None, closed="left"), None],
    "precision": [StrOptions(set(PRECISIONS))],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "level_dropout": [Interval(Real, 0, 1, closed="left")],
    "head_sizes": ["array-like"],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "n_networks": [Interval(Integral, 1, None, closed="left")],
    "averaged_steps": [Interval(Integral, 1, None, closed="left")],
    "batch_size": [
        Interval(Integral, 1, None, closed="left"),
        StrOptions({"auto"}),
    ],
    "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
    "early_stopping": ["boolean", StrOptions({"auto"})],
    "validation_fraction": [
        Interval(Real, 0, 1, closed="neither"),
        StrOptions({"auto"}),
    ],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "callbacks": [list, tuple, None],
    "device": [str, torch.device],
    "random_state": ["random_state"],
    "warm_start": ["boolean"],
    "verbose": ["verbose"],
}


# Parameters that cannot change after the first training of a network.
_OF_THE_NETWORK = (
    "cell",
    "hidden_size",
    "num_layers",
    "bidirectional",
    "pooling",
    "dropout",
    "level_dropout",
    "head_sizes",
    "weight_decay",
    "n_networks",
    "n_components",
    "copies",
    "min_frequency",
    "max_categories",
)


def network_parameters(estimator: Any) -> dict[str, Any]:
    """Parameters that stay the same as long as the networks go on, comparable.

    Parameters
    ----------
    estimator : estimator
        Whose parameters have been checked.
    """
    params = estimator.get_params(deep=False)
    found = {name: params[name] for name in _OF_THE_NETWORK if name in params}
    if "pooling" in found:
        found["pooling"] = names_of_poolings(found["pooling"])
    if "head_sizes" in found:
        found["head_sizes"] = tuple(int(size) for size in found["head_sizes"])
    return found


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a ValueError if parameters of networks that go on have other values."""
    for name, value in before.items():
        if value != (other := now.get(name)):
            raise ValueError(
                f"The network goes on with {name}={value!r}; got {other!r}. Set it "
                "back, or fit from the start."
            )


def names_of_poolings(pooling: str | Sequence[str]) -> tuple[str, ...]:
    """The poolings, one or several; a ValueError if there are no such."""
    names = (pooling,) if isinstance(pooling, str) else tuple(pooling)
    unknown = [name for name in names if name not in POOLINGS]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            f"pooling must be one or several different ones of {list(POOLINGS)}; "
            f"got {pooling!r}."
        )
    return names


def refuse_other_sizes(head_sizes: Sequence[int]) -> None:
    """Raise a ValueError for what are no sizes of layers."""
    if not all(map(is_count, head_sizes)):
        raise ValueError(f"head_sizes must be positive integers; got {head_sizes!r}.")


def refuse_absent_device(device: str | torch.device) -> None:
    """Raise a ValueError for a device that this machine does not have."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # as torch was built
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={str(device)!r} cannot be used here ({reason}); "
            "set_params(device='cpu') trains on the processor."
        ) from error


def refuse_other_device(device: str | torch.device, before: Any) -> None:
    """Raise a ValueError if a net is to go on elsewhere than where it is."""
    if torch.device(device) != torch.device(before):
        raise ValueError(
            f"The network goes on on its device, {str(before)!r}; got "
            f"device={str(device)!r}. Set it back, or fit from the start."
        )


def refuse_absent_precision(precision: str, device: str | torch.device) -> None:
    """Raise a ValueError if the device does not train in it."""
    if precision == "bfloat16" and not trains_in_bfloat16(torch.device(device).type):
        raise ValueError(
            f"precision='bfloat16' cannot be used here (device {str(device)!r} does "
            "not train recurrent layers in it); set_params(precision='float32') trains "
            "on any device."
        )
