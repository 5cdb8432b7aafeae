"""Figures in prose stand in a table or an output of the same page, or of a benchmark.

Figures are decimals, percentages, numbers with thousands separators, and "7 times". The
output of a page is not kept; the test that runs the page asserts what its prose claims.
Such figures, and those of runs without a table, are exceptions below.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "benchmark_results"
NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+"
FIGURE = (
    r"(?<![\w.,])"
    r"(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+(?= ?%| percent| times))"
)

# Figures without a table, by page and reason.
EXCEPTIONS = {
    "README": {
        "asserted by test_readme.py": "0.771 0.753",
        "a company": "84.51",
        "printed by plot_predict_repurchase.py": "40,153 2,452 0.0022 0.0061 "
        "0.0024 0.0038",
    },
    "benchmarks": {"another machine, without a table": "222,000 645,000 108 35"},
    "citing": {"a company": "84.51"},
    "faq": {"a number as text": "1,024"},
    "comparison": {"printed by plot_predict_repurchase.py": "0.0024 0.0038"},
    "explanations": {
        "the network of the table": ".99997",
        "errors of sums, beside the table": ".44",
        "asserted by test_docs_explanations.py": ".20",
        "ends of paths that are the label": ".999",
    },
    "getting_started": {"a company": "84.51"},
    "how_much_data": {
        "processor times of the table over its customers": "3.7",
        "a difference in the table": "0.050",
        "memory of a run described there": "0.9",
    },
    "other_tools": {"ten million vectors of 64 numbers": "2.6"},
    "performance": {"a run described there": "4.4"},
    "production": {
        "largest differences, by benchmarks/check_streams.py": "0.000004",
        "a run described there": "0.45 1.2",
    },
    "recommendations": {
        "a parameter's legal values": ".32",
        "the simulation of the table": ".525",
        "asserted by test_predict_next.py": "98",
        "runs described beside the tables": "4,286 5,553 2,229",
    },
    "service": {"processor time of a run described there": "3.2"},
    "statics": {"runs described there": ".56"},
    "values": {"runs described there": "1.173 1.180 1.167 1.62 2.06"},
}

# Pages that are reports of measurements: prose describes runs and has their figures.
NOT_CHECKED = {
    "bidding",
    "defaults",
    "defaults_event_model",
    "defaults_inputs",
    "defaults_training",
    "defaults_trees",
    "distributed",
    "event_model_accuracy",
    "event_model_formulas",
    "futures",
    "scale",
    "uplift_accuracy",
    "whom_to_contact",
}


def blocks(text):
    """Return the text without its blocks, and the blocks: code, tables, outputs."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    fenced = r"^(`{3,}).*?^\1\s*$"
    found = [match[0] for match in re.finditer(fenced, text, re.DOTALL | re.MULTILINE)]
    text = re.sub(fenced, "", text, flags=re.DOTALL | re.MULTILINE)
    lines = text.splitlines()
    found += [line for line in lines if line.startswith("|")]
    return "\n".join(line for line in lines if not line.startswith("|")), found


def prose_of(text):
    """Return prose without code, formulas and addresses."""
    for pattern in (r"`[^`]*`", r"\$[^$]*\$", r"\]\([^)]*\)", r"https?://\S+"):
        text = re.sub(pattern, "", text)
    return text


def bare(figure):
    """Return a figure without its leading zeros: 0.85 is written .85, too."""
    return figure.lstrip("0")


def missing_figures(page, name):
    """Return figures of prose that stand in no table, output or exception."""
    prose, found = blocks(page)
    results = [path.read_text(encoding="utf-8") for path in RESULTS.glob("*.md")]
    excused = " ".join(EXCEPTIONS.get(name, {}).values())
    known = re.findall(NUMBER, "\n".join([*found, *results, excused]))
    figures = re.findall(FIGURE, prose_of(prose))
    stands = {bare(one) for one in known}
    return [one for one in figures if bare(one) not in stands]


PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
CHECKED = [page for page in PAGES if page.stem not in NOT_CHECKED]


@pytest.mark.parametrize("page", CHECKED, ids=lambda page: page.stem)
def test_figures_stand_in_a_table(page):
    assert missing_figures(page.read_text(encoding="utf-8"), page.stem) == []


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_no_exception_is_left_over(name):
    """Each is a figure of the prose that stands nowhere else."""
    [page] = [page for page in PAGES if page.stem == name]
    text = page.read_text(encoding="utf-8")
    figures = re.findall(FIGURE, prose_of(blocks(text)[0]))
    excused = " ".join(EXCEPTIONS[name].values()).split()
    unused = [one for one in excused if bare(one) not in map(bare, figures)]
    assert unused == []


def test_a_figure_that_stands_nowhere_is_found():
    page = "It is .8123 or 12,345 or 7 times.\n\n| a | .8124 |\n```\n12,345\n```\n"
    prose, _ = blocks(page)
    assert re.findall(FIGURE, prose_of(prose)) == [".8123", "12,345", "7"]
    assert missing_figures(page.replace("7 times", "it"), "") == [".8123"]
