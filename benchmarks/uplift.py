"""Effects of contacts: each meta-learner with networks and with boosted aggregates.

``python benchmarks/uplift.py`` fits them on simulated campaigns whose effects depend on
the order of events, `make_campaigns`: 8,000 customers whose treatment was drawn at
random (``randomised``), or chosen by their probability to buy (``confounded``). All are
tested on 4,000 other customers of a randomised campaign. Each fit adds a line to the
results, so an interrupted command continues where it was; the report needs no more than
two seeds. Learners called plain have one model of effects of all rows, with equal
weights and without calibration.
"""

import argparse
import json
import re
import time
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.datasets import make_campaigns
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator
from sklearn_seqcrm.metrics import qini_auc_score
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.uplift import UpliftClassifier

MINUS = "\N{MINUS SIGN}"
DOCS = Path(__file__).parent.parent / "docs"
VERSIONS = ("randomised", "confounded")
PLAIN = {"overlap_weights": False, "calibrate": False}
LEARNERS = {
    "S": {"learner": "s"},
    "T": {"learner": "t"},
    "X, plain": {"learner": "x", **PLAIN},
    "X": {"learner": "x"},
    "DR, plain": {"learner": "dr", **PLAIN},
    "R, plain": {"learner": "r", **PLAIN},
    "DR": {"learner": "dr"},
    "R": {"learner": "r"},
}
N_TRAIN, N_TEST = 8_000, 4_000


def network():
    """Return a network of the events.

    Its loss has a plateau before the order of events is found: with the default
    patience of 5 epochs, training often ends there.
    """
    return make_history_pipeline(
        LSTMClassifier(hidden_size=16, n_networks=1, n_iter_no_change=15)
    )


def boosting():
    """Return boosted trees of aggregates: counts, sums, times, last levels."""
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05, max_leaf_nodes=5, early_stopping=False
    )
    return make_pipeline(HistoryAggregator(), trees)


MODELS = {"network": network, "boosting": boosting}


def main():
    """Run what has no result yet, and write the tables."""
    options = read_options()
    done = {(r["seed"], r["version"], r["model"], r["learner"]) for r in read(options)}
    for seed in options.seeds:
        for version in VERSIONS:
            for model in MODELS:
                for learner in options.learners:
                    key = seed, version, model, learner
                    if key not in done:
                        add(options, key, run(*key))
    write_report(read(options))


def read_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("uplift.jsonl"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=LEARNERS)
    return parser.parse_args()


def read(options):
    """Return the runs with results."""
    if not options.results.exists():
        return []
    lines = options.results.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def add(options, key, found):
    """Append a run to the results."""
    names = ("seed", "version", "model", "learner")
    line = json.dumps({**dict(zip(names, key, strict=True)), **found})
    print(line, flush=True)
    with options.results.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def run(seed, version, model, learner):
    """Fit a learner, and compare its effects with the truth."""
    X, data = campaign(N_TRAIN, seed, confounded=version == "confounded")
    X_test, test = campaign(N_TEST, 1000 + seed, confounded=False)
    uplift = UpliftClassifier(MODELS[model](), **LEARNERS[learner], random_state=seed)
    start = time.process_time()
    uplift.fit(X, data.target, treatment=data.treatment)
    seconds = time.process_time() - start
    effect = uplift.predict(X_test)
    qini = qini_auc_score(test.target, effect, test.treatment, normalize=False)
    return {
        "rmse": float(np.sqrt(np.mean((effect - test.effect) ** 2))),
        "correlation": float(np.corrcoef(effect, test.effect)[0, 1]),
        "bias": float(effect.mean() - test.effect.mean()),
        "qini": float(qini),
        "sd": float(test.effect.std()),
        "naive": float(
            data.target[data.treatment == 1].mean()
            - data.target[data.treatment == 0].mean()
            - test.effect.mean()
        ),
        "qini_truth": float(
            qini_auc_score(test.target, test.effect, test.treatment, normalize=False)
        ),
        "seconds": round(seconds),
    }


