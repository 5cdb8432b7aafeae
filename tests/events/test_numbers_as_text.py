"""Text that is numbers is recognized, and infinite numbers are counted."""

import re
import warnings

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
        [f"SKU {i}" for i in range(100)],
        [f"EURO{i}" for i in range(100)],
        [f"{i:05}" for i in range(100)],
        [f"{i},{i}a" for i in range(100)],
        [f"{i},{i},{i}" for i in range(100)],
        PRICES[:19],
    ],
)
def test_other_text_is_no_warning(levels):
    log_of_values(levels)


MANY = [f"{cents / 100:.2f}" for cents in range(990, 9990, 50)]


def test_text_among_numbers_becomes_missing():
    texts = [*MANY, "unknown"]
    with pytest.warns(UserWarning, match=r"use pd.to_numeric\(\.\.\., errors='coerce'"):
        log_of_values(texts)
    made = pd.to_numeric(pd.Series(texts), errors="coerce")
    assert made.tolist()[:-1] == [float(one) for one in MANY]


@pytest.mark.parametrize(
    ("levels", "match"),
    [
        (MANY, r"decimal points, such as '10.40'.*use pd.to_numeric"),
        ([*MANY, "unknown", None], "decimal points"),
        ([f"-{one}" for one in MANY], "decimal points"),
        # A wrong advice would be wrong by a factor of 1000.
        ([f"{i // 1000}.{i % 1000:03}" for i in range(1024, 99999, 97)], "if they sep"),
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
        ("{:.2f}EUR".format, MANY),
        ("{:.0f}SEK".format, [f"{i}" for i in range(40)]),
        ("SEK{:.2f}".format, MANY),
        ("US${:.2f}".format, MANY),
        ("{:.1f}%".format, [f"{i}.5" for i in range(40)]),
        ("£{:.0f}".format, [f"{i}" for i in range(40)]),
        (lambda one: f"€{one:.2f}".replace(".", ","), MANY),
        (lambda one: f"{one:.2f}€".replace(".", ","), MANY),
        (lambda one: f"{one:.1f} %".replace(".", ","), [f"{i}.5" for i in range(40)]),
    ],
)
def test_the_advice_for_signs_makes_numbers(write, numbers):
    numbers = [float(one) for one in numbers]
    texts = [write(one) for one in numbers]
    [code] = codes_for([*texts, "sold-out"], "numbers with the sign")
    made = eval(code, {"pd": pd, "events": pd.DataFrame({"x": texts})})
    sign = -1 if texts[0].startswith("-") else 1
    assert made.tolist() == [sign * one for one in numbers]


def with_spaces(number, space, comma):
    """Return 1049.5 as 1 049,50."""
    text = f"{number:,.2f}".replace(".", comma)
    return text.replace(",", space, 1) if number >= 1000 else text


@pytest.mark.parametrize("comma", [",", "."])
@pytest.mark.parametrize("space", [" ", "\u00a0", "\u202f"])
@pytest.mark.parametrize(
    ("form", "what"),
    [
        ("{}", "spaces between thousands"),
        ("-{}", "spaces between thousands"),
        ("{} kr", "the sign 'kr'"),
        ("kr {}", "the sign 'kr'"),
        ("{}\u00a0Kč", "the sign 'Kč'"),
        ("{} EUR", "the sign 'EUR'"),
        ("zł {}", "the sign 'zł'"),
    ],
)
def test_the_advice_for_spaces_makes_numbers(form, what, space, comma):
    numbers = [i / 4 for i in range(1001, 39999, 321)]
    texts = [form.format(with_spaces(one, space, comma)) for one in numbers]
    [code] = codes_for([*texts, "sold-out"], f"numbers with {what}")
    made = eval(code, {"pd": pd, "events": pd.DataFrame({"x": texts})})
    sign = -1 if form.startswith("-") else 1
    assert made.tolist() == [sign * one for one in numbers]


def test_whole_numbers_with_spaces_need_a_sign():
    numbers = list(range(149, 99999, 777))
    texts = [f"{one:,}".replace(",", " ") for one in numbers]
    log_of_values(texts)
    texts = [f"{one} kr" for one in texts]
    [code] = codes_for(texts, "the sign 'kr'")
    made = eval(code, {"pd": pd, "events": pd.DataFrame({"x": texts})})
    assert made.tolist() == numbers


