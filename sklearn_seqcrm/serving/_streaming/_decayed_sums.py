"""Exponentially decayed counts and sums, advanced by new events."""

from __future__ import annotations

import numpy as np

from sklearn_seqcrm._encoding import Layout, symexp


class DecayedSums:
    """Decayed counts and sums of the customers' events.

    The `layout` has the half-lives, and the channels that are summed; with `has_sums`,
    these are also summed in their own units (symexp).
    """

    # Half-lives K, and the numbers that are summed: 1 for the count, the facts, and
    # with `has_sums` the facts in their own units.
    shape: tuple[int, int]

    def __init__(self, layout: Layout, has_sums: bool) -> None:
        self._layout = layout
        self._has_sums = has_sums
        self._rates = np.log(2) / np.asarray(layout.half_lives)
        self.shape = len(layout.half_lives), 1 + (1 + has_sums) * layout.n_decayed

    def after(
        self,
        before: np.ndarray,
        times: np.ndarray,
        channels: np.ndarray,
        last: np.ndarray,
    ) -> np.ndarray:
        """Return the counts and sums of B customers after T more events each.

        `before` (B,) are records of the customers, see `StreamedHistory`; `times`
        (B, T), in ticks, and `channels` (B, T, F) are those of the events. Counts and
        sums (B, K, n_numbers), float64, are at `last` (B,), the time of the last event
        after them.

        For half-life k with rate r = log(2) / k, events at times t with numbers x (1
        for the count), and the last time l before and l' after them: ``sums' = exp(-r
        (l' - l)) sums + sum exp(-r (l' - t)) x``, of which the last sum is a product of
        matrices.
        """
        layout = self._layout
        facts = channels[:, :, : layout.n_decayed]  # (B, T, n_decayed)
        parts = [np.ones((*times.shape, 1)), facts]
        if self._has_sums:
            amounts = symexp(facts.reshape(times.size, layout.n_decayed), layout)
            parts.append(amounts.reshape(facts.shape))
        numbers = np.concatenate(parts, axis=2, dtype="float64")
        ages = last[:, None] - times  # (B, T)
        fade = np.exp(ages[:, None] * -self._rates[:, None])  # (B, K, T)
        since = last - before["last"]
        # (B, K, T) @ (B, T, n_numbers)
        return self.faded(before, since) + np.matmul(fade, numbers)

    def faded(self, records: np.ndarray, since: np.ndarray) -> np.ndarray:
        """Return counts and sums some ticks after the last events of B customers.

        `since` (B,) may be any number where there is no event. Shape (B, K, n_numbers),
        float64.
        """
        # Without events, `last` is no time: exp could overflow.
        since = np.where(records["count"] > 0, since, 0)
        return np.exp(since[:, None] * -self._rates)[:, :, None] * records["sums"]
