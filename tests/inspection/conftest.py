import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.testing._small_data import make_table, make_y
from tests.inspection.models import network


@pytest.fixture(scope="module", name="X")
def _table():
    return make_table(n_customers=6, n_cutoffs=2)


@pytest.fixture(scope="module")
def lstm(X):
    return network(X)


@pytest.fixture(scope="module")
def boosting(X):
    model = make_pipeline(
        HistoryAggregator(),
        HistGradientBoostingClassifier(min_samples_leaf=2, max_iter=5, random_state=0),
    )
    return model.fit(X.drop(columns=["city", "joined"]), make_y(X))
