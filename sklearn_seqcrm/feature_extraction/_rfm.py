"""Recency, frequency, monetary value and tenure of histories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress
from numbers import Number
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm._ragged import Pass, add_all
from sklearn_seqcrm._sklearn_compat import StrOptions, one_task
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import (
    CategoricalType,
    NumericType,
    as_list,
    column_of_kinds,
    rows_of_kinds,
    warn_all_kinds,
)
from sklearn_seqcrm._typing import Duration
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.feature_extraction._aggregates import field_as_in_fit
from sklearn_seqcrm.feature_extraction._base import BaseHistoryFeatures
from sklearn_seqcrm.feature_extraction._rfm_dialects import (
    FEATURES,
    btyd,
    marketing,
    purchase_starts,
)

# The number of merged events, as named by `EventLog.resample`; not an amount.
_COUNT_FIELD = "n_events"
_FIRST_EVENTS = 100_000  # enough to find refunds; a log on the disk may be large


class RFMFeatures(BaseHistoryFeatures):
    """Turn each history column into recency, frequency, monetary value and tenure.

    The classic description of a customer by four numbers, as columns for any estimator
    of tables. Marketing and the literature on "buy till you die" (BTYD) models define
    them differently; `dialect` chooses the definition:

    =========  ================================  =====================================
    feature    ``"marketing"``                   ``"btyd"``
    =========  ================================  =====================================
    recency    cutoff - last event               last - first purchase
    frequency  number of purchases               number of purchases after the first
    monetary   mean amount of the purchases      mean amount of these purchases, 0 if
                                                 there are none
    tenure     cutoff - first event              cutoff - first purchase (`T`)
    =========  ================================  =====================================

    A purchase is a moment, not a line: all events of a customer at the same time, such
    as the lines of an invoice, or within a period. Its amount is their sum. Only events
    in the history count. With a lookback, the first event in it is "first". A refund
    counts as a purchase, too, unless it is an event of another kind, see `kinds`.

    Parameters
    ----------
    amount : str or None, default="auto"
        Numeric field of the events for the monetary value; None for no such feature.
        ``"auto"`` takes the only numeric field of the log, apart from ``"n_events"``,
        the number of merged events that `EventLog.resample` adds. If there are several,
        it warns and leaves the feature out. History columns whose log lacks the field
        have no such feature.
    dialect : {"marketing", "btyd"}, default="marketing"
        Definition of the features, see above. ``"btyd"`` is the input of models of
        repeat buying such as BG/NBD [1]_ and gamma-gamma [2]_.
    time_unit : Timedelta, str, number or None, default=None
        Unit of recency and tenure; a number if the times of the log are plain numbers.
        None for one day, or 1.
    period : Timedelta, str, number or None, default=None
        For ``"btyd"`` only: the events of one period are one purchase. None for
        `time_unit`. Periods begin at 1970-01-01 (UTC), or at 0.
    moments : bool, Timedelta, str or number, default=True
        For ``"marketing"`` only: which events are one purchase. True for the events at
        the same time, a length such as ``"1D"`` for the events of one period, which
        begins as `period` does, and False for single events.
    kinds : str, list of str or None, default=None
        Kinds of events that count, as `EventLog.concat` named them; None for all. In
        history columns whose training log has no field `kind_field`, all events count.
    kind_field : str, default="event"
        Name of the categorical field that holds the kinds.
    remainder : {"passthrough", "drop"}, default="passthrough"
        What to do with the other columns of `X`. With "passthrough", numbers, booleans
        and objects of these types become floats (infinite is missing), durations become
        days, datetimes become days before the cutoff of the first history column, and
        text and other objects become categories, which `fit` learns. The customer and
        cutoff columns by which histories were attached are keys, not features, and are
        always left out, under any name.
    max_categories : int or None, default=255
        Maximum number of categories of another column, 2 or more; None for any number.
        If there are more, rare levels and levels not seen in `fit` share the last
        category, ``"infrequent_sklearn"``. Otherwise levels not seen in `fit` are
        missing. `HistGradientBoostingClassifier` accepts at most 255.

    Attributes
    ----------
    history_columns_ : list of str
        Names of the history columns.
    amounts_ : dict of str to str or None
        The field of the monetary value of each history column.
    time_units_ : dict of str to Timedelta, str or number
        The unit of recency and tenure of each history column.
    static_columns_ : list of str
        Names of the other columns in the output: all but numeric and datetime columns
        without a value in training.
    categories_ : dict of str to CategoricalDtype
        Categories of the columns among these that are categorical in the output.
    n_features_in_ : int
        Number of columns seen in `fit`, including columns that are not used.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names.

    See Also
    --------
    sklearn_seqcrm.preprocessing.make_history_pipeline : Networks on the same `X`.

    Notes
    -----
    For an empty history the frequency is 0 and the other features are missing (NaN);
    for a missing history the frequency is missing too. Features that no training row
    has are no columns: where all histories are empty, the frequency is the only one.
    Missing and infinite amounts are left out of means, and so is a purchase without any
    other amount.

    The events have the times ``t[1] <= ... <= t[n]``; the cutoff is ``c`` and the unit
    ``u``. Purchase ``k`` of ``m`` has the sum ``A[k]`` of the amounts of its events.
    The dialect ``"marketing"`` has::

        recency = (c - t[n]) / u        frequency = m
        tenure  = (c - t[1]) / u        monetary  = mean of A[1], ..., A[m]

    In the dialect ``"btyd"`` [1]_ [2]_, times are first rounded down to periods ``p``,
    ``d(t) = floor(t / p)``, and the distinct periods ``d[1] < ... < d[m]`` of the
    events are the purchases::

        recency = (d[m] - d[1]) * p / u     frequency = m - 1
        tenure  = (d(c) - d[1]) * p / u     monetary  = mean of A[2], ..., A[m]

    with a monetary value of 0 for ``m = 1``. So it is in
    `summary_data_from_transaction_data` of the package lifetimes, whose weekly summary
    of daily data, ``freq="D", freq_multiplier=7``, is ``time_unit="7D", period="1D"``
    here. lifetimes and the published numbers [1]_ count the tenure `T` up to the last
    observed day: attach that day as the cutoff, with ``allow_exact_matches=True``. If
    the cutoff is the first day that is *not* observed, the tenure is one day longer.

    Estimators that accept neither categories nor missing values, such as linear models
    or the samplers of imbalanced-learn, need one more step. With ``one_hot =
    OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False)`` and
    ``numbers = make_pipeline(SimpleImputer(), StandardScaler())`` that is
    ``make_column_transformer((one_hot, make_column_selector(dtype_include="category")),
    remainder=numbers)``.

    The output is a pandas DataFrame, which can hold categories, unless `set_output` is
    called. The cost depends on the number of events in the histories, not in the log.

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

    Bob's order has two lines now: it is one purchase of 9.

    >>> lines = pd.concat([orders, orders.tail(1).assign(spend=4.0)])
    >>> X = EventLog(lines, "customer", "day").attach(rows, cutoff="2024-03-11")
    >>> rfm = RFMFeatures(remainder="drop").fit_transform(X)
    >>> rfm[["history__frequency", "history__monetary"]].loc[1].tolist()
    [1.0, 9.0]
    """

    _parameter_constraints: dict[str, Any] = {
        **BaseHistoryFeatures._parameter_constraints,
        "amount": [str, None],
        "dialect": [StrOptions({"marketing", "btyd"})],
        # The clock of the log validates these.
        "period": "no_validation",
        "moments": "no_validation",
        "kinds": [str, Number, "array-like", None],
        "kind_field": [str],
    }

    def __init__(
        self,
        amount: str | None = "auto",
        *,
        dialect: Literal["marketing", "btyd"] = "marketing",
        time_unit: Duration | None = None,
        period: Duration | None = None,
        moments: bool | Duration = True,
        kinds: str | Sequence[str] | None = None,
        kind_field: str = "event",
        remainder: Literal["passthrough", "drop"] = "passthrough",
        max_categories: int | None = 255,
    ) -> None:
        self.amount = amount
        self.dialect = dialect
        self.time_unit = time_unit
        self.period = period
        self.moments = moments
        self.kinds = kinds
        self.kind_field = kind_field
        self.remainder = remainder
        self.max_categories = max_categories

    @one_task
    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Find the fields of the amounts, and learn categories of other columns.

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
            If `X` is not a DataFrame, its histories are encoded, the amount is not
            numeric, or a duration does not fit the times of the log (datetimes or plain
            numbers).
        KeyError
            If no log has the field `kind_field`, and `kinds` are given.
        ValueError
            If `X` has no history column, no log has the amount or events of one of
            `kinds`, a length of time is not longer than 0, or an output has the name
            of another column.

        Warns
        -----
        UserWarning
            If `kinds` is None and a log was merged from several kinds by
            `EventLog.concat`, or up to a third of the first purchases of a log have
            negative amounts only, as refunds have. Also if ``amount="auto"`` finds
            several numeric fields, or if `y` is a Series with the index of `X` in
            another order: the next step of a pipeline matches rows by position.
        """
        self._learn(X, y)
        return self

    def _learn_features(self, table: Table, run: Callable[[Pass], Any]) -> None:
        logs = {name: array.log for name, array in table.histories.items()}
        self.amounts_ = _amount_fields(self.amount, logs)
        self.time_units_: dict[str, Any] = dict.fromkeys(logs, self.time_unit)
        if self.time_unit is None:
            self.time_units_ = {
                name: 1 if log.timeline.clock.unit is None else pd.Timedelta(days=1)
                for name, log in logs.items()
            }
        # Validate here; `transform` converts to the ticks of its own log.
        for name, log in logs.items():
            self._lengths(name, log)
        # The history columns in which kinds are selected.
        self._with_kinds = [
            name
            for name, log in logs.items()
            if self.kinds is not None and self.kind_field in log.fields
        ]
        for name, log in logs.items():
            if self.kinds is None:
                warn_all_kinds(log, f"RFMFeatures counts in {name!r}")
            # If no log has the field, the check of the first log raises.
            elif name in self._with_kinds or not self._with_kinds:
                column_of_kinds(log, self.kinds, self.kind_field)
        if self.kinds is None:
            self._warn_refunds(logs, run)
        self._merged_from = {name: log.merged_from for name, log in logs.items()}
        self._chosen = {
            name: [x for x in FEATURES if x != "monetary" or field is not None]
            for name, field in self.amounts_.items()
        }

    def _warn_refunds(self, logs: dict[Any, Any], run: Callable[[Pass], Any]) -> None:
        """Warn if some of the first purchases of a log have negative amounts only."""
        # If several kinds count, there is a warning already.
        names = [
            name
            for name, field in self.amounts_.items()
            if field is not None and len(logs[name].kinds) <= 1
        ]
        if not names:
            return
        counts = run(Pass(partial(self._count_refunds, names), add_all))
        for name, (n_negative, n_purchases) in zip(names, counts, strict=True):
            # If many are negative, they are margins, or payments of a bank account.
            if not 0 < n_negative <= n_purchases / 3:
                continue
            warn_user(
                f"{n_negative:,} of the first {n_purchases:,} purchases in {name!r} "
                f"have negative amounts {self.amounts_[name]!r}, as refunds have, and "
                "RFMFeatures counts them as purchases. EventLog.concat keeps orders "
                "and refunds apart: RFMFeatures(kinds='order') then counts orders "
                "only, and kinds=['order', 'refund'] counts both without this warning. "
                "Ignore it if negative amounts are no refunds."
            )

    def _count_refunds(self, names: list[Any], X: pd.DataFrame) -> list[np.ndarray]:
        """Count the purchases with negative amounts only, and all, for each history.

        They are the first ones of the log, whether or not a row sees them. Each array
        has the shape (2,).
        """
        counts = []
        for name in names:
            log: Any = X[name].array.log
            amounts = np.asarray(log.column(self.amounts_[name]).values[:_FIRST_EVENTS])
            _, period, moments = self._lengths(name, log)
            starts = purchase_starts(
                log.timeline.times[: len(amounts)],
                log.timeline.offsets[log.timeline.offsets < len(amounts)],
                period if self.dialect == "btyd" else moments,
            )
            # The largest amount, not the sum: a discount is a line of a purchase.
            largest = np.fmax.reduceat(amounts, starts) if len(starts) else amounts
            counts.append(np.array([np.count_nonzero(largest < 0), len(starts)]))
        return counts

    def _names(self, name: Any) -> list[str]:
        return self._chosen[name]

    def _keep(self, name: Any, kept: np.ndarray) -> None:
        self._chosen[name] = list(compress(self._chosen[name], kept))

    def _frame(self, name: Any, array: HistoryArray) -> pd.DataFrame:
        log: Any = array.log
        rows: Any = array.rows
        # Views of a log of these kinds: the formulas see no other event.
        if name in self._with_kinds:
            wanted = pd.Index(as_list(self.kinds, "kinds"))
            kinds = field_as_in_fit(
                log, self.kind_field, CategoricalType(), name, levels=wanted
            )
            rows = rows_of_kinds(rows, kinds, self.kinds)
        field, amount = self.amounts_[name], None
        if field is not None:
            merged_from = self._merged_from[name]
            found = field_as_in_fit(rows.log, field, NumericType(), name, merged_from)
            amount = found.values
        time_unit, period, moments = self._lengths(name, log)
        if self.dialect == "btyd":
            features = btyd(rows, amount, time_unit, period)
        else:
            features = marketing(rows, amount, time_unit, moments)
        return pd.DataFrame({x: features[x] for x in self._chosen[name]})

    def _lengths(self, name: Any, log: Any) -> tuple[float, float, float | None]:
        """Return time unit, `period` and `moments` in ticks of a log.

        Moments of events at the same time are 0 long, those of single events None.
        """
        duration = log.timeline.clock.duration
        unit = self.time_units_[name]
        period = unit if self.period is None else self.period
        moments = 0 if self.moments else None
        if not isinstance(self.moments, bool | np.bool_):
            moments = duration(self.moments, "moments", positive=True)
        return (
            duration(unit, "time_unit", positive=True),
            duration(period, "period", positive=True),
            moments,
        )


