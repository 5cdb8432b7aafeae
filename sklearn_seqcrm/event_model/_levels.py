"""Categorical fields: learned frequencies, and the distribution of the next level.

Codes of a field: 0 is a level that training did not see (UNSEEN), 1 a missing value
(MISSING), and the levels start at 2. Rare levels, if any, share the last code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sklearn_seqcrm._encoding import FIRST_LEVEL, MISSING, UNSEEN, Vocabulary
from sklearn_seqcrm._recurrent.network import draw_vectors, without_drawing
from sklearn_seqcrm._store import Column
from sklearn_seqcrm.event_model._copy_mechanism import (
    CopyCandidates,
    CopyMechanism,
)
from sklearn_seqcrm.event_model._copy_state import CopyState
from sklearn_seqcrm.event_model._distributions import (
    PathDraws,
    draw_logits,
    draw_shared,
    new_output,
)
from sklearn_seqcrm.event_model._fields import (
    FieldBlocks,
    FieldDensity,
    LearnedField,
    TrainingEvents,
)

# Pseudo-count added to observed and expected repeats of each level.
_PSEUDO_COUNT = 30.0
# Logits that are held at once, 32 MiB: with thousands of levels, the logits of a batch
# would take gigabytes. Larger batches are split, and the backward pass recomputes each
# portion (gradient checkpointing).
_LOGITS_AT_ONCE = 2**23


class LevelDensity(FieldDensity):
    """Mixture over the next code: softmax, training frequencies, and copies.

    A pointer-generator network; the module `_copy_mechanism` has the formula::

        P(c) = g_gen G(c) + g_pop S(c) + sum_j g_j n_j(c) / N_j

    - Generated: ``G = softmax(W [z, 1[new moment]] + b)``, with the context ``z`` of
      the shape (size,), so that ``W`` has size + 1 inputs. It starts at the training
      frequencies: ``b`` is their logarithm and ``W`` is small.
    - Popular: ``S``, the frequencies of the codes in training.
    - Copied: levels of the customer's history. Without copies, ``P = G``.

    A level that training did not see is outside the mixture: it has the fixed log
    probability ``-log(n_events + 1)``, as if one event in n_events + 1 had a new level.

    `log_prob` leaves MISSING in the softmax even if no training event misses the field:
    a first missing value then costs much, but not infinitely much. No such value is
    drawn, so that `probabilities` is renormalised over the codes that can be drawn, and
    differs from ``exp(log_prob)``.

    Outside of training, ``z`` is multiplied by `shrinkage` factors between 0 and 1,
    which are calibrated on customers outside of training.

    The parameters are those of `FieldDensity`.

    Attributes
    ----------
    shrinkage : Tensor of shape (2, 2), float32
        ``shrinkage[p, t]`` is the factor of the context in the input of the part ``p``:
        0 the softmax, 1 the gates. ``t`` is 1 at the moment of the previous event (a
        tie), and 0 at a new moment. Factors of 1 do not shrink.
    """

    shrinkage: torch.Tensor

    def __init__(
        self,
        size: int,
        field: LevelField,
        blocks: FieldBlocks,
        copies: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        assert blocks.code is not None
        self.code = blocks.code
        bias = np.log(field.shares).tolist()
        self.output = new_output(size + 1, bias, generator)
        self.embed = draw_vectors(
            without_drawing(nn.Embedding, field.n_codes, size, padding_idx=UNSEEN),
            generator,
        )
        self.n_codes = field.n_codes
        # Codes from here on can be drawn; 0 (UNSEEN) never is.
        self.first_drawable = MISSING if field.some_missing else FIRST_LEVEL
        self.log_unseen = -float(np.log(field.n_events + 1))
        self.copies = CopyMechanism(size + 1, field.lift, generator) if copies else None
        popularity = torch.tensor(field.shares, dtype=torch.float32, device="cpu")
        popularity[: self.first_drawable] = 0.0
        self.register_buffer("popularity", popularity / popularity.sum())
        ones = torch.ones(2, 2, dtype=torch.float32, device="cpu")
        self.register_buffer("shrinkage", ones)

    def own_input(self, values: Any, codes: Any) -> Any:
        """Return the codes of the field, shape (n,)."""
        return codes[:, self.code]

    own_target = own_input

    def log_prob(
        self,
        context: torch.Tensor,
        target: torch.Tensor,
        candidates: CopyCandidates | None = None,
        is_tie: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the log probability of codes, shape (n,); see `FieldDensity`."""
        softmax_input, gate_input = self._shrunken_inputs(context, is_tie)
        log_prob = self._log_generated(softmax_input, target)
        if self.copies is not None and candidates is not None:
            popularity = self.popularity[target]
            log_prob = self.copies.log_prob(
                gate_input, candidates, log_prob, popularity
            )
        return log_prob.masked_fill(target == UNSEEN, self.log_unseen)

    def probabilities(
        self,
        context: torch.Tensor,
        state: CopyState | None = None,
        is_tie: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the probability that each code is drawn, shape (n, n_codes).

        Codes that cannot be drawn have the probability 0, and the others add up to 1.

        Parameters
        ----------
        context : Tensor of shape (n, size)
            State, time and fields before this one.
        state : CopyState of n or None, default=None
            What can be copied; None: codes come from the softmax alone.
        is_tie : Tensor of shape (n,), bool, or None, default=None
            As in `log_prob`.
        """
        softmax_input, gate_input = self._shrunken_inputs(context, is_tie)
        logits = self.output(softmax_input)
        logits[:, : self.first_drawable] = -torch.inf
        generated = torch.softmax(logits, dim=1)
        if self.copies is None or state is None:
            return generated
        return self.copies.probabilities(gate_input, state, generated, self.popularity)

    def draw(
        self,
        context: torch.Tensor,
        draws: PathDraws,
        state: CopyState | None = None,
        is_tie: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Draw codes, shape (n,), int64, never that of unseen levels.

        See `FieldDensity.draw`.
        """
        softmax_input, gate_input = self._shrunken_inputs(context, is_tie)
        if self.copies is None or state is None:
            return self._draw_generated(softmax_input, draws)
        source = self.copies.draw_source(gate_input, state, draws)
        codes = torch.zeros_like(source)
        generated, popular, copied = (
            some.nonzero()[:, 0] for some in (source == 0, source == 1, source > 1)
        )
        codes[generated] = self._draw_generated(
            softmax_input[generated], draws.take(generated)
        )
        codes[popular] = draw_shared(self.popularity.double(), draws.take(popular))
        codes[copied] = state.take(copied).draw(source[copied] - 2, draws.take(copied))
        return codes

    def write(
        self, encoded: tuple[Any, Any], channels: np.ndarray, codes: np.ndarray
    ) -> None:
        """Write codes to their column."""
        codes[:, self.code] = encoded[0]

    def _shrunken_inputs(
        self, context: torch.Tensor, is_tie: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs of softmax and gates, two of shape (n, size + 1).

        The last column is 1[new moment], which is not shrunk.
        """
        if is_tie is None:
            is_tie = torch.zeros(len(context), dtype=torch.bool, device=context.device)
        is_new_moment = (~is_tie).to(context.dtype)[:, None]  # (n, 1)
        if self.training or (self.shrinkage == 1).all():
            whole = torch.cat([context, is_new_moment], dim=1)
            return whole, whole
        factors = self.shrinkage[:, is_tie.long(), None]  # (2, n, 1)
        softmax_input, gate_input = (
            torch.cat([context * factor, is_new_moment], dim=1) for factor in factors
        )
        return softmax_input, gate_input

    def _log_generated(
        self, context: torch.Tensor, codes: torch.Tensor
    ) -> torch.Tensor:
        """Return log G of codes that training saw, shape (n,), portion by portion."""

        def log_prob_of(context: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
            known = (codes - MISSING).clamp(min=0)
            logits = self.output(context)[:, MISSING:]
            return -nn.functional.cross_entropy(logits, known, reduction="none")

        portion_size = max(1, _LOGITS_AT_ONCE // self.output.out_features)
        portions = list(
            zip(context.split(portion_size), codes.split(portion_size), strict=True)
        )
        if len(portions) == 1 or not torch.is_grad_enabled():
            return torch.cat([log_prob_of(*portion) for portion in portions])
        # No random numbers are drawn in the recomputation.
        checkpoint_options: dict[str, Any] = {
            "use_reentrant": False,
            "preserve_rng_state": False,
        }
        return torch.cat(
            [
                checkpoint(log_prob_of, *portion, **checkpoint_options)
                for portion in portions
            ]
        )

    def _draw_generated(self, context: torch.Tensor, draws: PathDraws) -> torch.Tensor:
        """Draw codes from the softmax, shape (n,), int64."""
        return (
            draw_logits(self.output(context)[:, self.first_drawable :], draws)
            + self.first_drawable
        )


def repeat_purchase_lift(
    codes: np.ndarray, events: TrainingEvents, n_codes: int
) -> np.ndarray:
    """Return how much more or less often than expected each level is repeated.

    A repeat is a level that the customer had at an earlier moment; it counts once per
    moment. If only counts mattered, a repeat in moment ``m`` would be level ``c`` with
    its share ``n_c(m) / n(m)`` of the customer's events before ``m`` that have a level.
    With the observed repeats ``O_c``, the number ``R_m`` of repeats in moment ``m``,
    and a pseudo-count of 30::

        E_c    = sum over moments m with repeats of R_m n_c(m) / n(m)
        lift_c = (O_c + 30) / (E_c + 30)

    Rare levels share one code, and so count as one level.

    Customers come back to milk rather than to a lamp; compare the item-specific repeat
    rates of Anderson, Kumar, Tomkins and Vassilvitskii, "The Dynamics of Repeat
    Consumption", WWW 2014.

    Parameters
    ----------
    codes : ndarray of shape (n,), int64
        Codes of events.
    events : TrainingEvents of n
        Moments and customers of the events.
    n_codes : int
        Number of codes.

    Returns
    -------
    ndarray of shape (n_codes,), float64
        About 1; 0 for codes of no level.
    """
    is_level = codes >= FIRST_LEVEL
    codes = codes[is_level]
    moment, customer = events.moment[is_level], events.customer[is_level]
    # Moments in which an event has a level, numbered from 0 on.
    moment_index = np.cumsum(np.diff(moment, prepend=moment[:1]) != 0)
    order = np.lexsort((codes, customer))  # events of a level stay in their order
    is_first_of_level = np.ones(len(codes), dtype=bool)
    is_first_of_level[1:] = (np.diff(codes[order]) != 0) | (
        np.diff(customer[order]) != 0
    )
    is_repeat = ~is_first_of_level
    is_repeat[1:] &= np.diff(moment_index[order]) != 0
    repeats = order[is_repeat]
    # R_m / n(m) of each moment, (n_moments,).
    moment_begin = np.flatnonzero(np.diff(moment_index, prepend=-1))
    n_repeats = np.bincount(moment_index[repeats], minlength=len(moment_begin))
    history_begin = np.searchsorted(customer, customer[moment_begin])
    share = n_repeats / np.maximum(moment_begin - history_begin, 1)
    # E_c, summed by event: an event of level c adds 1 to n_c(m) at each later moment m
    # of its customer, so that its part is the sum of R_m / n(m) over these moments.
    after = share[::-1].cumsum()[::-1] - share
    owner = customer[moment_begin]
    last_moment = np.searchsorted(owner, owner, side="right") - 1
    expected = np.bincount(codes, (after - after[last_moment])[moment_index], n_codes)
    observed = np.bincount(codes[repeats], minlength=n_codes)
    lift = (observed + _PSEUDO_COUNT) / (np.maximum(expected, 0) + _PSEUDO_COUNT)
    lift[:FIRST_LEVEL] = 0.0
    return lift


@dataclass(frozen=True, eq=False)
class LevelField(LearnedField):
    """What was learned of a categorical field.

    Parameters
    ----------
    levels : Index
        Levels with a code of their own, then those that share the last code.
    n_codes : int
        Number of codes.
    shares : ndarray of shape (n_codes,)
        Smoothed frequency of each code in the training events: its count + 0.5, over
        the sum for all codes but UNSEEN, whose share is extra.
    rare_shares : ndarray of shape (n_rare,)
        Frequency of each rare level among the events with the last code, which rare
        levels share.
    lift : ndarray of shape (n_codes,)
        Weight of each code among repeats, see `repeat_purchase_lift`.
    n_events : int
        Number of training events.
    some_missing : bool
        Whether a training event has no level, or there is no training event. If False,
        every drawn event has a level.
    """

    levels: pd.Index
    n_codes: int
    shares: np.ndarray
    rare_shares: np.ndarray
    lift: np.ndarray
    n_events: int
    some_missing: bool
    n_targets: ClassVar[int] = 0
    density: ClassVar[type[FieldDensity]] = LevelDensity

    @classmethod
    def learn(
        cls,
        encoder: Vocabulary,
        column: Column,
        events: TrainingEvents,
        n_components: int,
    ) -> LevelField:
        """Learn from the values of training events; see `LearnedField.learn`."""
        levels = encoder.levels.append(encoder.rare)
        assert column.categories is not None
        place = levels.get_indexer(column.categories)
        is_known = column.values >= 0
        level = np.full(len(is_known), -1, dtype="int64")
        level[is_known] = place[column.values[is_known]]
        n_own, n_codes = len(encoder.levels), encoder.n_codes
        codes = np.where(
            is_known, np.minimum(level + FIRST_LEVEL, n_codes - 1), MISSING
        )
        counts = np.bincount(codes, minlength=n_codes).astype("float64")
        # Pseudo-count of half an event for each code. UNSEEN, whose count is 0, is left
        # out of the denominator.
        shares = (counts + 0.5) / (counts + 0.5)[MISSING:].sum()
        rare_counts = np.bincount(
            level[level >= n_own] - n_own, minlength=len(levels) - n_own
        )
        return cls(
            levels=levels,
            n_codes=n_codes,
            shares=shares,
            rare_shares=rare_counts / max(rare_counts.sum(), 1),
            lift=repeat_purchase_lift(codes, events, n_codes),
            n_events=len(is_known),
            some_missing=not is_known.all() or not len(is_known),
        )

    def targets(self, column: Column, times: np.ndarray) -> np.ndarray:
        """Return no channel: the codes are the targets."""
        return np.zeros((len(column.values), 0), "float32")

    def column(
        self,
        drawn: torch.Tensor,
        applies: np.ndarray,
        draws: PathDraws,
        times: np.ndarray,
    ) -> Column:
        """Return drawn codes as levels, rare ones drawn by their frequency.

        See `LearnedField.column`.
        """
        codes = np.where(applies, drawn.cpu().numpy(), MISSING)
        values = codes - FIRST_LEVEL
        n_rare = len(self.rare_shares)
        if n_rare:
            is_rare = np.flatnonzero(codes == self.n_codes - 1)
            shares = torch.from_numpy(self.rare_shares)
            drawn_rare = draw_shared(shares, draws.take(is_rare))  # (n_is_rare,)
            values[is_rare] = len(self.levels) - n_rare + drawn_rare.numpy()
        return Column(values.astype("int32"), self.levels)

    def empty_column(self) -> Column:
        """Return a column of no events."""
        return Column(np.zeros(0, "int32"), self.levels)
