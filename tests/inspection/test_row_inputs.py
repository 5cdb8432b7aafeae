"""Row features are named in words, and have values in units of the log."""

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.inspection import event_attributions
from sklearn_seqcrm.inspection._row_inputs import format_number
from sklearn_seqcrm.neural_network import LSTMRegressor
from sklearn_seqcrm.preprocessing import make_history_pipeline
from tests.inspection.models import SMALL

HALF_LIVES = {
    "1D": "1 day",
    "36h": "1.5 days",
    "30D": "30 days",
    "90min": "1.5 hours",
    "1070D": "1070 days",
}


@pytest.fixture(scope="module")
def orders():
    times = ["2024-03-01 08:00", "2024-03-04 00:00", "2024-03-09 12:30"]
    times.append("2024-03-02 00:00")
    return pd.DataFrame(
        {
            "who": list("aaab"),
            "when": pd.to_datetime(times),
            "amount": [10.0, np.nan, 25.0, 3.0],
        }
    )


def lines_of(orders, cutoff, half_lives):
    """Return the values of row features, by row and name, and the model."""
    rows = pd.DataFrame({"who": list("abc")})
    X = EventLog(orders, "who", "when").attach(rows, cutoff=cutoff)
    y = np.array([1.0, 0.0, 2.0])
    model = make_history_pipeline(LSTMRegressor(early_stopping=False, **SMALL))
    model.set_params(encoder__half_lives=half_lives).fit(X, y)
    found = event_attributions(model, X, "integrated_gradients")
    lines = found[found["history"].notna() & found["position"].isna()]
    return lines.pivot(index="row", columns="field", values="value"), model


def test_values_are_those_of_the_events(orders):
    """Against a sum over the events of a row."""
    cutoff = pd.Timestamp("2024-03-10")
    values, model = lines_of(orders, cutoff, list(HALF_LIVES))
    own = orders[orders["who"] == "a"]
    ages = cutoff - own["when"]
    assert values.loc[0, "time since the last event"] == ages.iloc[-1]
    assert values.loc[0, "time since the first event"] == ages.iloc[0]
    assert values.loc[0, "number of events"] == 3
    assert values.loc[0, "weekday of the cutoff"] == "Sunday"
    assert values.loc[0, "hour of the cutoff"] == "00:00"
    scale = model[0]._encoders["history"].fields["amount"].scale
    amounts = own["amount"].fillna(scale.center)
    for half_life, text in HALF_LIVES.items():
        weight = 0.5 ** (ages / pd.Timedelta(half_life))
        found = values.loc[0]
        count = f"number of events, half-life {text}"
        assert found[count] == pytest.approx(weight.sum(), abs=1e-5)
        total = found[f"sum of amount, half-life {text}"]
        assert total == pytest.approx((weight * amounts).sum(), rel=1e-5)
        # The mean of symlog numbers, with one more of the median.
        u, _ = scale.symlog(amounts.to_numpy())
        mean = (weight * u).sum() / (weight.sum() + 1)
        expected = scale.center + scale.scale * np.sign(mean) * np.expm1(abs(mean))
        mean = found[f"mean of amount, half-life {text}"]
        assert mean == pytest.approx(expected, rel=1e-5)


def test_an_empty_history_has_no_last_event(orders):
    values, _ = lines_of(orders, pd.Timestamp("2024-03-10"), ["1D"])
    assert values.loc[2, "number of events"] == 0
    assert pd.isna(values.loc[2, "time since the last event"])


def test_times_that_are_numbers(orders):
    numbers = orders.assign(when=[1.0, 3.0, 8.5, 2.0])
    values, _ = lines_of(numbers, 10, [2.5, 3100])
    assert values.loc[0, "time since the last event"] == 1.5
    assert "number of events, half-life 2.5" in values
    assert "number of events, half-life 3100" in values
    assert not any("cutoff" in name for name in values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1984.0, "1984"),
        (-2000.4, "\N{MINUS SIGN}2000"),
        (9_999.6, "10,000"),
        (1_234_567.0, "1,234,567"),
        (0.12345, "0.123"),
        (float("inf"), "inf"),
    ],
)
def test_thousands_are_separated_from_five_digits_on(value, text):
    """A number of four digits may be a year."""
    assert format_number(value) == text
