"""What the next basket has: all events at the time of the next one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sklearn_seqcrm.neural_network._event_model._simulate import Paths, Simulator
from sklearn_seqcrm.neural_network._event_model._states import go_on
from sklearn_seqcrm.neural_network._rows import RowData

# Probabilities at once: 32 MiB.
_PROBABILITIES_AT_ONCE = 2**23


class BasketSimulator(Simulator):
    """Draws the next event and those that follow without a gap.

    A level is in a basket if one of its events is the first to have it. So that it is,
    has the sum over the events of the probability that this one has it, where none
    before had: a mean over draws of probabilities, which varies much less than the
    share of the draws that have the level.
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
        self.module.eval()
        key = list(self.module.fields)[list(self.learned.fields).index(name)]
        n_codes = len(self.module.fields[key].vectors.weight)
        sums = torch.zeros((len(data), n_codes), device=self.device)
        [source] = data.sources
        numbers = np.arange(len(data) * n_draws)
        paths, log_silence, least = self._begin(data, source.cutoff, numbers, n_draws)
        left = np.full(len(numbers), 2 * self.learned.most_events.lengths[-1])
        states = paths.output + paths.static
        gaps = self._draw_gaps(states, log_silence, least, left)
        # A first event has no gap.
        is_empty = (source.stop == source.start)[numbers // n_draws]
        later = np.where(is_empty, 0, gaps).astype(paths.times.dtype)
        paths = replace(paths, times=paths.times + later)
        gaps = np.where(is_empty, np.nan, gaps)
        drawn = torch.zeros((len(numbers), 0), dtype=torch.int64, device=self.device)
        for _ in range(self.learned.most_events.bound(self.learned.gaps.step)):
            told = self._draw_fields(paths, gaps, until=name)[3]
            self._add_chances(sums, paths, told, key, drawn, n_draws)
            values, codes, _, _ = self._draw_fields(paths, gaps)
            output, state = go_on(self.module, values, codes, paths.state)
            past = torch.cat([paths.past, codes[:, None].int()], dim=1)[:, 1:]
            paths = replace(paths, output=output, state=state, past=past)
            own = codes[:, self.module.codes[key], None]
            drawn = torch.cat([drawn, own], dim=1)
            states = paths.output + paths.static
            gaps = self._draw_gaps(states, None, None, left[: len(paths.number)])
            kept = np.flatnonzero(gaps == 0)
            if not len(kept):
                break
            paths, gaps = paths.take(kept), gaps[kept]
            paths = replace(paths, n_at_once=paths.n_at_once + 1)
            drawn = drawn[self._moved(kept)]
        return (sums / n_draws).clamp(max=1).cpu().numpy()

    def _add_chances(
        self,
        sums: torch.Tensor,
        paths: Paths,
        told: torch.Tensor,
        key: str,
        drawn: torch.Tensor,
        n_draws: int,
    ) -> None:
        """Add the chance of each code, of those that no earlier event of a path had."""
        density, past = self.module.fields[key], self._past_of(paths, key)
        row = self._moved(paths.number // n_draws)
        at_once = max(1, _PROBABILITIES_AT_ONCE // sums.shape[1])
        parts = (told, past.codes, past.n_at_once, drawn, row)
        for states, codes, n_at_once, had, own in zip(
            *(one.split(at_once) for one in parts), strict=True
        ):
            chances = density.probabilities(states, type(past)(codes, n_at_once))
            sums.index_add_(0, own, chances.scatter(1, had, 0.0))
