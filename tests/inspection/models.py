"""Small networks, and what holds for their attributions."""

import numpy as np

from sklearn_seqcrm.inspection import event_attributions
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_y

SMALL = {
    "hidden_size": 6,
    "head_sizes": (8,),
    "max_epochs": 2,
    "random_state": 0,
    "n_networks": 1,
}
METHODS = ["occlusion", "blanking", "integrated_gradients"]
COLUMNS = ["row", "history", "position", "customer", "time", "field", "value"]


def network(X, y=None, estimator=LSTMClassifier, **options):
    model = make_history_pipeline(estimator(**{**SMALL, **options}))
    return model.fit(X, make_y(X) if y is None else y)


def assert_complete(found, outputs, atol=1e-3):
    """Attributions of each row sum to its output less the baseline."""
    sums = found.groupby("row")["attribution"].sum()
    sums = sums.reindex(outputs.index, fill_value=0)  # rows without a line
    expected = outputs["output"] - outputs["baseline"]
    np.testing.assert_allclose(sums, expected, atol=atol)


def assert_complete_by_field(model, X):
    """Check integrated gradients by field and by event; return those by field."""
    found, outputs = event_attributions(
        model, X, "integrated_gradients", by="field", return_outputs=True
    )
    np.testing.assert_allclose(outputs["output"], log_odds(model, X), atol=1e-5)
    assert (outputs["output"] - outputs["baseline"]).abs().max() > 0.3
    assert_complete(found, outputs)
    by_event = event_attributions(model, X, "integrated_gradients")
    events = found[found["position"].notna()].groupby(["row", "position"])
    whole = by_event[by_event["position"].notna()]
    assert len(whole) == X["history"].array.lengths.sum()
    np.testing.assert_allclose(whole["attribution"], events["attribution"].sum())
    return found


def log_odds(model, X, k=1):
    p = model.predict_proba(X)[:, k]
    return np.log(p / (1 - p))
