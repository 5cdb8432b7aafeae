"""Window aggregates of histories."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm._sklearn_compat import Interval, StrOptions, one_task
from sklearn_seqcrm.feature_extraction._aggregates import Aggregates
from sklearn_seqcrm.feature_extraction._base import BaseHistoryFeatures

_Lengths: TypeAlias = Literal["auto"] | list[Any] | tuple[Any, ...] | np.ndarray | None


class HistoryAggregator(BaseHistoryFeatures):
    """Turn each history column into aggregates over windows before the cutoff.

    What is made by hand for gradient boosting, as columns beside the others of the
    rows, without a parameter that has to be set: lookbacks, levels and units are found
    in the events that the training rows see. It is the baseline that a network has to
    beat on the same `X`.

    ==========================  ==========================================  ==========
    columns                     meaning                                     lookbacks
    ==========================  ==========================================  ==========
    ``recency``, ``tenure``     since the last and the first event
    ``n_events``                number of events                            each
    ``n_events_trend``          lately against before, from -1 to 1         each
    ``active_days``             days (`time_unit`) with an event            each
    ``gap_mean``, ``_std``,     from one active day to the next, and the
    ``_max``, ``_last``         last of these gaps
    ``gaps_since_last``         recency in mean gaps: 2 is overdue
    ``<field>_sum``, ``_mean``  of a numeric field; datetimes are days      each
    ``_std``, ``_min``,         after their event
    ``_max``
    ``<field>_last``            its last number or level
    ``<field>_trend``           its sum lately against before               each
    ``<field>_n_levels``        number of different levels                  each
    ``<field>=<level>_share``   share of a frequent level                   each
    ``..._since_last``          since its last event
    ``n_events_decayed``,       an event counts half after each half-life
    ``<field>_decayed_sum``
    ==========================  ==========================================  ==========

    A column without the name of a lookback behind it, such as ``history__spend_sum``,
    is about all events that the row sees; ``history__spend_sum_90D`` is about those of
    90 days before its cutoff.

    Where training rows see events at their cutoff
    (``attach(allow_exact_matches=True)``), such as the payment to be judged, these are
    compared with those before: ``n_events_now``, ``recency_past`` (since the last event
    before), ``<field>_now_ratio`` and ``<field>_now_zscore`` (their mean number to that
    of the past, and its distance in standard deviations), and ``<field>_now_share``
    (which share of the past had their level). All other columns include them.

    Parameters
    ----------
    lookbacks : "auto", list of Timedelta, str or number, or None, default="auto"
        Lengths of the windows, plain numbers if the times of the log are. ``"auto"``:
        four at most of 1, 7, 30, 90, 365 and 1,095 days, six hours, one, and so on (of
        plain numbers 1, 3, 10, 30, ...), from the median gap between events to the
        tenure that a quarter of the rows exceed. None: only all that a row sees.
    half_lives : "auto", list of Timedelta, str or number, or None, default=None
        Half-lives of decayed counts and sums. ``"auto"``: the lengths of automatic
        lookbacks. None: no such columns, see Notes.
    max_levels : int, default=10
        Most levels of a categorical field with columns of their own, of those that at
        least two customers have: the most frequent. For ``<field>_last`` all others
        are the category ``"infrequent_sklearn"``.
    max_features : int or None, default=100
        Most columns of a history column; None for any number. Of more, those that
        come first in Notes are kept, and `left_out_` names the others.
    min_rows : int, default=10
        Fewest training rows that have a column for it to be kept, such as the spread of
        a week that hardly ever holds two events. Nothing can be learned of less, and
        histogram-based boosting of scikit-learn 1.9 stops at a column without a number.
    time_unit : Timedelta, str, number or None, default=None
        Unit of times, and the period of ``active_days`` (``active_periods``, if it is
        no day) and gaps, counted from 1970-01-01 (UTC), or from 0. None: one day, or
        1; if a quarter of the rows do not see ten of them, an hour, a minute, a
        second, or a power of ten.
    remainder : {"passthrough", "drop"}, default="passthrough"
        What becomes of the other columns of `X`, as in `RFMFeatures`: text becomes
        categories, datetimes days before the cutoff, and keys are left out.
    max_categories : int or None, default=255
        Most categories of a column that is handed on, as in `RFMFeatures`.
    keep_histories : bool, default=False
        Whether the history columns come first in the output, as they are, for a network
        that is to read both; see Notes.

    Attributes
    ----------
    history_columns_ : list of str
        Names of the history columns.
    lookbacks_, half_lives_ : dict of str to list
        For each history column the lengths, ascending.
    time_units_ : dict of str to Timedelta, str or number
        For each history column the unit.
    levels_ : dict of str to dict of str to list
        For each history column and categorical field its levels with columns of their
        own, the most frequent first.
    left_out_ : dict of str to list of str
        For each history column the names of columns that `max_features` or `min_rows`
        left out.
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
    RFMFeatures : The classic four numbers.
    sklearn_seqcrm.preprocessing.make_history_pipeline : Networks on the same `X`.

    Notes
    -----
    With a cutoff ``c``, an event at the time ``t`` is in the lookback ``L`` if ``t >= c
    - L`` and the row sees it. Of an empty history or window, counts and sums are 0 and
    all else is missing; of a missing history, all is. Numbers that are missing or
    infinite are left out; one beyond 1e150 counts as that. Standard deviations are
    those of samples (``n - 1``). Shares are among the events whose level is known.

    A trend compares rates: with ``a`` the number (or sum) in the lookback ``L``, ``b``
    that between it and the next longer lookback ``M``, and the tenure ``T``, it is ``(r
    - q) / (|r| + |q|)`` of ``r = a / L`` and ``q = b / (min(M, T) - L)``; of the
    longest lookback ``M`` has no end. It is missing if ``T <= L``.

    A decayed sum with the half-life ``h`` is ``sum(x * 2 ** (-(c - t) / h))``. On the
    data below decayed columns gained nothing beside windows for boosted trees, within
    .001; linear models may want them.

    Where there are more than `max_features` columns, those go first that come first
    here; in a line all fields have the first before one has the second, and the
    shortest lookback goes first:

    1. recency, tenure, numbers of events and active days; gaps
    2. events at the cutoff
    3. numbers of events and active days in lookbacks, decayed, and their trends
    4. fields over everything: sum, mean, last, levels, std, max, min
    5. sums and means in lookbacks
    6. frequent levels, one after the other: share, and time since the last
    7. decayed sums
    8. trends of fields, and numbers of levels in lookbacks
    9. max, std and min in lookbacks
    10. shares of levels in lookbacks

    The defaults were chosen on validation cutoffs of three shops, before their test
    cutoffs: about .001 of AUC lies between 50 columns, 100 and all, and less between 0
    levels, 5 and 20, while boosting takes time in proportion to the columns.

    A numeric field that several kinds of a merged log have (`EventLog.concat`) is
    aggregated by kind, as ``<field>_of_<kind>``. Fields of vectors are left out: their
    components, hundreds of numbers, mean nothing one by one.

    The four numbers of `RFMFeatures` in the dialect ``"marketing"`` are among these. To
    have those of ``"btyd"`` beside them, take ``make_union(RFMFeatures(dialect="btyd",
    remainder="drop"), HistoryAggregator()).set_output(transform="pandas")``: the other
    columns of `X` come in once, from the second. For estimators that read neither
    categories nor missing values see `RFMFeatures`.

    A network reads aggregates beside the history itself with
    ``make_pipeline(HistoryAggregator(keep_histories=True),
    make_history_pipeline(LSTMClassifier()))``. On the data below that gained nothing:
    row features of the encoder, which networks read anyway, say much the same.

    Windows of several rows overlap. Numbers are added up within chunks of events first
    (16, 256, ... of a customer, from the first on), and each window is made of those
    chunks and events that it holds, so that what happens after a row changes no digit
    of it, a large number before its window takes none, and long histories with a row
    for each event take time in proportion to the rows. Events before a window, or that
    earlier rows see, move the chunks, and with them at most the last digits. Some
    customers are in work at a time: beyond the output, the memory does not grow with
    the rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.feature_extraction import HistoryAggregator
    >>> orders = pd.DataFrame(
    ...     {
    ...         "customer": ["ann", "ann", "ann", "bob"],
    ...         "day": pd.to_datetime(
    ...             ["2024-01-01", "2024-03-06", "2024-03-08", "2024-03-08"]
    ...         ),
    ...         "spend": [10.0, 20.0, 60.0, 5.0],
    ...     }
    ... )
    >>> log = EventLog(orders, customer="customer", time="day")
    >>> rows = pd.DataFrame({"customer": ["ann", "bob"], "city": ["Rome", "Oslo"]})
    >>> X = log.attach(rows, cutoff="2024-03-11", name="h")
    >>> table = HistoryAggregator(lookbacks=["30D"]).fit_transform(X)
    >>> table[["h__recency", "h__n_events_30D", "h__spend_sum", "h__spend_sum_30D"]]
       h__recency  h__n_events_30D  h__spend_sum  h__spend_sum_30D
    0         3.0              2.0          90.0              80.0
    1         3.0              1.0           5.0               5.0
    """

    _parameter_constraints: dict[str, Any] = {
        **BaseHistoryFeatures._parameter_constraints,
        "lookbacks": [StrOptions({"auto"}), list, tuple, np.ndarray, None],
        "half_lives": [StrOptions({"auto"}), list, tuple, np.ndarray, None],
        "max_levels": [Interval(Integral, 0, None, closed="left")],
        "max_features": [Interval(Integral, 1, None, closed="left"), None],
        "min_rows": [Interval(Integral, 0, None, closed="left")],
        "keep_histories": ["boolean"],
    }

    def __init__(
        self,
        lookbacks: _Lengths = "auto",
        *,
        half_lives: _Lengths = None,
        max_levels: int = 10,
        max_features: int | None = 100,
        min_rows: int = 10,
        time_unit: Any = None,
        remainder: Literal["passthrough", "drop"] = "passthrough",
        max_categories: int | None = 255,
        keep_histories: bool = False,
    ) -> None:
        self.lookbacks = lookbacks
        self.half_lives = half_lives
        self.max_levels = max_levels
        self.max_features = max_features
        self.min_rows = min_rows
        self.time_unit = time_unit
        self.remainder = remainder
        self.max_categories = max_categories
        self.keep_histories = keep_histories

    @one_task
    def fit(self, X: Any, y: Any = None) -> Self:
        """Find lookbacks, levels and units, and the categories of the other columns.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with at least one column of raw histories. An object array of such
            rows, as ColumnTransformer makes it, has the columns "x0", "x1", ...
        y : object, default=None
            Ignored.

        Returns
        -------
        HistoryAggregator
            The fitted transformer.

        Raises
        ------
        TypeError
            If `X` is no DataFrame, its histories are encoded, or a length of time is
            not what the times of the log need.
        ValueError
            If `X` has no history column, a length of time is not longer than 0, or an
            output has the name of another column.
        """
        self._learn(X)
        return self

    @one_task
    def fit_transform(self, X: Any, y: Any = None) -> pd.DataFrame:
        """Learn, and compute the aggregates of the same rows.

        Learning computes them anyway, so that this takes hardly longer than `fit`.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with at least one column of raw histories.
        y : object, default=None
            Ignored.

        Returns
        -------
        DataFrame of shape (n, n_features_out)
            What ``fit(X).transform(X)`` returns.

        Raises
        ------
        TypeError, ValueError
            As in `fit`.
        """
        return self._learn(X)

    def _learn(self, X: Any) -> pd.DataFrame:
        """Set what `fit` learns, and return what `transform` would of the same rows."""
        table = self._read_to_fit(X)
        self._fitted = {
            name: Aggregates(array.rows, self)
            for name, array in table.histories.items()
        }
        frames = [
            self._fitted[name].learn_known(array.rows, name, self.min_rows)
            for name, array in table.histories.items()
        ]
        self.lookbacks_ = {n: one.lookbacks for n, one in self._fitted.items()}
        self.half_lives_ = {n: one.half_lives for n, one in self._fitted.items()}
        self.time_units_ = {n: one.unit for n, one in self._fitted.items()}
        self.levels_ = {
            name: {field: levels.tolist() for field, levels in one.levels.items()}
            for name, one in self._fitted.items()
        }
        self.left_out_ = {
            name: [f"{name}__{feature}" for feature in one.left_out]
            for name, one in self._fitted.items()
        }
        self._learn_statics(table)
        return self._joined(table, frames)

    def transform(self, X: Any) -> pd.DataFrame:
        """Compute the aggregates of each row.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns that `fit` saw, in any order. Further ones, keys among
            them, are ignored.

        Returns
        -------
        DataFrame of shape (n, n_features_out)
            Floats named ``<history column>__<feature>``, behind them the last levels
            as categories, then the other columns.

        Raises
        ------
        TypeError
            If a column that held histories in `fit` does not now, or a field of their
            events is of another type.
        ValueError
            If a column that `fit` saw is missing, a log lacks a field, or its times are
            datetimes and were numbers in `fit`, or the other way round.
        """
        table = self._read(X)
        frames = [
            self._fitted[name].frame(array.rows, name)
            for name, array in table.histories.items()
        ]
        return self._joined(table, frames)

    def _joined(self, table: Table, frames: list[pd.DataFrame]) -> pd.DataFrame:
        """Aggregates and the columns that are handed on, under their names."""
        statics = self._statics(table)
        # Names come last: pandas would make several levels of tuples among them.
        beside = pd.DataFrame(dict(enumerate(statics)))
        frames = [*frames, beside] if statics else frames
        if self.keep_histories:
            histories = [table.histories[name] for name in self.history_columns_]
            frames = [pd.DataFrame(dict(enumerate(histories))), *frames]
        joined = pd.concat(frames, axis=1) if len(frames) > 1 else frames[0]
        return joined.set_axis(self.get_feature_names_out(), axis=1).set_axis(
            table.frame.index
        )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            None, or the names that `fit` saw.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            ``<history column>__<feature>``, then the columns that are handed on; the
            histories come first if they are kept.
        """
        names = super().get_feature_names_out(input_features)
        kept = self.history_columns_ if self.keep_histories else []
        return np.array([*kept, *names], dtype=object)

    def _feature_names(self) -> list[str]:
        return [
            f"{history}__{name}"
            for history, fitted in self._fitted.items()
            for name in fitted.names
        ]
