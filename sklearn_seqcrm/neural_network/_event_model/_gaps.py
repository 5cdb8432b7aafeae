"""Gaps between events: their resolution, and the cells that have a probability."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Where times are no multiples of anything, cells are this share of a typical gap, as if
# nobody could tell times apart that are closer.
_FINE = 1e-6
NO_GAP = -1.0  # the width that stands for events at one time


class GapScale(NamedTuple):
    """What was learned of the gaps between events.

    Parameters
    ----------
    unit : float
        Ticks in a typical gap.
    step : float
        Ticks that every gap is a multiple of.
    is_lattice : bool
        Whether there is such a step; otherwise `step` is a small part of a gap.
    no_gap_share : float
        Share of the events that happen when the one before them did.
    some_ties : bool
        Whether any do; otherwise no simulated one does.
    quantiles : tuple of float
        Of the logarithms of the other gaps, in units: where components start.
    spread : float
        Standard deviation of these logarithms.
    """

    unit: float
    step: float
    is_lattice: bool
    no_gap_share: float
    some_ties: bool
    quantiles: tuple[float, ...]
    spread: float

    @classmethod
    def of(
        cls, gaps: np.ndarray, silence: np.ndarray, unit: float, n_components: int
    ) -> GapScale:
        """Learn from the gaps of the training events.

        Parameters
        ----------
        gaps : ndarray of shape (n,)
            Ticks between successive events, 0 among them.
        silence : ndarray of shape (n_rows,)
            Ticks between the last event of each row and its cutoff.
        unit : float
            Ticks in a typical gap.
        n_components : int
            Number of quantiles.
        """
        positive = gaps[gaps > 0]
        step = _common_step(positive)
        is_lattice = step is not None or not len(positive)
        if step is None:
            step = 1.0 if is_lattice else _FINE * unit
        # As if there had been a gap of either kind more.
        no_gap_share = (len(gaps) - len(positive) + 0.5) / (len(gaps) + 1)
        # A customer who has been silent for long will be about as long again. Without
        # them, components would start where those are who come back soon.
        begun = np.concatenate([positive, 2 * silence[silence > 0]])
        logs = np.log(begun / unit) if len(begun) else np.zeros(1)
        at = (np.arange(n_components) + 0.5) / n_components
        quantiles = tuple(np.quantile(logs, at).tolist())
        spread = float(logs.std()) or 1.0
        some_ties = len(positive) < len(gaps)
        return cls(unit, step, is_lattice, no_gap_share, some_ties, quantiles, spread)

    def cells(self, gaps: np.ndarray) -> np.ndarray:
        """Cells of gaps on the axis of logarithms.

        Parameters
        ----------
        gaps : ndarray of shape (n,)
            Ticks, not negative.

        Returns
        -------
        ndarray of shape (n, 2), float32
            Upper end and width. A gap of ``k`` steps is anything above ``k - 1`` of
            them, up to ``k``: for ``k = 1`` the width is infinite, and for 0 `NO_GAP`.
        """
        steps = np.ceil(gaps / self.step - 1e-6)
        some = steps > 0
        upper = np.log(np.where(some, steps, 1.0) * (self.step / self.unit))
        with np.errstate(divide="ignore"):
            width = -np.log1p(-1 / np.maximum(steps, 1.0))
        width[~some] = NO_GAP
        return np.column_stack([upper, width]).astype("float32")

    def log_silence(self, silence: np.ndarray) -> np.ndarray:
        """What a gap is known to exceed, on the axis of logarithms.

        Parameters
        ----------
        silence : ndarray of shape (n,)
            Ticks from the last event to the end of what is known, in which there was
            no other.

        Returns
        -------
        ndarray of shape (n,), float64
            Logarithm of the last step that is over.
        """
        steps = np.ceil(silence / self.step - 1e-6) - 1
        with np.errstate(divide="ignore"):
            logs = np.log(steps.clip(0) * (self.step / self.unit))
        # Of no step, what lies below any gap.
        return np.maximum(logs, np.log(self.step / self.unit) - 50.0)

    def ticks(self, logs: np.ndarray, most: float) -> np.ndarray:
        """Gaps in ticks, whole steps of them, of what was drawn.

        Parameters
        ----------
        logs : ndarray of shape (n,), float64
            Drawn logarithms of gaps in units.
        most : float
            Longer gaps become as long as this, about.
        """
        steps = np.exp(np.minimum(logs, np.log(most / self.unit))) * self.unit
        return np.ceil(steps / self.step - 1e-9).clip(1) * self.step


def _common_step(gaps: np.ndarray) -> float | None:
    """The largest number that all gaps are multiples of; None if there is none."""
    if not len(gaps):
        return None
    if gaps.dtype.kind == "f":
        # Whole numbers that a float holds exactly.
        if not (np.equal(gaps, np.floor(gaps)).all() and gaps.max() < 2.0**53):
            return None
        gaps = gaps.astype("int64")
    return float(np.gcd.reduce(gaps))
