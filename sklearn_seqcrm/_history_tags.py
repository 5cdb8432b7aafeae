"""What scikit-learn is told of transformers that read histories."""

from __future__ import annotations

from typing import Any


def of_history_transformer(tags: Any) -> Any:
    """Set the tags of a transformer of DataFrames with histories.

    Parameters
    ----------
    tags : sklearn.utils.Tags
        Tags of any transformer; changed in place.

    Returns
    -------
    sklearn.utils.Tags
        The same object.
    """
    tags.input_tags.two_d_array = False  # a DataFrame, with columns of histories
    tags.input_tags.categorical = True
    tags.input_tags.string = True
    tags.input_tags.allow_nan = True
    tags.transformer_tags.preserves_dtype = []
    return tags
