"""Elementary distributions with seeded draws: categorical, and mixtures with atoms.

Each distribution is defined once: its parameters are computed in one place, and log
probabilities, survival and draws derive from them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._ragged import inverse_permutation
from sklearn_seqcrm._recurrent.network import Linear, float32_tensor, new_linear
from sklearn_seqcrm.event_model._mixture_likelihood import (
    LEAST_LOG_STD,
    log_mixture,
    log_std_of,
)

# Random numbers ----------------------------------------------------------------------

# Constants of splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
# Generators", OOPSLA 2014, https://doi.org/10.1145/2660193.2660195).
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class PathDraws:
    """One random number generator per path.

    A path advances only its own generator, and only when it draws. So the numbers of a
    path follow from its key, whatever paths are simulated beside it::

        customer, cutoff, events --hash--> row --seed--> key --path number--> state

    `state`, of shape (n_all,), uint64, has the state of each generator. It is advanced
    in place, also through selections that `take` returned: `index`, (n,), int64, are
    the positions of the selected ones; None: all.

    If `row`, (n_all,), int64, ascending, is given, the k paths of a row that draw
    together get one number from each of k equal parts of [0, 1), in random order (Latin
    hypercube sampling: McKay, Beckman and Conover, Technometrics 21(2), 1979,
    https://doi.org/10.2307/1268522). Each number is uniform, and means over the paths
    of a row vary less than those of independent numbers.
    """

    def __init__(
        self,
        state: np.ndarray,
        index: np.ndarray | None = None,
        row: np.ndarray | None = None,
    ) -> None:
        self._state = state
        self._index = np.arange(len(state)) if index is None else index
        self._row = row

    @classmethod
    def of_paths(
        cls, keys: np.ndarray, path: np.ndarray, row: np.ndarray | None = None
    ) -> Self:
        """Return the generators of paths, by the keys (uint64) of their rows, (n,).

        `path`, of shape (n,), is the number of each within its row; `row` is as in the
        class.
        """
        return cls(_mix_bits(keys + _mix_bits(path.astype("uint64") + _STEP)), row=row)

    def __len__(self) -> int:
        """Return the number of paths."""
        return len(self._index)

    def take(self, kept: Any) -> PathDraws:
        """Return the generators at some positions, an array or tensor of int64."""
        if isinstance(kept, Tensor):
            kept = kept.cpu().numpy()
        return PathDraws(self._state, self._index[kept], self._row)

    def concat(self, more: PathDraws) -> PathDraws:
        """Return these generators, not stratified, followed by others."""
        assert self._row is None
        assert more._row is None
        states = self._state[self._index], more._state[more._index]
        return PathDraws(np.concatenate(states))

    def uniform(self, like: Tensor) -> Tensor:
        """Draw one number in [0, 1) per path, (n,), of dtype and device of `like`."""
        # As many digits as the dtype holds; a rounded number could be 1.
        digits = 53 if like.dtype == torch.float64 else 24
        numbers = (self._next() >> np.uint64(64 - digits)) * 2.0**-digits
        if self._row is not None:
            numbers = self._stratify(numbers)
        drawn = torch.from_numpy(numbers).to(like.device, like.dtype)
        return drawn.clamp(max=1 - 2.0**-digits)

    def normal(self, like: Tensor) -> Tensor:
        """Draw one standard normal number per path, shape (n,); see `uniform`."""
        drawn = self.uniform(like.new_zeros(0, dtype=torch.float64))
        # Never 0, whose quantile would be infinite.
        return torch.special.ndtri(drawn.clamp(min=2.0**-54)).to(like.dtype)

    def _next(self) -> np.ndarray:
        """Return the next 64 bits of each generator, shape (n,), uint64."""
        self._state[self._index] += _STEP
        return _mix_bits(self._state[self._index])

    def _stratify(self, numbers: np.ndarray) -> np.ndarray:
        """Move the k numbers of a row into k different parts of [0, 1)."""
        assert self._row is not None
        if not len(numbers):
            return numbers
        row = self._row[self._index]
        first = np.flatnonzero(np.diff(row, prepend=-1))
        count = np.diff(first, append=len(row))
        # A second number per path gives the random order of the parts within a row.
        order = np.argsort(row + (self._next() >> np.uint64(11)) * 2.0**-53)
        place = inverse_permutation(order)
        return (place - first.repeat(count) + numbers) / count.repeat(count)


def path_keys(rows: np.ndarray, seed: int, count: bool) -> np.ndarray:
    """Return keys of rows for `PathDraws.of_paths`, shape (n,), uint64.

    `rows`, of shape (n,), uint64, are hashes of the rows. Keys depend on them, on the
    seed and, with `count`, on the number of equal rows before.
    """
    keys = _mix_bits(rows + _mix_bits(np.full(1, seed, "uint64") + _STEP))
    if not count:
        return keys
    order = np.argsort(rows, kind="stable")
    ranked = rows[order]
    n_before = np.empty(len(rows), dtype="uint64")
    n_before[order] = np.arange(len(rows)) - np.searchsorted(ranked, ranked)
    return _mix_bits(keys + n_before * _FACTORS[0])


def _mix_bits(numbers: np.ndarray) -> np.ndarray:
    """Return the splitmix64 output function of numbers, shape (n,), uint64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FACTORS[0]
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _FACTORS[1]
    return numbers ^ (numbers >> np.uint64(31))


# Categorical distributions -----------------------------------------------------------

# Probabilities of all levels that are held at once: 32 MiB.
_PROBABILITIES_AT_ONCE = 2**23


def split_paths(
    n_paths: int, n_levels: int, device: torch.device
) -> tuple[Tensor, ...]:
    """Return positions of paths in portions, as large as memory has room for."""
    at_once = max(1, _PROBABILITIES_AT_ONCE // n_levels)
    return torch.arange(n_paths, device=device).split(at_once)


def draw_logits(logits: Tensor, draws: PathDraws) -> Tensor:
    """Draw an index from the softmax of each row of logits, shape (n,), int64."""
    return draw_categorical(torch.softmax(logits, dim=1), draws)


def draw_categorical(weights: Tensor, draws: PathDraws) -> Tensor:
    """Draw an index in proportion to each row of weights, shape (n,), int64."""
    return quantile_index(weights, draws.uniform(weights))


def quantile_index(weights: Tensor, uniform: Tensor) -> Tensor:
    """Return the index at a quantile of each row of weights, shape (n,), int64.

    Inverse transform sampling: `uniform`, of shape (n,), are numbers in [0, 1).
    """
    cumulative = weights.cumsum(dim=1)
    at = uniform[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, at, right=True)[:, 0]
    # Rounding may take the quantile up to the end.
    return index.clamp(max=weights.shape[1] - 1)


def draw_shared(weights: Tensor, draws: PathDraws) -> Tensor:
    """Draw an index for each path from weights of shape (K,), float64, for all."""
    cumulative = weights.cumsum(dim=0)
    at = draws.uniform(cumulative) * cumulative[-1]
    index = torch.searchsorted(cumulative, at, right=True)
    return index.clamp(max=len(weights) - 1)


def pick(numbers: Tensor, column: Tensor) -> Tensor:
    """Return the number in the given column of each row, shape (n,)."""
    return numbers.gather(1, column[:, None])[:, 0]


# Mixtures of normals and atoms -------------------------------------------------------

# Beyond this many standard deviations a float64 has few digits left of a tail.
_LAST_TAIL = 30.0
# Output layers start with small weights: training begins near the distribution of all
# events together, and then learns how events differ.
_START_WEIGHT = 0.1
NO_ATOM = -1


@torch.no_grad()
def new_output(
    n_inputs: int, bias: Sequence[float], generator: torch.Generator
) -> Linear:
    """Return a linear layer whose outputs are about `bias` before training."""
    layer = new_linear(n_inputs, len(bias), generator)
    layer.weight.mul_(_START_WEIGHT)
    layer.bias.copy_(float32_tensor(bias))
    return layer


def start_of_components(values: np.ndarray, n: int) -> tuple[tuple[float, ...], float]:
    """Return n quantiles of values, and their standard deviation (1 if it is 0)."""
    quantiles = np.quantile(values, (np.arange(n) + 0.5) / n)
    return tuple(quantiles.tolist()), float(values.std()) or 1.0


class AtomMixture(NamedTuple):
    """For each row a mixture of A atoms (point masses) and K normal components.

    With the log probabilities ``a`` of atoms, ``w`` of components, their means ``m``
    and standard deviations ``s``::

        P(atom j)             = exp(a_j)
        P(upper - width < x <= upper, no atom)
                              = sum_k exp(w_k) [Phi((upper - m_k) / s_k)
                                                - Phi((upper - width - m_k) / s_k)]
        P(x > lower, no atom) = sum_k exp(w_k) Phi((m_k - lower) / s_k)

    A probability of a cell (interval censoring) is never above 1, whereas a density
    grows without bound where a component narrows down on a number that repeats.
    """

    log_atoms: Tensor  # (n, A): log probability of each atom
    log_weights: Tensor  # (n, K): log probability of each component
    mean: Tensor  # (n, K)
    std: Tensor  # (n, K): standard deviation of each component

    def log_survival(self, lower: Tensor, atom_above: int | None = None) -> Tensor:
        """Return the log probability of numbers above `lower`, both of shape (n,).

        `atom_above` is the atom that lies above all numbers, at infinity, if one does.
        """
        return torch.logsumexp(self._log_tails(lower, atom_above), dim=1)

    def draw(self, draws: PathDraws, is_possible: Tensor) -> tuple[Tensor, Tensor]:
        """Draw an atom or a number for each row.

        `is_possible`, of shape (A + K,), are the atoms and components that may be
        drawn. Returns the atom, (n,), int64, `NO_ATOM` for a number, and the number,
        (n,), meaningless where there is an atom.
        """
        logits = torch.cat([self.log_atoms, self.log_weights], dim=1)
        index = draw_logits(logits.masked_fill(~is_possible, -torch.inf), draws)
        component = index - self.log_atoms.shape[1]
        own = component.clamp(min=0)
        mean = pick(self.mean, own)
        number = mean + pick(self.std, own) * draws.normal(mean)
        return index.masked_fill(component >= 0, NO_ATOM), number

    def draw_beyond(
        self, lower: Tensor, draws: PathDraws, atom_above: int | None = None
    ) -> Tensor:
        """Draw a number given that it exceeds `lower`, (n,), float64.

        It is infinite where `atom_above` is drawn; other atoms are not. See
        `log_survival`. One uniform number u per path chooses the component and, by its
        position within the share of the component, the quantile of the truncated
        normal. A stratified u stratifies both.
        """
        tails = self._log_tails(lower, atom_above)  # (n, K), or (n, K + 1) with an atom
        shares = torch.softmax(tails.double(), dim=1)
        uniform, cumulative = draws.uniform(shares), shares.cumsum(dim=1)
        index = quantile_index(shares, uniform)
        # Where the quantile falls within the share of its component.
        own = pick(shares, index)
        end = pick(cumulative, index)
        within = (uniform * cumulative[:, -1] - end + own) / own
        n_components = self.mean.shape[1]
        own = index.clamp(max=n_components - 1)
        mean, std = pick(self.mean, own).double(), pick(self.std, own).double()
        number = truncated_normal(lower.double(), mean, std, within.clamp(0, 1 - 1e-12))
        return number.masked_fill(index == n_components, torch.inf)

    def _log_tails(self, lower: Tensor, atom_above: int | None) -> Tensor:
        """Return log P(component, x > lower), shape (n, K), then that of an atom."""
        z = (self.mean - lower[:, None]) / self.std
        tails = self.log_weights + torch.special.log_ndtr(z)
        if atom_above is None:
            return tails
        return torch.cat([tails, self.log_atoms[:, atom_above, None]], dim=1)


class MixtureDensity(nn.Module):
    """An output layer whose outputs are the parameters of an `AtomMixture`.

    Given contexts of length `size`, training starts with the probabilities `shares`, of
    shape (A,), of the atoms, and with components at K `quantiles` of the numbers, whose
    standard deviation is `spread`. Only atoms and components that are `is_possible`, A
    + K bools, are drawn. The others keep a positive probability, so that a new value
    has a large loss and not an infinite one.
    """

    def __init__(
        self,
        size: int,
        shares: np.ndarray,
        quantiles: Sequence[float],
        spread: float,
        is_possible: list[bool],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        n = self.n_components = len(quantiles)
        self.n_atoms = len(shares)
        # Components start with equal shares of the rest.
        others = math.log((1 - shares.sum()) / n)
        logits = [*np.log(shares).tolist(), *[others] * n]
        # Narrower than all numbers together: components share their range.
        log_std = math.log(max(0.7 * spread, 2 * math.exp(LEAST_LOG_STD)))
        # The inverse of the softplus in `mixture`.
        raw = math.log(math.expm1(log_std - LEAST_LOG_STD)) + LEAST_LOG_STD
        self.output = new_output(size, [*logits, *quantiles, *[raw] * n], generator)
        possible = torch.tensor(is_possible, device="cpu")
        self.register_buffer("is_possible", possible, persistent=False)
        self.register_buffer("logit_offset", float32_tensor(np.zeros(len(logits))))

    def mixture(self, context: Tensor) -> AtomMixture:
        """Return the mixtures given contexts of shape (n, size)."""
        n = self.n_components
        outputs = nn.functional.linear(context, self.output.weight, self._bias())
        logits, mean, raw = outputs.split([self.n_atoms + n, n, n], dim=1)
        logits = torch.log_softmax(logits, dim=1)
        log_atoms, log_weights = logits.split([self.n_atoms, n], dim=1)
        return AtomMixture(log_atoms, log_weights, mean, log_std_of(raw).exp())

    def log_mixture(
        self,
        context: Tensor,
        atom: Tensor,
        upper: Tensor,
        width: Tensor,
        has_cell: Tensor,
    ) -> Tensor:
        """Return the log probability of an atom, a cell, or both, shape (n,).

        `context` has the shape (n, size); the others are as in the function of the same
        name.
        """
        # A multiple of 16 outputs takes half the time of 14.
        missing = -len(self.output.weight) % 16
        outputs = nn.functional.linear(
            context,
            nn.functional.pad(self.output.weight, (0, 0, 0, missing)),
            nn.functional.pad(self._bias(), (0, missing)),
        )
        sizes = self.n_atoms, self.n_components
        return log_mixture(outputs, *sizes, atom, upper, width, has_cell)

    def _bias(self) -> Tensor:
        """Return the bias of the outputs, offsets of logits included."""
        n_others = 2 * self.n_components
        return self.output.bias + nn.functional.pad(self.logit_offset, (0, n_others))


def truncated_normal(
    lower: Tensor, mean: Tensor, std: Tensor, uniform: Tensor
) -> Tensor:
    """Return quantiles of normals truncated at `lower`, all of shape (n,), float64."""
    least = ((lower - mean) / std).clamp(max=_LAST_TAIL)
    # Never 0, whose quantile would be infinite.
    tail = torch.special.ndtr(-least) * (1 - uniform)
    z = -torch.special.ndtri(tail.clamp(min=1e-300))
    return torch.maximum(mean + std * torch.maximum(z, least), lower)
