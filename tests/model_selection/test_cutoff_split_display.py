import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import same_color
from sklearn.model_selection import KFold

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.model_selection import CutoffSplit, CutoffSplitDisplay

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def rows_at(cutoffs):
    log = EventLog(pd.DataFrame({"id": [0], "time": cutoffs[:1]}), "id", "time")
    return log.attach(pd.DataFrame({"id": 0, "at": cutoffs}), cutoff="at")


def dots(ax, color):
    """Positions of all dots of a color: (fold from 0, cutoff)."""
    return [
        (round(y + 0.15), x)
        for line in ax.get_lines()
        if same_color(line.get_color(), color) and line.get_marker() in "ox"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_plotted_elements():
    X = rows_at(np.arange(1, 10))
    splitter = CutoffSplit(2, horizon=2, gap=1, train_window=2)
    display = CutoffSplitDisplay.from_splitter(splitter, X)
    ax = display.ax_
    # Fold 1 tests 8: labels up to 5 are known, 4 and 5 are in the window.
    assert dots(ax, "tab:blue") == [(0, 4), (0, 5), (1, 5), (1, 6)]
    assert dots(ax, "tab:orange") == [(0, 8), (1, 9)]
    assert sorted(dots(ax, "0.6")) == [
        *[(0, x) for x in (1, 2, 3, 6, 7)],
        *[(1, x) for x in (1, 2, 3, 4, 7, 8)],
    ]
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bars == [(4, 4), (8, 3), (5, 4), (9, 3)]
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["2 → 1", "2 → 1", "rows, train → test"]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    expected = ["train labels", "test labels", "trained on", "left out", "tested"]
    assert sorted(legend) == sorted(expected)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # fold 1 on top
    low, high = ax.get_xlim()
    assert low < 1
    assert high > 12


def test_display_protocol():
    X = rows_at(pd.date_range("2024-01-01", periods=8, freq="MS", tz="Asia/Tokyo"))
    splitter = CutoffSplit(3, horizon="20D")
    figure, ax = plt.subplots()
    display = CutoffSplitDisplay.from_splitter(splitter, X, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    other = CutoffSplitDisplay(report=display.report, cutoffs=display.cutoffs)
    assert not hasattr(other, "ax_")
    assert other.plot() is other
    assert other.ax_ is not ax
    other.figure_.canvas.draw()


def test_many_cutoffs_are_lines():
    X = rows_at(np.arange(1000) / 4)
    splitter = CutoffSplit(2, horizon=5, test_size=100, train_window=50)
    ax = CutoffSplitDisplay.from_splitter(splitter, X).ax_
    spans = [
        (line.get_color(), *line.get_xdata())
        for line in ax.get_lines()
        if line.get_linewidth() == 4 and round(line.get_ydata()[0]) == 0
    ]
    # The first fold tests 200 to 224.75, so that it trains on (145, 195].
    assert spans == [
        ("tab:blue", 145.25, 195),
        ("0.6", 195.25, 199.75),
        ("0.6", 0, 145),
        ("tab:orange", 200, 224.75),
    ]


def test_errors():
    X = rows_at(np.arange(5))
    with pytest.raises(TypeError, match="splitter must be a CutoffSplit; got ABCMeta"):
        CutoffSplitDisplay.from_splitter(CutoffSplit, X)
    with pytest.raises(TypeError, match="splitter must be a CutoffSplit; got KFold"):
        CutoffSplitDisplay.from_splitter(KFold(), X)
    with pytest.raises(ValueError, match="more than 9 distinct cutoffs"):
        CutoffSplitDisplay.from_splitter(CutoffSplit(9, horizon=1), X)
