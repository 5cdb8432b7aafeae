"""Rolling origin: train on the windows that have ended, test on the next cutoffs."""

from numbers import Integral

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils._param_validation import Interval, validate_parameter_constraints

from sklearn_seqcrm.events._find import one_history


class CutoffSplit(BaseCrossValidator):
    """Split rows by their cutoffs, so that each fold is tested on its own future.

    The last `n_splits` times `test_size` distinct cutoffs of the rows are tested, in
    order of time. The training rows of a fold are all those whose label was known by
    then: their window ``[cutoff + gap, cutoff + gap + horizon)`` ends at or before the
    first cutoff that the fold tests. Rows between the two are in neither part.

    Parameters
    ----------
    n_splits : int, default=3
        Number of folds, at least 1.
    horizon : Timedelta, str or number
        Length of the window that the target looks at: what ``pd.Timedelta`` takes, or
        a number if the times of the log are plain numbers.
    gap : Timedelta, str or number, default=0
        Time between the cutoff and the window.
    test_size : int, default=1
        Number of distinct cutoffs in each test fold, at least 1.
    history : str or None, default=None
        Name of the history column whose cutoffs count; None: the only one.

    See Also
    --------
    sklearn.model_selection.TimeSeriesSplit : Folds of consecutive rows, which must be
        sorted and does not know when a label becomes known.

    Notes
    -----
    A customer with several rows can be in the training and in the test part of a fold,
    as in production, where the model has met most of the customers that it scores.

    Folds are made of *distinct* cutoffs. Where every row has its own, such as the time
    of an order, `test_size` is the number of such moments.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.model_selection import CutoffSplit
    >>> events = pd.DataFrame({"customer": ["ann", "bob"], "week": [0, 1]})
    >>> X = EventLog(events, "customer", "week").snapshots([2, 4, 6, 8])
    >>> for train, test in CutoffSplit(n_splits=2, horizon=3).split(X):
    ...     print(X["cutoff"].iloc[train].unique(), X["cutoff"].iloc[test].unique())
    [2] [6]
    [2 4] [8]
    """

    _parameter_constraints = {
        "n_splits": [Interval(Integral, 1, None, closed="left")],
        "test_size": [Interval(Integral, 1, None, closed="left")],
        "history": [str, None],
    }

    def __init__(self, n_splits=3, *, horizon, gap=0, test_size=1, history=None):
        self.n_splits = n_splits
        self.horizon = horizon
        self.gap = gap
        self.test_size = test_size
        self.history = history

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds.

        Parameters
        ----------
        X : object, default=None
            Ignored.
        y : object, default=None
            Ignored.
        groups : object, default=None
            Ignored.

        Returns
        -------
        int
            `n_splits`.
        """
        return self.n_splits

    def split(self, X, y=None, groups=None):
        """Generate the rows of each fold.

        Parameters
        ----------
        X : DataFrame, Series or HistoryArray of n rows
            Rows with histories, in any order.
        y : array-like of shape (n,), default=None
            Ignored.
        groups : array-like of shape (n,), default=None
            Ignored.

        Yields
        ------
        train : ndarray of shape (n_train,), int64
            Positions of the training rows, ascending.
        test : ndarray of shape (n_test,), int64
            Positions of the test rows, ascending.

        Raises
        ------
        TypeError
            If `horizon` or `gap` is not what the times of the log need.
        ValueError
            If a parameter is out of its range, there are too few distinct cutoffs, or
            a fold has nothing to train on.
        """
        validate_parameter_constraints(
            self._parameter_constraints,
            {name: getattr(self, name) for name in self._parameter_constraints},
            caller_name=type(self).__name__,
        )
        array = one_history(X, self.history)
        clock, cutoff = array.log.timeline.clock, array.rows.cutoff
        horizon = clock.duration(self.horizon, "horizon")
        if not horizon > 0:
            raise ValueError(f"horizon must be longer than 0; got {self.horizon!r}.")
        wait = clock.duration(self.gap, "gap") + horizon
        folds = self._test_folds(np.unique(cutoff))
        # The first fold has the fewest training rows, so that it alone can lack them.
        if len(cutoff) and cutoff.min() + wait > folds[0][0]:
            self._refuse_empty_train(clock, cutoff.min(), cutoff.min() + wait, folds[0])
        for fold in folds:
            train = cutoff + wait <= fold[0]
            test = (cutoff >= fold[0]) & (cutoff <= fold[-1])
            yield np.flatnonzero(train), np.flatnonzero(test)

    def _test_folds(self, moments):
        """Cutoffs of each test fold, of shape (n_splits, test_size)."""
        n_tested = self.n_splits * self.test_size
        if len(moments) <= n_tested:
            raise ValueError(
                f"n_splits={self.n_splits} folds of test_size={self.test_size} need "
                f"more than {n_tested} distinct cutoffs, because the first fold trains "
                f"on earlier ones; X has {len(moments)}. Use fewer splits or add "
                "cutoffs: EventLog.snapshots takes several."
            )
        return moments[-n_tested:].reshape(self.n_splits, self.test_size)

    def _refuse_empty_train(self, clock, earliest, known, fold):
        known, earliest, tested = (
            clock.as_scalar(time) for time in (known, earliest, fold[0])
        )
        raise ValueError(
            f"Fold 1 of {self.n_splits} has no training rows: it tests the cutoff "
            f"{tested}, but the label of the earliest cutoff {earliest} is known only "
            f"from {known} on (gap={self.gap!r}, horizon={self.horizon!r}). Use fewer "
            "splits, earlier cutoffs or a shorter horizon."
        )
