"""Fields that do not help on validation rows, and trainings that leave them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._recurrent.data import BatchPart, RowData
from sklearn_seqcrm._recurrent.network import (
    HistoryNetwork,
    isolated_torch_settings,
    new_generator,
)
from sklearn_seqcrm._recurrent.training._net import HistoryNet

# Standard errors by which the loss must rise, so that one field of noise in 44 stays.
_LEAST_RISE = 2.0


def useless_fields(
    net: HistoryNet, valid: RowData, customers: np.ndarray, seed: int
) -> list[list[str]]:
    """Return the names of fields of each history column that do not lower the loss.

    Their values are permuted among the steps of a batch of validation rows, and row
    features that are made of them among its rows. A field helps if the mean loss then
    rises by more than two standard errors over `customers` (n,), those of the rows.
    """
    module = net.module_
    names = [list(reader.spec.fields) for reader in module.readers]
    fields = [(i, name) for i, own in enumerate(names) for name in own]
    rises = np.zeros((len(fields), len(valid)))
    generator = new_generator(seed)
    module.eval()
    with isolated_torch_settings(net.device, net.module__hidden_size), torch.no_grad():
        for batch, target in net.get_iterator(valid):
            targets = target.to(net.device).split([len(one) for one in batch.parts])
            for rows, one, own in zip(batch.parts, batch, targets, strict=True):
                part = one.to(net.device)
                steps = [
                    reader.embed(history.values, history.codes, history.levels)
                    for reader, history in zip(
                        module.readers, part.histories, strict=True
                    )
                ]
                losses = net.criterion_(module(part, steps), own)
                for field, (i, name) in enumerate(fields):
                    permuted = _permute(module, part, steps, i, name, generator)
                    rise = net.criterion_(module(*permuted), own) - losses
                    rises[field, rows] = rise.cpu().numpy()
    weight = np.ones(len(valid)) if valid.weight is None else valid.weight
    weight = weight / weight.sum()
    mean = rises @ weight  # (n_fields,)
    of_customers = [
        np.bincount(np.unique(customers, return_inverse=True)[1], one)
        for one in (rises - mean[:, None]) * weight
    ]
    error = np.sqrt([np.sum(one**2) for one in of_customers])
    helps = dict(zip(fields, mean > _LEAST_RISE * error, strict=True))
    return [[name for name in own if not helps[i, name]] for i, own in enumerate(names)]


def _permute(
    module: HistoryNetwork,
    part: BatchPart,
    steps: list[Tensor],
    i: int,
    name: str,
    generator: torch.Generator,
) -> tuple[BatchPart, list[Tensor]]:
    """Return rows and steps, in which values of a field of history `i` are permuted."""
    columns = module.columns_of_field(i, name)
    own = steps[i]
    step = torch.arange(own.shape[1], device=own.device)
    is_step = step < part.histories[i].lengths[:, None]  # (B, T)
    permuted = own.clone()
    permuted[is_step] = _permute_rows(own[is_step], columns.steps, generator)
    static = _permute_rows(part.static, columns.static, generator)
    return replace(part, static=static), [*steps[:i], permuted, *steps[i + 1 :]]


def _permute_rows(
    numbers: Tensor, columns: Sequence[int], generator: torch.Generator
) -> Tensor:
    """Return a copy in which some columns have the rows in another order."""
    order = torch.randperm(len(numbers), generator=generator).to(numbers.device)
    permuted, some = numbers.clone(), list(columns)
    permuted[:, some] = numbers[order][:, some]
    return permuted


@contextmanager
def without_fields(
    module: HistoryNetwork, left_out: Sequence[Sequence[str]]
) -> Iterator[None]:
    """Set the weights of the inputs of some fields to 0, where training keeps them.

    Outputs then do not depend on these fields in any way.
    """
    hooks = []
    for i, names in enumerate(left_out):
        for name in names:
            for weight, columns in module.weights_of_field(i, name):
                kept = torch.ones(weight.shape[1], device=weight.device)
                kept[list(columns)] = 0
                with torch.no_grad():
                    weight.mul_(kept)
                hooks.append(weight.register_hook(kept.mul))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
