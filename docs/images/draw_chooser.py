"""Draw chooser.svg, the picture of the page "Which estimator for which question?".

Run as ``python docs/images/draw_chooser.py``.
"""

from pathlib import Path

import matplotlib.pyplot as plt

# Colors of Okabe and Ito, which people with color blindness can tell apart.
BLUE, GREEN, PURPLE = "#0072B2", "#009E73", "#AA4499"
INK, FAINT = "#24292f", "#8c959f"
ROWS = [  # question, examples, label, what to use, color
    ("Yes or no?", "churn, return, repurchase", "churned", "LSTMClassifier", BLUE),
    ("How much?", "CLV, spend, orders", "future_sum", "LSTMRegressor", BLUE),
    ("When?", "retention, next purchase", "time_to_next", "LSTMSurvival", BLUE),
    ("What next?", "next best offer, demand", "none", "LSTMEventModel", GREEN),
    ("What does it change?", "mail, coupon, ad", "y and treatment",
     "UpliftClassifier,\nLSTMUpliftClassifier", PURPLE),
    ("Why?", "attribution, explanation", "a fitted model",
     "channel_attribution,\nevent_attributions", PURPLE),
]  # fmt: skip

plt.rcParams.update(
    {"font.size": 10, "svg.fonttype": "none", "svg.hashsalt": "chooser"}
)
figure, ax = plt.subplots(figsize=(7.6, 4.6))
figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
ax.set(xlim=(0, 7.6), ylim=(-4.1, 0.5))
ax.axis("off")


def arrow(start, stop):
    """Draw an arrow to the right."""
    ax.annotate("", stop, start, arrowprops={"arrowstyle": "->", "color": FAINT})


for x, title in ((1.1, "question"), (3.75, "label"), (6.2, "estimator")):
    ax.text(x, 0.28, title, ha="center", color=FAINT)
for place, (question, examples, label, estimator, color) in enumerate(ROWS):
    y = -0.15 - 0.6 * place
    ax.text(0.1, y + 0.1, question, va="center", weight="bold", color=INK)
    ax.text(0.1, y - 0.13, examples, va="center", size=9, color=INK)
    ax.text(
        3.75, y, label, ha="center", va="center", size=9, color=INK,
        family="sans-serif" if " " in label or label == "none" else "monospace",
    )  # fmt: skip
    ax.text(
        6.2, y, estimator, ha="center", va="center", size=9.5, color="white",
        family="monospace",
        bbox={"boxstyle": "round,pad=0.35", "facecolor": color, "edgecolor": "none"},
    )  # fmt: skip
    arrow((2.3, y), (3.05, y))
    arrow((4.45, y), (5.1, y))
ax.plot((0.1, 7.5), (-3.52, -3.52), color="#d0d7de")
ax.text(
    0.1, -3.82,
    "Blue: compare with HistoryAggregator() and boosting; make_hybrid joins both.",
    va="center", size=9, color=BLUE,
)  # fmt: skip
path = Path(__file__).with_name("chooser.svg")
figure.savefig(path, facecolor="white", metadata={"Date": None})
