"""The hybrid that classifies."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin, clone
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import (
    read_labels,
    refuse_classes_in_columns,
    with_attrs_of,
)
from sklearn_seqcrm._sklearn_compat import BaseSearchCV, with_callbacks
from sklearn_seqcrm.ensemble._base import BaseHybrid
from sklearn_seqcrm.ensemble._blends import (
    Blend,
    OfLabels,
    OfProbabilities,
    log_odds,
    log_probabilities,
)


class HybridClassifier(ClassifierMixin, BaseHybrid):
    """Classify customers by a blend of a network and boosted trees.

    Both read the same raw `X`. Their log-probabilities are averaged, with a weight that
    is learned on held-out rows.

    Parameters
    ----------
    lstm : estimator or None, default=None
        Pipeline that reads raw `X` with a network, such as a `make_history_pipeline`;
        None for one of an `LSTMClassifier` with its defaults.
    boosting : estimator or None, default=None
        Pipeline that reads raw `X` without a network, such as one of
        `HistoryAggregator` and boosted trees of scikit-learn, LightGBM, XGBoost or
        CatBoost; None for one of `HistGradientBoostingClassifier`.
    lstm_weight : float or None, default=None
        Weight of `lstm`, between 0 and 1; the weight of `boosting` is 1 minus that.
        Both are then fitted once, on all rows. None learns the weight.
    cv : int, splitter, iterable of splits, "latest" or None, default=None
        Splits on whose held-out rows the weight is learned. None holds out
        `validation_fraction` of the customers once, an int makes that many folds of
        customers. A splitter gets the customers as its groups. ``"latest"``: the rows
        at the latest cutoffs, by which the network stops; in about half of the time.
    validation_fraction : float, default=0.2
        Share of the customers that is held out, between 0 and 1, if `cv` is None.
    refit : bool, default=True
        Whether to fit both parts again, on all rows, after learning the weight. False
        keeps the parts that were fitted without the held-out rows, which takes less
        than half of the time.
    random_state : int, RandomState or None, default=None
        Seed of the held-out customers, and of every `random_state` in the parts that is
        None. Pass an int for reproducible results.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,) or (k, 2)
        Class labels; of several labels ``[0, 1]`` for each.
    weights_ : dict of str to float
        Weights of ``"lstm"`` and ``"boosting"``; they sum to 1.
    losses_ : dict of str to float
        Mean logarithmic loss on the held-out rows, of ``"lstm"``, ``"boosting"`` and
        ``"hybrid"``. The loss of the hybrid is slightly optimistic, because its weight
        was chosen on these rows; it may still be above that of a part, because weights
        are shrunken towards one half. Empty if no weight was learned.
    n_customers_ : int
        Number of customers of the held-out rows, 0 if no weight was learned.
    lstm_ : estimator
        The fitted network.
    boosting_ : estimator
        The fitted boosted trees.

    See Also
    --------
    make_hybrid : A hybrid whose parts are pipelines with parameters to search.
    HybridRegressor : The hybrid for numbers.

    Notes
    -----
    The probability of class ``k`` is proportional to ``p[k]**w * q[k]**(1 - w)``, with
    probabilities ``p`` of the network, whose weight is ``w``, and ``q`` of the boosted
    trees. For two classes, that is the weighted mean of the log-odds. Probabilities are
    clipped to at least 1e-6, including those of classes that a part did not see.

    Several labels, a `y` of shape (n, k) with 0 and 1, are one target of the network,
    and the trees get a `MultiOutputClassifier` around the last step of their pipeline
    unless that takes several labels. The weighted mean is that of the log odds of each
    label. All labels have one weight, which minimises the mean of their losses.

    All rows of a customer are on one side of a split: a network that has memorised a
    customer would otherwise get too much weight. By default each part is fitted on four
    fifths of the customers and then on all, which takes about 1.8 times as long as one
    fit on all. With ``refit=False`` it takes 0.8 times as long, and neither part learns
    from the held-out customers. With ``cv=5`` it takes five times as long, and the
    weight is more stable.

    ``cv="latest"`` needs a network that stops forward in time (see `LSTMClassifier`).
    It is trained until the latest cutoffs, and then on all rows. What its first
    training predicts for the rows at the latest cutoffs is at hand. So only the
    trees are fitted once more, on the rows that the first training had. The loss of the
    network is then that of a single one, which also chose its number of epochs on these
    rows. A weight learned forward in time suits later rows of known customers. With
    fewer than 2,000 customers, or for rows of new customers, those that are held out
    give better weights.

    ``cv=CutoffSplit(1)`` fits both parts until the latest cutoff, also networks that
    stop by customers. It needs a target with a horizon, or ``horizon=...``.

    Both parts get `y` with its `attrs`. If these hold a horizon, networks stop at the
    latest cutoffs (see `LSTMClassifier`), and a `CutoffSplit` in a part may omit it.

    The weight of the network minimises the logarithmic loss on the held-out rows, with
    a normal prior of mean 0.5 and standard deviation 0.25. The loss is scaled by the
    variance of its slopes over customers, so that hundreds of rows of one customer do
    not count as hundreds of observations. With few customers, or parts that predict
    nearly the same, the weight stays near one half, which is seldom far from the best.
    It is one half if nothing can be held out: all rows have one customer, or the rows
    left to fit on have one class.

    Callbacks of scikit-learn (``set_callbacks``, from version 1.9 on) are called for
    the fit of each part as a step. Callbacks that propagate, such as `ProgressBar`, are
    also called for the epochs of the network. Callbacks of skorch are a parameter of
    the network, ``lstm__estimator__callbacks``.

    Rows of weight 0 are left out. Other weights are passed to the last step of each
    part, and weight the loss.

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
    _task: ClassVar[str] = "classification"

    @with_callbacks
    def fit(
        self, X: pd.DataFrame, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn the weight, and fit both parts.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with histories.
        y : array-like of shape (n,) or (n, k)
            Labels of two or more classes; or k labels that are 0 or 1 each.
        sample_weight : array-like of shape (n,) or None, default=None
            Weights of the rows, not negative.

        Returns
        -------
        HybridClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If `y`, or a column of several labels, has one class, a parameter is out of
            range, `refit` is False and there are several splits, or ``cv="latest"`` and
            the network does not stop forward in time.
        TypeError
            If `sample_weight` is given and a part does not take it, or labels are
            neither text, numbers nor booleans, or of several of these types.
        """
        return self._fit(X, y, sample_weight)

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns that `fit` saw.

        Returns
        -------
        ndarray of shape (n, n_classes) or (n, k)
            Probabilities in the order of `classes_`. Of several labels: of 1 for each
            label; they do not add up to 1.
        """
        check_is_fitted(self)
        return self._blended(X).blend(self.weights_["lstm"])

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Predict the most probable class, or the labels more likely than not.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            Rows with the columns that `fit` saw.

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            Class labels.
        """
        shares = self.predict_proba(X)
        if self._has_labels:
            return (shares > 0.5).astype(self.classes_.dtype)
        return self.classes_[shares.argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @property
    def _has_labels(self) -> bool:
        """Whether targets are several labels: `classes_` has a row for each."""
        return self.classes_.ndim == 2

    def _read_target(self, y: Any) -> tuple[Any, np.ndarray]:
        if issparse(y) or (np.ndim(y) == 2 and np.shape(y)[1] > 1):
            return self._read_labels(y)
        values = read_labels(y)
        # Parts get labels, losses get their codes.
        self.classes_, codes = np.unique(values, return_inverse=True)
        return with_attrs_of(y, values), codes

    def _read_labels(self, y: Any) -> tuple[Any, np.ndarray]:
        """Check several labels, which are zeros and ones."""
        values = y.toarray() if issparse(y) else np.asarray(y)
        refuse_classes_in_columns(values)
        target = values.astype("float64")
        dtype = values.dtype if values.dtype.kind in "biuf" else np.dtype("int64")
        self.classes_ = np.tile(np.array([0, 1], dtype=dtype), (target.shape[1], 1))
        # A table keeps its attrs, such as the horizon. Objects become numbers.
        labels = y if isinstance(y, pd.DataFrame) else values
        return labels.astype(dtype), target

    def _adapt(self, parts: dict[str, Any]) -> dict[str, Any]:
        # Boosted trees predict one label each.
        if not self._has_labels:
            return parts
        return {name: _of_labels(part) for name, part in parts.items()}

    def _fit_obstacle(self, target: np.ndarray) -> str | None:
        # Neither part can be fitted on a single class; such a split is skipped.
        if (target != target[0]).any(axis=0).all():
            return None
        if self._has_labels:
            return (
                "A column of y has one label in all rows with a weight; leave such "
                "columns out."
            )
        return (
            "HybridClassifier needs at least 2 classes; y has one class, in all rows "
            f"with a weight, of {self.classes_.tolist()}."
        )

    def _output(self, part: Any, X: Any) -> np.ndarray:
        shares = part.predict_proba(X)
        if self._has_labels:
            # A list of the classes of each label, or an array of label 1.
            if isinstance(shares, list):
                shares = np.column_stack([one[:, 1] for one in shares])
            return log_odds(np.asarray(shares, dtype="float64"))
        # A part may have seen fewer classes: those of its own split.
        columns = np.searchsorted(self.classes_, part.classes_)
        shares = np.asarray(shares, dtype="float64")
        return log_probabilities(shares, columns, len(self.classes_))

    def _blend(self, first: np.ndarray, second: np.ndarray) -> Blend:
        return (OfLabels if self._has_labels else OfProbabilities)(first, second)


def _of_labels(part: Any) -> Any:
    """Return a part that takes several labels: with a classifier for each if needed.

    Only the last step of a pipeline is repeated for each label.
    """
    if _takes_labels(part):
        return part
    if isinstance(part, Pipeline):
        *others, (name, last) = part.steps
        return clone(part).set_params(steps=[*others, (name, _of_labels(last))])
    return MultiOutputClassifier(part)


def _takes_labels(part: Any) -> bool:
    """Return whether a part takes a y of several labels."""
    if isinstance(part, Pipeline):
        return _takes_labels(part.steps[-1][1])
    if isinstance(part, BaseSearchCV):
        return _takes_labels(part.estimator)
    tags = get_tags(part)
    # MultiOutputClassifier and ClassifierChain have the second tag alone.
    return tags.classifier_tags.multi_label or not tags.target_tags.single_output
