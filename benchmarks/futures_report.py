"""Tables and pictures of the runs of `futures.py`, for the docs."""

import re
from pathlib import Path

import numpy as np
from futures_data import ACTIVE, CUTOFFS, N_PARTS

DOCS = Path(__file__).parent.parent / "docs"


def write_report(runs):
    """Write the tables and the picture for the docs."""
    sections = []
    inside = [run for run in runs if run["task"] in CUTOFFS]
    if inside:
        sections.append(calibration_table(inside))
        draw_pit(inside)
    for run in runs:
        if run["task"] == "rivals":
            sections.append(level_table(inside, run["bias"]))
    long = [run for run in runs if "long" in run]
    if long:
        sections.append(long_table(long))
    active = [run for run in runs if "active_within" in run]
    if active:
        sections.append(active_table(active))
        draw_active(active)
    of_demand = [run for run in runs if "demand" in run]
    if of_demand:
        sections.append(demand_table(of_demand))
    path = DOCS / "benchmark_results" / "futures.md"
    text = re.sub(r"(?<=[ (])-(?=\d)", "\N{MINUS SIGN}", "\n\n".join(sections))
    path.write_text(text + "\n", encoding="utf-8")


def table_of(caption, header, lines):
    """Format a table in Markdown; the page names it by its caption."""
    rows = [header, ["---"] * len(header), *lines]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f":::{{table}} {caption}\n{table}\n:::"


def spread(values, form):
    """Format the mean over seeds, with the smallest and the largest value."""
    if min(values) == max(values):
        return form.format(values[0])
    ends = f"{form.format(min(values))} to {form.format(max(values))}"
    return f"{form.format(np.mean(values))} ({ends})"


def by_cutoff(runs):
    """Yield the runs of each cutoff with results."""
    found = {task: [run for run in runs if run["task"] == task] for task in CUTOFFS}
    return {task: own for task, own in found.items() if own}


def name_of(task):
    """Return the name of the data and the cutoff."""
    _, name, cutoff = CUTOFFS[task]
    return f"{name} from {cutoff:%Y-%m-%d}"


def calibration_table(runs):
    """Make the table of bias and coverage of each data set."""
    lines = []
    for task, own in by_cutoff(runs).items():
        absolute = [run["absolute_errors"] for run in own]
        lines.append(
            [
                f"{name_of(task)}, {own[0]['customers']:,} customers",
                spread([run["events"] for run in own], "{:+.1%}"),
                spread([run["spend"] for run in own], "{:+.1%}"),
                f"{own[0]['active']:.1%}",
                spread([run["active_simulated"] for run in own], "{:.1%}"),
                f"{np.mean([run['covered'] for run in own]):.1%}",
                f"{np.mean([run['covered_pit'] for run in own]):.1%}",
                *(
                    f"{np.mean([one['spend'][way] for one in absolute]):.1f}"
                    for way in ("mean", "median")
                ),
            ]
        )
    header = ["13 weeks", "bias of events", "of spend", "active", "simulated"]
    header += ["in intervals", "by their PIT", "MAE of spend, mean", "median"]
    return table_of("Calibration over 13 weeks", header, lines)


def level_table(runs, bias):
    """Make the table of totals of 13 weeks, with simpler models."""
    ways = ["BG/NBD", "before", "repeats before"]
    lines = [
        [
            name_of(task),
            spread([run["events"] for run in own], "{:+.1%}"),
            *(f"{bias[task][way]:+.1%}" for way in ways),
        ]
        for task, own in by_cutoff(runs).items()
    ]
    header = ["bias of events in 13 weeks", "event model", "BG/NBD"]
    header += ["as in the 13 before", "the same without first purchases"]
    return table_of("Totals of 13 weeks", header, lines)


def long_table(runs):
    """Compare 39 weeks of CDNOW with BG/NBD."""
    ways = {
        "event model": ("cdnow", "event model"),
        "mean of the five networks": ("ensemble", "event model"),
        "mean of the five networks and BG/NBD": ("ensemble", "mean with BG/NBD"),
        "event model, dropout=.3": ("dropout", "event model"),
        "BG/NBD": ("cdnow", "BG/NBD"),
    }
    names = {"all": "all 23,570", "papers": "the 2,357 of the papers"}
    forms = {"bias": "{:+.1%}", "rmse": "{:.3f}", "gini": "{:.3f}", "auc": "{:.3f}"}
    lines = []
    for group, customers in names.items():
        for way, (task, model) in ways.items():
            own = [run["long"] for run in runs if run["task"] == task]
            scores = [one[group][model] for one in own if group in one]
            if scores:
                found = [spread([s[k] for s in scores], f) for k, f in forms.items()]
                lines.append([f"{way}, {customers}", *found])
    header = ["39 weeks", "bias", "RMSE", "Gini", "ROC AUC, active"]
    return table_of("Purchases of CDNOW in 39 weeks", header, lines)


