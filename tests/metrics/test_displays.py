import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seqcrm.metrics import (
    CalibrationByDecileDisplay,
    GainDisplay,
    cumulative_gain_curve,
    decile_table,
    normalized_gini,
)

matplotlib.use("agg")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 2))
Y = np.exp(X[:, 0] + RNG.normal(size=200))
LABELS = np.where(Y > 1, "buys", "leaves")
WEIGHT = RNG.integers(1, 4, 200)
DISPLAYS = pytest.mark.parametrize("display", [GainDisplay, CalibrationByDecileDisplay])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def test_gain():
    display = GainDisplay.from_predictions(Y, X[:, 0], sample_weight=WEIGHT, name="net")
    fraction, gain, _ = cumulative_gain_curve(Y, X[:, 0], sample_weight=WEIGHT)
    curve, best, diagonal = display.ax_.get_lines()
    assert curve is display.line_
    assert_allclose(curve.get_xydata(), np.column_stack([fraction, gain]))
    assert_allclose(diagonal.get_xydata(), [[0, 0], [1, 1]])
    highest, reached, _ = cumulative_gain_curve(Y, Y, sample_weight=WEIGHT)
    assert_allclose(best.get_xydata(), np.column_stack([highest, reached]))
    gini = normalized_gini(Y, X[:, 0], sample_weight=WEIGHT)
    assert display.gini == gini
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == [f"net (Gini {gini:.2f})", "best order", "random order"]


def test_calibration():
    predicted = np.exp(X[:, 0] + 0.5)
    display = CalibrationByDecileDisplay.from_predictions(
        Y, predicted, n_bins=5, sample_weight=WEIGHT, name="net"
    )
    table = decile_table(Y, predicted, n_bins=5, sample_weight=WEIGHT)
    heights = [bar.get_height() for bar in display.bars_]
    assert_allclose(heights, table["mean_target"])
    line = np.column_stack([range(1, 6), table["mean_prediction"]])
    assert_allclose(display.line_.get_xydata(), line)
    assert display.line_.get_label() == "predicted by net"


@DISPLAYS
def test_dollar_signs_make_no_formula(display):
    shown = display.from_predictions(Y, np.exp(X[:, 0]), name="$5 off $20")
    assert r"\$5 off \$20" in shown.line_.get_label()


@DISPLAYS
def test_display_protocol(display):
    figure, ax = plt.subplots()
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(X, Y)
    shown = display.from_estimator(model, X, Y, ax=ax)
    assert shown.ax_ is ax
    assert shown.figure_ is figure
    assert shown.name == "Pipeline"
    old = shown.line_
    assert shown.plot(name="other") is shown
    assert shown.ax_ is not ax
    assert "other" in shown.line_.get_label()
    assert_allclose(shown.line_.get_xydata(), old.get_xydata())
    shown.figure_.canvas.draw()


@DISPLAYS
@pytest.mark.parametrize("pos_label", [None, "leaves", "buys"])
def test_classes(display, pos_label):
    model = LogisticRegression().fit(X, LABELS)
    shown = display.from_estimator(
        model, X, LABELS, pos_label=pos_label, sample_weight=WEIGHT
    )
    column = 0 if pos_label == "buys" else 1
    expected = display.from_predictions(
        model.classes_[column] == LABELS,
        model.predict_proba(X)[:, column],
        sample_weight=WEIGHT,
    )
    assert_allclose(shown.line_.get_xydata(), expected.line_.get_xydata())


@DISPLAYS
def test_more_classes_are_refused(display):
    three = np.digitize(X[:, 0], [-1, 1])
    with pytest.raises(ValueError, match="The classifier has 3 classes"):
        display.from_estimator(LogisticRegression().fit(X, three), X, three)


def test_a_decision_function_orders_but_has_no_size():
    model = RidgeClassifier().fit(X, LABELS)
    shown = GainDisplay.from_estimator(model, X, LABELS)
    decided = model.decision_function(X)
    assert shown.gini == normalized_gini(LABELS == "leaves", decided)
    with pytest.raises(AttributeError, match="predict_proba"):
        CalibrationByDecileDisplay.from_estimator(model, X, LABELS)


def test_options_of_the_curve():
    shown = GainDisplay.from_predictions(
        Y, Y, plot_references=False, curve_kwargs={"color": "red", "label": "own"}
    )
    (line,) = shown.ax_.get_lines()
    assert (line.get_color(), line.get_label()) == ("red", "own")


def test_errors_name_the_public_function():
    wanted = "'n_bins' parameter of CalibrationByDecileDisplay.from_predictions must be"
    with pytest.raises(ValueError, match=wanted):
        CalibrationByDecileDisplay.from_predictions(Y, X[:, 0], n_bins=0)
