"""The ordinary columns beside a history, as estimators of tables read them."""

import numpy as np
import pandas as pd


def learn_categories(X, names):
    """Find the categories of the columns that hold text.

    Parameters
    ----------
    X : DataFrame of shape (n, n_columns)
        Training rows.
    names : list of str
        Columns to look at.

    Returns
    -------
    dict of str to CategoricalDtype
        For each text, object and categorical column its categories: those it declares
        if it is categorical, else the distinct values, sorted.
    """
    categories = {}
    for name in names:
        dtype = X[name].dtype
        if isinstance(dtype, pd.CategoricalDtype):
            categories[name] = _without_na(dtype)
        elif pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype):
            categories[name] = _without_na(pd.Categorical(X[name]).dtype)
    return categories


def _without_na(dtype):
    """The same categories of a type whose missing value is not ``pd.NA``.

    Estimators of scikit-learn do not sort that among text.
    """
    if getattr(dtype.categories.dtype, "na_value", None) is not pd.NA:
        return dtype
    return pd.CategoricalDtype(dtype.categories.astype(object), dtype.ordered)


def to_category(column, dtype):
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
        Missing where the value is, or is none of the categories.

    Examples
    --------
    >>> import pandas as pd
    >>> to_category(pd.Series(["b", "x", "a"]), pd.CategoricalDtype(["a", "b"]))
    ['b', NaN, 'a']
    Categories (2, ...): ['a', 'b']
    """
    # Not astype, which warns from pandas 3.0 on where a value is no category.
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = dtype.categories.get_indexer(column.cat.categories)
        codes = np.append(known, -1)[column.cat.codes.to_numpy()]
    else:
        codes = dtype.categories.get_indexer(pd.Index(column))
    return pd.Categorical.from_codes(codes, dtype=dtype)
