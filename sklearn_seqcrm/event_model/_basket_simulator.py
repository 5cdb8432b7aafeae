"""Probability of each level of a field to be in the next basket.

A basket is the next event and those that follow it at the same time.
"""

from __future__ import annotations

import numpy as np
import torch

from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm.event_model._distributions import quantile_index
from sklearn_seqcrm.event_model._open_basket import AtCutoff
from sklearn_seqcrm.event_model._paths import Paths
from sklearn_seqcrm.event_model._simulate import FieldContext, Simulator


class BasketSimulator(Simulator):
    """Draws the next event and those that follow it at the same time.

    With the probability ``q_k(c)`` that event k of the basket is the first one with
    level c, given that none before was::

        P(c in basket) = 1 - prod_k (1 - q_k(c))

    ``q_k(c)`` is a mean over the draws of a row that do not have c yet, and 0 for
    baskets that are over. The product varies much less than the share of the draws that
    have c, or than a sum of probabilities that stops where c is drawn.
    """

    def probabilities(
        self, data: RowData, keys: np.ndarray, name: str, n_draws: int
    ) -> np.ndarray:
        """Return the probability of each code of a field to be in the next basket.

        Parameters
        ----------
        data : RowData of n
            Rows, as many as memory has room for.
        keys : ndarray of shape (n,), uint64
            As for `steps`.
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
        density = self.module.fields[key]
        paths, interarrival = self._at_next(data, keys, n_draws)
        # An open basket has its items already, and gets them again if baskets do so.
        drawn = torch.zeros((len(paths.number), 0), dtype=torch.int64)
        if key in paths.copies and not density.has_repeats:
            drawn = paths.copies[key].events.now().level.long()
        # New levels come from copies alone.
        field = self.learned.level_field(name)
        n_levels = field.n_levels if key in paths.copies else density.n_levels
        absence = _Absence((len(data), n_levels), n_draws, drawn.to(self.device))
        # Common random numbers: a basket continues while its survival probability,
        # which every event lowers, exceeds one stratified number per draw. Lengths vary
        # less than with a new draw for each event.
        log_survival = torch.zeros(
            len(interarrival), dtype=torch.float64, device=self.device
        )
        log_least = paths.draws.uniform(log_survival).log()
        # For fields that some kinds lack, each event is drawn twice: first with a kind
        # that has the field, weighted by the probability of these kinds, for the
        # probabilities; then with any kind, to continue.
        all_have_it = self.learned.applies is None or key == "0"
        for _ in range(self.learned.most_events.bound(self.learned.grid.step)):
            row = self._moved(paths.number // n_draws)

            def draw(
                context: FieldContext, paths: Paths = paths, row: torch.Tensor = row
            ) -> torch.Tensor:
                """Add probabilities of the codes to those of the event, and draw."""
                uniform = paths.draws.uniform(context.context)
                codes = torch.zeros_like(row)
                for there, found in self._portions(paths, context, key):
                    codes[there] = quantile_index(found, uniform[there])
                    absence.add(there, row[there], found)
                return codes

            if all_have_it:
                values, codes, *_ = self._draw_fields(
                    paths, interarrival, draw={name: draw}
                )
            else:
                draw(self._draw_fields(paths, interarrival, until=name)[-1])
                values, codes, *_ = self._draw_fields(paths, interarrival)
            paths = self._append(paths, values, codes)
            absence.end_event(row, density.own_target(values, codes))
            inputs = self.module.time_inputs(paths.states, paths.rate)
            log_survival = log_survival + self.module.time.log_tie(inputs)
            kept = (log_survival > log_least).nonzero()[:, 0]
            if not len(kept):
                break
            interarrival = np.zeros(len(kept))
            paths = paths.take(kept.cpu().numpy())
            paths = paths.advance(interarrival, self.learned.grid)
            log_survival, log_least = log_survival[kept], log_least[kept]
            absence.keep(kept)
        return (1 - absence.log_absent.exp()).cpu().numpy()


class OpenBasketSimulator(AtCutoff, BasketSimulator):
    """Draws the further lines of a basket at the cutoff."""


class _Absence:
    """Probability that no event of a basket so far has each code.

    Parameters
    ----------
    shape : tuple of (int, int)
        Number of rows and of codes.
    n_draws : int
        Draws of each row.
    drawn : Tensor of shape (n_rows * n_draws, k), int64
        Codes that the basket of each draw has already and is not asked for; 0: none.
    """

    def __init__(
        self, shape: tuple[int, int], n_draws: int, drawn: torch.Tensor
    ) -> None:
        self.log_absent = torch.zeros(shape, dtype=torch.float32, device=drawn.device)
        self._n_without = torch.full_like(self.log_absent, n_draws)
        self._sums = torch.zeros_like(self.log_absent)
        self._drawn = drawn

    def add(self, there: torch.Tensor, row: torch.Tensor, found: torch.Tensor) -> None:
        """Add the probabilities of the codes for the draws `there`; overwrites them."""
        found = found.scatter_(1, self._drawn[there], 0.0)
        self._sums.index_add_(0, row, found)

    def end_event(self, row: torch.Tensor, codes: torch.Tensor) -> None:
        """Multiply by the event's absence, and note the drawn codes."""
        # Where all draws have a code, there is none to estimate q from: 0 / 0.
        mean = (self._sums / self._n_without).nan_to_num(0.0).clamp(max=1 - 1e-6)
        self.log_absent += torch.log1p(-mean)
        self._sums.zero_()
        is_first = (self._drawn != codes[:, None]).all(dim=1).to(mean.dtype)
        self._n_without.index_put_((row, codes), -is_first, accumulate=True)
        self._drawn = torch.cat([self._drawn, codes[:, None]], dim=1)

    def keep(self, kept: torch.Tensor) -> None:
        """Drop the draws whose basket is over."""
        self._drawn = self._drawn[kept]
