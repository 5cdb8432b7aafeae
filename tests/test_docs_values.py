"""Run the page on losses."""

from pathlib import Path

from sklearn_seqcrm._recurrent.objectives import LOSSES

PAGE = (Path(__file__).parents[1] / "docs" / "values.md").read_text(encoding="utf-8")


def test_the_page_runs(one_network, code_of):
    code = code_of("values.md")
    printed = []
    page = {"print": lambda *a: printed.append(a)}
    exec(compile(code, "values.md", "exec"), page)
    (shape, zero), ratios, numbers, labels, categories = printed
    assert shape[1] == 3
    assert zero
    # All rows have the same power of the ratio of exposures, close to 1.
    assert ratios[0] == ratios[1]
    assert 0.8 * 365 / 30 < ratios[0] < 1.2 * 365 / 30
    assert numbers[0] == labels[0] == shape
    assert categories[0] == (shape[0], 5)
    whole = page["up_to"][-1]
    assert (page["in_month"] >= 0).all()
    share = page["discounted"] / whole
    assert 1.01**-12 < share.min() <= share.max() < 1 / 1.01
    absolute, cqr = page["lines"]["absolute"], page["lines"]["cqr"]
    assert absolute["lower ends below 0"] > 0.5 > cqr["lower ends below 0"]
    for line in (absolute, cqr):
        assert line["coverage"] == line["coverage with low.clip(0)"] > 0.85


def test_the_page_names_all_losses():
    assert [name for name in LOSSES if f'`"{name}"`' not in PAGE] == []
