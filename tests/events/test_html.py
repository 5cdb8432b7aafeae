"""HTML for notebooks: only visible events, escaped, and of bounded size."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.preprocessing import HistoryEncoder
from sklearn_seqcrm.testing._small_data import make_events, make_table

EVIL = "<script>alert('x')</script>&\"\n"


class Tags(HTMLParser):
    """Collect all tags of a page; fail if they are not closed in order."""

    def __init__(self, page):
        super().__init__()
        self.found, self.open, self.texts = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.found)


def shown(something):
    page = something._repr_html_()
    for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(svg)
    tags = Tags(page)
    names = {name for name, _ in tags.found}
    assert not names & {"script", "style", "link", "img", "iframe"}
    assert not any(key.startswith("on") for _, attrs in tags.found for key in attrs)
    images = [attrs for name, attrs in tags.found if name == "svg"]
    assert all(image["role"] == "img" and image["aria-label"] for image in images)
    return page, tags


def of_one(n_events, cutoff=None, lookback=None, **fields):
    days = pd.date_range("2024-01-01", periods=n_events, freq="h", tz="UTC")
    events = pd.DataFrame({"who": EVIL, "day": days, **fields})
    log = EventLog(events, "who", "day", categorical=[])
    rows = pd.DataFrame({"who": [EVIL, "else"]})
    return log.attach(rows, cutoff=cutoff, lookback=lookback)


def test_each_event_is_a_dot_with_its_fields():
    X = of_one(3, amount=[4.0, np.nan, 1.0], kind=["a", "b", "a"])
    page, tags = shown(X["history"][0])
    dots = [attrs for name, attrs in tags.found if name == "circle"]
    assert [float(dot["r"]) for dot in dots] == pytest.approx([9, 2.5, 5.75], abs=0.06)
    assert [dot["fill"] == "none" for dot in dots] == [False, True, False]
    heights = [dot["cy"] for dot in dots]
    assert heights[0] == heights[2] != heights[1]
    x = [float(dot["cx"]) for dot in dots]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.11)
    assert x[2] - x[0] > 500
    assert "2024-01-01 02:00:00+00:00, amount: 1, kind: a" in tags.texts
    assert "3 events from 2024-01-01 00:00 UTC to 2024-01-01 02:00 UTC" in page
    assert "Timeline by kind, with areas by amount" in tags.texts
    page, _ = shown(of_one(3, amount=4.0)["history"][0])
    assert "areas by" not in page  # of equal numbers


@pytest.mark.parametrize("what", ["history", "array", "log"])
def test_text_is_escaped(what):
    X = of_one(4, **{EVIL: [EVIL, "b", EVIL, None]})
    array = X["history"].array
    found = {"history": array[0], "array": array, "log": array.log}[what]
    page, tags = shown(found)
    assert "<script" not in page
    # The line break is a space.
    text = EVIL.replace("\n", " ")
    assert any(text.strip()[:15] in one for one in tags.texts)


def test_events_after_the_cutoff_do_not_show():
    """Histories look as they do in a log that ends at the cutoff."""
    events = make_events(6, 20)
    cutoff = pd.Timestamp("2023-06-01")
    past = events[events["when"] < cutoff]
    rows = pd.DataFrame({"who": sorted(past["who"].unique())})
    later = events.assign(kind=events["kind"].where(events["when"] < cutoff, "new"))
    arrays = [
        EventLog(some, "who", "when").attach(rows, cutoff=cutoff)["history"].array
        for some in (later, past)
    ]
    assert arrays[0]._repr_html_() == arrays[1]._repr_html_()
    for one, other in zip(*arrays, strict=True):
        assert one._repr_html_() == other._repr_html_()


def test_sizes_are_bounded():
    rng = np.random.default_rng(0)
    n = 20_000
    fields = {f"{EVIL}{i}": rng.normal(size=n) for i in range(30)}
    levels = rng.choice([f"{EVIL * 20}{i}" for i in range(2000)], n)
    X = of_one(n, levels=levels, kind=rng.choice(list("abcdef"), n), **fields)
    array = X["history"].array
    for found in (array[0], array.take(np.zeros(1000, int)), array.log):
        page, _ = shown(found)
        assert len(page) < 30_000
    page, tags = shown(array[0])
    assert tags.count("circle") == 0
    assert "counted in 128 spans" in page
    most = of_one(120, note=[f"{EVIL * 9}{i}" for i in range(120)], x=np.arange(120.0))
    page, tags = shown(most["history"][0])
    assert tags.count("circle") == 120
    assert len(page) < 60_000


def test_bars_count_the_events():
    hours = np.concatenate([np.zeros(100, int), np.full(50, 64), [127]])
    events = pd.DataFrame({"who": 1, "hour": hours})
    X = EventLog(events, "who", "hour").attach(pd.DataFrame({"who": [1]}), cutoff=128)
    page, _ = shown(X["history"][0])
    [path] = re.findall(r'd="([^"]*)"', page)
    heights = [float(height) for height in re.findall(r"v-([\d.]+)", path)]
    assert heights == pytest.approx([13, 6.5, 1], abs=0.06)
    assert "The last 6 events" in page


def test_rare_levels_share_a_lane():
    kinds = [*"aaaaabbbbccc", *"defg", None]
    log = EventLog.concat(
        {k: log_with_kind_field(kinds, k) for k in ["a", "b", "c", "d", "e", "f", "g"]}
    )
    X = log.attach(pd.DataFrame({"who": [0]}))
    _, tags = shown(X["history"][0])
    assert "2 others" in tags.texts
    heights = {attrs["cy"] for name, attrs in tags.found if name == "circle"}
    assert len(heights) == 6
    page, _ = shown(of_one(6, kind=list("abcdef"))["history"][0])
    assert "others" not in page


def log_with_kind_field(kinds, kind):
    when = [i for i, one in enumerate(kinds) if one == kind]
    return EventLog(
        pd.DataFrame({"who": 0, "at": when}), "who", "at", observed_until=99
    )


@pytest.mark.parametrize("cutoff", ["2023-06-01", "2024-01-01 00:30"])
def test_empty_histories_and_single_events(cutoff):
    X = of_one(3, cutoff=pd.Timestamp(cutoff, tz="UTC"), x=[1.0, 2, 3])
    array = X["history"].array
    page, _ = shown(array[1])
    assert "unknown customer, no events before" in page
    page, tags = shown(array[0])
    assert ("no events before 2023-06-01 UTC" in page) == (cutoff < "2024")
    assert tags.count("circle") == (cutoff >= "2024")
    shown(array)
    shown(of_one(3, "2024-01-03T00:00Z", lookback="1h")["history"].array)
    shown(array.take([-1, 0], allow_fill=True))
    shown(array[:0])


@pytest.mark.parametrize(
    "times",
    [
        np.array([0.0, 1e308, 1.7e308]),
        np.array([-(2**61), 0, 2**62]),
        np.array([5, 5, 5]),
        pd.to_datetime(["1760-01-01", "1824-01-01", "2024-01-01"]).as_unit("ns"),
        np.array(["0100-01-01", "2024-01-01", "9000-01-01"], "M8[s]"),
        np.array(["-001-01-01", "2024-01-01", "12000-01-01"], "M8[s]"),
    ],
)
def test_timelines_of_any_times(times):
    log = EventLog(pd.DataFrame({"who": 0, "t": times}), "who", "t")
    X = log.attach(pd.DataFrame({"who": [0]}))
    for found in (log, X["history"].array, X["history"][0]):
        page, _ = shown(found)
        assert "nan" not in page
        assert "3 events" in page
        assert "3 events" in repr(found)


def test_years_beyond_those_of_python():
    when = np.array(["-001-03-01", "9999-12-31"], "M8[s]")
    log = EventLog(pd.DataFrame({"who": 0, "when": when}), "who", "when")
    assert "-001-03-01..9999-12-31" in repr(log)
    weeks = log.resample("7D")
    assert "10000-01-0" in repr(weeks)
    assert "10000-01-0" in weeks._repr_html_()


def test_encoded_histories_have_a_timeline():
    X = HistoryEncoder().fit_transform(make_table())
    shown(X["history"].array)
    shown(X["history"].iloc[np.argmax(X["history"].array.lengths)])


def cells_of(log):
    """Rows of the table of fields."""
    rows = re.findall(r"<tr>(.*?)</tr>", log._repr_html_())[1:]
    return [re.sub("<[^>]*>", "|", row).replace("||", "|").strip("|") for row in rows]


def test_log():
    events = pd.DataFrame(
        {
            "who": ["a", "a", "b", "b"],
            "day": pd.to_datetime(
                ["2024-01-01", "2024-01-05", "2024-02-01", "2024-03-01"]
            ),
            "amount": [1.0, 2.0, np.nan, 5.0],
            "due": pd.to_datetime(["2024-02-01", None, None, None]),
            "kind": ["x", "x", "y", None],
            "nothing": [np.nan] * 4,
            "endless": [np.inf, np.inf, np.nan, np.inf],
        }
    )
    log = EventLog(events, "who", "day", observed_until="2024-04-01")
    page, _ = shown(log)
    assert "4 events, 2 customers (who)" in page
    assert "day from 2024-01-01 to 2024-03-01, recorded until 2024-04-01" in page
    assert cells_of(log) == [
        "amount|numeric|25.0%|1 to 5, median 2, quartiles 1.5 and 3.5",
        "due|datetime|75.0%|2024-02-01 to 2024-02-01",
        "kind|categorical, 2 levels|25.0%|x 67%, y 33%",
        "nothing|numeric|all|none",
        "endless|numeric|25.0%|infinite",
    ]


def test_rare_values_and_many_levels_of_a_field():
    n = 6000
    first = np.arange(n) == 0
    fields = {
        "once": np.where(first, 2.0, np.nan),
        "not_once": np.where(first, np.nan, 2.0),
        "three": list("bca") * (n // 3),
        "four": list("bcad") * (n // 4),
    }
    events = pd.DataFrame({"who": 0, "day": range(n), **fields})
    two = "2 to 2, median 2, quartiles 2 and 2"
    assert cells_of(EventLog(events, "who", "day")) == [
        f"once|numeric|99.9%|{two}",
        f"not_once|numeric|0.1%|{two}",
        "three|categorical, 3 levels|none|a 33%, b 33%, c 33%",
        "four|categorical, 4 levels|none|a 25%, b 25%, c 25%, …",
    ]


def test_cells_of_a_table_can_show_histories():
    """A DataFrame shows the text of its cells; a Styler takes HTML."""
    X = of_one(3)
    assert "<svg" not in X._repr_html_()
    assert "3 events 2024-01-01..2024-01-01" in X._repr_html_()
    pytest.importorskip("jinja2")
    page = X.style.format({"history": lambda one: one._repr_html_()}).to_html()
    assert page.count("<svg") == 1
