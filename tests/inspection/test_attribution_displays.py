from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib import pyplot as plt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm._plotting import plain_text
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.inspection import (
    ChannelAttributionDisplay,
    EventAttributionDisplay,
    GateDisplay,
    GradientFlowDisplay,
    HistoryDisplay,
    HistoryImportanceDisplay,
    event_attributions,
)
from sklearn_seqcrm.inspection._history_display_data import title_of
from sklearn_seqcrm.neural_network import LSTMRegressor, LSTMSurvival
from sklearn_seqcrm.testing._small_data import make_y
from sklearn_seqcrm.uplift import UpliftRegressor
from tests.inspection.models import METHODS, log_odds, network

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_text_of_users_is_no_formula():
    """Matplotlib typesets text between two dollar signs as a formula."""
    text = "$5 off {$20"
    events = pd.DataFrame(
        {"time": [1, 4], "lane": text, "size": [0.5, 1.0], "attribution": [0.1, 0.2]}
    )
    beside, sizes = pd.Series({text: 0.1}), (text, 1.0)
    lines = pd.DataFrame({"row": 0, "history": "h", "position": [0, 1], "field": text})
    shares = pd.Series({text: 1.0})
    gates = pd.DataFrame({"age": [1, 2], "norm": [1.0, 0.5]})
    importance = pd.DataFrame(
        {"group": "field", "name": [text], "importance": 1, "lower": 0, "upper": 2}
    )
    for display in (
        HistoryDisplay(events=events, cutoff=9, beside=beside, sizes=sizes).plot(),
        EventAttributionDisplay.from_attributions(lines.assign(attribution=0.1)),
        ChannelAttributionDisplay.from_credit({text: shares, "b": shares}),
        GradientFlowDisplay.from_flows({text: gates, "b": gates}),
        HistoryImportanceDisplay(table=importance, baseline_score=0.8).plot(),
    ):
        display.figure_.canvas.draw()


@pytest.mark.parametrize("parse_math", [True, False])
def test_no_backslash_is_shown(parse_math):
    """The text has the size of text that is not a formula."""
    text = "$5 off $20"
    with matplotlib.rc_context({"text.parse_math": parse_math}):
        figure = plt.figure()
        wanted = figure.text(0.5, 0.5, text, parse_math=False)
        found = figure.text(0.5, 0.5, plain_text(text))
        sizes = [one.get_window_extent().size for one in (found, wanted)]
    np.testing.assert_allclose(*sizes, atol=0.01)


def test_a_title_has_one_space_before_an_underscore():
    output = pd.Series({"target": "_y", "output": 0.5, "baseline": np.nan})
    title = title_of("_x", output, "probability")
    assert title == "Customer _x\nprobability of class _y = 0.5"


def test_names_with_an_underscore_are_in_legends():
    lines = pd.DataFrame(
        {"row": 0, "history": "h", "position": 0, "field": ["_a", "b"]}
    )
    lines["attribution"] = 0.1
    display = EventAttributionDisplay.from_attributions(lines)
    assert len(display.ax_.get_legend().get_texts()) == 2


def test_display_of_many_rows(X, lstm):
    model = lstm
    found = event_attributions(model, X, "integrated_gradients", by="field")
    display = EventAttributionDisplay.from_attributions(found, max_events=3)
    array = X["history"].array
    filled = np.flatnonzero(array.lengths >= 2)
    lines = found[found["field"] == "amount"].set_index(["row", "position"])
    values = [abs(lines.at[(i, array.lengths[i] - 2), "attribution"]) for i in filled]
    assert display.means.at[2, "amount"] == pytest.approx(np.mean(values))
    assert list(display.means.index) == [1, 2, 3]
    others = found[found["position"].isna()]["attribution"].abs().sum()
    assert display.of_rows == pytest.approx(others / len(X))
    heights = [bar.get_height() for bar in display.ax_.patches]
    assert sum(heights) == pytest.approx(display.means.sum().sum() + display.of_rows)
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == [
        "1",
        "2",
        "3",
        "statics and\nrow features",
    ]
    _, ax = plt.subplots()
    other = EventAttributionDisplay.from_estimator(model, X, max_events=3, ax=ax)
    assert other.ax_ is ax
    assert list(other.means) == ["event"]
    other.figure_.canvas.draw()


