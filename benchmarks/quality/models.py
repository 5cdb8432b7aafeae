"""The models of the comparison, for classes, counts and numbers, with usual code."""

from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.ensemble import make_hybrid
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.model_selection import CutoffSplit
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline


def lstm(task, seed):
    """Make the recurrent network with its defaults."""
    network = {
        "class": LSTMClassifier(random_state=seed),
        "count": LSTMRegressor(loss="poisson", random_state=seed),
        "number": LSTMRegressor(random_state=seed),
    }[task.kind]
    return make_history_pipeline(network)


def rfm(task, seed):
    """Make boosted trees on recency, frequency, monetary value and tenure."""
    return make_pipeline(RFMFeatures(amount=task.amount), boosting(task, seed))


def aggregates(task, seed):
    """Make boosted trees on window aggregates."""
    return make_pipeline(HistoryAggregator(), boosting(task, seed))


def hybrid(task, seed):
    """Make the hybrid; its weight is learned on the latest cutoff, if several."""
    cv = None if task.horizon is None else CutoffSplit(1)
    return make_hybrid(
        lstm(task, seed), aggregates(task, seed), cv=cv, random_state=seed
    )


def boosting(task, seed):
    """Make boosted trees for columns of numbers."""
    trees = {"categorical_features": "from_dtype", "random_state": seed}
    return {
        "class": HistGradientBoostingClassifier(**trees),
        "count": HistGradientBoostingRegressor(loss="poisson", **trees),
        "number": HistGradientBoostingRegressor(**trees),
    }[task.kind]


MODELS = {"lstm": lstm, "rfm": rfm, "aggregates": aggregates, "hybrid": hybrid}
