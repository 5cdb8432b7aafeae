"""Tables of runs: means and spread over seeds, and paired differences."""

import numpy as np
import pandas as pd
from scores import LARGER_IS_BETTER, MAIN
from tasks import TASKS


def write_report(runs, path):
    """Write a table for each split and number of customers."""
    table = pd.DataFrame(runs)
    if table.empty:
        return
    table["version"] = [name_of(run) for run in runs]
    table["customers"] = table["customers"].fillna(0).astype(int)
    lines = ["# Quality", ""]
    for (split, customers), part in table.groupby(["split", "customers"]):
        of = f"{customers:,} customers at most" if customers else "all customers"
        lines += [f"## {split.title()}, {of}", "", *rows_of(part), ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def name_of(run):
    """Return the model, its version and its settings as one name."""
    told = [
        f"{name.removeprefix('estimator__')}={value}"
        for name, value in run["settings"].items()
    ]
    return " ".join(filter(None, [run["model"], run["label"], *told]))


def rows_of(part):
    """Return the lines of a Markdown table: a row for each task and version.

    How far a version is ahead of the first of its task is paired over the seeds that
    both have, with a standard error; of scores that have a unit it is in percent.
    """
    lines = [
        "| task | version | score | mean ± sd | ahead of the first | seconds | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for task in [task for task in TASKS if task in set(part["task"])]:
        of_task = part[part["task"] == task]
        score = MAIN[TASKS[task].kind]
        first = None
        for version, runs in of_task.groupby("version", sort=False):
            values = runs.drop_duplicates("seed").set_index("seed")[score]
            first = values if first is None else first
            lines.append(
                f"| {task} | {version} | {score} | {values.mean():.4f} ± "
                f"{values.std():.4f} | {ahead_of(first, values, score)} | "
                f"{runs['seconds'].mean():.0f} | {len(values)} |"
            )
    return lines


def ahead_of(first, values, score):
    """Return the paired difference of scores with equal seeds, as text."""
    if first is values:
        return ""
    if score in LARGER_IS_BETTER:
        ahead, form = (values - first).dropna(), "{:+.4f} ± {:.4f}"
    else:
        ahead, form = (1 - values / first).dropna(), "{:+.1%} ± {:.1%}"
    return form.format(ahead.mean(), ahead.std() / np.sqrt(len(ahead)))
