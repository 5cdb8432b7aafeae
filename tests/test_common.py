"""scikit-learn's checks over the estimators, and ours over all that reads histories."""

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_seqcrm.neural_network import HistoryPadder, LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.neural_network._module import POOLINGS
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from tests.history_checks import ALL_CHECKS

# Enough epochs for the scores that the checks demand, all rows in each step, and a head
# so small that float32 sums do not depend on the batch.
TRAINED = {
    "hidden_size": 4,
    "head_sizes": (4,),
    "dropout": 0.0,
    "learning_rate": 0.05,
    "max_epochs": 20,
    "random_state": 0,
}
FLOAT32 = (
    "The check wants 7 digits in agreement, and a float32 net that adds up the same "
    "gradients in another order has 6 of each step; test_lstm.py has the check to "
    "that precision."
)
EXPECTED_FAILED_CHECKS = {
    "LSTMClassifier": {"check_sample_weight_equivalence_on_dense_data": FLOAT32},
    "LSTMRegressor": {"check_sample_weight_equivalence_on_dense_data": FLOAT32},
}


@parametrize_with_checks(
    [LSTMClassifier(**TRAINED), LSTMRegressor(**TRAINED)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILED_CHECKS[
        type(estimator).__name__
    ],
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def lstm(kind, **params):
    small = {"hidden_size": 4, "head_sizes": (4,), "max_epochs": 2, "random_state": 0}
    return make_history_pipeline(kind(**{**small, **params}))


READERS = {
    "encoder": HistoryEncoder(),
    "encoder-rare": HistoryEncoder(max_categories=1, half_lives=["7D"]),
    "padder": make_history_pipeline(HistoryPadder()),
    "padder-pre": make_history_pipeline(HistoryPadder(max_length=3, padding="pre")),
    "lstm": lstm(LSTMClassifier),
    "gru": lstm(LSTMClassifier, cell="gru", num_layers=2),
    "rnn": lstm(LSTMClassifier, cell="rnn", head_sizes=()),
    "bidirectional": lstm(LSTMClassifier, bidirectional=True, pooling=POOLINGS),
    "deep-bidirectional": lstm(
        LSTMClassifier, cell="gru", bidirectional=True, num_layers=2, pooling="last"
    ),
    **{pooling: lstm(LSTMRegressor, pooling=pooling) for pooling in POOLINGS},
    "deep": lstm(LSTMRegressor, num_layers=2, pooling=POOLINGS, batch_size=7),
    "poisson": lstm(LSTMRegressor, loss="poisson", early_stopping=True),
}


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", READERS)
def test_history_checks(name, check):
    check(READERS[name])


# Those of scikit-learn's checks that pass no data; its arrays hold no histories.
DATA_FREE_CHECKS = [
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_mixin_order,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_set_params,
    estimator_checks.check_valid_tag_types,
]


@pytest.mark.parametrize("check", DATA_FREE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", [HistoryEncoder, HistoryPadder])
def test_scikit_learn_checks_of_transformers(kind, check):
    check(kind.__name__, kind())
