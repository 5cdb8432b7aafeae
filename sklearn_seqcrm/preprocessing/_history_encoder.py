"""Encoding of histories as scaled channels and codes for networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import ColumnRoles, SeenHistories, Table
from sklearn_seqcrm._encoding import (
    EncoderOptions,
    EventEncoder,
    Layout,
    LearnedEncoding,
    Training,
    learn,
    learn_rows,
    learning_of_events,
    moments_of_rows,
    view_encoded,
    with_half_lives,
    with_row_scale,
)
from sklearn_seqcrm._ragged import Learning, Moments, Pass, in_step, learn_by, over
from sklearn_seqcrm._sklearn_compat import (
    DOC_LINK,
    CallbackSupportMixin,
    HasMethods,
    HistoryTransformerMixin,
    Interval,
    StrOptions,
    check_feature_names_in,
    clone_with_fitted,
    one_task,
    output_wanted,
)
from sklearn_seqcrm._store import Rows
from sklearn_seqcrm._typing import Duration, Estimator
from sklearn_seqcrm.events import HistoryArray


class HistoryEncoder(HistoryTransformerMixin, CallbackSupportMixin, BaseEstimator):
    """Encode the events of history columns as inputs of a network.

    Encodes every history column, drops the keys, and passes other columns through. It
    learns from the visible events of the training rows, each counted once: scales of
    numeric fields, levels of categorical fields, the typical interarrival time, and the
    calendar cycles that the times support.

    Parameters
    ----------
    min_frequency : int, float or None, default=None
        Fewest training events of a level with a code of its own, as a number (int) or
        as a share of the events (float). Rarer levels share one code. None: 1.
    max_categories : int, "auto" or None, default="auto"
        Most levels of a field with a code of their own, the most frequent ones; the
        others share one code. ``"auto"``: 1,000 or, if steps are moments, 100, and
        vectors in place of codes in fields of more levels, see Notes. None: any number.
    half_lives : "auto" or list of Timedelta, str or number, default="auto"
        Half-lives of the exponentially decayed counts and means of events, which are
        features of a row. ``"auto"``: 1, 4, 16 and 64 typical interarrival times, or
        typical times between visits, see Notes.
    time_zone : str or None, default=None
        Time zone of the calendar cycles (hour, weekday, time of the year), with
        daylight saving, such as ``"Europe/Berlin"``. Only for logs with time zones,
        whose times are stored as UTC. None: UTC, or naive times as they are.
    moments : "auto", bool, Timedelta, str or number, default="auto"
        Whether a network takes a step for each event (False) or for each *moment*: all
        events of a customer at the same time (True), such as the lines of an invoice,
        or within a period (``"1D"``), counted from the epoch, in local time if there is
        a `time_zone`. ``"auto"``: True if at least three tenths of the training events
        stand with others at the same time, else False.
    pretrained : fitted LSTMEventModel, fitted HistoryEncoder or None, default=None
        Model that was fitted on other events, perhaps many more. History columns that
        it was fitted on are encoded by its scales, levels and moments; `min_frequency`,
        `max_categories`, `time_zone` and `moments` apply to other columns only. Row
        features are scaled by the training rows in any case. Clones keep the fitted
        model.

    Attributes
    ----------
    layouts_ : dict of str to Layout
        Layout of each history column: names of its `channels` and `codes`, `n_levels`
        of each code, `time_unit` (the typical interarrival time, in ticks),
        `half_lives`, `calendar`, `local_clock`, `visits` and `row_features`.
    n_features_in_ : int
        Number of columns seen in `fit`, keys included.
    feature_names_in_ : ndarray of shape (n_columns,)
        Their names.

    See Also
    --------
    make_history_pipeline : Pipeline of this encoder, an encoder of the other columns
        and an estimator.

    Notes
    -----
    **Numbers.** A number ``x`` becomes ``symlog(z) = sign(z) * log(1 + |z|)`` with
    ``z = (x - median) / (IQR / 1.349)``. The symmetric logarithm [1]_ [2]_ keeps
    differences between ordinary orders visible beside one huge order. A missing or
    infinite number becomes 0. If training events had some, a further channel marks
    them. A datetime becomes the number of days after its event.

    **Levels.** Every level has a code, apart from rare ones. Missing values have a code
    of their own, and so have levels that did not occur in training. If steps are
    moments and ``max_categories="auto"``, fields of more than 100 levels have 8
    channels in place of the codes of levels: fixed vectors of their 5,000 most frequent
    levels, learned without labels from what occurs in one moment (a factorized matrix
    of positive pointwise mutual information [3]_), with a standard deviation of 0.1.
    Other levels have zeros there. A field whose levels stand alone in most moments, as
    the store of an invoice, has codes for its 100 most frequent levels.

    **Vectors**, such as embeddings of texts, become a channel for each component, with
    mean 0 and standard deviation 1 among the training events, clipped at 10. A missing
    vector is 0 in all components, and a further channel marks it. Vectors have no
    decayed means in the row features; use `pooling` for that. They are not projected,
    since the input weights of a cell are a linear map already. To save memory, reduce
    them by a PCA that was fitted on earlier events before the log is built.

    **Time** enters as the logarithm of the interarrival time (the first visible
    event of a row has none), and as sines and cosines of the hour (unless all times are
    at the same time of day), the weekday, and the time of the year (from two years of
    events on). No channel depends on the cutoff, so that all rows of a customer share
    its encoded events. The estimators of `neural_network` leave out a cycle if some
    half of it has less than a twentieth of the training cutoffs, since they cannot
    learn how it relates to the cutoff: with cutoffs on Mondays, the weekday tells how
    long ago an event was. They use it if the horizon is a whole number of cycles, or
    if the target does not tell its horizon.

    **Time zones.** The zone is a parameter and not a property of the log, because a
    model must encode tomorrow's log as it encoded that of its training, whatever zone
    the new times came in. `time_zone` is refused for naive times, which may be local
    already. For customers in several zones, build the log from naive local times; then
    their cutoffs are local, too. Durations are exact: in a night in which clocks are
    set forward, an hour less than the difference of naive times.

    **Moments.** The lines of an invoice have no order. With `moments` a network joins
    them: the mean of each channel, the sum over the square root of the number of events
    of each number and of the vectors of its levels, and the logarithm of the number of
    events. The result does not depend, to the last bit, on their order, and a history
    has as many steps as moments. A row that is cut within a moment, as within a day,
    sees the part of it that has happened. Encoded histories still hold every event. Row
    features count both events and moments.

    **Visits.** Clicks come in visits: a few within minutes, and then none for days. So
    if at least a quarter of the interarrival times of the training events are shorter
    than a hundredth of their mean, and 100 or more are longer than a tenth, the latter
    are times between visits. Then row features count visits, too, and the automatic
    half-lives are multiples of the median time between them. In the mean, no time is
    longer than the longest one of 99% of the customers: wrong dates would make visits
    of years. If `moments` is a period, visits are not counted, as its moments are.

    **Keys.** The customer and cutoff columns by which histories were attached are keys,
    not features: they are dropped, and new rows need not have them. They are recognised
    by their names at that time, and by their values: a column that repeats the
    customers or the cutoffs of all training rows is a key under any name.

    **Cost.** `transform` takes time in proportion to the visible events, not to the
    size of the log. The result holds no event after a row's cutoff. Events of a
    log on disk (`EventLog.open`) stay there and are encoded whenever a batch indexes
    them, with bit-equal results.

    References
    ----------
    .. [1] J. B. W. Webber, "A bi-symmetric log transformation for wide-range data",
       Measurement Science and Technology 24 (2013).
       https://doi.org/10.1088/0957-0233/24/2/027001
    .. [2] D. Hafner, J. Pasukonis, J. Ba, T. Lillicrap, "Mastering diverse domains
       through world models" (2023), which names it symlog.
       https://arxiv.org/abs/2301.04104
    .. [3] O. Levy, Y. Goldberg, I. Dagan, "Improving distributional similarity with
       lessons learned from word embeddings", Transactions of the Association for
       Computational Linguistics 3 (2015). https://doi.org/10.1162/tacl_a_00134

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.preprocessing import HistoryEncoder
    >>> orders = pd.DataFrame(
    ...     {"who": ["a", "a", "b"], "time": [0, 2, 1], "amount": [5.0, 7.0, 6.0]}
    ... )
    >>> X = EventLog(orders, "who", "time").attach(pd.DataFrame({"who": ["a", "b"]}))
    >>> encoder = HistoryEncoder().fit(X)
    >>> encoder.layouts_["history"].channels
    ('amount', 'interarrival_time')
    >>> encoder.transform(X)["history"].array.to_frame().round(2)
      who  time  amount  interarrival_time
    0   a     0   -0.85       0.0
    0   a     2    0.85       0.0
    1   b     1    0.00       0.0
    """

    _doc_link_module = "sklearn_seqcrm"
    _doc_link_template = DOC_LINK
    _parameter_constraints: dict[str, Any] = {
        "min_frequency": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "max_categories": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
            None,
        ],
        "half_lives": [StrOptions({"auto"}), list, tuple, np.ndarray],
        "time_zone": [str, None],
        "moments": "no_validation",  # the clock of the log validates it
        "pretrained": [HasMethods(["fit", "transform"]), None],
    }

    def __init__(
        self,
        *,
        min_frequency: float | None = None,
        max_categories: int | Literal["auto"] | None = "auto",
        half_lives: Literal["auto"] | list[Any] | tuple[Any, ...] | np.ndarray = "auto",
        time_zone: str | None = None,
        moments: bool | Duration = "auto",
        pretrained: Estimator | None = None,
    ) -> None:
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.half_lives = half_lives
        self.time_zone = time_zone
        self.moments = moments
        self.pretrained = pretrained

    def __sklearn_clone__(self) -> Self:
        return clone_with_fitted(self, "pretrained")

    @one_task
    def fit(self, X: pd.DataFrame, y: ArrayLike | None = None) -> Self:
        """Learn scales, levels and units from the visible events of the rows.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with at least one history column.
        y : None
            Ignored.

        Returns
        -------
        HistoryEncoder
            The fitted encoder.

        Raises
        ------
        ValueError
            If there is no history column or no row, a history is missing, a parameter
            is out of range, `time_zone` is not a zone or the times of a log have none,
            or `pretrained` was fitted on no column of that name.
        TypeError
            If `X` is not a DataFrame, the histories are encoded already, `half_lives`
            or `moments` do not fit the times of the log, or `pretrained` encodes no
            histories.
        """
        self._learn(X)
        return self

    @one_task
    def fit_transform(
        self, X: pd.DataFrame, y: ArrayLike | None = None
    ) -> pd.DataFrame:
        """Learn, and encode the same rows.

        It takes hardly longer than `fit`, which encodes the rows as well, to scale row
        features.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with at least one history column.
        y : None
            Ignored.

        Returns
        -------
        DataFrame of shape (n, n_columns)
            Bit-equal to ``fit(X).transform(X)``.

        Raises
        ------
        ValueError
            As in `fit`.
        TypeError
            As in `fit`, and if the output is set to polars.
        """
        self._refuse_polars()
        return self._learn(X)

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Replace each history column by views of an encoded log.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns seen in `fit`, in any order. Further columns, keys
            among them, are ignored.

        Returns
        -------
        DataFrame of shape (n, n_columns)
            The same rows, with the columns in the order of `fit`. Histories view an
            encoded log, which holds channels and codes and computes row features.

        Raises
        ------
        ValueError
            If a column seen in `fit` or a history is missing, a log has other fields,
            or there is no row.
        TypeError
            If `X` is not a DataFrame, a history column does not hold histories, or the
            output is set to polars.

        Warns
        -----
        UserWarning
            If histories are much longer than all of `fit`, or silent for much longer.
        """
        check_is_fitted(self)
        self._refuse_polars()
        table = self._read(X, self._learned.roles)
        # Shallow: statics are shared with X, history columns are replaced.
        encoded = table.frame.copy(deep=False)
        for name, encoder in self._learned.encoders.items():
            array = table.histories[name]
            self._learned.seen[name].warn_unlike(name, array)
            rows = view_encoded(encoder, array.rows, name)
            encoded[name] = HistoryArray.of(rows, array.dtype)
        return encoded

    def _read(self, X: Any, roles: ColumnRoles) -> Table:
        """Return the columns seen in `fit`; refuse encoded or missing histories."""
        table = roles.select(X, self).refuse_no_rows("HistoryEncoder")
        return table.refuse_encoded("HistoryEncoder").refuse_missing()

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> np.ndarray:
        """Return the names of the columns, which do not change.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            None, or the names seen in `fit`.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            Names of all columns but the keys.
        """
        check_is_fitted(self)
        check_feature_names_in(self, input_features)
        return self._learned.roles.columns.to_numpy(dtype=object)

    def _read_to_fit(self, X: Any) -> tuple[Table, ColumnRoles]:
        """Validate parameters, and return the training rows and their roles."""
        self._validate_params()
        table = Table.of(X)
        # Keys are recognised by the training rows, before anything is encoded.
        roles = ColumnRoles.of(table)
        roles.set_names(table.frame, self)
        return self._read(table, roles), roles

    def _learn(self, X: Any) -> pd.DataFrame:
        """Set fitted attributes, and return the encoded training rows."""
        table, roles = self._read_to_fit(X)
        encoders: dict[Any, EventEncoder] = {}
        known = self._known_encoders(list(table.histories))
        encoded = table.frame.copy(deep=False)
        for name, array in table.histories.items():
            # A pretrained encoder keeps scales and levels, which its weights depend on;
            # row features are inputs of the new head and are scaled on these rows.
            if name in known:
                encoders[name], rows = learn_rows(
                    known[name], array.rows, name, self.half_lives
                )
            else:
                encoders[name], rows = learn(array.rows, self._options())
            encoded[name] = HistoryArray.of(rows, array.dtype)
        seen = {name: SeenHistories.of(name, table.frame) for name in encoders}
        self._set_learned(LearnedEncoding(encoders, roles, seen))
        return encoded

    def _learn_in_passes(self, X: Any, run: Callable[[Pass], Any]) -> None:
        """Set fitted attributes by passes over the partitions of the training rows.

        X has all rows, without their events; a few are enough if there are no statics.
        `run` takes a pass over a DataFrame of rows, and returns the joint summary of
        all partitions.
        """
        table, roles = self._read_to_fit(X)
        known = self._known_encoders(list(table.histories))
        learning = in_step(
            {
                name: self._learning(name, array.log, known.get(name))
                for name, array in table.histories.items()
            }
        )
        found = learn_by(learning, run)
        encoders = {name: encoder for name, (encoder, _) in found.items()}
        seen = {name: one for name, (_, one) in found.items()}
        self._set_learned(LearnedEncoding(encoders, roles, seen))

    def _learning(
        self, name: Any, log: Any, known: EventEncoder | None
    ) -> Learning[tuple[EventEncoder, SeenHistories]]:
        """Learn the encoder of a history column, and how its histories were."""
        seen = yield Pass(partial(SeenHistories.of, name), SeenHistories.merge)
        if known is None:
            learning = learning_of_events(log, self._options())
            encoder = yield from over(partial(_training, name), learning)
        else:
            encoder = with_half_lives(known, self.half_lives)
        moments = yield Pass(partial(_row_moments, name, encoder), Moments.merge)
        return with_row_scale(encoder, moments), seen

    def _options(self) -> EncoderOptions:
        return EncoderOptions(
            self.min_frequency,
            self.max_categories,
            self.half_lives,
            self.time_zone,
            self.moments,
        )

    def _set_learned(self, learned: LearnedEncoding) -> None:
        self._learned = learned
        self.layouts_: dict[Any, Layout] = {
            name: encoder.layout for name, encoder in learned.encoders.items()
        }

    @property
    def _encoders(self) -> dict[Any, EventEncoder]:
        """Fitted encoder of each history column; an event model has the same."""
        return self._learned.encoders

    def _known_encoders(self, histories: list[Any]) -> dict[Any, EventEncoder]:
        """Return the fitted encoders of `pretrained`, by history column."""
        if self.pretrained is None:
            return {}
        check_is_fitted(
            self.pretrained,
            msg=f"pretrained={type(self.pretrained).__name__} must have been fitted, "
            "on rows with histories; in a grid of several, give "
            "FrozenEstimator(pretrained), because clones are not fitted.",
        )
        # An attribute that encoders and event models share; event models cannot be
        # imported here, as they need torch.
        known = getattr(self.pretrained, "_encoders", None)
        if known is None:
            raise TypeError(
                "pretrained must be a fitted LSTMEventModel or HistoryEncoder; got "
                f"{type(self.pretrained).__name__}."
            )
        # One common column is enough: the encoders of other columns are fitted on X.
        if not set(known) & set(histories):
            raise ValueError(
                f"pretrained was fitted on histories in {list(known)}, and X has them "
                f"in {histories}. Give the column of events the same name."
            )
        return dict(known)

    def _refuse_polars(self) -> None:
        if output_wanted(self) == "polars":
            raise TypeError(
                "polars has no column for histories; use "
                "HistoryEncoder().set_output(transform='pandas'), which overrides the "
                "global configuration."
            )


# Summaries of the rows of a partition -----------------------------------------------


def _training(name: Any, X: pd.DataFrame) -> Training:
    return Training.of(_rows_of(name, X))


def _row_moments(name: Any, encoder: EventEncoder, X: pd.DataFrame) -> Moments:
    return moments_of_rows(view_encoded(encoder, _rows_of(name, X), name))


def _rows_of(name: Any, X: pd.DataFrame) -> Rows:
    array = X[name].array
    assert isinstance(array, HistoryArray)
    return array.rows
