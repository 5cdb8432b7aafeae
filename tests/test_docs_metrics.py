"""Run the page on metrics."""

from pathlib import Path

import matplotlib
import pytest
from matplotlib import pyplot as plt
from sklearn.metrics import log_loss

from sklearn_seqcrm import metrics

matplotlib.use("agg")

PAGE = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_page_runs(code_of):
    code = code_of("metrics.md")
    printed = []
    page = {"print": printed.append}
    exec(compile(code, "metrics.md", "exec"), page)
    plt.close("all")
    gini, lift, bias, table, *calibration, recall, ndcg, _, _ = printed
    assert 0.4 < gini < 0.6
    assert lift > 2
    assert abs(bias) < 0.3
    assert len(table) == 5
    assert (recall, ndcg) == (0.75, 0.62)
    assert len(calibration) == 3
    mean, share = page["probabilities"].mean(), page["y_later"].mean()
    assert mean["balanced"] > share + 0.03
    assert mean["calibrated"] == pytest.approx(share, abs=0.03)
    losses = [log_loss(page["y_later"], p) for _, p in page["probabilities"].items()]
    assert losses[1] < losses[0]


def test_the_page_names_all_metrics():
    assert [name for name in metrics.__all__ if f"`{name}" not in PAGE] == []