def demand_table(runs):
    """Make the table of mean absolute scaled errors."""
    names = {
        "demand": "Complete Journey",
        "demand_retail": "Online Retail II",
        "demand_walmart": "Walmart",
    }
    sizes = {1: "all customers", 10: "tenths", N_PARTS: "hundredths"}
    columns, scores = [], {}
    for task, name in names.items():
        own = [one for run in runs if run["task"] == task for one in run["demand"]]
        for n_parts, size in sizes.items():
            some = [one for one in own if one["parts"] == n_parts]
            if some:
                columns.append(f"{name}, {size}")
            for way in some[0].keys() - {"cutoff", "parts"} if some else ():
                mean = np.mean([one[way]["mase"] for one in some])
                scores.setdefault(way, []).append(f"{mean:.2f}")
    order = [one for one in runs[0]["demand"][0] if one in scores]
    lines = [[way, *scores[way]] for way in order]
    header = ["MASE of weekly demand by level", *columns]
    return table_of("Weekly demand", header, lines)


def active_table(runs):
    """Make the table of Brier scores of an event within a horizon."""
    lines = []
    for task, (of_cutoff, horizons) in ACTIVE.items():
        own = [run["active_within"] for run in runs if run["task"] == task]
        for weeks in horizons if own else ():
            found = [one[str(weeks)] for one in own]
            ours = [one["ways"]["event model"] for one in found]
            line = [
                f"{name_of(of_cutoff)}, {named(weeks)}",
                f"{found[0]['active']:.1%}",
                spread([one["mean"] for one in ours], "{:.1%}"),
                spread([one["brier"] for one in ours], "{:.4f}"),
            ]
            for way in ("BG/NBD", "MBG/CNBD-k"):
                more = np.mean([one["ways"][way]["more"] for one in found])
                error = 1.96 * np.max([one["ways"][way]["more_se"] for one in found])
                line.append(f"{more:+.4f} ± {error:.4f}")
            lines.append(line)
    header = ["any event within", "came", "predicted", "Brier score", "BG/NBD, more"]
    header += ["MBG/CNBD-k, more"]
    return table_of("Active within a horizon", header, lines)


def named(weeks):
    """Return a number of weeks as text."""
    return f"{weeks} week{'s' * (weeks > 1)}"


def draw_active(runs):
    """Draw predicted and real shares of tenths of the customers."""
    import matplotlib.pyplot as plt

    tasks = {
        task: own
        for task, own in ACTIVE.items()
        if any(run["task"] == task for run in runs)
    }
    figure, axes = plt.subplots(
        len(tasks),
        3,
        figsize=(9, 3 * len(tasks)),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    marks = {
        "event model": ("C0", "o"),
        "BG/NBD": ("C1", "s"),
        "MBG/CNBD-k": ("C2", "^"),
    }
    for line, (task, (of_cutoff, horizons)) in zip(axes, tasks.items(), strict=True):
        own = [run["active_within"] for run in runs if run["task"] == task]
        for axis, weeks in zip(line, horizons, strict=True):
            axis.plot([0, 1], [0, 1], color="black", lw=0.8)
            for way, (color, mark) in marks.items():
                predicted, real = (
                    np.mean([one[str(weeks)]["ways"][way][key] for one in own], axis=0)
                    for key in ("predicted", "real")
                )
                axis.plot(
                    predicted, real, mark + "-", color=color, ms=4, lw=1, label=way
                )
            _, name, cutoff = CUTOFFS[of_cutoff]
            axis.set_title(f"{name} {cutoff:%b %Y}, {named(weeks)}", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("predicted")
    for axis in axes[:, 0]:
        axis.set_ylabel("share with an event")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(DOCS / "images" / "active_within.png", dpi=100, bbox_inches="tight")


def draw_pit(runs):
    """Draw the ranks of times of next events among simulated ones."""
    import matplotlib.pyplot as plt

    shares = {
        name_of(task): np.mean([run["pit_of_gaps"] for run in own], axis=0)
        for task, own in by_cutoff(runs).items()
    }
    n_lines = -(-len(shares) // 3)
    figure, axes = plt.subplots(
        n_lines, 3, figsize=(9, 2.6 * n_lines), sharex=True, sharey=True, squeeze=False
    )
    for axis in axes.flat[len(shares) :]:
        axis.set_visible(False)
    for axis, (name, share) in zip(axes.flat, shares.items(), strict=False):
        axis.bar(np.arange(10) / 10 + 0.05, share, 0.09)
        axis.axhline(0.1, color="black", lw=0.8)
        axis.set_title(name, fontsize=10)
        axis.set_ylim(0, 0.2)
    for axis in axes[-1]:
        axis.set_xlabel("among simulated times")
    for axis in axes[:, 0]:
        axis.set_ylabel("share of customers")
    figure.tight_layout()
    figure.savefig(DOCS / "images" / "pit_of_gaps.png", dpi=100, bbox_inches="tight")
