"""Text that is numbers is recognized, and infinite numbers are counted."""

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.partitions import PartitionedLog


def log_of_values(values, **options):
    """A log of 20 events a customer, in the order of time."""
    n = len(values)
    events = pd.DataFrame({"who": np.arange(n) // 20, "time": range(n), "x": values})
    return EventLog(events, "who", "time", **options)


PRICES = [f"{cents // 100},{cents % 100:02}" for cents in range(990, 3990, 50)]


@pytest.mark.parametrize(
    "levels",
    [
        PRICES,
        [*PRICES, "unknown", None],
        [f"-1.{one.zfill(6)}" for one in PRICES],
        [f" {one} " for one in PRICES] * 100,
        [f"{i},5" for i in range(5000)],
        [f"{i},99" for i in range(10, 60)],
    ],
)
def test_decimal_commas_are_a_warning(levels, tmp_path):
    match = r"fields \['x'\] are text that looks like .*','.*categorical=\['x'\]"
    with pytest.warns(UserWarning, match=match):
        log = log_of_values(levels)
    assert log.column("x").type.name == "categorical"
    log_of_values(levels, categorical=["x"])
    with pytest.warns(UserWarning, match=match):
        EventLog.from_parts([log.to_frame()], tmp_path / "log", "who", "time")


def test_decimal_commas_of_any_part_are_a_warning(tmp_path):
    parts = [
        pd.DataFrame({"who": who, "time": range(len(levels)), "x": levels})
        for who, levels in [("a", PRICES[:10]), ("b", PRICES)]
    ]
    with pytest.warns(UserWarning, match="decimal commas") as found:
        EventLog.from_parts(parts, tmp_path / "log", "who", "time")
    assert [one.filename for one in found] == [__file__]


@pytest.mark.parametrize(
    ("levels", "match"),
    [
        # 1,024 may be 1024 or 1.024: a wrong advice would be wrong by a factor of 1000.
        (
            [f"{i // 1000},{i % 1000:03}" for i in range(1024, 9999, 97)],
            r"numbers with commas, such as '1,024'.*decimal=','.*thousands=','\) if",
        ),
        ([f"{i:,}" for i in range(10**6, 2 * 10**6, 9999)], r"by .*\(..., thousands"),
        ([f"{i / 7:,.2f}" for i in range(9999, 99999, 999)], r"by .*\(..., thousands"),
        ([f"0,{i}" for i in range(100, 999, 9)], r"by .*\(..., decimal=','\); cat"),
    ],
)
def test_advice_for_thousands_separators(levels, match):
    with pytest.warns(UserWarning, match=match) as found:
        log_of_values(levels)
    assert ("decimal" in str(found[0].message)) == ("decimal" in match)


def test_advice_keeps_declared_categories():
    table = pd.DataFrame({"who": "a", "time": range(60), "size": PRICES, "n": 1})
    match = r"fields \['size'\] .* categorical=\['n', 'size'\] keeps"
    with pytest.warns(UserWarning, match=match):
        EventLog(table, "who", "time", categorical=["n"])


@pytest.mark.parametrize(
    "levels",
    [
        [f"{size}{half}" for size in range(20, 50) for half in ("", ",5")],  # shoes
        [f"{waist},{length}" for waist in range(26, 44) for length in (28, 30, 32)],
        [one.replace(",", ".") for one in PRICES],  # also versions: 2.10
        [f"€ {one} off" for one in PRICES],
        [f"EUR {i}" for i in range(100)],  # like ids of a kind
        [f"{i:05}" for i in range(100)],
        [f"{i},{i}a" for i in range(100)],
        [f"{i},{i},{i}" for i in range(100)],
        PRICES[:19],
    ],
)
def test_other_text_is_no_warning(levels):
    log_of_values(levels)


MANY = [f"{cents / 100:.2f}" for cents in range(990, 9990, 50)]


@pytest.mark.parametrize(
    ("levels", "match"),
    [
        (MANY, r"decimal points, such as '10.40'.*use pd.to_numeric; cat"),
        ([*MANY, "unknown", None], "decimal points"),
        ([f"-{one}" for one in MANY], "decimal points"),
        # A wrong advice would be wrong by a factor of 1000.
        ([f"{i // 1000}.{i % 1000:03}" for i in range(1024, 99999, 97)], "points sep"),
    ],
)
def test_decimal_points_are_a_warning(levels, match):
    with pytest.warns(UserWarning, match=match):
        log_of_values(levels)
    log_of_values(levels[:99])
    log_of_values(levels, categorical=["x"])


@pytest.mark.parametrize(
    ("write", "numbers"),
    [
        ("€{:.2f}".format, MANY),
        ("{:.2f} €".format, MANY),
        ("-${:,.2f}".format, [f"{i}.50" for i in range(1000, 9000, 99)]),
        ("EUR {:.2f}".format, MANY),
        ("{:.2f} USD".format, MANY),
        ("{:.1f}%".format, [f"{i}.5" for i in range(40)]),
        ("£{:.0f}".format, [f"{i}" for i in range(40)]),
        (lambda one: f"€{one:.2f}".replace(".", ","), MANY),
        (lambda one: f"{one:.2f}€".replace(".", ","), MANY),
    ],
)
def test_the_advice_for_signs_makes_numbers(write, numbers):
    numbers = [float(one) for one in numbers]
    texts = [write(one) for one in numbers]
    with pytest.warns(UserWarning, match="currency or percent signs") as found:
        log_of_values(texts)
    text = str(found[0].message)
    code = text[text.index("pd.to_numeric") : text.index("; categorical")]
    events = pd.DataFrame({"x": texts})
    made = eval(code, {"pd": pd, "events": events})
    sign = -1 if texts[0].startswith("-") else 1
    assert made.tolist() == [sign * one for one in numbers]


def test_numbers_as_text_in_any_partition_are_a_warning():
    parts = [
        pd.DataFrame({"who": who, "time": range(len(x)), "x": x})
        for who, x in [("a", MANY[:30]), ("b", MANY[30:])]
    ]
    with pytest.warns(UserWarning, match=r"fields \['x'\] are text .* decimal points"):
        PartitionedLog(parts, "who", "time")


def infinite(who):
    """Events of a customer, two of them infinite and one missing."""
    x = [1.0, np.inf, -np.inf, np.nan]
    return pd.DataFrame({"who": who, "time": range(4), "x": x, "y": 1.0})


def test_infinite_numbers_are_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="missing, 2 of field 'x'. Make"):
        EventLog(infinite("a"), "who", "time")
    log = EventLog(infinite("a").iloc[[0, 3]], "who", "time")
    with pytest.warns(UserWarning, match="2 of field 'x'"):
        log.append(infinite("b"))
    parts = [infinite("a"), infinite("b")]
    with pytest.warns(UserWarning, match="4 of field 'x'"):
        EventLog.from_parts(parts, tmp_path / "log", "who", "time")
    with pytest.warns(UserWarning, match="4 of field 'x'"):
        PartitionedLog(parts, "who", "time")
