import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import same_color
from sklearn.base import BaseEstimator, RegressorMixin

from sklearn_seqcrm.model_selection import ModelComparisonDisplay, compare_models
from sklearn_seqcrm.model_selection._model_comparison_display import _label

matplotlib.use("agg")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 1))


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


class Noisy(RegressorMixin, BaseEstimator):
    def __init__(self, noise, seed):
        self.noise = noise
        self.seed = seed

    def fit(self, X, y):
        return self

    def predict(self, X):
        rng = np.random.default_rng(self.seed)
        return X[:, 0] + self.noise * rng.normal(size=len(X))


@pytest.fixture(scope="module")
def comparison():
    models = {
        "RFM": Noisy(1.0, 0),
        "LSTM": Noisy(1.01, 1),
        "both": Noisy(0.5, 2),
        "mean": Noisy(2.0, 3),
    }
    names = ["neg_root_mean_squared_error", "r2"]
    return compare_models(models, X, X[:, 0], cv=2, scoring=names)


def test_colors(comparison):
    display = ModelComparisonDisplay.from_comparison(comparison)
    assert [ax.get_title() for ax in display.axes_] == [
        "neg_root_mean_squared_error",
        "r2",
    ]
    names = [label.get_text() for label in display.axes_[0].get_yticklabels()]
    assert names == ["LSTM", "both", "mean"]
    for ax in display.axes_:
        metric = ax.get_title()
        zero, *lines = ax.get_lines()
        assert list(zero.get_xdata()) == [0, 0]
        bars, dots = lines[::2], lines[1::2]
        found = comparison.differences
        found = found[found["metric"] == metric]
        assert [tuple(bar.get_xdata()) for bar in bars] == list(
            zip(found["lower"], found["upper"], strict=True)
        )
        assert [dot.get_xdata()[0] for dot in dots] == list(found["difference"])
        for bar, color in zip(bars, ("0.55", "tab:blue", "tab:orange"), strict=True):
            assert same_color(bar.get_color(), color)
    assert display.axes_[0].get_xlabel().startswith("difference from RFM,\n95%")


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.04312, 0.01675, 0.06865), "+0.043 (+0.017 to +0.069)"),
        ((0.1004, 0.0586, 0.1464), "+0.100 (+0.059 to +0.146)"),
        ((-431.2, -502.9, -1e-9), "\u2212431 (\u2212503 to +0)"),
        ((0.0, 0.0, 0.0), "+0.00 (+0.00 to +0.00)"),
        (3 * (-0.0123,), "\u22120.012 (\u22120.012 to \u22120.012)"),
        ((1.5, np.nan, np.nan), "+1.50 (+nan to +nan)"),
    ],
)
def test_labels_have_the_digits_of_the_interval(numbers, text):
    assert _label(*numbers) == text


def test_dollar_signs_make_no_formula():
    models = {"$5 off": Noisy(1.0, 0), "$20 off": Noisy(1.1, 1)}
    comparison = compare_models(models, X, X[:, 0], cv=2, scoring="r2")
    [ax] = ModelComparisonDisplay.from_comparison(comparison).axes_
    assert [label.get_text() for label in ax.get_yticklabels()] == [r"\$20 off"]
    assert ax.get_xlabel().startswith(r"difference from \$5 off,")


def test_display_protocol(comparison):
    figure, ax = plt.subplots()
    display = ModelComparisonDisplay.from_comparison(
        comparison, metrics=["r2"], axes=ax
    )
    assert display.axes_.tolist() == [ax]
    assert display.figure_ is figure
    assert display.plot() is display
    assert display.axes_[0] is not ax
    display.figure_.canvas.draw()


def test_labels_cross_no_line(comparison):
    display = ModelComparisonDisplay.from_comparison(comparison)
    display.figure_.canvas.draw()
    for ax in display.axes_:
        assert len(ax.texts) == 3
        for text in ax.texts:
            box = text.get_window_extent()
            assert box.x0 > ax.bbox.x1
            assert box.x1 <= display.figure_.bbox.x1
    first, second = display.axes_
    widest = max(text.get_window_extent().x1 for text in first.texts)
    assert widest < second.bbox.x0


def test_errors(comparison):
    show = ModelComparisonDisplay.from_comparison
    with pytest.raises(
        TypeError, match="must be what compare_models returns; got dict"
    ):
        show({})
    with pytest.raises(ValueError, match=r"no metrics \['auc'\]; there are"):
        show(comparison, metrics=["auc"])
    with pytest.raises(
        TypeError, match="metrics must be a list of names; got the text"
    ):
        show(comparison, metrics="r2")
    with pytest.raises(ValueError, match="2 metrics need as many axes; got 1"):
        show(comparison, axes=plt.subplots()[1])
    alone = compare_models({"a": Noisy(1, 0)}, X, X[:, 0], cv=2, scoring="r2")
    with pytest.raises(ValueError, match="one model"):
        show(alone)
