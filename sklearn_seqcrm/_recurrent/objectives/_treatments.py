"""Outcomes of a row under each of several treatments, of which one was observed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_seqcrm._recurrent.data import Array
from sklearn_seqcrm._recurrent.objectives._classes import Classes
from sklearn_seqcrm._recurrent.objectives._objective import Objective, is_multioutput
from sklearn_seqcrm._recurrent.objectives._weights import has_weight, with_weight
from sklearn_seqcrm._treatments import encode_treatments, label_array, read_treatments

# Attributes of the class of an objective; they depend on its loss only.
_OF_A_LOSS = "name", "is_linear", "has_log_link", "lowers_rate", "adjusts", "shifts"


@dataclass(frozen=True)
class TreatedOutcomes:
    """Outcomes of n rows, and their treatments."""

    outcome: Any  # (n,): classes or numbers
    treatment: Any  # (n,): labels

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.outcome)


class OutcomesByTreatment(Objective):
    """Expected outcomes by treatment; the loss of a row is that of its own treatment.

    The outputs of a row are a mean over the treatments and a difference for each but
    the control, each with the ``p`` outputs of the objective of one treatment::

        | m ... | d[1] ... | d[2] ... | ...
        z[0] = m - sum over a of share[a] * d[a]        control
        z[a] = z[0] + d[a]                              treatment a

    A row of treatment ``a`` has the loss ``l(z[a], t)`` of the objective of one
    treatment: a head for each treatment on one shared representation, as in TARNet
    (Shalit, Johansson and Sontag, 2017). With ``z`` as outputs the same functions can
    be learned; with a mean and differences the effects are less noisy.

    `of_one` is the objective of the outcomes of one treatment: `Classes`, or one of
    numbers that predicts means. `control` is the label of the rows that were not
    contacted; None: 0 or False. `treatments` (n_arms,) are all labels; None: those of
    the first call.
    """

    treatments: np.ndarray  # (n_arms,): labels of the treatments, control first
    # (n_arms,): share of each treatment in the weight of the first call.
    shares: np.ndarray
    # Objective of each treatment. All have the same scales; calibration factors differ.
    of_each: list[Any]

    def __init__(
        self, of_one: Objective, control: Any = None, treatments: Any = None
    ) -> None:
        super().__init__()
        self.of_one = of_one
        for name in _OF_A_LOSS:
            setattr(self, name, getattr(of_one, name))
        self._control, self._given = control, treatments

    @property
    def hyperparameters(self) -> dict[str, Any]:
        return {**self.of_one.hyperparameters, "control": self._control}

    # Targets ----------------------------------------------------------------------

    def read(self, y: Any) -> TreatedOutcomes:  # type: ignore[override]
        """Validate outcomes and treatments."""
        if is_multioutput(y.outcome):
            raise ValueError(
                f"y has the shape {np.shape(y.outcome)}, and effects are on one "
                "outcome; fit an estimator for each column."
            )
        outcome = self.of_one.read(y.outcome)
        labels = label_array(y.treatment)
        if labels.shape not in ((len(outcome),), (len(outcome), 1)):
            raise ValueError(
                f"treatment must have one label for each of the {len(outcome)} rows; "
                f"got the shape {labels.shape}."
            )
        return TreatedOutcomes(outcome, labels.ravel())

    def learn(  # type: ignore[override]
        self, y: TreatedOutcomes, weight: np.ndarray | None
    ) -> None:
        labels = y.treatment if self._given is None else self._given
        is_used = None
        if weight is not None and self._given is None:
            is_used = has_weight(weight)
        self.treatments, _ = read_treatments(labels, self._control, labels, is_used)
        self.of_one.learn(y.outcome, weight)
        if isinstance(self.of_one, Classes) and self.of_one.n_outputs > 2:
            raise ValueError(
                "y must have two classes, as an effect is the difference in the "
                f"probability of one; got {self.of_one.classes.tolist()}. Fit an "
                "estimator for each class: y == label."
            )
        codes = self._codes(y, weight)
        counts = np.bincount(codes, weight, len(self.treatments))
        self.shares = counts / counts.sum()
        self.of_each = [copy.deepcopy(self.of_one) for _ in self.treatments]
        self.n_outputs = self.of_one.n_outputs * len(self.treatments)

    def check(  # type: ignore[override]
        self, y: TreatedOutcomes, weight: np.ndarray | None, is_full_data: bool
    ) -> None:
        self.of_one.check(y.outcome, weight, is_full_data)
        codes, _ = with_weight(self._codes(y, weight), weight)
        absent = np.setdiff1d(np.arange(len(self.treatments)), codes)
        if is_full_data and len(absent):
            raise ValueError(
                "warm_start needs rows of each treatment of the last fit; there are "
                f"none of {self.treatments[absent].tolist()}."
            )

    def encode(  # type: ignore[override]
        self, y: TreatedOutcomes, weight: np.ndarray | None
    ) -> np.ndarray:
        """Return encoded outcomes and codes of treatments, shape (n, 2), float32."""
        outcome = self.of_one.encode(y.outcome, weight)
        codes = self._codes(y, weight)
        return np.column_stack([outcome, codes]).astype("float32")

    def _codes(self, y: TreatedOutcomes, weight: np.ndarray | None) -> np.ndarray:
        """Return the position of the treatment of each row, shape (n,), int64."""
        labels = y.treatment
        if weight is not None:  # rows of weight 0 are dropped later
            labels = np.where(has_weight(weight), labels, self.treatments[0])
        return encode_treatments(labels, self.treatments, y.outcome)

    def strata(self, target: Any) -> np.ndarray:
        return target[:, 1]

    def linear_target(
        self, target: np.ndarray, constants: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the outcomes, and what constants add to the mean over treatments."""
        of_arms = np.ravel(self._by_treatment(constants[None]))  # (n_arms,)
        added = of_arms - constants[0]
        return target[:, 0], added[target[:, 1].astype("int64")]

    def linear_terms(
        self, outputs: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.of_one.linear_terms(outputs, target)

    # Outputs ----------------------------------------------------------------------

    def start_bias(self, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        each = []
        for code, of_one in enumerate(self.of_each):
            # A treatment without rows yet starts as all rows do.
            rows = target[:, 1] == code
            rows = rows if rows.any() else np.ones(len(target), dtype=bool)
            own = None if weight is None else weight[rows]
            each.append(of_one.start_bias(self._outcome_of(target[rows]), own))
        mean = self.shares @ np.array(each)  # (p,)
        return np.concatenate([mean, *(one - each[0] for one in each[1:])])

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        arm = target[:, 1].long()
        by_arm = torch.stack(self._by_treatment(outputs), dim=1)  # (n, n_arms, p)
        own = by_arm[torch.arange(len(arm), device=arm.device), arm]  # (n, p)
        return self.of_one(own, self._outcome_of(target))

    def adjust(
        self, outputs: list[np.ndarray], target: np.ndarray, weight: np.ndarray | None
    ) -> None:
        for code, of_one in enumerate(self.of_each):
            rows = target[:, 1] == code
            own = [self._by_treatment(one[rows])[code] for one in outputs]
            of_rows = None if weight is None else weight[rows]
            of_one.adjust(own, self._outcome_of(target[rows]), of_rows)

    def predict(self, outputs: Array) -> Array:
        """Return effects against the control, shape (n,) or (n, n_arms - 1)."""
        expected = self.outcomes(outputs)
        effects = expected[:, 1:] - expected[:, :1]
        return effects[:, 0] if len(self.of_each) == 2 else effects

    def outcomes(self, outputs: Array) -> Array:
        """Return the expected outcome under each treatment, shape (n, n_arms)."""
        parts = zip(self.of_each, self._by_treatment(outputs), strict=True)
        each = [of_one.predict(part) for of_one, part in parts]
        if isinstance(self.of_one, Classes):
            each = [shares[:, 1] for shares in each]
        return np.concatenate([one[:, None] for one in each], axis=1)

    @property
    def predictions(self) -> Mapping[str, Callable[[Array], Array]]:
        return {"effect": self.predict, "outcomes": self.outcomes}

    def describe(self) -> dict[str, Any]:
        treatments = {"treatments": self.treatments.tolist()}
        return {**self.of_one.describe(), **treatments}

    def _by_treatment(self, outputs: Any) -> list[Any]:
        """Return the outputs of each treatment, shape (n, p)."""
        p = self.of_one.n_outputs
        mean, *differences = (
            outputs[:, start : start + p] for start in range(0, self.n_outputs, p)
        )
        control = mean
        for share, one in zip(self.shares[1:].tolist(), differences, strict=True):
            control = control - share * one
        return [control, *(control + one for one in differences)]

    def _outcome_of(self, target: Any) -> Any:
        """Return the outcomes of encoded targets, shape (n,); classes as integers."""
        outcome = target[:, 0]
        if not isinstance(self.of_one, Classes):
            return outcome
        is_tensor = isinstance(outcome, Tensor)
        return outcome.long() if is_tensor else outcome.astype("int64")
