"""A field of numbers: what was learned of it, and the distribution of its next one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._encoding import NumericField
from sklearn_seqcrm._recurrent.network import new_linear
from sklearn_seqcrm._store import Clock, Column, ScalarType
from sklearn_seqcrm.event_model._draws import PathDraws
from sklearn_seqcrm.event_model._time_density import (
    choose,
    draw_normal,
    log_cell,
    new_output,
    split_components,
    start_of_components,
)

# Values of so large a share of the events stand for themselves, the most frequent of
# them: one piece, free delivery, the price of a subscription.
_LEAST_SHARE, _MOST_ATOMS = 0.01, 32
# Digits after the point that numbers are rounded to, if they are.
_DECIMALS = range(5)
_FINE = 1e-6  # of the spread: the width of a cell where there is no such number
_LEAST_WIDTH = 1e-30  # of a cell on the axis of components
_NO_ATOM, _MISSING = -1, 0


@dataclass(frozen=True, eq=False)
class NumberField:
    """What was learned of a numeric field, or of datetimes as days after the event.

    Parameters
    ----------
    center, scale : float
        Of the numbers, as in `NumericScale`, whose axis the components live on.
    step : float
        What all numbers are a multiple of, or a small part of the scale.
    decimals : int or None
        Digits after the point that numbers have; None: any.
    low, high : float
        Smallest and largest training number.
    atoms : ndarray of shape (n_atoms,)
        Values that stand for themselves, ascending.
    shares : ndarray of shape (1 + n_atoms,)
        Share of the missing, and of each of these values.
    quantiles : tuple of float
        Of the others on the axis of components, where these start.
    spread : float
        Standard deviation of the others there.
    dtype : str
        Type of the values in the log.
    clock : Clock
        What the times of events mean.
    type : ScalarType
        Type of the field.
    in_days : bool
        Whether datetimes are whole days.
    some_missing : bool
        Whether some training events have none; otherwise no simulated one lacks it.
    some_others : bool
        Whether some have another number than `atoms`; otherwise no simulated one has.
    """

    center: float
    scale: float
    step: float
    decimals: int | None
    low: float
    high: float
    atoms: np.ndarray
    shares: np.ndarray
    quantiles: tuple[float, ...]
    spread: float
    dtype: str
    clock: Clock
    type: ScalarType
    in_days: bool
    some_missing: bool
    some_others: bool

    @classmethod
    def of(
        cls, encoder: NumericField, column: Column, times: np.ndarray, n_components: int
    ) -> NumberField:
        """Learn from the values of the training events, which are at `times`."""
        clock, (center, scale, _) = encoder.clock, encoder.scale
        numbers = column.as_numbers(times, clock)
        eps = np.finfo(numbers.dtype).eps
        numbers = numbers.astype("float64")
        known = numbers[np.isfinite(numbers)]
        values, counts = np.unique(known, return_counts=True)
        often = np.argsort(-counts, kind="stable")[:_MOST_ATOMS]
        often = np.sort(often[counts[often] >= _LEAST_SHARE * len(numbers)])
        atoms = values[often]
        step, decimals = _resolution(values, eps)
        # As if there had been half an event more of each: missing, atoms, the others.
        n_others = len(known) - counts[often].sum()
        n_each = np.append(len(numbers) - len(known), counts[often]) + 0.5
        rest = known[~np.isin(known, atoms)] if n_others else known
        folded = fold((rest if len(rest) else np.zeros(1)), center, scale)
        at = (np.arange(n_components) + 0.5) / n_components
        return cls(
            center,
            scale,
            _FINE * scale if step is None else step,
            decimals,
            float(values[0]) if len(values) else 0.0,
            float(values[-1]) if len(values) else 0.0,
            atoms,
            n_each / (n_each.sum() + n_others + 0.5),
            tuple(np.quantile(folded, at).tolist()),
            float(folded.std()) or 1.0,
            column.values.dtype.str,
            clock,
            column.type.scalar,
            column.type.scalar.are_days(column.values),
            len(known) < len(numbers) or not len(numbers),
            bool(n_others),
        )

    @property
    def n_targets(self) -> int:
        """Channels that a likelihood needs beside those that the network reads."""
        return 3

    def targets(self, column: Column, times: np.ndarray) -> np.ndarray:
        """What a likelihood asks about.

        Parameters
        ----------
        column : Column of n
            Values of some events.
        times : ndarray of shape (n,)
            Their times, on `clock`.

        Returns
        -------
        ndarray of shape (n, 3), float32
            Upper end and width of the cell on the axis of components, and the number of
            the atom: 0 missing, from 1 on one of `atoms`, -1 none.
        """
        numbers = column.as_numbers(times, self.clock).astype("float64")
        is_known = np.isfinite(numbers)
        numbers = np.where(is_known, numbers, self.center)
        upper = fold(numbers + self.step / 2, self.center, self.scale)
        # The difference of two large numbers would lose the digits of a narrow cell.
        slope = 1 / (self.scale + np.abs(numbers - self.center))
        width = self.step * slope
        wide = width > 1e-3
        below = fold(numbers[wide] - self.step / 2, self.center, self.scale)
        width[wide] = upper[wide] - below
        # That of a number 1e38 times as large as others would be 0 in float32.
        width = np.maximum(width, _LEAST_WIDTH)
        atom = np.full(len(numbers), _NO_ATOM)
        if len(self.atoms):
            place = np.searchsorted(self.atoms, numbers).clip(max=len(self.atoms) - 1)
            is_atom = self.atoms[place] == numbers
            atom[is_atom] = place[is_atom] + 1
        atom[~is_known] = _MISSING
        return np.column_stack([upper, width, atom]).astype("float32")

    def column(self, atom: np.ndarray, folded: np.ndarray, times: np.ndarray) -> Column:
        """Values of what was drawn, in the units of the log.

        Parameters
        ----------
        atom : ndarray of shape (n,), int64
            Number of the atom, as in `targets`.
        folded : ndarray of shape (n,), float64
            Where there is no atom, the number on the axis of components.
        times : ndarray of shape (n,)
            Times of the events, on `clock`.
        """
        numbers = unfold(folded, self.center, self.scale)
        if self.decimals is not None:
            numbers = np.round(np.round(numbers / self.step) * self.step, self.decimals)
        numbers = numbers.clip(self.low, self.high)
        is_atom = atom > _MISSING
        numbers[is_atom] = self.atoms[atom[is_atom] - 1]
        numbers[atom == _MISSING] = np.nan
        values = self.type.from_numbers(
            numbers, times, self.clock, self.dtype, self.in_days
        )
        return Column(values)


def fold(numbers: np.ndarray, center: float, scale: float) -> np.ndarray:
    """Numbers on the axis of components, in float64; see `NumericScale.symlog`."""
    z = (numbers - center) / scale
    return np.copysign(np.log1p(np.abs(z)), z)


def unfold(folded: np.ndarray, center: float, scale: float) -> np.ndarray:
    """The inverse of `fold`; beyond e to the 80th it stays there."""
    return center + scale * np.copysign(np.expm1(np.abs(folded).clip(max=80)), folded)


class NumberDensity(nn.Module):
    """Distribution of the number of the next event.

    A missing number and each value that comes often have a probability of their own,
    and a mixture of normals, of the scaled numbers with their tails folded in, has all
    values.

    Parameters
    ----------
    size : int
        Numbers of a state.
    field : NumberField
        What was learned of the field.
    n_channels : int
        Number of channels that the encoder has of it: a second one marks the missing.
    generator : torch.Generator
        Draws first weights.
    """

    def __init__(
        self,
        size: int,
        field: NumberField,
        n_channels: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        n = self.n_components = len(field.quantiles)
        self.n_atoms = len(field.shares)
        self.some_missing, self.some_others = field.some_missing, field.some_others
        others = math.log((1 - field.shares.sum()) / n)
        logits = [*np.log(field.shares).tolist(), *[others] * n]
        start = start_of_components(list(field.quantiles), 0.7 * field.spread)
        self.output = new_output(size, logits + start, generator)
        self.channels = new_linear(n_channels, size, generator)

    def log_prob(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Log probability of numbers, shape (n,).

        Parameters
        ----------
        states : Tensor of shape (n, size)
            What is known before.
        targets : Tensor of shape (n, 3)
            As `NumberField.targets` returns them.
        """
        atoms, weights, center, scale = self._read(states)
        upper, width, atom = targets.unbind(1)
        inside = torch.logsumexp(weights + log_cell(upper, width, center, scale), dim=1)
        is_atom = atom != _NO_ATOM
        own = atoms.gather(1, atom.long().clamp(min=0)[:, None])[:, 0]
        both = torch.logaddexp(own, inside)
        value = torch.where(is_atom, both, inside)
        return torch.where(atom == _MISSING, own, value)

    def draw(
        self, states: torch.Tensor, draws: PathDraws
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw numbers.

        Returns
        -------
        atom : Tensor of shape (n,), int64
            Number of the atom; -1 where there is none.
        folded : Tensor of shape (n,), float32
            Numbers on the axis of components.
        """
        atoms, weights, center, scale = self._read(states)
        logits = torch.cat([atoms, weights], dim=1)
        if not self.some_missing:
            logits[:, _MISSING] = -torch.inf
        if not self.some_others:
            logits[:, self.n_atoms :] = -torch.inf
        drawn = choose(logits, draws)
        component = drawn - self.n_atoms
        folded = draw_normal(center, scale, component.clamp(min=0), draws)
        return drawn.masked_fill(component >= 0, _NO_ATOM), folded

    def told(self, channels: torch.Tensor) -> torch.Tensor:
        """What numbers tell the fields after this one, shape (n, size)."""
        return self.channels(channels)

    def _read(self, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Log probability of each atom and each component; what components are."""
        n = self.n_components
        logits, components = self.output(states).split([self.n_atoms + n, 2 * n], dim=1)
        shares = torch.log_softmax(logits, dim=1)
        return *shares.split([self.n_atoms, n], dim=1), *split_components(components)


def _resolution(values: np.ndarray, eps: float) -> tuple[float | None, int | None]:
    """The step that all values are multiples of, and its digits after the point."""
    if not len(values):
        return 1.0, 0
    sizes = np.abs(values)
    largest = sizes.max()
    # What sums leave of 0 is small beside most numbers, however small those are.
    residue = 1e-9 * min(1.0, float(np.median(sizes[sizes > 0]))) if largest else 0.0
    for decimals in _DECIMALS:
        whole = values * 10.0**decimals
        if largest * 10.0**decimals > 2.0**53:
            break
        off = np.abs(whole - np.round(whole))
        if (off <= 4 * eps * np.abs(whole) + residue).all():
            step = int(np.gcd.reduce(np.round(whole).astype("int64"))) or 1
            return step / 10.0**decimals, decimals
    return None, None
