"""Read effects and treatments; sums of two arms by descending effect."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._treatments import (
    encode_treatments,
    in_order_of_arms,
    read_treatments,
)
from sklearn_seqcrm.metrics._read import check_length, numbers, read_rows


class EffectRows(NamedTuple):
    """Outcomes, effects, arms and weights of the rows with a weight above 0.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Outcomes.
    effect : ndarray of shape (n, n_arms - 1)
        Effects of each treatment against control.
    arm : ndarray of shape (n,), int64
        Place of the row's treatment in `labels`; 0 is control.
    labels : list
        Labels of the arms, control first.
    weight : ndarray of shape (n,)
        Weights divided by ``2**exponent``, see `ScoredRows`.
    exponent : int
        See `weight`.
    position : ndarray of shape (n,), int64
        Position of the row in the arguments.
    """

    y: np.ndarray
    effect: np.ndarray
    arm: np.ndarray
    labels: list[Any]
    weight: np.ndarray
    exponent: int
    position: np.ndarray

    def pairs(self, arm: Any = None) -> list[TwoArms]:
        """Return control beside each treatment, or beside one of them.

        Parameters
        ----------
        arm : object, default=None
            Label of a treatment; None for all.

        Returns
        -------
        list of TwoArms
            One for each treatment.
        """
        wanted = list(range(1, len(self.labels)))
        if arm is not None:
            if arm not in self.labels[1:]:
                raise ValueError(
                    f"arm={arm!r} is none of the treatments, {self.labels[1:]}."
                )
            wanted = [self.labels.index(arm)]
        return [self._pair(one) for one in wanted]

    def one_pair(self, arm: Any = None) -> TwoArms:
        """Return control beside a treatment, which must be named if there are several.

        Parameters
        ----------
        arm : object, default=None
            Label of the treatment.

        Returns
        -------
        TwoArms
            Their rows.
        """
        pairs = self.pairs(arm)
        if len(pairs) > 1:
            raise ValueError(
                f"There are {len(pairs)} treatments beside control; choose one by "
                f"arm=, one of {self.labels[1:]}."
            )
        return pairs[0]

    def _pair(self, treatment: int) -> TwoArms:
        own = (self.arm == 0) | (self.arm == treatment)
        return TwoArms(
            self.y[own],
            self.effect[own, treatment - 1],
            self.arm[own] > 0,
            self.weight[own],
            self.exponent,
            self.position[own],
        )


class TwoArms(NamedTuple):
    """Rows of control and of one treatment.

    Parameters
    ----------
    y, score : ndarray of shape (n,)
        Outcomes, and the numbers that order the rows.
    treated : ndarray of shape (n,), bool
        Whether the row is of the treatment.
    weight : ndarray of shape (n,)
        Weights divided by ``2**exponent``.
    exponent : int
        See `weight`.
    position : ndarray of shape (n,), int64
        Position of the row in the arguments.
    """

    y: np.ndarray
    score: np.ndarray
    treated: np.ndarray
    weight: np.ndarray
    exponent: int
    position: np.ndarray

    def sums(self) -> ArmSums:
        """Add up weights and outcomes of both arms, highest score first."""
        order = np.argsort(-self.score, kind="stable")
        score = self.score[order]
        first = np.flatnonzero(np.diff(score, prepend=np.inf))
        # (n, 2): the weight of a row stands in the column of its arm.
        weight = np.column_stack([~self.treated, self.treated]) * self.weight[:, None]
        counts = np.add.reduceat(weight[order], first)
        totals = np.add.reduceat((weight * self.y[:, None])[order], first)
        zero = np.zeros((1, 2))
        return ArmSums(
            np.concatenate([[np.inf], score[first]]),
            np.cumsum(np.concatenate([zero, counts]), axis=0),
            np.cumsum(np.concatenate([zero, totals]), axis=0),
        )


class ArmSums(NamedTuple):
    """Sums over the rows whose score is at least a threshold.

    Parameters
    ----------
    threshold : ndarray of shape (n_thresholds + 1,)
        Infinity, for no rows, then the distinct scores in descending order.
    weight, total : ndarray of shape (n_thresholds + 1, 2)
        Sum of the weights, and of weighted outcomes, in control and treatment.
    """

    threshold: np.ndarray
    weight: np.ndarray
    total: np.ndarray

    def fraction(self) -> np.ndarray:
        """Return the share of the rows, by weight, (n_thresholds + 1,)."""
        rows = self.weight.sum(axis=1)
        return rows / rows[-1]


def read_effects(
    y_true: Any,
    effect: Any,
    treatment: Any,
    *,
    control: Any = None,
    treatments: Any = None,
    sample_weight: Any = None,
    pos_label: Any = None,
) -> EffectRows:
    """Read the arguments of a metric of effects, and leave out rows without weight.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Outcomes.
    effect : array-like of shape (n,) or (n, n_arms - 1)
        Effects against control.
    treatment : array-like of shape (n,)
        Labels of the arms.
    control : object, default=None
        Label of control; None for 0 or False where the labels are 0 and 1 or booleans.
    treatments : array-like of shape (n_arms,) or None, default=None
        Labels of the arms, control first; None for those that occur.
    sample_weight : array-like of shape (n,) or None, default=None
        Weights.
    pos_label : object, default=None
        Label of `y_true` that counts as 1.

    Returns
    -------
    EffectRows
        Finite floats.
    """
    labels, arm = read_arms(treatment, control, treatments)
    effects = effect_columns(effect, labels)
    # The score of a row is its position, which finds the rows that have weight.
    rows = read_rows(
        y_true,
        np.arange(len(effects)),
        sample_weight,
        pos_label=pos_label,
        score_name="effect",
    )
    kept = rows.score.astype(np.int64)
    check_length(len(arm), len(effects), "treatment")
    if effects.shape[1] != len(labels) - 1:
        raise ValueError(
            f"effect has {effects.shape[1]} columns, but there are {len(labels) - 1} "
            f"treatments beside control, {labels[1:]}; there must be one column for "
            "each. Where rows lack some of the arms, pass treatments=, all labels with "
            "control first."
        )
    require_all_arms(arm[kept], labels)
    return EffectRows(
        rows.y, effects[kept], arm[kept], labels, rows.weight, rows.exponent, kept
    )


def effect_columns(effect: Any, labels: list[Any]) -> np.ndarray:
    """Return effects as finite floats of shape (n, n_arms - 1), in order of arms."""
    values = np.asarray(effect)
    if isinstance(effect, pd.DataFrame):
        values = in_order_of_arms(effect, labels[1:], "effect")
    if values.ndim != 2:
        return numbers(effect, "effect")[:, None]
    frame = pd.DataFrame(values)
    if not frame.shape[1]:
        raise ValueError("effect has no column; there must be one for each treatment.")
    columns = [numbers(frame.iloc[:, i], "effect") for i in range(frame.shape[1])]
    return np.column_stack(columns)


def read_arms(
    treatment: Any, control: Any = None, treatments: Any = None
) -> tuple[list[Any], np.ndarray]:
    """Read labels of treatments.

    Parameters
    ----------
    treatment : array-like of shape (n,)
        Labels of any type.
    control : object, default=None
        Label of control; None for 0 or False where the labels are 0 and 1 or booleans.
    treatments : array-like of shape (n_arms,) or None, default=None
        Labels of the arms, control first; None for those that occur, sorted after
        control.

    Returns
    -------
    labels : list
        Labels of the arms, control first.
    arm : ndarray of shape (n,), int64
        Places in `labels`.
    """
    if isinstance(treatment, str) or np.ndim(treatment) == 0:
        raise TypeError(f"treatment must have a label for each row; got {treatment!r}.")
    if treatments is None:
        labels, arm = read_treatments(treatment, control)
        return labels.tolist(), arm
    given = _given_labels(treatments, control)
    return given, encode_treatments(treatment, given)


def _given_labels(treatments: Any, control: Any) -> list[Any]:
    if isinstance(treatments, str) or np.ndim(treatments) != 1:
        raise TypeError(
            f"treatments must be a list of the labels of all arms; got {treatments!r}."
        )
    # NumPy would turn 0 and "mail" into text.
    labels = pd.Series(treatments, dtype=object).tolist()
    if len(set(labels)) < len(labels):
        raise ValueError(f"treatments has labels more than once: {labels}.")
    if control is not None and control != labels[0]:
        raise ValueError(
            f"The first of treatments must be control={control!r}; got {labels}."
        )
    return labels


def require_all_arms(arm: np.ndarray, labels: list[Any]) -> None:
    """Raise a ValueError if an arm has no rows.

    Parameters
    ----------
    arm : ndarray of shape (n,)
        Places in `labels`.
    labels : list
        Labels of the arms.
    """
    counts = np.bincount(arm, minlength=len(labels))
    if not counts.all():
        missing = [
            label for label, count in zip(labels, counts, strict=True) if not count
        ]
        raise ValueError(
            f"No row with weight has the treatment {missing}, so that nothing can be "
            "compared with the other arms; use fewer and larger folds, stratified by "
            "treatment."
        )