def test_a_field_named_others_keeps_its_bar():
    """The sum of the fields without a color is apart from it."""
    names = ["others", *"abcdefg"]
    means = pd.DataFrame([np.arange(8.0, 0, -1)], index=[1], columns=names)
    ax = EventAttributionDisplay(means=means).plot().ax_
    assert [bar.get_height() for bar in ax.patches] == [8, 7, 6, 5, 4, 3, 2 + 1]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(labels) == sorted([*names[:6], "other fields"])


def test_displays_name_the_explained_quantity(X, lstm):
    class Decision(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return self.classes_[(self.decision_function(X) > 0).astype(int)]

        def decision_function(self, X):
            return X["history"].array.lengths - 2.0

    y = pd.DataFrame({"time": np.arange(1.0, len(X) + 1), "event": True})
    labels = {
        "log odds": lstm,
        "decision function": Decision().fit(X, make_y(X)),
        "risk": network(X, y, LSTMSurvival),
    }
    for label, model in labels.items():
        many = EventAttributionDisplay.from_estimator(model, X[:3], max_events=1)
        assert many.ax_.get_ylabel() == f"mean |attribution|\n({label})"
        assert f"\n{label}" in HistoryDisplay.from_estimator(model, X).title
    amounts = pd.DataFrame({"a": np.arange(len(X)), "b": 1.0}).to_numpy()
    several = network(X, amounts, LSTMRegressor)
    assert (
        "prediction of target 0 = "
        in HistoryDisplay.from_estimator(several, X, target=0).title
    )


def test_display_of_a_row(X, lstm):
    model = lstm
    row = int(X["history"].array.lengths.argmax())
    display = HistoryDisplay.from_estimator(model, X, row)
    one = X["history"].array[row]
    events = display.events
    assert list(events["time"]) == list(one.times)
    kinds = one.to_frame()["kind"].astype(object).fillna("(missing)")
    assert list(events["lane"]) == list(kinds)
    found = event_attributions(model, X)
    own = found[(found["row"] == row) & found["position"].notna()]
    np.testing.assert_allclose(events["attribution"], own["attribution"], atol=1e-5)
    value = log_odds(model, X)[row]
    text = f"Customer {one.customer}\nlog odds of class 1 = {value:.3g} (probability "
    text = text.replace("-", "\N{MINUS SIGN}") + f"{1 / (1 + np.exp(-value)):.0%})"
    assert display.ax_.get_title("left") == text
    display.figure_.canvas.draw()
    _, ax = plt.subplots()
    some = event_attributions(model, X, last_events=1)
    part = HistoryDisplay.from_attributions(some, X, row, size_field="amount", ax=ax)
    assert part.events["attribution"].notna().sum() == 1
    # Events without an attribution are crosses.
    crosses, circles = ax.collections
    assert len(crosses.get_offsets()) == len(part.events) - 1
    assert len(crosses.get_paths()[0].vertices) == 4
    assert len(circles.get_offsets()) == 1
    part.figure_.canvas.draw()
    empty = int(X["history"].array.lengths.argmin())
    HistoryDisplay.from_estimator(model, X, empty).figure_.canvas.draw()
    with pytest.raises(KeyError, match="no field 'price'"):
        HistoryDisplay.from_attributions(some, X, row, size_field="price")


def test_a_row_that_is_not_there(X, lstm):
    n = len(X)
    message = f"row={n} is none of the {n} rows of X: it is a position"
    with pytest.raises(IndexError, match=message):
        HistoryDisplay.from_attributions(event_attributions(lstm, X), X, n)
    with pytest.raises(IndexError, match=message):
        HistoryDisplay.from_estimator(lstm, X, n)


@pytest.mark.parametrize("display", [HistoryDisplay, GateDisplay])
def test_other_tables_than_rows_with_histories(X, lstm, display):
    for other in (np.zeros((2, 2)), [1], "ann", pl.DataFrame({"age": [1]})):
        with pytest.raises((TypeError, ValueError), match=r"DataFrame|histor"):
            display.from_estimator(lstm, other, 0)
    with pytest.raises(ValueError, match=f"no rows; {display.__name__} needs"):
        display.from_estimator(lstm, X[:0], 0)


def test_attributions_of_other_events(X, lstm):
    found = event_attributions(lstm, X, last_events=2)
    lengths = X["history"].array.lengths
    row = int(lengths.argmax())
    display = HistoryDisplay.from_attributions(found, X, row - len(X))
    assert display.events["attribution"].notna().sum() == 2
    for other in (X[::-1], X[row:], X.iloc[np.r_[: row + 1, 0]].iloc[1:]):
        with pytest.raises(ValueError, match=f"attributions of row {row % len(other)}"):
            HistoryDisplay.from_attributions(found, other, row % len(other))
    log, cutoff = X["history"].array.log, X["history"][row].times[-1]
    earlier = log.attach(X.drop(columns="history"), cutoff=cutoff)
    with pytest.raises(ValueError, match="not of the events of customer"):
        HistoryDisplay.from_attributions(found, earlier, row)


def test_histories_of_other_customers_in_one_row(X, lstm):
    """A row has the history of a customer and that of a shop, from another log."""
    visits = pd.DataFrame({"shop": ["s1", "s1", "s2"], "day": [1, 2, 3]})
    rows = X.assign(shop=np.where(np.arange(len(X)) % 2, "s1", "s2"))
    both = EventLog(visits, "shop", "day").attach(rows, "shop", name="shops")
    found = event_attributions(lstm, X)
    of_shops = found.assign(history="shops", customer="s1", position=0, time=pd.NaT)
    table = pd.concat([found, of_shops], ignore_index=True)
    row = int(X["history"].array.lengths.argmax())
    display = HistoryDisplay.from_attributions(table, both, row, history="history")
    assert display.events["attribution"].notna().all()
    as_text = found.assign(time=found["time"].astype(str), position=found["position"])
    events = as_text[as_text["position"].notna()]
    HistoryDisplay.from_attributions(events, X, row)


@pytest.mark.parametrize("row", ["a", None, 1.0, True])
def test_a_row_is_an_integer(row, X, lstm):
    with pytest.raises(TypeError, match="row must be an integer, a position in X"):
        HistoryDisplay.from_estimator(lstm, X, row)


def test_bars_of_what_is_not_an_event(X, lstm):
    """Dots and bars add up to the prediction minus the baseline, which are named."""
    row = int(X["history"].array.lengths.argmax())
    found, outputs = event_attributions(
        lstm, X, "integrated_gradients", return_outputs=True
    )
    display = HistoryDisplay.from_attributions(
        found, X, row, outputs=outputs, unit="log odds"
    )
    own = found[found["row"] == row]
    of_events = own.loc[own["position"].notna(), "attribution"].sum()
    bars = display.beside
    assert bars["sum of all events"] == pytest.approx(of_events)
    assert bars.sum() == pytest.approx(own["attribution"].sum())
    output, baseline = outputs.loc[row, ["output", "baseline"]].astype(float)
    assert bars.sum() == pytest.approx(output - baseline, abs=1e-3)
    assert f"baseline = {baseline:.3g}".replace("-", "\N{MINUS SIGN}") in display.title
    assert len(bars) == 1 + 6 + 1
    assert bars.index[-1].startswith("sum of ")
    single = bars.iloc[1:-1].abs()
    assert single.is_monotonic_decreasing
    others = own.loc[own["position"].isna(), "attribution"].abs()
    assert single.iloc[0] == pytest.approx(others.max())
    ax = display.ax_beside_
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(list(bars))
    assert [text.get_text() for text in ax.get_yticklabels()] == list(bars.index)
    display.figure_.canvas.draw()


def test_labels_of_bars_have_values(X, boosting):
    row = int(X["history"].array.lengths.argmax())
    display = HistoryDisplay.from_estimator(boosting, X, row)
    age, member = X["age"].iloc[row], X["member"].iloc[row]
    assert {f"age: {age:g}", f"member: {member}"} <= set(display.beside.index)
    assert "sum of all events" not in display.beside  # of occlusion: no meaning
    missing = X.assign(age=np.nan)
    display = HistoryDisplay.from_estimator(boosting, missing, row)
    assert "age: missing" in display.beside


def test_bars_name_their_history_and_are_not_summed(X, lstm):
    """A static may be called as a row feature, and two histories have the same ones."""
    row = int(X["history"].array.lengths.argmax())
    found = event_attributions(lstm, X, "integrated_gradients")
    of_row = found[found["row"] == row]
    clicks = {"history": "clicks", "field": "mean of w, half-life 1240 days"}
    feature = {"history": "history", "field": "number of events"}
    static = {"history": None, "field": "number of events"}
    click = {"history": "clicks", "position": 0.0, "field": "event"}
    lines = pd.DataFrame(
        [
            dict(clicks, value=3.0, attribution=5.0),
            dict(feature, value=2.0, attribution=4.0),
            dict(static, value=2.0, attribution=3.0),
            dict(click, attribution=1.0),
            dict(click, position=1.0, attribution=1.0),
        ]
    ).assign(row=row)
    events = of_row[of_row["position"].notna()]
    table = pd.concat([events, lines.astype({"value": object})], ignore_index=True)
    bars = HistoryDisplay.from_attributions(table, X, row).beside
    assert bars.to_dict() == {
        "mean of w, half-life 1240 days (clicks): 3": 5.0,
        "number of events (history): 2": 4.0,
        "number of events: 2": 3.0,
        "events of clicks": 2.0,
    }


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_new_plot_replaces_the_old_one(X, lstm, by_hand):
    figure = plt.figure(layout=None if by_hand else "constrained")
    if by_hand:
        ax = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    else:
        ax = figure.subplots(1, 2)[1]
    display = HistoryDisplay.from_estimator(lstm, X, 0, ax=ax)

    def drawn():
        figure.canvas.draw()
        return [
            (one.get_position().bounds, len(one.patches), len(one.collections))
            for one in figure.axes
        ]

    before = drawn()
    display.plot(display.ax_)
    for one, other in zip(before, drawn(), strict=True):
        assert one[1:] == other[1:]
        assert one[0] == pytest.approx(other[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_row_without_events(X, lstm, method):
    empty = int(X["history"].array.lengths.argmin())
    assert X["history"].array.lengths[empty] == 0
    ax = HistoryDisplay.from_estimator(lstm, X, empty, method=method).ax_
    ax.figure.canvas.draw()
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == [str(X["history"].array[empty].cutoff.date())]
    ax = (
        HistoryDisplay(
            events=pd.DataFrame(columns=["time", "lane", "size", "attribution"]),
            cutoff=9,
        )
        .plot()
        .ax_
    )
    assert [text.get_text() for text in ax.get_xticklabels()] == ["9"]


def test_a_table_without_lines(X, lstm):
    found = event_attributions(lstm, X, "blanking")[:0]
    row = int(X["history"].array.lengths.argmax())
    with pytest.raises(ValueError, match=f"no attributions of row {row} of X"):
        HistoryDisplay.from_attributions(found, X, row)


def test_effects_of_treatments_and_states(X):
    """Uplift models predict effects, and an event model predicts with another step."""
    treatment = np.arange(len(X)) % 2
    model = UpliftRegressor(DummyRegressor(), learner="t")
    model.fit(X, np.arange(len(X)) * 1.0, treatment=treatment)
    assert "\neffect = " in HistoryDisplay.from_estimator(model, X).title
    states = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0)
    with pytest.raises(TypeError, match="LSTMEventModel has no predict, and"):
        HistoryDisplay.from_estimator(states.fit(X), X)
    both = make_pipeline(states, LogisticRegression()).fit(X, make_y(X))
    assert "\nlog odds of class 1 = " in HistoryDisplay.from_estimator(both, X).title


def test_a_legend_of_sizes_and_crosses(X, lstm):
    row = int(X["history"].array.lengths.argmax())
    some = event_attributions(lstm, X, "blanking", last_events=1)
    display = HistoryDisplay.from_attributions(some, X, row, size_field="amount")
    largest = X["history"][row].to_frame()["amount"].abs().max()
    texts = [one.get_text() for one in display.ax_.get_legend().get_texts()]
    assert texts == [f"amount = {largest:.3g}", "amount = 0", "no attribution"]
    assert display.ax_beside_ is None  # blanking explains events only


def test_axes_placed_by_hand(X, lstm):
    figure = plt.figure()
    ax = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    display = HistoryDisplay.from_estimator(lstm, X, 0, ax=ax)
    assert display.ax_ is ax
    lower, upper = display.ax_beside_.get_position(), ax.get_position()
    assert 0.1 <= lower.y0 < lower.y1 < upper.y0 < upper.y1 <= 0.9 + 1e-9


def test_attributions_of_fewer_rows(X, lstm):
    found, outputs = event_attributions(lstm, X[:2], "blanking", return_outputs=True)
    last = int(np.flatnonzero(X["history"].array.lengths)[-1])
    with pytest.raises(ValueError, match=f"no attributions of row {last} of X"):
        HistoryDisplay.from_attributions(found, X, last)
    with pytest.raises(ValueError, match=f"outputs has 2 rows, and X has {len(X)}"):
        HistoryDisplay.from_attributions(found, X, 0, outputs=outputs)


def test_a_high_bar_of_row_features_does_not_flatten_the_others():
    means = pd.DataFrame({"price": [0.2, 0.1]}, index=[1, 2])
    ax = EventAttributionDisplay(means=means, of_rows=3.0).plot().ax_
    assert ax.get_ylim() == (0, pytest.approx(0.3))
    assert "3 ↑" in [text.get_text() for text in ax.texts]
    ax = EventAttributionDisplay(means=means, of_rows=3000.0).plot().ax_
    assert "3000 ↑" in [text.get_text() for text in ax.texts]
    ax = EventAttributionDisplay(means=means, of_rows=0.25).plot().ax_
    assert ax.get_ylim()[1] > 0.25
    assert len(ax.texts) == 0


def test_events_of_one_moment_are_one_above_the_other():
    events = pd.DataFrame(
        {
            "time": [1, 1, 1, 1, 5],
            "lane": ["buy", "buy", "buy", "visit", "buy"],
            "size": [1.0, np.nan, 0.0, 0.5, 0.5],
            "attribution": [0.3, 0.1, 0.2, 0.1, 0.4],
        }
    )
    display = HistoryDisplay(events=events, cutoff=9).plot()
    dots = display.ax_.collections[0].get_offsets()
    found = sorted((x, round(y, 3)) for x, y in dots.tolist())
    assert found == [(1, -0.3), (1, 0), (1, 0.3), (1, 1), (5, 0)]


def test_labels_of_dates_do_not_touch():
    """Each month of two years would have a label as wide as the distance of ticks."""
    times = pd.date_range("2023-01-05", "2024-10-01", freq="7D")
    events = pd.DataFrame(
        {"time": times, "lane": "open", "size": 0.3, "attribution": 0.1}
    )
    display = HistoryDisplay(events=events, cutoff=pd.Timestamp("2024-10-01")).plot()
    display.figure_.set_size_inches(6.4, 3)
    display.figure_.canvas.draw()
    labels = [one for one in display.ax_.get_xticklabels() if one.get_text()]
    boxes = sorted((one.get_window_extent() for one in labels), key=lambda box: box.x0)
    assert len(boxes) > 3
    between = [right.x0 - left.x1 for left, right in pairwise(boxes)]
    assert min(between) > 10  # pixels
