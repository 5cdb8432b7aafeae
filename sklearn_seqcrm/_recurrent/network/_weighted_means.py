"""Weighted means of the outputs that rows see, for all rows of a batch at once.

The weights of a row are written out for the block of events that it ends in. The state
after the blocks before it is carried into it as one more vector::

    sequence   | block 0         | block 1         | block 2         |
    events     e e e e e e e e e e e e e e e e e e e e e e e e e e e
    carried    0                 >state            >state
    a row                                           sees e e e, and the state

Nothing is ever divided by a factor that fades, which may underflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sklearn_seqcrm._recurrent.data import HistoryBatch, at_least_one

# Most blocks among which states are carried by one product of matrices.
_BLOCKS_AT_ONCE = 32


class Weights(NamedTuple):
    """Weights of P vectors, before they are divided by their sums."""

    # (C, R, P, K): weights of the K events of a block, for each row that ends in it.
    rows: Tensor
    # (C, R, P): weight of the state before the block, for each row. None if each
    # sequence is one block; so are the next two.
    carried: Any = None
    # (B, N, P, K): weights of the events of each of N blocks, at the end of the block.
    ends: Any = None
    # (B, N, P): weight of the state before a block, at the end of the block.
    kept: Any = None


def weighted_means(
    weights: Sequence[Weights], outputs: Tensor, batch: HistoryBatch
) -> Tensor:
    """Return weighted means of outputs, sums divided by ``max(weight, 1)``.

    One batched product of matrices serves all poolings and all rows of a block. The
    alternative, a copy of the outputs for each row, needs R times the memory::

        shares (R * P, K + P)  @  values (K + P, H)     for each of C chunks

        values    outputs of the K events of the block
                  states of the P vectors before the block
        shares    weights of the K events | diagonal: weight of the own state

    `weights` are those of each pooling, for P vectors together, and `outputs`, of shape
    (B, N * K, H), those of the reader, padded to whole blocks. Returns (C, R, P * H).
    """
    rows = torch.cat([one.rows for one in weights], dim=2)  # (C, R, P, K)
    n_rows, n_pools = rows.shape[1:3]
    total = rows.sum(3, keepdim=True)  # (C, R, P, 1)
    blocks = batch.blocks
    if blocks is None:
        values = outputs
        shares = rows / at_least_one(total)
    else:
        sums, weight = _states_before_blocks(weights, outputs, batch)
        values = outputs.reshape(len(sums), batch.block_length, -1)  # (B * N, K, H)
        values = torch.cat([values, sums], dim=1)  # (B * N, K + P, H)
        # Rows as index_select takes them, with a faster backward.
        values = nn.functional.embedding(blocks.block, values.flatten(1))
        values = values.unflatten(1, (-1, outputs.shape[2]))  # (C, K + P, H)
        carried = torch.cat([one.carried for one in weights], dim=2)  # (C, R, P)
        total = total + (carried * weight[blocks.block][:, None])[:, :, :, None]
        # A vector takes its own state, and 0 of the states of the others.
        shares = torch.cat([rows, torch.diag_embed(carried)], dim=3)
        shares = shares / at_least_one(total)
    product = torch.bmm(shares.flatten(1, 2), values)  # (C, R * P, H)
    return product.unflatten(1, (n_rows, n_pools)).flatten(2)


def _states_before_blocks(
    weights: Sequence[Weights], outputs: Tensor, batch: HistoryBatch
) -> tuple[Tensor, Tensor]:
    """Return the weighted sums of all events before each block, and of their weights.

    Shapes are (B * N, P, H) and (B * N, P); weights are those at the end of the block
    before.
    """
    ends = torch.cat([one.ends for one in weights], dim=2)  # (B, N, P, K)
    kept = torch.cat([one.kept for one in weights], dim=2)  # (B, N, P)
    shape = kept.shape[:2]
    ends = ends.flatten(0, 1)
    by_block = outputs.reshape(len(ends), batch.block_length, -1)
    # The sum of the weights is one more column beside the H of the outputs.
    sums = torch.cat([torch.bmm(ends, by_block), ends.sum(2, keepdim=True)], dim=2)
    sums = sums.unflatten(0, shape).transpose(1, 2)  # (B, P, N, H+1)
    before = carry_over(kept.transpose(1, 2), sums)
    before = before.transpose(1, 2).flatten(0, 1)  # (B * N, P, H + 1)
    weight = before[:, :, -1]
    # Beside outputs, weights get a gradient, which is needed only if weights are
    # learned. It took up to a tenth of training with a row before each event.
    return before[:, :, :-1], weight if ends.requires_grad else weight.detach()


def carry_over(kept: Tensor, added: Tensor) -> Tensor:
    """Solve the recurrence of states over N blocks, as products of matrices.

    ``state[n] = state[n - 1] * kept[n - 1] + added[n - 1]``, in parallel: a matrix of
    products of `kept` times `added`, for 32 blocks at once and then for blocks of
    blocks, so that memory grows with N and not with its square.

    `kept` (B, P, N) is the factor of the state over each block, at most 1, without a
    gradient; `added` (B, P, N, H) is what each block adds. Returns the state before
    each block, (B, P, N, H); 0 before the first.
    """
    n_blocks = kept.shape[2]
    if n_blocks <= _BLOCKS_AT_ONCE:
        return torch.matmul(_factors_between(kept), added)
    # Blocks of blocks: M groups of 32. First the states within each group as if it
    # began with 0, then the states that are carried from group to group.
    missing = -n_blocks % _BLOCKS_AT_ONCE
    kept = nn.functional.pad(kept, (0, missing)).unflatten(2, (-1, _BLOCKS_AT_ONCE))
    added = nn.functional.pad(added, (0, 0, 0, missing))
    added = added.unflatten(2, (-1, _BLOCKS_AT_ONCE))  # (B, P, M, 32, H)
    inner = torch.matmul(_factors_between(kept), added)  # (B, P, M, 32, H)
    whole = inner[..., -1, :] * kept[..., -1:] + added[..., -1, :]  # (B, P, M, H)
    before = carry_over(kept.prod(3), whole)  # (B, P, M, H)
    since = nn.functional.pad(kept[..., :-1], (1, 0), value=1).cumprod(3)
    states = torch.addcmul(inner, since[..., None], before[..., None, :])
    return states.flatten(2, 3)[:, :, :n_blocks]


@torch.no_grad()
def _factors_between(kept: Tensor) -> Tensor:
    """Return the factor of what block j adds in the state before block i.

    ::

                      j = 0       j = 1    j = 2
        i = 0           0           0        0
        i = 1           1           0        0
        i = 2         kept[1]       1        0
        i = 3    kept[1] kept[2]  kept[2]    1

    Products, and no quotients of cumulative products: a factor may be 0, or nearly.
    Shape (..., N, N).
    """
    n_blocks = kept.shape[-1]
    block = torch.arange(n_blocks, device=kept.device)
    before = nn.functional.pad(kept[..., :-1], (1, 0), value=1)  # over block i - 1
    # Column j has ones up to row j + 1, then kept[i - 1]; a product down the column
    # gives the table.
    between = block[:, None] - 1 > block
    factors = torch.where(between, before[..., None], 1).cumprod(-2)
    return factors.tril(-1)
