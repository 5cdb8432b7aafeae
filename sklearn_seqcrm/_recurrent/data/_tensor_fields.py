"""Dataclasses of tensors or arrays, and functions that apply to all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Self

import torch

# Metadata of a field that belongs to all rows together.
OF_ALL_ROWS = {"of_all_rows": True}


class TensorFields:
    """A dataclass of tensors or arrays, with functions that apply to all of them.

    None stays None, and tuples, lists and other `TensorFields` are followed. Fields
    with the metadata ``of_all_rows`` are left as they are.
    """

    def change(self, function: Callable[[Any], Any]) -> Self:
        """Return an object with the result of a function in each field."""
        changed = {
            one.name: change_all(getattr(self, one.name), function)
            for one in fields(self)  # type: ignore[arg-type]
            if "of_all_rows" not in one.metadata
        }
        return replace(self, **changed)  # type: ignore[type-var]

    def to(self, device: torch.device | str) -> Self:
        """Return all tensors on a device."""
        return self.change(lambda tensor: tensor.to(device))


class IndexedFields(TensorFields):
    """Tensors or arrays that have an index in common, their first axis."""

    def take(self, rows: Any) -> Self:
        """Return the fields at some places, an array of int64 or a slice."""
        return self.change(lambda tensor: tensor[rows])


def change_all(value: Any, function: Callable[[Any], Any]) -> Any:
    """Return a tensor or array, or an object of several, with a function applied."""
    if value is None:
        return None
    if isinstance(value, TensorFields):
        return value.change(function)
    if isinstance(value, list | tuple):
        make = getattr(value, "_make", type(value))  # of a NamedTuple
        return make(change_all(one, function) for one in value)
    return function(value)
