"""Fields that do not help on validation rows, and trainings without some inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._recurrent.data import BatchPart, FieldInputs, RowData
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

    Their values are permuted among the steps of a part of a batch of validation rows,
    and row features and sums that are made of them among its rows. A field helps if the
    mean loss then rises by more than two standard errors over `customers` (n,), those
    of the rows. Each of several ranks permutes the values of its own rows.
    """
    module = net.module_
    names = [list(reader.spec.fields) for reader in module.readers]
    fields = [(i, name) for i, own in enumerate(names) for name in own]
    rows_of_rank = net.ranks.own_rows(valid)
    rises = np.zeros((len(fields), len(rows_of_rank)))
    generator = new_generator(seed)
    module.eval()
    with isolated_torch_settings(net.device, net.module__hidden_size), torch.no_grad():
        for batch, target in net.get_iterator(rows_of_rank):
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
    rises = net.ranks.concatenate(rises.T).T  # in the order of `valid`
    weight = np.ones(len(valid)) if valid.weight is None else valid.weight
    weight = weight / weight.sum()
    customer = np.unique(customers, return_inverse=True)[1]
    with np.errstate(invalid="ignore"):  # infinite losses
        mean = rises @ weight  # (n_fields,)
        away = (rises - mean[:, None]) * weight
        of_customers = np.array([np.bincount(customer, one) for one in away])
        error = np.sqrt((of_customers**2).sum(axis=-1))
    helps = dict(zip(fields, ~(mean <= _LEAST_RISE * error), strict=True))
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
    columns = module.columns_of(i, module.readers[i].spec.fields[name])
    own = steps[i]
    step = torch.arange(own.shape[1], device=own.device)
    is_step = step < part.histories[i].lengths[:, None]  # (B, T)
    permuted = own.clone()
    of_steps = own[is_step]
    order = torch.randperm(len(of_steps), generator=generator).to(own.device)
    permuted[is_step] = _reorder(of_steps, columns.steps, order)
    order = torch.randperm(len(part.static), generator=generator).to(own.device)
    static = _reorder(part.static, columns.static, order)
    sums = part.sums if part.sums is None else _reorder(part.sums, columns.sums, order)
    rows = replace(part, static=static, sums=sums)
    return rows, [*steps[:i], permuted, *steps[i + 1 :]]


def _reorder(numbers: Tensor, columns: list[int], order: Tensor) -> Tensor:
    """Return a copy in which some columns have the rows in another order."""
    permuted = numbers.clone()
    permuted[:, columns] = numbers[order][:, columns]
    return permuted


@contextmanager
def without_inputs(
    module: HistoryNetwork, left_out: Sequence[Sequence[FieldInputs]]
) -> Iterator[None]:
    """Set the weights of some inputs to 0, where training keeps them.

    Outputs then do not depend on these inputs, of each history column, in any way.
    """
    hooks = []
    for i, inputs in enumerate(left_out):
        for own in inputs:
            for weight, columns in module.weights_of(i, own):
                with torch.no_grad():
                    kept = torch.ones_like(weight[0])
                    kept[columns] = 0
                    weight.mul_(kept)
                if weight.requires_grad:  # not frozen by a callback
                    hooks.append(weight.register_hook(kept.mul))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
