"""Queries of an event model that are refused."""

import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.targets import (
    future_count,
    stack_horizons,
)
from tests.bad_input.inputs import (
    X,
    check_refused,
)

EVENT_MODEL = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)


def ask(method, *args, **options):
    return lambda: getattr(EVENT_MODEL, method)(X, *args, **options)


def next_kind(**options):
    return ask("predict_next", "kind", **options)


def simulated(target):
    return ask("simulate_targets", target, "9D", n_paths=2)


def demand(*args, **options):
    return ask("demand", *(args or ("kind", "28D")), n_paths=2, **options)


WHOLE = r"int in the range \[1, inf\)"
EVENT_MODELS = {
    **{
        f"predict_next: n={n!r}": (next_kind(n=n), f"'n' parameter .* {WHOLE}. Got {n}")
        for n in (-1, 0, 1.5, None, True)
    },
    **{
        f"predict_next: n_draws={n!r}, {way}": (
            next_kind(n_draws=n, **way),
            f"'n_draws' parameter .* {WHOLE} or None. Got {n}",
        )
        for n in (0, 1.5, True)
        for way in ({}, {"basket": True}, {"within": "9D"})
    },
    **{
        f"{method}: n_paths={n!r}": (
            ask(method, *args, n_paths=n),
            f"'n_paths' parameter of LSTMEventModel.{method} .* {WHOLE}. Got {n}",
        )
        for n in (0, 1.5, True, None)
        for method, *args in [
            ("sample", "9D"),
            ("simulate_targets", len, "9D"),
            ("demand", "kind", "9D"),
        ]
    },
    "predict_next: basket that is text": (
        next_kind(basket="no"),
        "'basket' parameter .* must be an instance of 'bool' .* Got 'no'",
    ),
    "predict_next: at_cutoff that is a time": (
        next_kind(at_cutoff="2024-01-01"),
        "'at_cutoff' parameter .* must be an instance of 'bool' .* Got '2024-01-01'",
    ),
    "predict_next: exclude_seen that is text": (
        next_kind(exclude_seen="no"),
        "'exclude_seen' parameter .* must be an instance of 'bool' .* Got 'no'",
    ),
    "predict_next: no categorical field": (
        ask("predict_next", "amount"),
        r"field must be one of the categorical fields \['kind'\]; got 'amount'",
    ),
    "predict_next: a list of fields": (
        ask("predict_next", ["kind"]),
        r"field must be one of the categorical fields \['kind'\]; got \['kind'\]",
    ),
    "predict_next: within that has no unit": (
        next_kind(within="7"),
        "within must have a unit, .*'14D'; got '7'",
    ),
    "predict_next: unknown candidates": (
        next_kind(candidates=["order", "phone"]),
        "1 of 2 values of candidates are no values of 'kind' .*'phone'",
    ),
    "predict_next: an unknown candidate": (
        next_kind(candidates="phone"),
        "1 of 1 values of candidates are no values of 'kind' .*'phone'",
    ),
    "predict_next: values to leave out that are lists": (
        next_kind(exclude=[["order"]]),
        r"exclude must be values of 'kind', one or a list of them; got \[\['order'",
        TypeError,
    ),
    "predict_next: candidates in a table": (
        next_kind(candidates=pd.DataFrame({"order": ["order"]})),
        "candidates must be one value or a list of them; got a DataFrame of 2 dim",
        TypeError,
    ),
    "predict_next: values to leave out in a table": (
        next_kind(exclude=pd.DataFrame({"order": ["order"]})),
        "exclude must be one value or a list of them; got a DataFrame of 2 dimensions",
        TypeError,
    ),
    "predict_next: candidates that are lists": (
        next_kind(candidates=[["order"]]),
        r"candidates must be values of 'kind', one or a list of them; got \[\['order'",
        TypeError,
    ),
    "sample: horizon of 0": (ask("sample", "0D"), "horizon must be longer than 0; got"),
    "sample: horizon without a unit": (
        ask("sample", "7"),
        "horizon must have a unit, .*'14D'; got '7'",
    ),
    "sample: horizon without an end": (
        ask("sample", np.inf),
        "horizon must be a length of time, .*; got the bare number inf",
        TypeError,
    ),
    "sample: random_state that is text": (
        ask("sample", "9D", random_state="x"),
        "'random_state' parameter of LSTMEventModel.sample .* Got 'x'",
    ),
    "sample: random_state of another generator": (
        ask("sample", "9D", random_state=np.random.default_rng(0)),
        "'random_state' parameter .* Got Generator",
    ),
    "simulate_targets: the name of a target": (
        simulated("future_count"),
        "'target' parameter of LSTMEventModel.simulate_targets must be a callable",
    ),
    "simulate_targets: a target of nothing": (
        simulated(lambda rows: None),
        r"target must return a value for each of the \d+ simulated rows; got NoneType",
        TypeError,
    ),
    "simulate_targets: a target of one number": (
        simulated(lambda rows: future_count(rows, "9D").sum()),
        r"a value for each of the \d+ simulated rows; got int",
        TypeError,
    ),
    "simulate_targets: rows and targets": (
        simulated(lambda rows: stack_horizons(rows, future_count(rows, ["1D", "9D"]))),
        r"a value for each of the \d+ simulated rows; got tuple",
        TypeError,
    ),
    "simulate_targets: a window beyond the simulation": (
        simulated(lambda rows: future_count(rows, "10D")),
        "windows of .* rows run past the end of the log.* a shorter horizon",
    ),
    "simulate_targets: such windows left out": (
        simulated(lambda rows: future_count(rows, "10D", censored="drop")),
        r"each of the \d+ simulated rows; got 0. Those of a window .*censored='nan'",
    ),
    "simulate_targets: a wrong parameter of the target": (
        simulated(lambda rows: future_count(rows, "9D", censored="no")),
        "The 'censored' parameter of future_count must be .* Got 'no'",
    ),
    "demand: no categorical field": (
        demand("amount", "28D"),
        r"field must be one of the categorical fields \['kind'\]; got 'amount'",
    ),
    "demand: a list of fields": (
        demand(["kind"], "28D"),
        r"field must be one of the categorical fields \['kind'\]; got \['kind'\]",
    ),
    "demand: an array of values": (
        demand(value=np.array(["amount", "due"])),
        r"value must be one of the numeric fields \['amount'\]; got array",
    ),
    "demand: a value that is no number": (
        demand(value="due"),
        r"value must be one of the numeric fields \['amount'\]; got 'due'",
    ),
    "demand: no column": (
        demand(by="region"),
        r"by must be one of the columns of X, \['who', .*\]; got 'region'",
    ),
    "demand: two columns": (
        demand(by=["city", "age"]),
        r"by must be one of the columns of X, .*; got \['city', 'age'\]",
    ),
    "demand: groups of histories": (
        demand(by="history"),
        "The values of column 'history' cannot be groups; choose a column of text",
        TypeError,
    ),
    "demand: a shorter period at the end": (
        demand(every="8D"),
        "horizon must be a multiple of every, .* got horizon='28D' and every='8D'",
    ),
    "demand: a period longer than the horizon": (
        demand(every="56D"),
        "horizon must be a multiple of every, .* got horizon='28D' and every='56D'",
    ),
    "demand: periods of 0": (demand(every="0D"), "every must be longer than 0"),
    "demand: millions of periods": (
        demand(every="1ms"),
        "every='1ms' in horizon='28D' makes 2,419,200,000 .* 7,257,600,000 rows",
    ),
    "demand: too many periods for each group": (
        demand(every="30s", by="at"),
        "80,640 periods, so that .* 11,128,320 rows .* at most 10,000,000 are possible",
    ),
    "demand: periods that are numbers": (
        demand(every=7),
        "every must be a length of time, .*; got the bare number 7",
        TypeError,
    ),
    "demand: an interval in percent": (
        demand(interval=90),
        r"'interval' parameter .* float in the range \(0.0, 1.0\). Got 90",
    ),
    "zero rows": (
        lambda: EVENT_MODEL.demand(X[:0], "kind", "28D"),
        "X has no rows; LSTMEventModel needs at least one",
    ),
}


@pytest.mark.parametrize("case", EVENT_MODELS)
def test_refused(case):
    check_refused(*EVENT_MODELS[case])
