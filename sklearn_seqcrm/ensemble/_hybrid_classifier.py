"""Classes from a network and boosted trees together."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._sklearn_compat import with_callbacks
from sklearn_seqcrm.ensemble._base import BaseHybrid
from sklearn_seqcrm.ensemble._blends import Blend, OfProbabilities, log_probabilities


class HybridClassifier(ClassifierMixin, BaseHybrid):
    """Classify customers by a network and boosted trees together.

    Both read the same raw `X`. Their log-odds are averaged, with weights that are
    learned on customers set aside.

    Parameters
    ----------
    lstm : estimator or None, default=None
        What reads raw `X` with a network, such as a `make_history_pipeline`. None: one
        of an `LSTMClassifier` with its defaults.
    boosting : estimator or None, default=None
        What reads the same raw `X` otherwise, such as a pipeline of `HistoryAggregator`
        and boosted trees of scikit-learn, LightGBM, XGBoost or CatBoost. None: one of
        `HistGradientBoostingClassifier`.
    lstm_weight : float or None, default=None
        Weight of `lstm`, between 0 and 1; that of `boosting` is the rest. Both are
        then fitted once, on all rows. None: it is learned.
    cv : int, splitter, iterable of splits or None, default=None
        What the weight is learned on. None: `validation_fraction` of the customers,
        set aside once. An int: that many folds of customers. A splitter gets the
        customers as its groups; ``CutoffSplit(1, horizon=...)`` sets the latest
        cutoffs aside.
    validation_fraction : float, default=0.2
        Share of the customers that are set aside, between 0 and 1, if `cv` is None.
    refit : bool, default=True
        Fit both parts again, on all rows, when the weight is learned. False keeps
        those that have not seen the rows set aside, in less than half of the time.
    random_state : int, RandomState or None, default=None
        Draws the customers that are set aside, and seeds whatever in the parts has no
        `random_state` of its own. Pass an int for the same hybrid in every fit.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    weights_ : dict of str to float
        Weights of ``"lstm"`` and ``"boosting"``, which add up to 1.
    losses_ : dict of str to float
        Mean logarithmic loss on the rows set aside, of ``"lstm"``, ``"boosting"`` and
        ``"hybrid"``; the last is a little flattered, as its weight was chosen there.
        Empty if nothing was learned.
    n_customers_ : int
        Number of customers set aside, 0 if nothing was learned.
    lstm_ : estimator
        The fitted network.
    boosting_ : estimator
        The other part, fitted.

    See Also
    --------
    make_hybrid : Makes one whose parts have parameters to be searched.
    HybridRegressor : The same for numbers.

    Notes
    -----
    The probability of class ``k`` is proportional to ``p[k]**w * q[k]**(1 - w)``, with
    ``p`` of the network, whose weight is ``w``, and ``q`` of the other part; of two
    classes, that is the weighted mean of the log-odds. Probabilities below a
    millionth count as one, those of classes that a part was not shown, too.

    Parts are fitted on some customers and predict the others: all rows of a customer
    are on one side, because what a network has learned about a customer by heart would
    count in its favour. By default a fit takes about 1.8 times as long as fits of both
    parts: one on four fifths of the customers, one on all. With ``refit=False`` it
    takes 0.8 times as long, and neither part has learned from those set aside; with
    ``cv=5`` five times, for a steadier weight.

    Where customers have rows at several cutoffs and the model is for times to come,
    learn the weight forward in time, ``cv=CutoffSplit(1, horizon=...)``. What a part
    learns of a date holds for customers who are set aside at that date as well, but not
    for the next: classifying groceries, the network got a weight of .07 from customers
    set aside and of .35 from the last cutoff, and the hybrid an AUC of .849 and .851.

    The weight of the network is the one with the least logarithmic loss on the rows set
    aside, drawn towards one half as far as their customers leave it open: its prior is
    a normal distribution around one half of standard deviation 0.25, and the loss
    counts by what its slopes tell from customer to customer, so that hundreds of rows
    of a customer are no hundreds of observations. With few customers, or parts that
    predict much the same, it stays at one half, which is seldom far from the best. It
    is one half, too, where nothing can be set aside: all rows have one customer,
    or those left to fit on have one class.

    Callbacks of scikit-learn (``set_callbacks``, from version 1.9 on) see the fit of
    each part as a step, and those that pass to other estimators, such as `ProgressBar`,
    the epochs of the network within it. Callbacks of skorch are a parameter of the
    network, ``lstm__estimator__callbacks``.

    Rows of weight 0 are left out. Other weights go to the last step of each part, and
    count in the loss.

    Examples
    --------
    >>> from sklearn_seqcrm.datasets import make_customer_journeys
    >>> from sklearn_seqcrm.ensemble import HybridClassifier
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMClassifier
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> journeys = make_customer_journeys(200, random_state=0)
    >>> log = EventLog(journeys.events, customer="customer_id", time="timestamp")
    >>> X = log.attach(journeys.rows, cutoff="cutoff")
    >>> lstm = make_history_pipeline(LSTMClassifier(max_epochs=3))
    >>> model = HybridClassifier(lstm, random_state=0).fit(X, journeys.target)
    >>> list(model.weights_)
    ['lstm', 'boosting']
    >>> model.n_customers_
    40
    >>> model.predict_proba(X).shape
    (200, 2)
    """

    classes_: np.ndarray
    _classify: ClassVar[bool] = True

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn the weights, and fit both parts.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with histories, as both parts take them.
        y : array-like of shape (n,)
            Class labels, of two classes or more.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows, not negative.

        Returns
        -------
        HybridClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If `y` has one class, a parameter is out of range, or `refit` is
            False and there are several splits.
        TypeError
            If a part takes no weights, and there are some.
        """
        return self._fit(X, y, sample_weight)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns that `fit` saw.

        Returns
        -------
        ndarray of shape (n, n_classes)
            Probabilities in the order of `classes_`.
        """
        check_is_fitted(self)
        return self._blended(X).blend(self.weights_["lstm"])

    def predict(self, X: Any) -> np.ndarray:
        """Most probable class.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns that `fit` saw.

        Returns
        -------
        ndarray of shape (n,)
            Class labels.
        """
        shares = self.predict_proba(X)
        return self.classes_[shares.argmax(axis=1)]

    def _read_target(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        y = column_or_1d(y, warn=True)
        check_array(y, ensure_2d=False, dtype=None, input_name="y")  # nothing missing
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"HybridClassifier needs at least 2 classes; y has one class, "
                f"{self.classes_.tolist()}."
            )
        return y, codes

    def _can_fit(self, target: np.ndarray) -> bool:
        return bool((target != target[0]).any())

    def _output(self, part: Any, X: Any) -> np.ndarray:
        columns = np.searchsorted(self.classes_, part.classes_)
        shares = np.asarray(part.predict_proba(X), dtype="float64")
        return log_probabilities(shares, columns, len(self.classes_))

    def _blend(self, first: np.ndarray, second: np.ndarray) -> Blend:
        return OfProbabilities(first, second)
