"""Run the page on metrics."""

from pathlib import Path

from sklearn_seqcrm import metrics

PAGE = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_page_runs(code_of):
    code = code_of("metrics.md")
    printed = []
    exec(compile(code, "metrics.md", "exec"), {"print": printed.append})
    gini, lift, bias, table, recall, ndcg, *_ = printed
    assert 0.4 < gini < 0.6
    assert lift > 2
    assert abs(bias) < 0.3
    assert len(table) == 5
    assert (recall, ndcg) == (0.75, 0.62)


def test_the_page_names_all_metrics():
    assert [name for name in metrics.__all__ if f"`{name}" not in PAGE] == []
