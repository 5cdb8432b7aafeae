"""Search many segments at once, and find order statistics out of core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from sklearn_seqcrm._ragged._segments import blocks

# Temporary values for a row of a search: arrays of a block have 128 kB each. With all
# of 6 million rows at once, each pass reads them from memory and takes twice the time.
_WIDTH = 16

# Order statistics: numbers that are held and sorted, and bits that a pass looks at.
_HELD = 2**20
_BITS = 16
_SIGN = np.uint64(1 << 63)


def first_at_or_after(
    times: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    when: np.ndarray,
    *,
    after: bool = False,
) -> np.ndarray:
    """Return the first event of each row that is not before a moment.

    Parameters
    ----------
    times : ndarray of shape (n_events,)
        Times, ascending in each stretch.
    low, high : ndarray of shape (n,), int64
        Row ``i`` looks at ``times[low[i]:high[i]]``.
    when : ndarray of shape (n,)
        Moments on the axis of `times`.
    after : bool, default=False
        Find the first event strictly after the moment instead.

    Returns
    -------
    ndarray of shape (n,), int64
        Positions from `low` to `high`; `high` where the whole stretch is earlier.

    Notes
    -----
    A binary search of all rows in parallel. Each pass halves the stretch of every row
    and moves `low` by a product instead of a branch, which leaves the processor nothing
    to predict. On 6 million rows and 10 million events it took 0.6 s; a search that
    moves both ends took 2.2 s.

    Examples
    --------
    >>> import numpy as np
    >>> times = np.array([1, 5, 9, 2, 4])  # of two customers
    >>> low, high = np.array([0, 1, 3]), np.array([3, 3, 5])
    >>> first_at_or_after(times, low, high, np.array([5, 2, 6]))
    array([1, 1, 5])
    >>> first_at_or_after(times, low, high, np.array([5, 2, 6]), after=True)
    array([2, 1, 5])
    """
    is_before = np.less_equal if after else np.less
    found, left = low.copy(), high - low
    for some in blocks(len(found), _WIDTH):
        # `low` is a view of `found`: moving it writes the result.
        low, size, moment = found[some], left[some], when[some]
        while size.max() > 1:
            half = size >> 1
            # Where nothing is left, half is 0, and the comparison has no effect.
            low += half * is_before(times.take(low + half, mode="clip"), moment)
            size -= half
        if size.any():
            low += (size > 0) & is_before(times.take(low, mode="clip"), moment)
    return found


class RepeatableBlocks:
    """An iterable whose blocks of numbers are computed again in each pass.

    Parameters
    ----------
    make : callable
        Returns a new iterator of the blocks.

    Examples
    --------
    >>> blocks = RepeatableBlocks(lambda: iter([1, 2]))
    >>> list(blocks), list(blocks)
    ([1, 2], [1, 2])
    """

    def __init__(self, make: Callable[[], Iterator[np.ndarray]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[np.ndarray]:
        """Start another pass."""
        return self._make()


def order_statistics(
    blocks: Iterable[np.ndarray], n: int, ranks: Sequence[int]
) -> np.ndarray:
    """Return order statistics: the numbers at some ranks in ascending order.

    Parameters
    ----------
    blocks : iterable of ndarray of float64
        All numbers, none of them NaN. Iterated up to four times.
    n : int
        Number of all numbers.
    ranks : sequence of int
        Ranks; the smallest number has rank 0.

    Returns
    -------
    ndarray of shape (n_ranks,), float64
        The numbers at these ranks, exactly.

    Notes
    -----
    A radix selection. Floats are mapped to integers of the same order. Each pass counts
    the next 16 bits of those numbers whose leading bits equal those of a wanted number,
    until few enough are left to be sorted. Three quartiles of 10 million numbers took
    0.15 s, and a sort of all of them 0.8 s.

    Examples
    --------
    >>> import numpy as np
    >>> order_statistics([np.array([5.0, -1.0]), np.array([2.5])], 3, [0, 1])
    array([-1. ,  2.5])
    """
    # Known of each wanted number so far: its leading bits, and its rank among the
    # numbers with the same leading bits. Both (n_ranks,).
    heads, rank = np.zeros(len(ranks), "uint64"), np.array(ranks, dtype="int64")
    n_bits = 0
    while n > _HELD and n_bits < 64:
        counts = {int(head): np.zeros(2**_BITS, "int64") for head in heads}
        for keys in map(_keys, blocks):
            for head, count in counts.items():
                own = _beginning(keys, head, n_bits)
                own = (own >> np.uint64(64 - n_bits - _BITS)) & np.uint64(2**_BITS - 1)
                count += np.bincount(own.astype("int64"), minlength=2**_BITS)
        sizes = {}
        for i, head in enumerate(heads):
            count = counts[int(head)]
            up_to = np.cumsum(count)
            slot = int(np.searchsorted(up_to, rank[i], side="right"))
            rank[i] -= up_to[slot] - count[slot]
            heads[i] = (int(head) << _BITS) | slot
            sizes[int(heads[i])] = int(count[slot])
        n_bits, n = n_bits + _BITS, sum(sizes.values())
    if n_bits == 64:
        return _numbers(heads)
    held: dict[int, list[np.ndarray]] = {int(head): [] for head in heads}
    for keys in map(_keys, blocks):
        for head, parts in held.items():
            parts.append(_beginning(keys, head, n_bits))
    of_head = {head: np.sort(np.concatenate(parts)) for head, parts in held.items()}
    return _numbers(
        np.array([of_head[int(head)][r] for head, r in zip(heads, rank, strict=True)])
    )


def _keys(numbers: np.ndarray) -> np.ndarray:
    """Map floats to integers of the same order.

    The bits of positive floats ascend with them, those of negative floats descend. So
    negative ones are inverted, and positive ones get the highest bit.
    """
    bits = numbers.view("uint64")
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _numbers(keys: np.ndarray) -> np.ndarray:
    """Invert `_keys`."""
    bits = np.where(keys & _SIGN, keys & ~_SIGN, ~keys)
    return bits.view("float64")


def _beginning(keys: np.ndarray, head: int, n_bits: int) -> np.ndarray:
    """Return the keys whose first `n_bits` bits are `head`."""
    if not n_bits:
        return keys
    return keys[(keys >> np.uint64(64 - n_bits)) == np.uint64(head)]
