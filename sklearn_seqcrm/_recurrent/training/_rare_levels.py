"""Fields of many levels with few events each, whose levels do not matter.

A network learns the vectors of such levels by heart, as a level has few customers. If
levels say nothing about the target, predictions are much worse than without the field.
So a field is left out unless linear effects of its levels predict the gradient of the
loss for other customers (a score test of the best constant model). Fits of networks
with and without it would show the same, but take far longer and are less certain: they
have one part of the customers to compare the losses on, and this test has all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from torch import Tensor

from sklearn_seqcrm._encoding import FIRST_LEVEL, UNSEEN
from sklearn_seqcrm._recurrent.data import HistorySource, HistorySpec, Ranks, RowData
from sklearn_seqcrm._recurrent.network import isolated_torch_settings
from sklearn_seqcrm._recurrent.objectives import Objective

# Fields of more levels are tested, if levels have fewer events or customers than this
# on average. With more, networks find effects that are not linear, such as those of
# pairs of levels; see "Levels with few events" in docs/defaults_inputs.md.
_MANY_LEVELS, _FEW_EVENTS = 16, 200
# A field helps if its effects predict better than none by so many standard errors.
_LEAST_SCORE = 2.0
_N_FOLDS = 5
# Penalty of the effects, in customers: the prior variance of an effect is a third of
# that of the gradients.
_PENALTY = 3.0
# Rows that are drawn if there are more.
_MOST_ROWS = 20_000


def fields_without_effects(
    specs: Sequence[HistorySpec],
    data: RowData,
    customers: np.ndarray,
    objective: Objective,
    offset_outputs: Sequence[int],
    ranks: Ranks,
) -> list[list[str]]:
    """Return the names of fields of each history column whose levels do not matter.

    They have many levels with few events or `customers` (n,), those of the rows. All
    fields remain with fewer than ten customers, and if the targets are constant.
    """
    if len(data) > _MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).permutation(len(data))[:_MOST_ROWS])
        data, customers = data.take(rows), customers[rows]
    number = np.unique(customers, return_inverse=True)[1]
    n_customers = int(number.max(initial=-1)) + 1
    found: list[list[str]] = [[] for _ in specs]
    if n_customers < 2 * _N_FOLDS:
        return found
    gradients: np.ndarray | None = None
    for i, spec in enumerate(specs):
        for name, field in spec.fields.items():
            for code in field.codes:
                n_levels = spec.n_levels[code] - FIRST_LEVEL
                if n_levels <= _MANY_LEVELS:
                    continue
                source = ranks.own_rows(data).sources[i]
                n_events = int(ranks.sum(np.array(_n_seen(source, code))))
                if min(n_events / n_levels, n_customers) >= _FEW_EVENTS:
                    continue
                if gradients is None:
                    gradients = _gradients(data, objective, offset_outputs)
                shares = _gather(_shares(source, code, spec.n_levels[code]), ranks)
                if _score(shares, gradients, data.weight, number) < _LEAST_SCORE:
                    found[i].append(name)
    return found


def _n_seen(source: HistorySource, code: int) -> int:
    """Return the number of events with a level that rows see."""
    events = source.events
    n = len(events.codes)
    ends = np.bincount(events.start, minlength=n + 1)
    ends = ends - np.bincount(events.stop, minlength=n + 1)
    is_seen = ends.cumsum()[:n] > 0
    return int(np.count_nonzero(events.codes[is_seen, code] >= FIRST_LEVEL))


def _shares(source: HistorySource, code: int, n_codes: int) -> csr_matrix:
    """Return shares of levels among all events of each row, and of its last step.

    Both have a column for each code, that of missing ones included, so that the shape
    is (n, 2 * n_codes).
    """
    n = len(source.start)
    rows = np.arange(n)
    index, step = source.visible_events(rows)
    row = np.repeat(rows, source.events.lengths)
    level = source.events.codes[index, code]
    is_last = step == source.lengths[row] - 1
    parts = []
    for chosen in (level != UNSEEN, (level != UNSEEN) & is_last):
        own = row[chosen]
        share = 1 / np.bincount(own, minlength=n).clip(1)[own]
        parts.append(csr_matrix((share, (own, level[chosen])), (n, n_codes)))
    return hstack(parts, format="csr")


def _gather(matrix: csr_matrix, ranks: Ranks) -> csr_matrix:
    """Return the rows of all ranks."""
    counts = ranks.concatenate(np.diff(matrix.indptr))
    entries = ranks.concatenate(matrix.data), ranks.concatenate(matrix.indices)
    shape = len(counts), matrix.shape[1]
    return csr_matrix((*entries, np.append(0, np.cumsum(counts))), shape)


def _gradients(
    data: RowData, objective: Objective, offset_outputs: Sequence[int]
) -> np.ndarray:
    """Return gradients of losses at the best constant outputs, (n, n_outputs)."""
    bias = objective.start_bias(data.target, data.weight).astype("float32")
    constant = np.broadcast_to(bias, (len(data), len(bias))).copy()
    if data.offset is not None:
        constant[:, list(offset_outputs)] += data.offset[:, None]
    with isolated_torch_settings("cpu"), torch.enable_grad():
        outputs = torch.from_numpy(constant).requires_grad_()
        losses: Tensor = objective(outputs, torch.from_numpy(data.target))
        losses.sum().backward()
        assert outputs.grad is not None
        return outputs.grad.numpy().astype("float64")


def _score(
    shares: csr_matrix,
    gradients: np.ndarray,
    weight: np.ndarray | None,
    customers: np.ndarray,
) -> float:
    """Return by how many standard errors effects lower the loss of other customers.

    It is the gain of a small step along gradients that a ridge regression predicts from
    `shares`; infinite if no customer has another loss with them.
    """
    weight = np.ones(len(gradients)) if weight is None else weight.astype("float64")
    n_customers = customers.max() + 1
    penalty = _PENALTY * weight.sum() / n_customers
    gains = np.zeros(len(gradients))
    for train, rest in GroupKFold(_N_FOLDS).split(shares, groups=customers):
        effects = Ridge(alpha=penalty, solver="sparse_cg")
        effects.fit(shares[train], gradients[train], weight[train])
        mean = np.average(gradients[train], axis=0, weights=weight[train])
        # Of one output, a ridge regression returns the shape (n,).
        away = effects.predict(shares[rest]).reshape(len(rest), -1) - mean
        gains[rest] = (away * gradients[rest]).sum(axis=1) * weight[rest]
    of_customers = np.bincount(customers, gains)
    error = of_customers.std() / np.sqrt(n_customers)
    return float(of_customers.mean() / error) if error > 0 else np.inf
