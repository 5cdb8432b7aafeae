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
from sklearn_seqcrm.metrics._read import (
    check_length,
    numbers,
    read_targets,
    read_weights,
)
from sklearn_seqcrm.metrics._score_groups import descending_groups


class TwoArms(NamedTuple):
    """Rows of control and of one treatment."""

    y: np.ndarray  # (n,): outcomes
    score: np.ndarray  # (n,): the numbers that order the rows
    treated: np.ndarray  # (n,), bool: whether the row is of the treatment
    weight: np.ndarray  # (n,): weights divided by ``2**exponent``
    exponent: int  # see `weight`
    position: np.ndarray  # (n,), int64: position of the row in the arguments

    def reweighted(self, weight: np.ndarray) -> TwoArms:
        """Return the rows with other weights, (n,), without those of weight 0."""
        kept = weight > 0
        y, score, treated = self.y[kept], self.score[kept], self.treated[kept]
        position = self.position[kept]
        return TwoArms(y, score, treated, weight[kept], self.exponent, position)

    def sums(self) -> ArmSums:
        """Add up weights and outcomes of both arms, highest score first."""
        order, first = descending_groups(self.score)
        # (n, 2): the weight of a row stands in the column of its arm.
        weight = np.column_stack([~self.treated, self.treated]) * self.weight[:, None]
        counts = np.add.reduceat(weight[order], first)
        totals = np.add.reduceat((weight * self.y[:, None])[order], first)
        zero = np.zeros((1, 2))
        return ArmSums(
            np.concatenate([[np.inf], self.score[order[first]]]),
            np.cumsum(np.concatenate([zero, counts]), axis=0),
            np.cumsum(np.concatenate([zero, totals]), axis=0),
        )


class ArmSums(NamedTuple):
    """Sums over the rows whose score is at least a threshold."""

    # (n_thresholds + 1,): infinity, for no rows, then the distinct scores in descending
    # order.
    threshold: np.ndarray
    # (n_thresholds + 1, 2): sum of the weights in control and treatment.
    weight: np.ndarray
    total: np.ndarray  # (n_thresholds + 1, 2): sum of weighted outcomes in both

    def fraction(self) -> np.ndarray:
        """Return the share of the rows, by weight, (n_thresholds + 1,)."""
        rows = self.weight.sum(axis=1)
        return rows / rows[-1]


def read_pairs(
    y_true: Any,
    effect: Any,
    treatment: Any,
    control: Any,
    treatments: Any,
    arm: Any,
    sample_weight: Any,
    pos_label: Any,
    *,
    only_one: bool = False,
) -> list[TwoArms]:
    """Read the arguments of a metric of effects, and leave out the rows without weight.

    Returns the rows of control beside those of each treatment, or of the treatment
    `arm` alone. With `only_one`, it must be given if there are several.
    """
    labels, codes = read_arms(treatment, control, treatments)
    effects = effect_columns(effect, labels)
    y = read_targets(y_true, pos_label)
    check_length(len(effects), len(y), "effect")
    kept, weight, exponent = read_weights(sample_weight, len(y))
    check_length(len(codes), len(y), "treatment")
    codes = codes[kept]
    require_all_arms(codes, labels)
    pairs = []
    for code in _chosen_arms(labels, arm, only_one):
        own = (codes == 0) | (codes == code)
        place = kept[own]
        pairs.append(
            TwoArms(
                y[place],
                effects[place, code - 1],
                codes[own] > 0,
                weight[own],
                exponent,
                place,
            )
        )
    return pairs


def _chosen_arms(labels: list[Any], arm: Any, only_one: bool) -> list[int]:
    """Return the place of a treatment in `labels`, or of all treatments for None."""
    if arm is not None:
        if arm not in labels[1:]:
            raise ValueError(f"arm={arm!r} is none of the treatments, {labels[1:]}.")
        return [labels.index(arm)]
    n_treatments = len(labels) - 1
    if only_one and n_treatments > 1:
        raise ValueError(
            f"There are {n_treatments} treatments beside control; choose one by arm=, "
            f"one of {labels[1:]}."
        )
    return list(range(1, len(labels)))


def effect_columns(effect: Any, labels: list[Any]) -> np.ndarray:
    """Return effects as finite floats of shape (n, n_arms - 1), in order of arms."""
    values = np.asarray(effect)
    if isinstance(effect, pd.DataFrame):
        values = in_order_of_arms(effect, labels[1:], "effect")
    if values.ndim != 2:
        values = numbers(effect, "effect")[:, None]
    n_columns, n_treatments = values.shape[1], len(labels) - 1
    if not n_columns:
        raise ValueError("effect has no column; there must be one for each treatment.")
    if n_columns != n_treatments:
        raise ValueError(
            f"effect has {n_columns} columns, but there are {n_treatments} treatments "
            f"beside control, {labels[1:]}; there must be one column for each. Where "
            "rows lack some of the arms, pass treatments=, all labels with control "
            "first."
        )
    frame = pd.DataFrame(values)
    columns = [numbers(frame.iloc[:, i], "effect") for i in range(n_columns)]
    return np.column_stack(columns)


def read_arms(
    treatment: Any, control: Any, treatments: Any
) -> tuple[list[Any], np.ndarray]:
    """Return the labels of the arms, control first, and the place of each row's, (n,).

    `treatments` are the labels of all arms, control first. None: those that occur, the
    control first and then sorted.
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
    """Raise a ValueError if an arm has no rows; `arm` has places in `labels`, (n,)."""
    counts = np.bincount(arm, minlength=len(labels))
    if not counts.all():
        missing = [labels[code] for code in np.flatnonzero(counts == 0)]
        raise ValueError(
            f"No row with weight has the treatment {missing}, so that nothing can be "
            "compared with the other arms; use fewer and larger folds, stratified by "
            "treatment."
        )