def _amount_fields(amount: str | None, logs: dict[Any, Any]) -> dict[Any, str | None]:
    """Return the field of the monetary value of each history column, or None."""
    if amount is None:
        return dict.fromkeys(logs)
    if amount == "auto":
        return dict(zip(logs, map(_only_numeric, logs, logs.values()), strict=True))
    having = [name for name, log in logs.items() if amount in log.fields]
    # If no log has the field, the check of the first log raises.
    for name in having or logs:
        _check_numeric(amount, name, logs[name])
    return {name: amount if name in having else None for name in logs}


def _only_numeric(name: Any, log: Any) -> str | None:
    """Return the only numeric field of a log; warn if there are several."""
    numeric = [
        field for field in log.fields if log.column(field).type.name == "numeric"
    ]
    if len(numeric) == 2 and _COUNT_FIELD in numeric:
        numeric.remove(_COUNT_FIELD)
    if len(numeric) > 1:
        # Amounts of money mostly have decimals, counts of items never.
        decimal = (field for field in numeric if _has_decimals(log.column(field)))
        example = next(decimal, numeric[0])
        warn_user(
            f"There is no monetary value of {name!r}, as its events have "
            f"{len(numeric)} numeric fields, {numeric}; choose one of them, for "
            f"example RFMFeatures(amount={example!r}), or none by amount=None."
        )
    return numeric[0] if len(numeric) == 1 else None


def _has_decimals(column: Any) -> bool:
    """Return whether one of the first values is not a whole number."""
    values = np.asarray(column.values[:1000])  # an array on the disk may be large
    values = values[np.isfinite(values)]
    return bool((values != np.floor(values)).any())


def _check_numeric(amount: str, name: Any, log: Any) -> None:
    """Raise an error if a log lacks the amount, or it is not numeric."""
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
