"""Numeric fields: learned parameters, and the distribution of the next value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._encoding import NumericField
from sklearn_seqcrm._recurrent.data import HistorySource
from sklearn_seqcrm._recurrent.network import new_linear
from sklearn_seqcrm._store import Clock, Column, ScalarType
from sklearn_seqcrm.event_model._earlier_numbers import (
    EarlierNumberGates,
    EarlierNumbers,
)
from sklearn_seqcrm.event_model._fields import (
    FieldDensity,
    LearnedField,
    TrainingEvents,
)
from sklearn_seqcrm.event_model._mixtures import (
    NO_ATOM,
    MixtureDensity,
    start_of_components,
)
from sklearn_seqcrm.event_model._number_codes import (
    NO_NUMBER,
    NO_UNITS,
    bits_of_numbers,
    codes_of_bits,
    ratios,
    times_base,
)
from sklearn_seqcrm.event_model._number_sources import NumberSource, choose_sources
from sklearn_seqcrm.event_model._number_state import NumberState, ObservedNumbers
from sklearn_seqcrm.event_model._path_draws import PathDraws, draw_logits, pick
from sklearn_seqcrm.event_model._source_columns import SourceColumns
from sklearn_seqcrm.event_model._usual_numbers import LevelNumbers

# Values with at least this share of the events are atoms, at most this many of the most
# frequent: one piece, free delivery, the price of a subscription.
_LEAST_SHARE, _MOST_ATOMS = 0.01, 32
# Numbers of decimals to which values may be rounded.
_DECIMALS = range(5)
_FINE = 1e-6  # width of a cell, as a part of the scale, where numbers have no step
_LEAST_WIDTH = 1e-30  # of a cell on the symlog axis
_MOST_SYMLOG = 80.0  # largest size of drawn numbers on the symlog axis
_MISSING = 0  # the first atom
_LEAST_MISSING = 1e-4  # its share at the start, if gates have the missing numbers
N_TARGETS = 3  # channels of `NumberField.targets`


def symlog(numbers: np.ndarray, center: float, scale: float) -> np.ndarray:
    """Return sign(z) log(1 + |z|) of z = (x - center) / scale, in float64.

    Hafner et al., "Mastering Diverse Domains through World Models", 2023,
    https://arxiv.org/abs/2301.04104.
    """
    with np.errstate(over="ignore"):
        z = (numbers - center) / scale
    return np.copysign(np.log1p(np.abs(z)), z)


def symexp(scaled: np.ndarray, center: float, scale: float) -> np.ndarray:
    """Return the inverse of `symlog`; sizes are clipped at 80 on the symlog axis."""
    size = np.abs(scaled).clip(max=_MOST_SYMLOG)
    return center + scale * np.copysign(np.expm1(size), scaled)


class DrawnNumbers(NamedTuple):
    """Drawn numbers of n events."""

    atom: Tensor  # (n,), int64: the atom of each, -1 for none
    scaled: Tensor  # (n,), float32: on the symlog axis; meaningless where there is one
    # (n,), int64: earlier numbers, which are in place of these; `NO_NUMBER` for none.
    earlier: Tensor
    # (n,), int64: ratios to `NumberField.base`, in place of all these; `NO_NUMBER`.
    ratio: Tensor


class NumberColumns(NamedTuple):
    """Where encoded events have the numbers of a field."""

    # Channels of the scaled number, and of a mark of missing ones if there are any.
    channels: list[int]
    targets: slice  # channels that have `NumberField.targets`
    copied: SourceColumns  # codes, if the field has sources of earlier numbers


class NumberDensity(MixtureDensity, FieldDensity):
    """Distribution of the number of the next event.

    A missing number and each frequent value is an atom with probability ``a_j``; normal
    components on the symlog axis, with weights ``w_k``, cover all values::

        P(missing)         = a_0
        P(x), x is atom j  = a_j + C(x)
        P(x), x is no atom = C(x)
        C(x) = sum_k w_k [Phi((upper - m_k) / s_k) - Phi((upper - width - m_k) / s_k)]

    where ``(upper - width, upper]`` are the numbers that round to x (interval
    censoring), and all ``a_j`` and ``w_k`` add up to 1.

    With `copies`, this is the distribution of new numbers, and earlier ones are added,
    if the field has sources of them; see `_earlier_numbers`.
    """

    def __init__(
        self,
        size: int,
        field: NumberField,
        columns: NumberColumns,
        copies: bool,
        generator: torch.Generator,
    ) -> None:
        n_atoms, n = len(field.atoms), len(field.quantiles)
        shares, missing = field.shares.copy(), 0.0
        has_gates = copies and bool(field.sources)
        if has_gates and field.some_missing:  # the gates have the missing numbers
            missing, shares[0] = shares[0], _LEAST_MISSING
        super().__init__(
            size,
            shares,
            field.quantiles,
            field.spread,
            [field.some_missing, *[True] * n_atoms, *[field.some_others] * n],
            generator,
        )
        self.copies = self.shrinkage = None
        self.columns = columns
        self.embed = new_linear(len(columns.channels), size, generator)
        self.gates: EarlierNumberGates | None = None
        if has_gates:
            right = [source.share for source in field.sources]
            self.gates = EarlierNumberGates(size, right, missing, generator)

    def own_input(self, values: Any, codes: Any) -> Any:
        """Return the channels of the field, shape (n, n_channels)."""
        return values[:, self.columns.channels]

    def own_target(self, values: Any, codes: Any) -> Any:
        """Return the cell and the atom of the numbers, shape (n, 3)."""
        return values[:, self.columns.targets]

    def candidates(
        self, codes: Tensor, is_tie: Tensor, row: Tensor
    ) -> tuple[EarlierNumbers, Tensor, Tensor] | None:
        """Return parameters of `EarlierNumberGates.log_prob`; see `FieldDensity`."""
        if self.gates is None:
            return None
        copied = self.columns.copied
        numbers, levels = copied.own_numbers(codes), copied.own_levels(codes)
        own = EarlierNumbers.before(numbers, levels, row)
        earlier = copied.with_usual(own, codes)
        return earlier, copied.numbers(codes), copied.are_known(codes)

    def log_prob(
        self,
        context: Tensor,
        target: Tensor,
        candidates: tuple[EarlierNumbers, Tensor, Tensor] | None = None,
        is_tie: Tensor | None = None,
    ) -> Tensor:
        """Return the log probability of `NumberField.targets`, shape (n,)."""
        upper, width, atom = target.unbind(1)
        # A component may give the value of an atom, too.
        has_cell = atom != _MISSING
        new = self.log_mixture(context, atom.long(), upper, width, has_cell)
        if self.gates is None or candidates is None:
            return new
        return self.gates.log_prob(new, context, *candidates)

    def draw(
        self,
        context: Tensor,
        draws: PathDraws,
        state: NumberState | None = None,
        is_tie: Tensor | None = None,
        codes: Tensor | None = None,
    ) -> DrawnNumbers:
        """Draw numbers; see `FieldDensity.draw`."""
        if self.gates is None or codes is None:
            drawn = self._draw_new(context, draws)
            nothing = torch.full_like(drawn[0], NO_NUMBER)
            return DrawnNumbers(*drawn, nothing, nothing)
        copied = self.columns.copied
        levels = copied.own_levels(codes)
        own = EarlierNumbers.none(levels) if state is None else state.before(levels)
        earlier = copied.with_usual(own, codes)
        # 0 is missing, 1 a new number, and 2 + s an earlier one from the source s.
        source = draw_logits(self.gates.log_gates(context, earlier), draws)
        new = (source == 1).nonzero()[:, 0]
        drawn = self._draw_new(context[new], draws.take(new))
        atom = torch.where(source == 0, _MISSING, NO_ATOM).index_put_((new,), drawn[0])
        scaled = torch.zeros_like(context[:, 0]).index_put_((new,), drawn[1])
        is_copy, copy = source >= 2, (source - 2).clamp(min=0)
        is_ratio = is_copy & copied.are_ratios(source.device)[copy]
        bits = pick(earlier.bits, copy)
        return DrawnNumbers(
            atom,
            scaled,
            bits.masked_fill(~is_copy | is_ratio, NO_NUMBER),
            bits.masked_fill(~is_ratio, NO_NUMBER),
        )

    def _draw_new(self, context: Tensor, draws: PathDraws) -> tuple[Tensor, Tensor]:
        """Draw atoms and scaled numbers of the mixture, (n,) each."""
        return self.mixture(context).draw(draws, self.is_possible)

    def append(self, state: NumberState, codes: Tensor) -> NumberState:
        """Return the state after one more event; see `FieldDensity.append`."""
        copied = self.columns.copied
        return state.append(copied.own_numbers(codes), copied.own_levels(codes))

    def observed(
        self, source: HistorySource, is_tie: np.ndarray, n_levels: int
    ) -> ObservedNumbers | None:
        """Return the numbers of rows; see `FieldDensity.observed`."""
        copied, codes = self.columns.copied, torch.from_numpy(source.codes)
        if self.gates is None or not copied.own_sources:
            return None
        own = copied.own_numbers(codes), copied.own_levels(codes)
        return ObservedNumbers.of(source, *own, self.output.weight.device)

    def write(
        self, column: Column, encoded: Any, channels: np.ndarray, codes: np.ndarray
    ) -> None:
        """Write scaled numbers, and marks of missing ones, to their channels."""
        for channel, numbers in zip(self.columns.channels, encoded, strict=False):
            channels[:, channel] = numbers


@dataclass(frozen=True, eq=False)
class NumberField(LearnedField):
    """A numeric field, or datetimes as days after the event, with its parameters."""

    # Center and scale of the symlog axis, on which the components of the mixture are.
    center: float
    scale: float
    # Largest step that all numbers are multiples of; without one, a small part of the
    # scale.
    step: float
    decimals: int | None  # digits after the point that numbers have; None: any
    low: float  # smallest training number
    high: float  # largest training number
    atoms: np.ndarray  # (n_atoms,): values with a probability of their own, ascending
    shares: np.ndarray  # (1 + n_atoms,): share of missing numbers, and of each atom
    # Quantiles of the other numbers on the symlog axis, where components start.
    quantiles: tuple[float, ...]
    spread: float  # standard deviation of the other numbers on that axis
    dtype: str  # type of the values in the log
    clock: Clock  # unit and zone of the times of events
    scalar_type: ScalarType  # type of the field
    in_days: bool  # whether datetimes are whole days
    # Whether some training events have no number. If False, all drawn ones have one.
    some_missing: bool
    # Whether some numbers are no atoms. If False, only atoms are drawn.
    some_others: bool
    sources: tuple[NumberSource, ...] = ()  # earlier numbers that are copied
    # Numbers of the levels in training, for each source of usual ones.
    usual: tuple[LevelNumbers, ...] = ()

    @classmethod
    def learn(
        cls,
        encoder: NumericField,
        column: Column,
        events: TrainingEvents,
        n_components: int,
    ) -> NumberField:
        """Learn from the values of training events; see `LearnedField.learn`."""
        clock, (center, scale, _) = encoder.clock, encoder.scale
        numbers = column.as_numbers(events.times, clock)
        eps = np.finfo(numbers.dtype).eps
        numbers = numbers.astype("float64")
        known = numbers[np.isfinite(numbers)]
        values, counts = np.unique(known, return_counts=True)
        often = np.argsort(-counts, kind="stable")[:_MOST_ATOMS]
        often = np.sort(often[counts[often] >= _LEAST_SHARE * len(numbers)])
        atoms = values[often]
        step, decimals = _resolution(values, eps)
        # A pseudo-count of half an event for missing, for each atom and for the others.
        n_others = len(known) - counts[often].sum()
        n_each = np.append(len(numbers) - len(known), counts[often]) + 0.5
        rest = known[~np.isin(known, atoms)] if n_others else known
        scaled = symlog((rest if len(rest) else np.zeros(1)), center, scale)
        quantiles, spread = start_of_components(scaled, n_components)
        return cls(
            center=center,
            scale=scale,
            step=_FINE * scale if step is None else step,
            decimals=decimals,
            low=float(values[0]) if len(values) else 0.0,
            high=float(values[-1]) if len(values) else 0.0,
            atoms=atoms,
            shares=n_each / (n_each.sum() + n_others + 0.5),
            quantiles=quantiles,
            spread=spread,
            dtype=column.values.dtype.str,
            clock=clock,
            scalar_type=column.type.scalar,
            in_days=column.type.scalar.are_days(column.values),
            some_missing=len(known) < len(numbers) or not len(numbers),
            some_others=bool(n_others),
        )

    @property
    def base(self) -> str | None:
        """The field to whose numbers sources have ratios; None: no source has them."""
        return next((one.base for one in self.sources if one.base is not None), None)

    def with_sources(
        self,
        column: Column,
        events: TrainingEvents,
        levels: dict[str, np.ndarray],
        bases: dict[str, np.ndarray],
    ) -> NumberField:
        """Return the field with the sources of its numbers in training events.

        `levels` are those of `choose_sources`, and `bases` the numbers of fields that
        are predicted before, in units.
        """
        own = self._numbers(column, events.times)
        # Datetimes may be rounded at other times of day: such numbers do not recur.
        others = np.roll(own, 1)
        drawn = Column(self._values(others, events.times))
        if not np.array_equal(
            self._numbers(drawn, events.times), others, equal_nan=True
        ):
            return self
        numbers: dict[str | None, np.ndarray] = {None: bits_of_numbers(own)}
        units = self.units(column, events.times)
        for name, base in bases.items():
            ratio = ratios(units, base)
            if (ratio != NO_NUMBER).any():
                numbers[name] = ratio
        sources = choose_sources(numbers, units, bases, events, levels)
        usual = [
            LevelNumbers.of(numbers[one.base], levels[one.field])
            for one in sources
            if one.is_usual and one.field is not None
        ]
        return replace(self, sources=sources, usual=tuple(usual))

    def units(self, column: Column, times: np.ndarray) -> np.ndarray:
        """Return the numbers as multiples of the step, shape (n,), int64.

        They are `NO_UNITS` if they are missing, 0, too large or no multiples. `times`,
        (n,), are those of the events.
        """
        numbers, dtype = self._drawn_numbers(column, times), np.dtype(self.dtype)
        if self.decimals is None or dtype.kind not in "iuf":
            return np.full(len(numbers), NO_UNITS)
        eps = np.finfo(dtype if dtype.kind == "f" else "float64").eps
        sizes = np.abs(numbers)
        fits = sizes < -NO_UNITS * self.step
        units = np.round(np.where(fits, numbers, 0) / self.step)
        fits &= (units != 0) & (np.abs(units) < -NO_UNITS)
        fits &= np.abs(self.from_units(units) - numbers) <= 4 * eps * sizes
        return np.where(fits, units, NO_UNITS).astype("int64")

    def from_units(self, units: np.ndarray) -> np.ndarray:
        """Return multiples of the step, shape (n,), as numbers, float64."""
        assert self.decimals is not None
        return np.round(units * self.step, self.decimals)

    def with_ratios(self, drawn: DrawnNumbers, base: np.ndarray) -> DrawnNumbers:
        """Return drawn numbers with those of their ratios among earlier ones.

        `base`, of shape (n,), int64, has the numbers of the field `base` in units.
        """
        ratio = drawn.ratio.cpu()
        units = times_base(ratio, torch.from_numpy(base)).numpy()
        numbers = torch.from_numpy(bits_of_numbers(self.from_units(units)))
        earlier = torch.where(ratio == NO_NUMBER, drawn.earlier.cpu(), numbers)
        return drawn._replace(earlier=earlier)

    def codes(
        self, column: Column, times: np.ndarray, before: np.ndarray
    ) -> np.ndarray:
        """Return the codes `SourceColumns.own` of numbers, shape (n, 2 or 4), int32.

        `times`, (n,), are those of the events, and `before` the codes of this name.
        """
        own = codes_of_bits(bits_of_numbers(self._drawn_numbers(column, times)))
        if self.base is None:
            return own
        ratio = ratios(self.units(column, times), before[:, 0].astype("int64"))
        return np.column_stack([own, codes_of_bits(ratio)])

    def _drawn_numbers(self, column: Column, times: np.ndarray) -> np.ndarray:
        """Return the numbers in the type of drawn ones, shape (n,), float64.

        Logs that are scored may have a wider type than those of training.
        """
        numbers = self._numbers(column, times)
        if np.dtype(self.dtype).kind != "f":
            return numbers
        with np.errstate(over="ignore"):
            return numbers.astype(self.dtype).astype("float64")

    def _numbers(self, column: Column, times: np.ndarray) -> np.ndarray:
        """Return the numbers of events, shape (n,), float64."""
        return column.as_numbers(times, self.clock).astype("float64")

    def _values(self, numbers: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return numbers of events as values of the field, shape (n,)."""
        return self.scalar_type.from_numbers(
            numbers, times, self.clock, self.dtype, self.in_days
        )

    def refuse_huge(self, column: Column, times: np.ndarray, name: str) -> None:
        """Raise a ValueError if training numbers could not be drawn again.

        Atoms are drawn as they are, and a few wrong numbers do no harm. `column` are
        the values of the field `name`, at events with these `times`.
        """
        most = self.scale * np.expm1(_MOST_SYMLOG)
        if max(self.center - self.low, self.high - self.center) <= most:
            return
        numbers = self._numbers(column, times)
        numbers = numbers[np.isfinite(numbers)]
        is_huge = np.abs(numbers - self.center) > most
        n_huge = np.sum(is_huge & ~np.isin(numbers, self.atoms))
        if n_huge > max(1, _LEAST_SHARE * len(numbers)):
            raise ValueError(
                f"{n_huge} of {len(numbers)} values of field {name!r} are larger than "
                f"{most:.1g} in size, so that they could not be simulated beside the "
                "others. Replace them by NaN if they mean that a value is missing, or "
                "transform the field, for instance by its logarithm."
            )

    def targets(self, column: Column, times: np.ndarray) -> np.ndarray:
        """Return the cell and the atom of numbers, shape (n, 3), float32.

        These are upper end and width of the cell on the symlog axis, and the number of
        the atom: 0 for a missing number, k for ``atoms[k - 1]``, -1 for none. `times`,
        of shape (n,), are those of the events.
        """
        numbers = self._numbers(column, times)
        is_known = np.isfinite(numbers)
        numbers = np.where(is_known, numbers, self.center)
        upper = symlog(numbers + self.step / 2, self.center, self.scale)
        # Narrow cells by the derivative: a difference of two large numbers would lose
        # their digits.
        slope = 1 / (self.scale + np.abs(numbers - self.center))
        width = self.step * slope
        wide = width > 1e-3
        below = symlog(numbers[wide] - self.step / 2, self.center, self.scale)
        width[wide] = upper[wide] - below
        # The width of a number 1e38 times as large as others would be 0 in float32.
        width = np.maximum(width, _LEAST_WIDTH)
        atom = np.full(len(numbers), NO_ATOM)
        if len(self.atoms):
            place = np.searchsorted(self.atoms, numbers).clip(max=len(self.atoms) - 1)
            is_atom = self.atoms[place] == numbers
            atom[is_atom] = place[is_atom] + 1
        atom[~is_known] = _MISSING
        return np.column_stack([upper, width, atom]).astype("float32")

    def column(self, drawn: Any, applies: np.ndarray, times: np.ndarray) -> Column:
        """Return `DrawnNumbers` as the log has them.

        New numbers are rounded to the step and clipped to the range of training. See
        `LearnedField.column`.
        """
        atom, scaled, earlier, _ = (one.cpu().numpy() for one in drawn)
        atom = np.where(applies, atom, _MISSING)
        numbers = symexp(scaled.astype("float64"), self.center, self.scale)
        if self.decimals is not None:
            numbers = np.round(np.round(numbers / self.step) * self.step, self.decimals)
        numbers = numbers.clip(self.low, self.high)
        is_atom = atom > _MISSING
        numbers[is_atom] = self.atoms[atom[is_atom] - 1]
        is_earlier = earlier != NO_NUMBER
        numbers[is_earlier] = earlier.view("float64")[is_earlier]
        numbers[atom == _MISSING] = np.nan
        return Column(self._values(numbers, times))

    def empty_column(self) -> Column:
        """Return a column of no events."""
        return Column(np.zeros(0, self.dtype))


def _resolution(values: np.ndarray, eps: float) -> tuple[float | None, int | None]:
    """Return the step that all values are multiples of, and its decimals, if any."""
    if not len(values):
        return 1.0, 0
    sizes = np.abs(values)
    largest = sizes.max()
    # Rounding errors of sums around 0 are small beside most numbers.
    with np.errstate(over="ignore"):  # the mean of two sizes of 1e308 is infinite
        residue = 1e-9 * min(1.0, np.median(sizes[sizes > 0])) if largest else 0.0
    for decimals in _DECIMALS:
        whole = values * 10.0**decimals
        if largest * 10.0**decimals > 2.0**53:
            break
        off = np.abs(whole - np.round(whole))
        if (off <= 4 * eps * np.abs(whole) + residue).all():
            step = int(np.gcd.reduce(np.round(whole).astype("int64"))) or 1
            return step / 10.0**decimals, decimals
    return None, None
