"""What is compared, for classes, counts and numbers: each as users would write it."""

from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline


def lstm(task, seed):
    """The recurrent network with its defaults."""
    network = {
        "class": LSTMClassifier(random_state=seed),
        "count": LSTMRegressor(loss="poisson", random_state=seed),
        "number": LSTMRegressor(random_state=seed),
    }[task.kind]
    return make_history_pipeline(network)


def rfm(task, seed):
    """Boosted trees on recency, frequency, monetary value and tenure."""
    return make_pipeline(RFMFeatures(amount=task.amount), boosting(task, seed))


def boosting(task, seed):
    """Boosted trees, for columns of numbers."""
    trees = {"categorical_features": "from_dtype", "random_state": seed}
    return {
        "class": HistGradientBoostingClassifier(**trees),
        "count": HistGradientBoostingRegressor(loss="poisson", **trees),
        "number": HistGradientBoostingRegressor(**trees),
    }[task.kind]


# Further ones are added here; window aggregates before `boosting` are a line.
MODELS = {"lstm": lstm, "rfm": rfm}
