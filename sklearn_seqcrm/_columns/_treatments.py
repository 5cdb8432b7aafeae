"""Treatments of rows: labels, the control, and codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def read_treatment(treatment: Any, n_rows: int) -> np.ndarray:
    """Return the label of the treatment of each row.

    Parameters
    ----------
    treatment : array-like of shape (n,)
        Labels of one type: numbers, bools, text or a categorical Series. A Series is
        aligned by position.
    n_rows : int
        Number of rows of `X`.

    Returns
    -------
    ndarray of shape (n,)
        Labels.

    Raises
    ------
    TypeError
        If text and other labels are mixed.
    ValueError
        If labels are missing, or there is not one for each row.
    """
    labels = np.asarray(treatment)
    if labels.shape != (n_rows,):
        raise ValueError(
            f"treatment must have one label for each of the {n_rows} rows; got the "
            f"shape {labels.shape}."
        )
    n_missing = int(pd.isna(labels).sum())
    if n_missing:
        raise ValueError(
            f"treatment is missing in {n_missing} of {n_rows} rows; give these the "
            "label of the control if they were not contacted, or drop them."
        )
    if labels.dtype == object:
        are_text = {isinstance(label, str) for label in labels}
        if len(are_text) > 1:
            raise TypeError(
                "treatment mixes text and other labels; convert all labels to text."
            )
        labels = np.array(labels.tolist())
    return labels


def control_first(labels: np.ndarray, control: Any) -> np.ndarray:
    """Return the distinct labels, the control first and the others sorted.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Labels as `read_treatment` returns them.
    control : object
        Label of the rows that were not contacted. None: 0 or False, if all labels are
        0 or 1.

    Returns
    -------
    ndarray of shape (n_arms,)
        Two labels or more.

    Raises
    ------
    ValueError
        If `control` is None and not all labels are 0 or 1, if it is not among the
        labels, or if there is no other label.
    """
    distinct = np.unique(labels)
    found = distinct.tolist()
    if control is None:
        if not all(label in (0, 1) for label in found):
            raise ValueError(
                "control=None needs treatments 0 and 1, or False and True; the labels "
                f"are {found}. Set control to the label of the rows that were not "
                "contacted."
            )
        control = 0
    is_control = np.array([label == control for label in found])
    if not is_control.any():
        raise ValueError(
            f"No row has the treatment control={control!r}; the labels are {found}."
        )
    if len(found) < 2:
        raise ValueError(
            f"All rows (n_samples={len(labels)}) have the treatment {found[0]!r}, the "
            "control; an effect needs rows of another treatment."
        )
    return np.concatenate([distinct[is_control], distinct[~is_control]])


def codes_of_treatments(labels: np.ndarray, treatments: np.ndarray) -> np.ndarray:
    """Return the position of each label in the known treatments, shape (n,), int64.

    Raises
    ------
    ValueError
        If there are other labels.
    """
    known = treatments.tolist()
    unknown = [one for one in np.unique(labels).tolist() if one not in known]
    if unknown:
        raise ValueError(
            f"treatment has the labels {unknown}, which are not among those of fit, "
            f"{known}."
        )
    return pd.Index(known).get_indexer(labels.tolist()).astype("int64")
