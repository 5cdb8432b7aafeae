"""Text and categories beside a history, as estimators of tables read them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import look_up
from sklearn_seqcrm._reading import as_levels, coded_levels, text_of

RARE = "infrequent_sklearn"  # what encoders of scikit-learn call it


def learn_categories(column: pd.Series, most: int | None) -> pd.CategoricalDtype:
    """Find the categories of a column.

    Parameters
    ----------
    column : Series of shape (n,)
        Training values: text, categories or other objects.
    most : int or None
        Most categories; None for any number.

    Returns
    -------
    CategoricalDtype
        Those that the column declares, if it is categorical and they are of one type
        and not too many.
        Else the distinct values as text, sorted; of too many the most frequent, before
        one for all others, `RARE`.
    """
    declared = column.dtype
    if isinstance(declared, pd.CategoricalDtype) and (
        (most is None or len(declared.categories) <= most)
        # 1 and "1" would be one as text, and do not sort.
        and not pd.api.types.infer_dtype(declared.categories).startswith("mixed")
    ):
        return _without_na(declared)
    counts = pd.Series(as_levels(column), dtype=object).value_counts().sort_index()
    levels = counts.index.tolist()
    if most is not None and len(levels) > most:
        by_count = counts.sort_values(ascending=False, kind="stable").index
        levels = [*sorted(by_count[: most - 1]), RARE]
    return pd.CategoricalDtype(pd.Index(levels, dtype=object))


def _without_na(dtype: pd.CategoricalDtype) -> pd.CategoricalDtype:
    """The same categories of a type whose missing value is not ``pd.NA``.

    Estimators of scikit-learn do not sort that among text.
    """
    if getattr(dtype.categories.dtype, "na_value", None) is not pd.NA:
        return dtype
    return pd.CategoricalDtype(dtype.categories.astype(object), dtype.ordered)


def to_category(column: pd.Series, dtype: pd.CategoricalDtype) -> pd.Categorical:
    """Code a column by given categories.

    Parameters
    ----------
    column : Series of shape (n,)
        Values of any type.
    dtype : CategoricalDtype
        The categories.

    Returns
    -------
    Categorical of shape (n,)
        `RARE`, if that is a category, for a value that is none; missing where the
        value is, or where there is no `RARE`.

    Examples
    --------
    >>> import pandas as pd
    >>> to_category(pd.Series(["b", "x", "a"]), pd.CategoricalDtype(["a", "b"]))
    ['b', NaN, 'a']
    Categories (2, ...): ['a', 'b']
    """
    codes, texts = coded_levels(column)
    known = {text_of(level): i for i, level in enumerate(dtype.categories)}
    place = [known.get(text, known.get(RARE, -1)) for text in texts]
    codes = look_up(np.array(place, dtype="int64"), codes)
    return pd.Categorical.from_codes(codes, dtype=dtype)
