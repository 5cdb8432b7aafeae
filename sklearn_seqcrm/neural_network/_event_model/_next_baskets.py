"""What the next basket has: all events at the time of the next one."""

from __future__ import annotations

import numpy as np
import torch

from sklearn_seqcrm.neural_network._event_model._simulate import (
    Paths,
    Simulator,
    Told,
)
from sklearn_seqcrm.neural_network._rows import RowData

# Probabilities at once: 32 MiB.
_PROBABILITIES_AT_ONCE = 2**23


class BasketSimulator(Simulator):
    """Draws the next event and those that follow without a gap.

    A level is not in a basket if event after event does not have it, where none before
    had. The chance that event k has it is a mean over the draws in which it has not
    come so far, and 0 where the basket is over. A product of such chances varies much
    less than the share of the draws that have the level, or than a sum of chances that
    ends where it is drawn.
    """

    def probabilities(self, data: RowData, name: str, n_draws: int) -> np.ndarray:
        """Probability of each code of a field to be in the next basket.

        Parameters
        ----------
        data : RowData of n
            Rows, as many as memory has room for.
        name : str
            A categorical field.
        n_draws : int
            Draws of the basket.

        Returns
        -------
        ndarray of shape (n, n_codes), float32
            Means over the draws.
        """
        key = self._key_of(name)
        shape = (len(data), self.module.n_codes(key))
        log_absent = torch.zeros(shape, dtype=torch.float32, device=self.device)
        n_without = torch.full_like(log_absent, n_draws)
        paths, gaps = self._at_next(data, n_draws)
        left = np.full(len(gaps), 2 * self.learned.most_events.lengths[-1])
        drawn = torch.zeros((len(gaps), 0), dtype=torch.int64, device=self.device)
        for _ in range(self.learned.most_events.bound(self.learned.gaps.step)):
            *_, told = self._draw_fields(paths, gaps, until=name)
            row = self._moved(paths.number // n_draws)
            chances = self._sums(paths, told, key, drawn, row, shape)
            chances = chances / n_without
            # Where all draws have it, there is none to learn more from.
            chances = chances.nan_to_num(0.0).clamp(max=1 - 1e-6)
            log_absent += torch.log1p(-chances)
            values, codes, *_ = self._draw_fields(paths, gaps)
            paths = self._read(paths, values, codes)
            own = codes[:, self.module.codes[key]]
            is_first = (drawn != own[:, None]).all(dim=1).to(n_without.dtype)
            n_without.index_put_((row, own), -is_first, accumulate=True)
            drawn = torch.cat([drawn, own[:, None]], dim=1)
            gaps = self._draw_gaps(paths, None, None, left[: len(paths.number)])
            kept = np.flatnonzero(gaps == 0)
            if not len(kept):
                break
            paths, gaps = paths.take(kept).at_next(gaps[kept]), gaps[kept]
            drawn = drawn[self._moved(kept)]
        return (1 - log_absent.exp()).cpu().numpy()

    def _sums(
        self,
        paths: Paths,
        told: Told,
        key: str,
        drawn: torch.Tensor,
        row: torch.Tensor,
        shape: tuple[int, int],
    ) -> torch.Tensor:
        """Sum over the paths of a row of the chance of each code that is not drawn."""
        sums = torch.zeros(shape, dtype=torch.float32, device=self.device)
        at_once = max(1, _PROBABILITIES_AT_ONCE // shape[1])
        for there, chances in self._portions(paths, told, key, at_once):
            sums.index_add_(0, row[there], chances.scatter(1, drawn[there], 0.0))
        return sums
