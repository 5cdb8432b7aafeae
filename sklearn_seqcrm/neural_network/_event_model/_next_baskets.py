"""What the next basket has: all events at the time of the next one."""

from __future__ import annotations

import numpy as np
import torch

from sklearn_seqcrm.neural_network._event_model._mixtures import index_at
from sklearn_seqcrm.neural_network._event_model._simulate import (
    Paths,
    Simulator,
    Told,
)
from sklearn_seqcrm.neural_network._rows import RowData

# Probabilities at once: 2 MiB, which caches hold. 32 MiB took a quarter more time.
_PROBABILITIES_AT_ONCE = 2**19


class BasketSimulator(Simulator):
    """Draws the next event and those that follow without a gap.

    A level is not in a basket if event after event does not have it, where none before
    had. The chance that event k has it is a mean over the draws in which it has not
    come so far, and 0 where the basket is over. A product of such chances varies much
    less than the share of the draws that have the level, or than a sum of chances that
    ends where it is drawn.
    """

    def probabilities(
        self, data: RowData, keys: np.ndarray, name: str, n_draws: int
    ) -> np.ndarray:
        """Probability of each code of a field to be in the next basket.

        Parameters
        ----------
        data : RowData of n
            Rows, as many as memory has room for.
        keys : ndarray of shape (n,), uint64
            As for `run`.
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
        chances = _Absence((len(data), self.module.n_codes(key)), n_draws, self.device)
        paths, gaps = self._at_next(data, keys, n_draws)
        # A basket goes on while the probability that it does, which every event lowers,
        # is above a number that was drawn once, for each of a row's draws from another
        # part of [0, 1): their lengths vary less than if each event drew anew.
        log_going_on = torch.zeros(len(gaps), dtype=torch.float64, device=self.device)
        log_least = paths.draws.uniform(log_going_on).log()
        # Of fields that some kinds have, events are drawn once more: with one of these
        # kinds, and weighed with its chance.
        is_of_all = self.learned.applies is None or key == "0"
        for _ in range(self.learned.most_events.bound(self.learned.gaps.step)):
            row = self._moved(paths.number // n_draws)

            def draw(
                told: Told, paths: Paths = paths, row: torch.Tensor = row
            ) -> torch.Tensor:
                """Add the chances of the codes to those of earlier events, and draw."""
                drawn = paths.draws.uniform(told.states)
                codes = torch.zeros_like(row)
                at_once = max(1, _PROBABILITIES_AT_ONCE // chances.shape[1])
                for there, found in self._portions(paths, told, key, at_once):
                    codes[there] = index_at(found, drawn[there])
                    chances.add(there, row[there], found)
                return codes

            if is_of_all:
                values, codes, *_ = self._draw_fields(paths, gaps, draw={name: draw})
            else:
                draw(self._draw_fields(paths, gaps, until=name)[-1])
                values, codes, *_ = self._draw_fields(paths, gaps)
            paths = self._read(paths, values, codes)
            chances.next_event(row, codes[:, self.module.codes[key]])
            log_going_on = log_going_on + self.module.time.log_tie(
                paths.output + paths.static
            )
            kept = (log_going_on > log_least).nonzero()[:, 0]
            if not len(kept):
                break
            gaps = np.zeros(len(kept))
            paths = paths.take(kept.cpu().numpy()).at_next(gaps)
            log_going_on, log_least = log_going_on[kept], log_least[kept]
            chances.keep(kept)
        return (1 - chances.log_absent.exp()).cpu().numpy()


class _Absence:
    """Probability that no event of a basket so far has each code.

    Parameters
    ----------
    shape : tuple of (int, int)
        Number of rows and of codes.
    n_draws : int
        Draws of each row.
    device : torch.device
        Where the numbers are.
    """

    def __init__(
        self, shape: tuple[int, int], n_draws: int, device: torch.device
    ) -> None:
        self.shape = shape
        self.log_absent = torch.zeros(shape, dtype=torch.float32, device=device)
        self._n_without = torch.full_like(self.log_absent, n_draws)
        self._sums = torch.zeros_like(self.log_absent)
        n_paths = shape[0] * n_draws
        self._drawn = torch.zeros((n_paths, 0), dtype=torch.int64, device=device)

    def add(
        self, there: torch.Tensor, row: torch.Tensor, chances: torch.Tensor
    ) -> None:
        """Add the chance of each code for the draws `there`, which may be changed."""
        chances = chances.scatter_(1, self._drawn[there], 0.0)
        self._sums.index_add_(0, row, chances)

    def next_event(self, row: torch.Tensor, codes: torch.Tensor) -> None:
        """Go on to the next event of each draw, after one of these codes."""
        # Where all draws have a code, there is none to learn more from.
        mean = (self._sums / self._n_without).nan_to_num(0.0).clamp(max=1 - 1e-6)
        self.log_absent += torch.log1p(-mean)
        self._sums.zero_()
        is_first = (self._drawn != codes[:, None]).all(dim=1).to(mean.dtype)
        self._n_without.index_put_((row, codes), -is_first, accumulate=True)
        self._drawn = torch.cat([self._drawn, codes[:, None]], dim=1)

    def keep(self, kept: torch.Tensor) -> None:
        """Go on with the draws whose basket does."""
        self._drawn = self._drawn[kept]
