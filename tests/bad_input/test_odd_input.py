"""Odd input that is no error: what a pipeline makes of it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    LSTMRegressor,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import (
    make_events,
    make_rows,
)
from tests.bad_input.inputs import (
    AWARE,
    FITTED,
    ROWS,
    SMALL,
    X,
    Y,
    attach,
    build,
)


def test_odd_all_histories_empty():
    """A warning, and a model of the statics alone."""
    rows = make_rows().assign(at=pd.Timestamp("2000-01-01"))
    empty = EventLog(make_events(), "who", "when").attach(rows, cutoff="at")
    model = clone(FITTED)
    message = (
        "All 48 histories in 'history' are empty, so that the model learns from st"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        model.fit(empty, Y)
    assert [one.filename for one in caught] == [__file__]  # the line that calls fit
    # Statics alone: rows differ by them, and by nothing else.
    shares = model.predict_proba(empty)
    assert np.ptp(shares[:, 0]) > 0.001
    same = empty.assign(age=40.0, city="Rome", joined=empty["at"], member=True)
    assert np.ptp(model.predict_proba(same)[:, 0]) < 1e-6
    assert np.isfinite(model.predict_proba(X)).all()


def test_odd_unknown_customers():
    """Predicted like customers who have done nothing yet."""
    rows = make_rows().assign(who=[f"stranger {i}" for i in range(len(X))])
    with pytest.warns(UserWarning, match="None of the 48 customers .* in the log"):
        strangers = EventLog(make_events(), "who", "when").attach(rows, cutoff="at")
    assert not strangers["history"].array.lengths.any()
    shares = FITTED.predict_proba(strangers)
    assert np.isfinite(shares).all()
    # Like customers who have done nothing yet.
    nothing = (X["history"].array.lengths == 0).nonzero()[0]
    expected = FITTED.predict_proba(X.iloc[nothing])
    np.testing.assert_allclose(shares[nothing], expected, rtol=1e-5, atol=1e-5)


def test_odd_unseen_levels():
    """Predicted like missing ones."""
    events = make_events()
    other = attach(events.assign(kind="never heard of")).assign(city="Atlantis")
    shares = FITTED.predict_proba(other)
    assert np.isfinite(shares).all()
    missing = FITTED.predict_proba(
        attach(events.assign(kind="nor of that")).assign(city="nor there")
    )
    np.testing.assert_array_equal(shares, missing)


def test_odd_infinite_numbers_in_fields():
    """Read as missing."""
    amount = make_events()["amount"]
    assert np.isinf(amount).any()
    assert amount.isna().any()
    log = HistoryEncoder().fit_transform(X)["history"].array.log
    assert np.isfinite(log.channels).all()
    infinite = attach(make_events().assign(amount=np.inf))
    nan = attach(make_events().assign(amount=np.nan))
    np.testing.assert_array_equal(
        FITTED.predict_proba(infinite), FITTED.predict_proba(nan)
    )
    assert np.isfinite(FITTED.predict_proba(nan)).all()


def test_odd_huge_numbers_in_fields():
    """Clipped to the range of training."""
    huge = attach(make_events().assign(amount=1e300))
    assert np.isfinite(FITTED.predict_proba(huge)).all()


def test_odd_one_row():
    """Predicted as it is among others."""
    one = FITTED.predict_proba(X.iloc[[7]])
    np.testing.assert_allclose(one, FITTED.predict_proba(X)[[7]], rtol=1e-5)


def test_odd_constant_target_of_a_regressor():
    """Predicted everywhere, but for what two epochs leave of the first weights."""
    model = make_history_pipeline(LSTMRegressor(**SMALL)).fit(X, np.full(len(X), 7.5))
    np.testing.assert_allclose(model.predict(X), 7.5, atol=0.3)


def test_odd_one_row_to_fit_a_regressor():
    """Its target is predicted for it."""
    longest = X.iloc[[X["history"].array.lengths.argmax()]]
    model = make_history_pipeline(LSTMRegressor(**SMALL)).fit(longest, [7.5])
    np.testing.assert_allclose(model.predict(longest), 7.5, atol=0.3)
    assert np.isfinite(model.predict(X)).all()


def test_odd_times_in_several_zones():
    """Read as the moments that they are."""
    zones = ["Asia/Tokyo", "Europe/Paris", "America/Lima"]
    there = [t.tz_convert(zones[i % 3]) for i, t in enumerate(AWARE)]
    log = build(when=pd.Series(there, dtype=object), due=AWARE)()
    rows = ROWS.assign(at=ROWS["at"].dt.tz_localize("UTC"))
    same = log.attach(rows, cutoff="at")["history"]
    assert same.array.lengths.tolist() == X["history"].array.lengths.tolist()
