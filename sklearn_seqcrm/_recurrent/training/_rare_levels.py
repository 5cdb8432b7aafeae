"""Fields of many levels with few events each, whose levels do not matter.

A network overfits the embeddings of such levels. If levels say nothing about the
target, predictions are much worse than without the field. So a field is left out unless
linear effects of its levels predict the gradient of the loss for other customers (a
score test of the best constant model). Fits of networks with and without it would show
the same, but take far longer and are less certain: they have one part of the customers
to compare the losses on, and this test has all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix, hstack
from scipy.stats import norm
from sklearn.linear_model import Ridge
from torch import Tensor

from sklearn_seqcrm._encoding import FIRST_LEVEL, UNSEEN
from sklearn_seqcrm._ragged import blocks
from sklearn_seqcrm._recurrent.data import HistorySource, HistorySpec, Ranks, RowData
from sklearn_seqcrm._recurrent.network import isolated_torch_settings
from sklearn_seqcrm._recurrent.objectives import Objective

# Fields of more levels are tested, if levels have fewer events on average, or there are
# fewer customers than this. With more, networks find effects that are not linear, such
# as those of pairs of levels; see "Levels with few events" in docs/defaults_inputs.md.
_MANY_LEVELS, _FEW_EVENTS = 16, 200
# A field helps if its effects lower the loss by so many standard errors.
_LEAST_SCORE = 1.5
_FEWEST_CUSTOMERS = 10
# Customers are divided into folds several times: scores of single divisions differ.
_N_FOLDS, _N_DIVISIONS = 5, 3
# Penalty of the effects, in customers: the prior variance of an effect is a third of
# that of the gradients.
_PENALTY = 3.0
# Rows, and events that they see, which are drawn if there are more.
_MOST_ROWS, _MOST_EVENTS = 20_000, 2_000_000
_WIDTH = 64  # of blocks in which events of customers are counted


def fields_without_effects(
    specs: Sequence[HistorySpec],
    data: RowData,
    customers: np.ndarray,
    objective: Objective,
    offset_outputs: Sequence[int],
    ranks: Ranks,
) -> list[list[str]]:
    """Return the names of fields of each history column whose levels do not matter.

    `customers`, of shape (n,), are those of the rows. With fewer than ten, no field is
    tested.
    """
    found: list[list[str]] = [[] for _ in specs]
    gradients: np.ndarray | None = None
    for i, spec in enumerate(specs):
        codes = [
            (name, code)
            for name, field in spec.fields.items()
            for code in field.codes
            if spec.n_levels[code] - FIRST_LEVEL > _MANY_LEVELS
        ]
        tested = _with_few_events(codes, spec, i, data, customers, ranks)
        if not tested:
            continue
        rows = _drawn_rows(data.sources[i].events.lengths)
        if len(np.unique(customers[rows])) < _FEWEST_CUSTOMERS:
            continue
        source = ranks.own_rows(data.take(rows)).sources[i]
        if gradients is None:
            gradients = _gradients(data, objective, offset_outputs)
        weight = None if data.weight is None else data.weight[rows]
        shares = _shares(source, {code: spec.n_levels[code] for _, code in tested})
        for (name, _), own in zip(tested, shares, strict=True):
            of_all = _gather(own, ranks)
            score = _score(of_all, gradients[rows], weight, customers[rows])
            if score < _LEAST_SCORE:
                found[i].append(name)
    return found


def _with_few_events(
    codes: list[tuple[str, int]],
    spec: HistorySpec,
    i: int,
    data: RowData,
    customers: np.ndarray,
    ranks: Ranks,
) -> list[tuple[str, int]]:
    """Return those of some fields whose levels have few events or customers.

    Events are those of the longest row of each customer: rows of padded tensors repeat
    events. `codes` are names of fields of history column `i`, and their codes.
    """
    if not codes:
        return []
    order = np.lexsort((-data.sources[i].events.lengths, customers))
    longest = order[np.unique(customers[order], return_index=True)[1]]
    if len(longest) < _FEW_EVENTS:
        return codes
    source = ranks.own_rows(data.take(np.sort(longest))).sources[i]
    enough = np.array(
        [_FEW_EVENTS * (spec.n_levels[c] - FIRST_LEVEL) for _, c in codes]
    )
    counts = np.zeros(len(codes), "int64")
    for some in blocks(len(source.start), _WIDTH):
        index, _ = source.visible_events(np.arange(len(source.start))[some])
        own = source.events.codes[index][:, [code for _, code in codes]]
        counts += np.count_nonzero(own >= FIRST_LEVEL, axis=0)
        if (counts >= enough).all():
            break
    has_few = ranks.sum(counts) < enough
    return [one for one, few in zip(codes, has_few, strict=True) if few]


def _drawn_rows(lengths: np.ndarray) -> np.ndarray:
    """Return all rows, or as many as are enough, in their order; of (n,) lengths."""
    order = np.random.default_rng(0).permutation(len(lengths))
    n_drawn = np.searchsorted(lengths[order].cumsum(), _MOST_EVENTS, side="right")
    return np.sort(order[: max(1, min(n_drawn, _MOST_ROWS))])


def _shares(source: HistorySource, n_codes: dict[int, int]) -> Iterator[csr_matrix]:
    """Yield shares of levels among all events of each row, and of its last step.

    Both have a column for each code, that of missing ones included, so that the shape
    is (n, 2 * n_codes). `n_codes` has the numbers of codes of some coded fields.
    """
    n = len(source.start)
    rows = np.arange(n)
    index, step = source.visible_events(rows)
    row = np.repeat(rows, source.events.lengths)
    is_last = step == source.lengths[row] - 1
    levels = source.events.codes[index][:, list(n_codes)]  # read once for all fields
    for level, size in zip(levels.T, n_codes.values(), strict=True):
        parts = []
        for chosen in (level != UNSEEN, (level != UNSEEN) & is_last):
            own = row[chosen]
            share = 1 / np.bincount(own, minlength=n).clip(1)[own]
            parts.append(csr_matrix((share, (own, level[chosen])), (n, size)))
        yield hstack(parts, format="csr")


def _gather(matrix: csr_matrix, ranks: Ranks) -> csr_matrix:
    """Return the rows of all ranks."""
    counts = ranks.concatenate(np.diff(matrix.indptr))
    entries = ranks.concatenate(matrix.data), ranks.concatenate(matrix.indices)
    shape = len(counts), matrix.shape[1]
    return csr_matrix((*entries, np.append(0, np.cumsum(counts))), shape)


def _gradients(
    data: RowData, objective: Objective, offset_outputs: Sequence[int]
) -> np.ndarray:
    """Return gradients of losses at the best constant outputs, (n, n_groups), float64.

    Outputs that start alike, such as the hazards of a kind, are a group: an effect
    moves all of them, and the effects on each are small.
    """
    bias = objective.start_bias(data.target, data.weight).astype("float32")
    constant = np.broadcast_to(bias, (len(data), len(bias))).copy()
    if data.offset is not None:
        constant[:, list(offset_outputs)] += data.offset[:, None]
    with isolated_torch_settings("cpu"), torch.enable_grad():
        outputs = torch.from_numpy(constant).requires_grad_()
        losses: Tensor = objective(outputs, torch.from_numpy(data.target))
        losses.sum().backward()
        assert outputs.grad is not None
        found = outputs.grad.numpy().astype("float64")
    return found.reshape(len(found), -1, objective.n_alike).sum(axis=2)


def _score(
    shares: csr_matrix,
    gradients: np.ndarray,
    weight: np.ndarray | None,
    customers: np.ndarray,
) -> float:
    """Return by how many standard errors effects lower the loss of other customers.

    It is the gain of a small step along gradients that a ridge regression predicts from
    `shares`: the largest of those of each column of the gradients, less what it would
    be by chance; infinite if there are no gradients.
    """
    weight = np.ones(len(gradients)) if weight is None else weight.astype("float64")
    customers = np.unique(customers, return_inverse=True)[1]
    n_customers = customers.max() + 1
    effects = Ridge(alpha=_PENALTY * weight.sum() / n_customers, solver="sparse_cg")
    gains = np.zeros_like(gradients)
    rng = np.random.default_rng(0)
    for _ in range(_N_DIVISIONS):
        fold = (rng.permutation(n_customers) % _N_FOLDS)[customers]
        for i in range(_N_FOLDS):
            train, rest = np.flatnonzero(fold != i), np.flatnonzero(fold == i)
            effects.fit(shares[train], gradients[train], weight[train])
            mean = np.average(gradients[train], axis=0, weights=weight[train])
            # Of one output, a ridge regression returns the shape (n,).
            away = effects.predict(shares[rest]).reshape(len(rest), -1) - mean
            gains[rest] += away * gradients[rest] * weight[rest, None]
    of_customers = np.array([np.bincount(customers, one) for one in gains.T])
    # Customers of two folds predict each other, so that gains are correlated: a sum has
    # twice the variance that independent ones would have.
    error = np.sqrt(2 / n_customers) * of_customers.std(axis=1)
    known = error > 0
    if not known.any():
        return np.inf
    largest = (of_customers.mean(axis=1)[known] / error[known]).max()
    # Of many columns of noise one is large by chance (Bonferroni). Gradients of classes
    # add up to 0, so that two classes are one column.
    n_columns = np.linalg.matrix_rank(gradients)
    return float(norm.isf(min(n_columns * norm.sf(largest), 1.0)))
