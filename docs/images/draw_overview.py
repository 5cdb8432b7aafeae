"""Draw overview.svg, the picture of the front page.

Run as ``python docs/images/draw_overview.py``. Customers, events and cutoffs are those
of the quickstart in the README.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.dates import ConciseDateFormatter, MonthLocator

from sklearn_seqcrm.datasets import make_customer_journeys
from sklearn_seqcrm.events import EventLog

# Colors of Okabe and Ito, which people with color blindness can tell apart.
COLORS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"]
INK, FAINT = "#24292f", "#8c959f"
N_ROWS = 5

journeys = make_customer_journeys(2000, random_state=0)
log = EventLog(journeys.events, customer="customer_id", time="timestamp")
X = log.attach(journeys.rows, cutoff="cutoff").head(N_ROWS)
kinds = dict(zip(log.to_frame()["event"].cat.categories, COLORS, strict=False))

plt.rcParams.update(
    {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "overview"}
)
figure, (timelines, table, models) = plt.subplots(
    1, 3, figsize=(11, 3), width_ratios=[4.6, 4.6, 2.6], layout="constrained"
)

# Events; those before the cutoff of the row are opaque.
for place, row in X.iterrows():
    events = log.to_frame().loc[
        lambda t, who=row["customer_id"]: t["customer_id"] == who
    ]
    seen = events["timestamp"] < row["cutoff"]
    timelines.axhline(-place, color="#d0d7de", linewidth=0.8, zorder=0)
    for kind, color in kinds.items():
        of_kind = events["event"] == kind
        for which, alpha in ((seen, 1), (~seen, 0.25)):
            times = events.loc[of_kind & which, "timestamp"]
            timelines.scatter(
                times,
                [-place] * len(times),
                s=22,
                color=color,
                alpha=alpha,
                linewidth=0,
            )
    timelines.vlines(
        row["cutoff"], -place - 0.35, -place + 0.35, color=INK, linewidth=2
    )
for kind, color in kinds.items():
    timelines.scatter([], [], s=22, color=color, label=kind)
timelines.vlines([], 0, 1, color=INK, linewidth=2, label="cutoff")
timelines.legend(
    loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=6, frameon=False,
    handletextpad=0.1, handlelength=1, columnspacing=0.8,
)  # fmt: skip
timelines.set_title("Events of customers, of which a row sees the past", fontsize=10)
timelines.set_yticks([-place for place in range(N_ROWS)], X["customer_id"])
timelines.xaxis.set_major_locator(MonthLocator([1, 7]))
timelines.xaxis.set_major_formatter(ConciseDateFormatter(MonthLocator([1, 7])))
timelines.set_ylim(-N_ROWS + 0.4, 1.1)
timelines.spines[:].set_visible(False)
timelines.tick_params(length=0)

# X.
cell = {"va": "center", "family": "monospace", "fontsize": 8}
table.set_title("X: the history is a column", fontsize=10)
places = {
    "customer_id": 0,
    "cutoff": 0.24,
    "age": 0.45,
    "region": 0.54,
    "history": 0.68,
}
for name, x in places.items():
    table.text(x, 0.8, name, color=INK, weight="bold", **cell)
for place, row in X.iterrows():
    table.axhspan(
        -place - 0.5,
        -place + 0.5,
        color="#0072B2",
        alpha=0.07 if place % 2 else 0,
        lw=0,
    )
    values = {
        "customer_id": row["customer_id"],
        "cutoff": f"{row['cutoff']:%Y-%m-%d}",
        "age": f"{row['age']:.0f}",
        "region": row["region"],
    }
    for name, text in values.items():
        table.text(places[name], -place, text, color=INK, **cell)
    events = row["history"].to_frame()
    ages = (row["cutoff"] - events["timestamp"]) / pd.Timedelta("365D")
    colors = [kinds[kind] for kind in events["event"]]
    table.hlines(-place, 0.68, 1, color="#d0d7de", linewidth=0.6, zorder=0)
    table.scatter(1 - 0.32 * ages, [-place] * len(ages), s=10, c=colors, linewidth=0)
table.set(xlim=(-0.02, 1.02), ylim=(-N_ROWS + 0.4, 1.1))
table.axis("off")

# Models that take it.
models.set_title("and any model takes it", fontsize=10)
for y, text, color in (
    (0.78, "LSTM\ntakes every event", "#0072B2"),
    (0.48, "boosted trees\ntake aggregates", "#009E73"),
    (0.18, "hybrid\nof both", "#CC79A7"),
):
    box = {"boxstyle": "round,pad=0.5", "facecolor": color, "edgecolor": "none"}
    models.text(0.55, y, text, ha="center", va="center", color="white", bbox=box)
    arrow = {"arrowstyle": "->", "color": FAINT}
    models.annotate("", (0.2, y), (0.0, 0.48), arrowprops=arrow)
models.set(xlim=(0, 1), ylim=(0, 1))
models.axis("off")

figure.savefig(
    Path(__file__).with_name("overview.svg"),
    facecolor="white",
    metadata={"Date": None, "Creator": None},
)
