"""Parameters of estimators with networks: which are valid, and which may change.

`CONSTRAINTS` validates single parameters; functions ``refuse_*`` check what depends on
the machine, other parameters or earlier calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias

import torch

from sklearn_seqcrm._recurrent.network import (
    CELLS,
    POOLINGS,
    PRECISIONS,
    trains_in_bfloat16,
)
from sklearn_seqcrm._sklearn_compat import Interval, StrOptions, is_count

Cell: TypeAlias = Literal["lstm", "gru", "rnn"]
Pooling: TypeAlias = Literal["last", "mean", "max", "attention", "decay"]

# A number of things, from 1 on.
COUNT = Interval(Integral, 1, None, closed="left")
CONSTRAINTS: dict[str, list[Any]] = {
    "cell": [StrOptions(set(CELLS))],
    "hidden_size": [COUNT],
    "num_layers": [COUNT],
    "bidirectional": ["boolean"],
    "pooling": [StrOptions(set(POOLINGS)), list, tuple],
    "bptt_steps": [COUNT, None],
    "precision": [StrOptions(set(PRECISIONS))],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "category_dropout": [Interval(Real, 0, 1, closed="left")],
    "head_sizes": ["array-like"],
    "static_pieces": [COUNT],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "n_networks": [COUNT, StrOptions({"auto"})],
    "averaged_steps": [COUNT],
    "batch_size": [COUNT, StrOptions({"auto"})],
    "max_epochs": [COUNT, StrOptions({"auto"})],
    "early_stopping": ["boolean", StrOptions({"auto"})],
    "validation_fraction": [
        Interval(Real, 0, 1, closed="neither"),
        StrOptions({"auto"}),
    ],
    "n_iter_no_change": [COUNT],
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
    "category_dropout",
    "head_sizes",
    "static_pieces",
    "weight_decay",
    "n_networks",
    "n_components",
    "copies",
    "moments",
    "min_frequency",
    "max_categories",
    "yearly_seasonality",
    "exposure",
)


def _network_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters that must not change when training continues."""
    params = estimator.get_params(deep=False)
    found = {name: params[name] for name in _OF_THE_NETWORK if name in params}
    if "pooling" in found:
        found["pooling"] = names_of_poolings(found["pooling"])
    if "head_sizes" in found:
        found["head_sizes"] = tuple(int(size) for size in found["head_sizes"])
    return found


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a ValueError if parameters differ from those of existing networks.

    Parameters that only one of two objectives has do not count.
    """
    for name, value in before.items():
        if name in now and value != (other := now[name]):
            raise ValueError(
                f"The network continues with {name}={value!r}; got {other!r}. Set it "
                "back, or fit from the start."
            )


def keep_network_parameters(estimator: Any, is_continuation: bool) -> None:
    """Store the parameters of new networks, or refuse changes to existing ones.

    Unless the training of ``estimator.nets_`` continues (`is_continuation`), these are
    deleted: if this fit fails, they would not match the other attributes.
    """
    now = _network_parameters(estimator)
    if is_continuation:
        device, device_before = str(estimator.device), str(estimator.net_.device)
        if torch.device(device) != torch.device(device_before):
            raise ValueError(
                f"The network continues on its device, {device_before!r}; got "
                f"device={device!r}. Set it back, or fit from the start."
            )
        before = estimator._network_parameters
        # "auto" and the number that it led to are equal.
        n_networks = len(estimator.nets_)
        if now.get("n_networks") in ("auto", n_networks):
            now["n_networks"] = before["n_networks"]
        elif before.get("n_networks") == "auto":
            before = before | {"n_networks": n_networks}
        refuse_changes(before, now)
        return
    if hasattr(estimator, "nets_"):
        del estimator.nets_
    estimator._network_parameters = now


def names_of_poolings(pooling: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of one or several poolings, or raise a ValueError."""
    names = (pooling,) if isinstance(pooling, str) else tuple(pooling)
    unknown = [name for name in names if name not in POOLINGS]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(
            f"pooling must be one or several different ones of {list(POOLINGS)}; "
            f"got {pooling!r}."
        )
    return names


def refuse_other_sizes(head_sizes: Sequence[int]) -> None:
    """Raise a ValueError for invalid sizes of layers."""
    if not all(map(is_count, head_sizes)):
        raise ValueError(f"head_sizes must be positive integers; got {head_sizes!r}.")


def refuse_absent_hardware(device: str | torch.device, precision: str) -> None:
    """Raise a ValueError if this machine has no such device, or not this precision."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # depends on the build of torch
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={str(device)!r} cannot be used here ({reason}); "
            "set_params(device='cpu') trains on the processor."
        ) from error
    if precision == "bfloat16" and not trains_in_bfloat16(torch.device(device).type):
        raise ValueError(
            f"precision='bfloat16' cannot be used here (device {str(device)!r} does "
            "not train recurrent layers in it); set_params(precision='float32') trains "
            "on any device."
        )
