"""Categorical fields: learned parameters, and the distribution of the next level.

Codes of a field: 0 is a level that training did not see, 1 a missing one, from 2 on are
levels. Where rare levels share a code, it is the last one.
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
    CopyState,
)
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
# Logits at once, 32 MiB: with thousands of levels, those of a batch would take
# gigabytes. For gradients, the logits of a portion are computed again.
_LOGITS_AT_ONCE = 2**23


class LevelDensity(FieldDensity):
    """Distribution of the code of the next event: softmax, shares of all, and copies.

    With the context ``z``, the softmax ``G`` over the codes (generated), the shares
    ``S`` of the codes in training (popular), and the distributions ``C_j`` of levels in
    the customer's history (copied, see `CopyMechanism`)::

        P(code c) = g_0(z) G(c | z) + g_1(z) S(c) + sum_j g_{2 + j}(z) C_j(c)

    with gates ``g`` that add up to 1. Without copies, P = G. A level that training did
    not see costs log(n_events + 1): one in n + 1 is new.

    Outside of training, ``z`` is multiplied by `shrinkage` factors between 0 and 1,
    which are calibrated on customers outside of training.

    The parameters are those of `FieldDensity`.

    Attributes
    ----------
    shrinkage : Tensor of shape (2, 2), float32
        Factor of the context for softmax and gates (rows), at a new moment and at the
        moment of the previous event (columns).
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
        self.lowest = MISSING if field.some_missing else FIRST_LEVEL
        self.log_unseen = -float(np.log(field.n_events + 1))
        self.copies = CopyMechanism(size + 1, field.lift, generator) if copies else None
        popularity = torch.tensor(field.shares, dtype=torch.float32, device="cpu")
        popularity[: self.lowest] = 0.0
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
        of_softmax, of_gates = self._shrunken(context, is_tie)
        log_prob = self._log_generated(of_softmax, target)
        if self.copies is not None and candidates is not None:
            popularity = self.popularity[target]
            log_prob = self.copies.log_prob(of_gates, candidates, log_prob, popularity)
        return log_prob.masked_fill(target == UNSEEN, self.log_unseen)

    def probabilities(
        self,
        context: torch.Tensor,
        state: CopyState | None = None,
        is_tie: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the probability that each code is drawn, shape (n, n_codes).

        Parameters
        ----------
        context : Tensor of shape (n, size)
            State, time and fields before this one.
        state : CopyState of n or None, default=None
            What can be copied; None: all is generated.
        is_tie : Tensor of shape (n,), bool, or None, default=None
            As in `log_prob`.
        """
        of_softmax, of_gates = self._shrunken(context, is_tie)
        logits = self.output(of_softmax)
        logits[:, : self.lowest] = -torch.inf
        generated = torch.softmax(logits, dim=1)
        if self.copies is None or state is None:
            return generated
        return self.copies.probabilities(of_gates, state, generated, self.popularity)

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
        of_softmax, of_gates = self._shrunken(context, is_tie)
        if self.copies is None or state is None:
            return self._draw_generated(of_softmax, draws)
        source = self.copies.draw_source(of_gates, state, draws)
        codes = torch.zeros_like(source)
        new, popular, copied = (
            some.nonzero()[:, 0] for some in (source == 0, source == 1, source > 1)
        )
        codes[new] = self._draw_generated(of_softmax[new], draws.take(new))
        codes[popular] = draw_shared(self.popularity.double(), draws.take(popular))
        codes[copied] = state.take(copied).draw(source[copied] - 2, draws.take(copied))
        return codes

    def write(
        self, encoded: tuple[Any, Any], channels: np.ndarray, codes: np.ndarray
    ) -> None:
        """Write codes to their column."""
        codes[:, self.code] = encoded[0]

    def _shrunken(
        self, context: torch.Tensor, is_tie: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs of softmax and gates, two of shape (n, size + 1).

        The last column is 1 at a new moment, whatever the shrinkage.
        """
        if is_tie is None:
            is_tie = torch.zeros(len(context), dtype=torch.bool, device=context.device)
        is_new = (~is_tie).to(context.dtype)[:, None]
        if self.training or (self.shrinkage == 1).all():
            whole = torch.cat([context, is_new], dim=1)
            return whole, whole
        factors = self.shrinkage[:, is_tie.long(), None]  # (2, n, 1)
        of_softmax, of_gates = (
            torch.cat([context * one, is_new], dim=1) for one in factors
        )
        return of_softmax, of_gates

    def _log_generated(
        self, context: torch.Tensor, codes: torch.Tensor
    ) -> torch.Tensor:
        """Return log G of codes that training saw, shape (n,), portion by portion."""

        def log_softmax(context: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
            known = (codes - MISSING).clamp(min=0)
            logits = self.output(context)[:, MISSING:]
            return -nn.functional.cross_entropy(logits, known, reduction="none")

        at_once = max(1, _LOGITS_AT_ONCE // self.output.out_features)
        portions = list(zip(context.split(at_once), codes.split(at_once), strict=True))
        if len(portions) == 1 or not torch.is_grad_enabled():
            return torch.cat([log_softmax(*portion) for portion in portions])
        saving: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
        return torch.cat(
            [checkpoint(log_softmax, *portion, **saving) for portion in portions]
        )

    def _draw_generated(self, context: torch.Tensor, draws: PathDraws) -> torch.Tensor:
        """Draw codes from the softmax, shape (n,), int64."""
        return draw_logits(self.output(context)[:, self.lowest :], draws) + self.lowest


def repeat_purchase_lift(
    codes: np.ndarray, events: TrainingEvents, n_codes: int
) -> np.ndarray:
    """Return how much more or less often than expected each level is repeated.

    If counts were all that mattered, a repeat at a later moment would be level ``c``
    with the share ``n_c / n`` of ``c`` in the customer's history until then. With the
    observed repeats O and the sum E of these shares over all repeats::

        lift_c = (O_c + 30) / (E_c + 30)

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
    moment = np.cumsum(np.diff(moment, prepend=moment[:1]) != 0)
    order = np.lexsort((codes, customer))  # events of a level stay in their order
    is_new = np.ones(len(codes), dtype=bool)
    is_new[1:] = (np.diff(codes[order]) != 0) | (np.diff(customer[order]) != 0)
    is_repeat = ~is_new
    is_repeat[1:] &= np.diff(moment[order]) != 0
    repeats = order[is_repeat]
    # By moment: repeats in it, per event that the customer had before.
    begin = np.flatnonzero(np.diff(moment, prepend=-1))
    n_repeats = np.bincount(moment[repeats], minlength=len(begin))
    first = np.searchsorted(customer, customer[begin])
    share = n_repeats / np.maximum(begin - first, 1)
    # An event expects its share of all repeats at later moments of its customer.
    after = share[::-1].cumsum()[::-1] - share
    last = np.searchsorted(customer[begin], customer[begin], side="right") - 1
    expected = np.bincount(codes, (after - after[last])[moment], n_codes)
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
        Share of each code in the training events.
    rare : ndarray of shape (n_rare,)
        Share of each level that shares the last code, among them.
    lift : ndarray of shape (n_codes,)
        Weight of each code among repeats, see `repeat_purchase_lift`.
    n_events : int
        Number of training events.
    some_missing : bool
        Whether some of them have no level, or there are none; otherwise no event is
        drawn without one.
    """

    levels: pd.Index
    n_codes: int
    shares: np.ndarray
    rare: np.ndarray
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
        # A pseudo-count of half an event for each code.
        shares = (counts + 0.5) / (counts + 0.5)[MISSING:].sum()
        rare = np.bincount(level[level >= n_own] - n_own, minlength=len(levels) - n_own)
        return cls(
            levels,
            n_codes,
            shares,
            rare / max(rare.sum(), 1),
            repeat_purchase_lift(codes, events, n_codes),
            len(is_known),
            not is_known.all() or not len(is_known),
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
        """Return drawn codes as levels, rare ones drawn by their shares.

        See `LearnedField.column`.
        """
        codes = np.where(applies, drawn.cpu().numpy(), MISSING)
        values = codes - FIRST_LEVEL
        n_rare = len(self.rare)
        if n_rare:
            is_rare = np.flatnonzero(codes == self.n_codes - 1)
            rare = draw_shared(torch.from_numpy(self.rare), draws.take(is_rare))
            values[is_rare] = len(self.levels) - n_rare + rare.numpy()
        return Column(values.astype("int32"), self.levels)

    def empty_column(self) -> Column:
        """Return a column of no events."""
        return Column(np.zeros(0, "int32"), self.levels)