def codes_for(texts, match):
    """Return the calls of pd.to_numeric that the warning advises."""
    with pytest.warns(UserWarning, match=match) as found:
        log_of_values(texts)
    return re.findall(r"pd\.to_numeric\(.*?errors='coerce'\)", str(found[0].message))


@pytest.mark.parametrize(
    ("write", "swap"),
    [
        (lambda one: f"{one:,} €".replace(",", "."), False),  # 1.049 €
        (lambda one: f"€{one:,}", True),  # €1,049
    ],
)
@pytest.mark.parametrize("first", [149, 1049])
def test_an_ambiguous_sign_has_two_advices(write, swap, first):
    """A wrong one would be wrong by a factor of 1000."""
    numbers = list(range(first, 9999, 50))
    texts = [write(one) for one in numbers]
    codes = codes_for(texts, "if the (points|commas) are decimal .*if they separate")
    events = pd.DataFrame({"x": texts})
    decimals, thousands = [eval(one, {"pd": pd, "events": events}) for one in codes]
    assert thousands.tolist() == numbers
    assert decimals.tolist() == [x / 1000 if x > 999 else x for x in numbers]


@pytest.mark.parametrize(
    "levels",
    [
        [f"{sign}{one}" for one in MANY for sign in "€$"],
        [f"{one} {unit}" for one in MANY for unit in ("LTR", "KGM")],
        [f"ABC{one}" for one in MANY],
        [f"{i // 100:02}.{i % 100:02}" for i in range(100, 999, 3)],  # NACE: 01.10
        [f"{i:04}.{i % 90 + 10}" for i in range(101, 999, 7)],  # HS: 0101.10
        [f"{hour:02}.{minute:02}" for hour in range(24) for minute in range(0, 60, 5)],
        [f"{hour:02},{minute:02}" for hour in range(24) for minute in range(0, 60, 5)],
        [f"{day:02}.{month:02}" for month in range(1, 13) for day in range(1, 29)],
        [f"{day} {month} 2024" for month in range(1, 13) for day in range(1, 29)],
        [f"{i} 555 {i + 7}" for i in range(100, 900, 3)],  # telephone numbers
        [f"+46 {i % 90 + 10} {i} 12 34" for i in range(100, 900, 3)],
        [f"{a} x {b}" for a in range(10, 30) for b in range(100, 999, 100)],
        [f"{a},5 {b}" for a in range(1, 30) for b in range(100, 999, 100)],  # sizes
        [f"{i}.{i + 7} {i}" for i in range(100, 900, 3)],
        [f"{i * 50} g" for i in range(1, 200)],
        [f"{i},5 kg" for i in range(1, 200)],
        [f"item {i // 9} {i}" for i in range(100, 900, 3)],
        [f"kr{i}" for i in range(100)],
    ],
)
def test_codes_times_and_several_signs_are_no_warning(levels):
    log_of_values(levels)


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
    with pytest.warns(UserWarning, match="networks, 2 of field 'x'. Make"):
        EventLog(infinite("a"), "who", "time")
    log = EventLog(infinite("a").iloc[[0, 3]], "who", "time")
    with pytest.warns(UserWarning, match="2 of field 'x'"):
        log.append(infinite("b"))
    parts = [infinite("a"), infinite("b")]
    with pytest.warns(UserWarning, match="4 of field 'x'"):
        EventLog.from_parts(parts, tmp_path / "log", "who", "time")
    with pytest.warns(UserWarning, match="4 of field 'x'"):
        PartitionedLog(parts, "who", "time")


def test_missing_and_large_numbers_are_no_warning():
    """The settings of pytest ignore the warning, which other tests meet."""
    table = infinite("a").replace([np.inf, -np.inf], [1e308, np.nan])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EventLog(table, "who", "time")


def test_infinite_numbers_are_one_warning_with_the_line_of_the_user():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        EventLog(infinite("a"), "who", "time")
    assert [one.filename for one in found] == [__file__]
