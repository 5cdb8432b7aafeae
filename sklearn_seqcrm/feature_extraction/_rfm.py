"""Recency, frequency, monetary value and tenure of histories."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import (
    check_is_fitted,
)

from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    Interval,
    StrOptions,
    check_feature_names_in,
    of_history_transformer,
    one_task,
)
from sklearn_seqcrm._store import check_kinds, rows_of_kinds
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.feature_extraction._rfm_dialects import btyd, marketing
from sklearn_seqcrm.feature_extraction._statics import (
    clocks_of,
    filled_statics,
    learn_statics,
    read_again,
    read_to_fit,
    refuse_repeated,
    statics_of,
)

_DIALECTS = {"marketing": marketing, "btyd": btyd}
# What `EventLog.resample` calls the number of merged events, which is no amount.
_COUNT_FIELD = "n_events"


class RFMFeatures(TransformerMixin, CallbackSupportMixin, BaseEstimator):
    """Turn each history column into recency, frequency, monetary value and tenure.

    The classic description of a customer by four numbers, as columns that any
    estimator of tables reads, beside the other columns of the rows. The letters mean
    different things to different people; `dialect` says to whom:

    =========  ================================  =====================================
    feature    ``"marketing"``                   ``"btyd"``
    =========  ================================  =====================================
    recency    cutoff - last event               last - first transaction
    frequency  number of events                  number of transactions after the first
    monetary   mean amount of the events         mean amount of these transactions, 0
                                                 if there are none
    tenure     cutoff - first event              cutoff - first transaction (`T`)
    =========  ================================  =====================================

    Only events in the history count; with a lookback, the first one in it is "first".

    Parameters
    ----------
    amount : str or None, default="auto"
        Numeric field of the events for the monetary value; None for no such value.
        ``"auto"``: the log's only numeric field, not counting ``"n_events"`` beside it,
        the number of merged events that `EventLog.resample` adds; if there are several,
        there is no monetary value, and a warning. With several history columns, those
        whose log lacks the field have none.
    dialect : {"marketing", "btyd"}, default="marketing"
        What the features mean, see above. ``"btyd"``, for "buy till you die", is what
        the models of repeat buying take, such as BG/NBD and gamma-gamma.
    time_unit : Timedelta, str, number or None, default=None
        Unit of recency and tenure; a number if the times of the log are plain numbers.
        None: one day, or 1.
    period : Timedelta, str, number or None, default=None
        ``"btyd"`` only: events in the same period are one transaction, whose amount is
        their sum. None: `time_unit`. Periods count from 1970-01-01 (UTC), or from 0.
    kinds : str, list of str or None, default=None
        Kinds of events that count, as `EventLog.concat` named them; None: all. History
        columns whose log has no field `kind_field` are counted in full.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.
    remainder : {"passthrough", "drop"}, default="passthrough"
        What becomes of the other columns of `X`. Handed on, text and other objects
        become categories, fixed in `fit`, datetimes become days before the cutoff (of
        the first history column), durations become days, and all become floats that
        are numbers, booleans or objects that are such; infinite is missing. The
        customer and cutoff columns by which histories were attached are keys, not
        features, and are always left out, under any name.
    max_categories : int or None, default=255
        Most categories of a column that is handed on, 2 at least; None for any number.
        Where there are more, the rare share the last one, ``"infrequent_sklearn"``,
        with values that `fit` did not see; where there are not, these are missing.
        `HistGradientBoostingClassifier` reads 255 at most.

    Attributes
    ----------
    history_columns_ : list of str
        Names of the history columns.
    amounts_ : dict of str to str or None
        For each history column the field of the monetary value.
    time_units_ : dict of str to Timedelta, str or number
        For each history column the unit of recency and tenure.
    static_columns_ : list of str
        Names of the columns that are handed on: all but numbers and datetimes that no
        training row has.
    categories_ : dict of str to CategoricalDtype
        Categories of those among them that are categorical in the output.
    n_features_in_ : int
        Number of columns seen in `fit`, those that are not read included.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names.

    See Also
    --------
    sklearn_seqcrm.preprocessing.make_history_pipeline : Networks on the same `X`.

    Notes
    -----
    An empty history has frequency 0 and is missing (NaN) otherwise; for a missing
    history the frequency is NaN, too. Amounts that are missing or infinite are left
    out of means; a transaction without any other amount is, too.

    In the dialect ``"btyd"`` all times are first rounded down to their period, as in
    `summary_data_from_transaction_data` of the package lifetimes. Its weekly summary
    of daily data, ``freq="D", freq_multiplier=7``, is ``time_unit="7D",
    period="1D"`` here. It counts `T` up to the last day that is seen, and so do the
    published numbers [1]_: to get these, attach that day as the cutoff, with
    ``allow_exact_matches=True``. With the first day that is *not* seen as the
    cutoff, tenure is one day longer.

    Estimators that read neither categories nor missing values, such as linear models or
    the samplers of imbalanced-learn, need one more step. With ``one_hot =
    OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False)`` and
    ``numbers = make_pipeline(SimpleImputer(), StandardScaler())`` that is
    ``make_column_transformer((one_hot, make_column_selector(dtype_include="category")),
    remainder=numbers)``.

    The output is a pandas DataFrame, which categories need, unless `set_output` asks
    for another one. The cost follows the events that the rows see, never the log.

    References
    ----------
    .. [1] Fader, P. S., Hardie, B. G. S. and Lee, K. L. (2005). "Counting Your
       Customers" the Easy Way: An Alternative to the Pareto/NBD Model. Marketing
       Science 24(2), 275-284. https://doi.org/10.1287/mksc.1040.0098
    .. [2] Fader, P. S., Hardie, B. G. S. and Lee, K. L. (2005). RFM and CLV: Using
       Iso-Value Curves for Customer Base Analysis. Journal of Marketing Research
       42(4), 415-430. https://doi.org/10.1509/jmkr.2005.42.4.415

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.feature_extraction import RFMFeatures
    >>> orders = pd.DataFrame(
    ...     {
    ...         "customer": ["ann", "ann", "ann", "bob"],
    ...         "day": pd.to_datetime(
    ...             ["2024-03-01", "2024-03-06", "2024-03-08", "2024-03-08"]
    ...         ),
    ...         "spend": [10.0, 20.0, 60.0, 5.0],
    ...     }
    ... )
    >>> log = EventLog(orders, customer="customer", time="day")
    >>> rows = pd.DataFrame({"customer": ["ann", "bob"], "city": ["Rome", "Oslo"]})
    >>> X = log.attach(rows, cutoff="2024-03-11", name="h")
    >>> RFMFeatures().fit_transform(X)
       h__recency  h__frequency  h__monetary  h__tenure  city
    0         3.0           3.0         30.0       10.0  Rome
    1         3.0           1.0          5.0        3.0  Oslo
    >>> RFMFeatures(dialect="btyd", remainder="drop").fit_transform(X)
       h__recency  h__frequency  h__monetary  h__tenure
    0         7.0           2.0         40.0       10.0
    1         0.0           0.0          0.0        3.0
    """

    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, Any] = {
        "amount": [str, None],
        "dialect": [StrOptions(set(_DIALECTS))],
        "time_unit": "no_validation",  # the clock of the log knows what it takes
        "period": "no_validation",
        "kinds": [str, "array-like", None],
        "kind_field": [str],
        "remainder": [StrOptions({"passthrough", "drop"})],
        "max_categories": [Interval(Integral, 2, None, closed="left"), None],
    }

    def __init__(
        self,
        amount: str | None = "auto",
        *,
        dialect: Literal["marketing", "btyd"] = "marketing",
        time_unit: Any = None,
        period: Any = None,
        kinds: Any = None,
        kind_field: str = "event",
        remainder: Literal["passthrough", "drop"] = "passthrough",
        max_categories: int | None = 255,
    ) -> None:
        self.amount = amount
        self.dialect = dialect
        self.time_unit = time_unit
        self.period = period
        self.kinds = kinds
        self.kind_field = kind_field
        self.remainder = remainder
        self.max_categories = max_categories

    if TYPE_CHECKING:  # scikit-learn's own has no types

        def fit_transform(self, X: Any, y: Any = None) -> pd.DataFrame: ...

    @one_task
    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the history columns, their amounts, and the categories of the others.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with at least one column of raw histories. An object array of such
            rows, as ColumnTransformer makes it, has the columns "x0", "x1", ...
        y : object, default=None
            Ignored.

        Returns
        -------
        RFMFeatures
            The fitted transformer.

        Raises
        ------
        TypeError
            If `X` is no DataFrame, its histories are encoded, the amount is not
            numeric, or a length of time is not what the times of the log need.
        KeyError
            If no log has the field `kind_field`, and `kinds` are given.
        ValueError
            If `X` has no history column, no log has the amount or events of one of
            `kinds`, a length of time is not longer than 0, or an output has the name
            of another column.
        """
        self._validate_params()
        self._reading, table = read_to_fit(X, self.remainder)
        self._reading.set_names(table.frame, self)
        table = self._reading.select(table, self).refuse_encoded("RFMFeatures")
        X = table.frame
        self._clocks = clocks_of(table)
        self.history_columns_ = list(self._reading.histories)
        logs = {name: array.log for name, array in table.histories.items()}
        self.amounts_ = _amount_fields(self.amount, logs)
        self.time_units_ = {
            name: _or_default(self.time_unit, log) for name, log in logs.items()
        }
        for name, log in logs.items():
            self._lengths(name, log)
        if self.kinds is not None:
            _check_kinds(logs.values(), self.kinds, self.kind_field)
        self.static_columns_ = filled_statics(X, self._reading)
        self.categories_ = learn_statics(X, self._reading, self.max_categories)
        refuse_repeated(self.get_feature_names_out())
        return self

    def transform(self, X: Any) -> pd.DataFrame:
        """Compute the features of each row.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns that `fit` saw, in any order. Further ones, keys among
            them, are ignored.

        Returns
        -------
        DataFrame of shape (n, n_features_out)
            Floats named ``<history column>__<feature>``, then the other columns.

        Raises
        ------
        TypeError
            If a column that held histories in `fit` does not now.
        ValueError
            If a column that `fit` saw is missing, a log lacks the amount, or its times
            are datetimes and were numbers in `fit`, or the other way round.
        """
        check_is_fitted(self)
        table = read_again(X, self._reading, self._clocks, self)
        columns: list[Any] = []
        for name, array in table.histories.items():
            columns += self._features(name, array).values()
        columns += statics_of(
            table, self._reading, self.static_columns_, self.categories_
        ).values()
        names = self.get_feature_names_out()
        columns_by_name = dict(zip(names, columns, strict=True))
        return pd.DataFrame(columns_by_name, index=table.frame.index)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            None, or the names that `fit` saw.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            ``<history column>__<feature>``, then the columns that are handed on.
        """
        check_is_fitted(self)
        check_feature_names_in(self, input_features)
        names = []
        for history, field in self.amounts_.items():
            features = ["recency", "frequency", "monetary", "tenure"]
            if field is None:
                features.remove("monetary")
            names += [f"{history}__{feature}" for feature in features]
        return np.array([*names, *self.static_columns_], dtype=object)

    def _features(self, name: Any, array: HistoryArray) -> dict[str, np.ndarray]:
        """Features of one history column, in order."""
        log: Any = array.log
        field = self.amounts_[name]
        if field is not None:
            _check_numeric(field, name, log)
        rows: Any = array.rows
        lengths = self._lengths(name, log)
        if self.kinds is not None and self.kind_field in log.fields:
            rows = rows_of_kinds(rows, log.column(self.kind_field), self.kinds)
        amount = None if field is None else rows.log.column(field).values
        return _DIALECTS[self.dialect](rows, amount, *lengths)

    def _lengths(self, name: Any, log: Any) -> list[int | float]:
        """Time unit and period on the axis of a log."""
        unit = self.time_units_[name]
        period = unit if self.period is None else self.period
        return [
            log.timeline.clock.duration(value, parameter, positive=True)
            for parameter, value in (("time_unit", unit), ("period", period))
        ]

    def __sklearn_tags__(self) -> Any:
        return of_history_transformer(super().__sklearn_tags__())


def _or_default(time_unit: Any, log: Any) -> Any:
    if time_unit is not None:
        return time_unit
    return 1 if log.timeline.clock.unit is None else pd.Timedelta(days=1)


def _amount_fields(amount: str | None, logs: dict[Any, Any]) -> dict[Any, str | None]:
    """Field of the monetary value of each history column, or None."""
    if amount is None:
        return dict.fromkeys(logs)
    if amount == "auto":
        return dict(zip(logs, map(_only_numeric, logs, logs.values()), strict=True))
    having = [name for name, log in logs.items() if amount in log.fields]
    # With none at all, the first check raises.
    for name in having or logs:
        _check_numeric(amount, name, logs[name])
    return {name: amount if name in having else None for name in logs}


def _only_numeric(name: Any, log: Any) -> str | None:
    numeric = [
        field for field in log.fields if log.column(field).type.name == "numeric"
    ]
    if len(numeric) == 2 and _COUNT_FIELD in numeric:
        numeric.remove(_COUNT_FIELD)
    if len(numeric) > 1:
        warnings.warn(
            f"There is no monetary value of {name!r}, as its events have "
            f"{len(numeric)} numeric fields, {numeric}; choose one of them, for "
            f"example RFMFeatures(amount={numeric[0]!r}), or none by amount=None.",
            UserWarning,
            stacklevel=6,  # the caller of fit, which scikit-learn wraps
        )
    return numeric[0] if len(numeric) == 1 else None


def _check_kinds(logs: Collection[Any], kinds: Any, kind_field: str) -> None:
    """Refuse kinds of which there are no events in any log that tells them apart."""
    having = [log for log in logs if kind_field in log.fields]
    # With none at all, the first column raises.
    for log in having or logs:
        check_kinds(log.column(kind_field), kinds, kind_field)


def _check_numeric(amount: str, name: Any, log: Any) -> None:
    if amount not in log.fields:
        raise ValueError(
            f"The events of the column {name!r} have no field {amount!r} for the "
            f"monetary value; they have {log.fields}. Choose one with amount=..."
        )
    its_type = log.column(amount).type
    if its_type.name != "numeric":
        raise TypeError(
            f"The field {amount!r} of the events of the column {name!r} is "
            f"{its_type}, but a monetary value needs a numeric one; choose another "
            "with amount=..., or make it numeric before building the log."
        )
