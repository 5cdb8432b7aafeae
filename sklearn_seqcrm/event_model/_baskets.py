"""Levels of the next basket: the next event, and those at the same time after it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm.event_model._path_draws import quantile_index
from sklearn_seqcrm.event_model._paths import Paths
from sklearn_seqcrm.event_model._simulate import FieldContext, Simulator


def basket_probabilities(
    simulator: Simulator, paths: Paths, name: str, n_draws: int
) -> np.ndarray:
    """Return the probability of each level of a field to be in the next basket.

    Arguments and shapes are those of `Simulator.probabilities`, but draws are of whole
    baskets: the next event and those that follow it at the same time. With the
    probability ``q_k(c)`` that event k of the basket is the first one with
    level c, given that none before was::

        P(c in basket) = 1 - prod_k (1 - q_k(c))

    ``q_k(c)`` is a mean over the draws of a row that do not have c yet, and 0 for
    baskets that are over. The product varies much less than the share of the draws that
    have c, or than a sum of probabilities that stops where c is drawn.
    """
    i, learned = simulator.number_of(name), simulator.learned
    module, density = simulator.module, simulator.module.fields[i]
    drawn = torch.zeros((len(paths.number), 0), dtype=torch.int64)
    n_levels = density.n_levels
    if i in paths.copies:
        # New levels come from copies alone.
        n_levels = learned.level_field(name).n_levels
        # Unless baskets have items twice, those of an open basket get no probability.
        if not density.has_repeats:
            drawn = paths.copies[i].events.now().level.long()
    shape = len(paths.number) // n_draws, n_levels
    absence = _Absence(shape, n_draws, drawn.to(simulator.device))
    # Common random numbers: a basket continues while its survival probability, which
    # every event lowers, exceeds one stratified number per draw. Lengths vary less than
    # with a new draw for each event.
    log_survival = torch.zeros(
        len(paths.number), dtype=torch.float64, device=simulator.device
    )
    log_least = paths.draws.uniform(log_survival).log()
    for _ in range(learned.most_events.bound(learned.grid.step)):
        paths = _next_line(simulator, paths, name, absence, n_draws)
        inputs = module.time_inputs(paths.states, paths.rate)
        log_survival = log_survival + module.time.log_tie(inputs)
        kept = (log_survival > log_least).nonzero()[:, 0]
        if not len(kept):
            break
        ties = np.zeros(len(kept))
        paths = paths.take(kept.cpu().numpy()).advance(ties, learned.grid)
        log_survival, log_least = log_survival[kept], log_least[kept]
        absence.keep(kept)
    return (1 - absence.log_absent.exp()).cpu().numpy()


def _next_line(
    simulator: Simulator, paths: Paths, name: str, absence: _Absence, n_draws: int
) -> Paths:
    """Return paths after one more line, whose levels are noted in `absence`.

    For fields that some kinds lack, each event is drawn twice: first with a kind that
    has the field, weighted by the probability of these kinds, for the probabilities;
    then with any kind, to continue.
    """
    i = simulator.number_of(name)
    row = simulator.moved(paths.number // n_draws)

    def draw(context: FieldContext) -> Tensor:
        """Draw levels, and add the probabilities of all levels to `absence`."""
        uniform = paths.draws.uniform(context.context)
        levels = torch.zeros_like(row)
        for there, found in simulator.mean_probabilities(paths, context, i):
            levels[there] = quantile_index(found, uniform[there])
            absence.add(there, row[there], found)
        return levels

    if simulator.learned.applies is None or i == 0:
        values, codes, *_ = simulator.draw_fields(paths, draw={name: draw})
    else:
        draw(simulator.draw_fields(paths, until=name)[-1])
        values, codes, *_ = simulator.draw_fields(paths)
    own = simulator.module.fields[i].own_target(values, codes)
    absence.end_event(row, own)
    return simulator.append(paths, values, codes)


class _Absence:
    """Probability that no event of a basket so far has each level.

    `shape` are the numbers of rows and of levels; rows have `n_draws` draws each.
    `drawn`, of shape (n_rows * n_draws, k), int64, are levels that the open basket of
    each draw has, which get no probability; 0: none.
    """

    def __init__(self, shape: tuple[int, int], n_draws: int, drawn: Tensor) -> None:
        self.log_absent = torch.zeros(shape, dtype=torch.float32, device=drawn.device)
        self._n_without = torch.full_like(self.log_absent, n_draws)
        self._sums = torch.zeros_like(self.log_absent)
        self._drawn = drawn

    def add(self, there: Tensor, row: Tensor, found: Tensor) -> None:
        """Add the probabilities of levels for the draws `there`; overwrites them."""
        found = found.scatter_(1, self._drawn[there], 0.0)
        self._sums.index_add_(0, row, found)

    def end_event(self, row: Tensor, levels: Tensor) -> None:
        """Multiply by the event's absence, and note the drawn levels."""
        # Where all draws have a level, there is none to estimate q from: 0 / 0.
        mean = (self._sums / self._n_without).nan_to_num(0.0).clamp(max=1 - 1e-6)
        self.log_absent += torch.log1p(-mean)
        self._sums.zero_()
        is_first = (self._drawn != levels[:, None]).all(dim=1).to(mean.dtype)
        self._n_without.index_put_((row, levels), -is_first, accumulate=True)
        self._drawn = torch.cat([self._drawn, levels[:, None]], dim=1)

    def keep(self, kept: Tensor) -> None:
        """Drop the draws whose basket is over."""
        self._drawn = self._drawn[kept]