def campaign(n_customers, seed, *, confounded):
    """Return rows with histories, and the simulated campaign."""
    data = make_campaigns(n_customers, confounded=confounded, random_state=seed)
    log = EventLog(data.events, customer="customer_id", time="timestamp")
    return log.attach(data.rows, customer="customer_id", cutoff="cutoff"), data


# The report ---------------------------------------------------------------------------


def write_report(runs):
    """Write the tables for the docs."""
    sections = [version_table(runs, version) for version in VERSIONS]
    sections.append(difference_table(runs))
    path = DOCS / "benchmark_results" / "uplift.md"
    text = re.sub(r"(?<=[ (])-(?=\d)", MINUS, "\n\n".join(sections))
    path.write_text(text + "\n", encoding="utf-8")


def table_of(header, lines):
    """Format a table in Markdown."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def values_of(runs, name, **wanted):
    """Return a figure of the runs with these properties, by seed.

    Effects that are the same for all customers have the correlation 0.
    """
    own = [r for r in runs if all(r[key] == value for key, value in wanted.items())]
    found = np.array([r[name] for r in sorted(own, key=lambda r: r["seed"])])
    return np.nan_to_num(found)


def spread(values, form):
    """Format the mean over seeds, with the smallest and the largest value."""
    ends = f"{form.format(min(values))} to {form.format(max(values))}"
    return f"{form.format(np.mean(values))} ({ends})"


def version_table(runs, version):
    """Make the table of one version of the campaign."""
    own = [r for r in runs if r["version"] == version]
    header = [
        version,
        "seeds",
        "RMSE",
        "correlation",
        "bias of the mean",
        "Qini area",
        "CPU s",
    ]
    lines = []
    for model in MODELS:
        for learner in LEARNERS:
            wanted = {"model": model, "learner": learner}
            if len(values_of(own, "rmse", **wanted)):
                lines.append(
                    [
                        f"{model}, {learner}",
                        str(len(values_of(own, "rmse", **wanted))),
                        spread(values_of(own, "rmse", **wanted), "{:.3f}"),
                        spread(values_of(own, "correlation", **wanted), "{:.2f}"),
                        spread(values_of(own, "bias", **wanted), "{:+.3f}"),
                        spread(values_of(own, "qini", **wanted), "{:.4f}"),
                        f"{values_of(own, 'seconds', **wanted).mean():.0f}",
                    ]
                )
    first = {(r["seed"]): r for r in own}.values()
    sd, naive, best = (
        [r[name] for r in first] for name in ("sd", "naive", "qini_truth")
    )
    constant = spread(sd, "{:.3f}")
    n = str(len(first))
    lines.append(["the true mean for all", n, constant, "", "0", "0", ""])
    lines.append(
        ["difference of the arms", n, "", "", spread(naive, "{:+.3f}"), "", ""]
    )
    lines.append(["the true effects", n, "0", "1", "0", spread(best, "{:.4f}"), ""])
    return table_of(header, lines)


def difference_table(runs):
    """Make the table of paired differences between networks and boosted trees."""
    header = ["network minus boosting", *(f"{v}, Qini area" for v in VERSIONS)]
    header += [f"{v}, RMSE" for v in VERSIONS]
    lines = []
    for learner in LEARNERS:
        cells = [learner]
        for name, form in (("qini", "{:+.4f}"), ("rmse", "{:+.3f}")):
            for version in VERSIONS:
                wanted = {"version": version, "learner": learner}
                cells.append(interval(differences(runs, name, **wanted), form))
        lines.append(cells)
    return table_of(header, lines)


def differences(runs, name, **wanted):
    """Return network minus boosting of the seeds that both have."""
    own = [r for r in runs if all(r[key] == value for key, value in wanted.items())]
    network, boosting = (
        {r["seed"]: r[name] for r in own if r["model"] == model} for model in MODELS
    )
    return np.array(
        [network[seed] - boosting[seed] for seed in network.keys() & boosting.keys()]
    )


def interval(values, form):
    """Format a mean with its 95% interval over seeds (Student's t)."""
    n = len(values)
    if n < 2:
        return ""
    mean = np.mean(values)
    reach = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)
    ends = f"{form.format(mean - reach)} to {form.format(mean + reach)}"
    return f"{form.format(mean)} ({ends})"


if __name__ == "__main__":
    main()
