"""Encode events and statics as inputs of the graphs that `export_onnx` writes.

A reference for other languages, with NumPy and Python's JSON and calendars only. An
event is a dict of its fields and ``"time"``. A row is a dict of ``"cutoff"``,
``"statics"`` and, under the name of each history column, its events in order, all of
them before the cutoff. Times are datetimes or their text, with a zone if those of
training had one, or numbers if those of training were numbers.
"""

import json
import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

DAY = 86_400 * 10**6  # microseconds
FAR, HUGE = 1e38, 1e150


class Exported:
    """The contents of ``model.json``, and the inputs of the graphs."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.spec = json.load(file)
        if self.spec["format"] != 1:
            raise ValueError(f"{path} has another format, {self.spec['format']}.")
        self.histories = [History(one) for one in self.spec["histories"]]

    def padded(self, rows):
        """Return the inputs of ``model.onnx`` for some rows."""
        inputs, beside = {}, []
        for one in self.histories:
            states = [State(one) for _ in rows]
            events = [row.get(one.name, []) for row in rows]
            numbers = [
                [state.add(event) for event in own]
                for state, own in zip(states, events, strict=True)
            ]
            cutoffs = [one.tick(row["cutoff"], up=True) for row in rows]
            beside.append([s.at(c) for s, c in zip(states, cutoffs, strict=True)])
            n_steps = max(1, *map(len, events))
            values = np.zeros((len(rows), n_steps, one.n_channels + 1), "float32")
            codes = np.zeros((len(rows), n_steps, one.n_codes), "int64")
            moments = np.zeros((len(rows), n_steps), "int64")
            for i, own in enumerate(numbers):
                for j, (channels, found, _, begins) in enumerate(own):
                    age = cutoffs[i] - one.tick(events[i][j]["time"])
                    values[i, j, :-1] = channels
                    values[i, j, -1] = math.log1p(age / one.unit)
                    codes[i, j] = found
                    moments[i, j] = moments[i, j - 1] + begins if j else 0
            inputs[f"{one.prefix}values"] = values
            inputs[f"{one.prefix}lengths"] = np.array(list(map(len, events)), "int64")
            if one.n_codes:
                inputs[f"{one.prefix}codes"] = codes
            if one.moments is not None:
                inputs[f"{one.prefix}moments"] = moments
        return inputs | self._beside(rows, beside)

    def new_states(self):
        """Return the states of a customer without events, by history column."""
        return {one.name: State(one) for one in self.histories}

    def step(self, states, row, event=None, history=None):
        """Return the inputs of ``model.step.onnx``: an event, and the row to score.

        Only ``"cutoff"`` and ``"statics"`` of the row are used. Pass the outputs of the
        graph to `keep` afterwards.
        """
        inputs, beside = {}, []
        for one in self.histories:
            state = states[one.name]
            is_one = event is not None and history in (None, one.name)
            no_codes = np.zeros(one.n_codes, "int64")
            nothing = np.zeros(one.n_channels), no_codes, 0.0, True
            channels, codes, gap, begins = state.add(event) if is_one else nothing
            cutoff = one.tick(row["cutoff"], up=True)
            age = 0.0 if state.last is None else (cutoff - state.last) / one.unit
            found = {
                "values": np.array([channels], "float32"),
                "codes": np.array([codes], "int64"),
                "interarrival_time": np.array([gap], "float32"),
                "event": np.array([is_one]),
                "age": np.array([age], "float32"),
                "vectors": state.vectors,
                "weights": state.weights,
            }
            if one.moments is not None:
                found["begins"] = np.array([begins])
            for name, tensor in found.items():
                if tensor.shape[1:] != (0,):  # no codes, no weights
                    inputs[one.prefix + name] = tensor
            beside.append([state.at(cutoff)])
        return inputs | self._beside([row], beside)

    def keep(self, states, outputs):
        """Update the states with the outputs of the graph, a dict by name."""
        for one in self.histories:
            state = states[one.name]
            state.vectors = outputs[f"{one.prefix}vectors_after"]
            weights = outputs.get(f"{one.prefix}weights_after")
            state.weights = state.weights if weights is None else weights

    def _beside(self, rows, beside):
        """Return row features, statics and, for a linear part, decayed sums."""
        features = [np.array([f for f, _ in own]) for own in beside]
        first = self.histories[0]
        statics = [
            self._statics(row["statics"], first.tick(row["cutoff"], up=True))
            for row in rows
        ]
        found = np.concatenate([*features, np.array(statics)], axis=1)
        inputs = {"static": found.astype("float32")}
        if self.spec["n_sums"]:
            sums = np.concatenate([[s for _, s in own] for own in beside], axis=1)
            inputs["sums"] = sums.clip(-FAR, FAR).astype("float32")
        return inputs

    def _statics(self, statics, cutoff):
        spec = self.spec["statics"]
        if spec["parts"] is None:  # the outputs of your own steps
            return [float(statics[name]) for name in spec["names"]]
        numbers = []
        for part in spec["parts"]:
            if part["kind"] == "levels":
                numbers += self._levels(part, statics)
                continue
            values = [statics[name] for name in part["columns"]]
            if part["kind"] == "days before the cutoff":
                clock = self.histories[0].clock
                now = cutoff / clock["ticks_per_day"]
                values = [None if v is None else now - days(v) for v in values]
            numbers += scaled(part, values) if "mean" in part else map(float, values)
        return [numbers[i] for i in spec["order"]]

    def _levels(self, part, statics):
        row = np.array(part["missing"])
        for name, changes in zip(part["columns"], part["changes"], strict=True):
            value = statics[name]
            if value is None or value != value:
                continue
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            by_level = dict(changes)
            for i, change in by_level.get(str(value), by_level[None]):
                row[i] += change
        return row.tolist()


class History:
    """The encoder of the events of one history column."""

    def __init__(self, spec):
        self.spec, self.clock = spec, spec["clock"]
        self.name, self.prefix = spec["name"], spec["prefix"]
        self.unit, self.n_facts = spec["time_unit"], spec["n_facts"]
        self.n_channels, self.n_codes = len(spec["channels"]), len(spec["codes"])
        self.rates = np.log(2) / np.array(spec["half_lives"])
        # The first versions of the library wrote none.
        self.moments, self.pause = spec.get("moments"), spec.get("pause")
        self.levels = {
            field["name"]: {_key(level): code for level, code in field["levels"]}
            for field in spec["fields"]
            if field["kind"] == "levels"
        }
        # Some fields of many levels have a vector for each, beside the codes.
        self.vectors = {
            field["name"]: {_key(level): one for level, one in field["vectors"]}
            for field in spec["fields"]
            if "vectors" in field
        }

    def tick(self, time, up=False):
        """Return the tick of a time; between two ticks, the later one if `up`."""
        if self.clock["ticks_per_day"] is None:
            if not self.clock["whole"]:
                return time
            return math.ceil(time) if up else math.floor(time)
        ticks = microseconds(time) * self.clock["ticks_per_day"]
        return -(-ticks // DAY) if up else ticks // DAY

    def encode(self, event, gap):
        """Encode an event; the interarrival time of a first event is None."""
        tick = self.tick(event["time"])
        facts, marks, vectors, codes = [], [], [], []
        for field in self.spec["fields"]:
            value = event[field["name"]]
            if field["kind"] == "levels":
                missing = value is None or value != value
                levels = self.levels[field["name"]]
                codes.append(1 if missing else levels.get(_key(value), 0))
                if own := self.vectors.get(field["name"]):
                    zeros = [0.0] * len(next(iter(own.values())))
                    vectors += zeros if missing else own.get(_key(value), zeros)
                continue
            if field["kind"] == "days after the event" and value is not None:
                per_day = self.clock["ticks_per_day"]
                value = days(value) - (tick / per_day if per_day else 0)
            known = value is not None and math.isfinite(value)
            z = min(max(value, -HUGE), HUGE) if known else field["center"]
            z = min(max((z - field["center"]) / field["scale"], -FAR), FAR)
            facts.append(math.copysign(math.log1p(abs(z)), z))
            if field["some_missing"]:
                marks.append(float(not known))
        scaled_gap = 0.0
        if gap is not None:
            scaled_gap = math.log1p(gap / self.unit) - self.spec["interarrival_center"]
            scaled_gap /= self.spec["interarrival_scale"]
        waves = [self.spec["calendar_weight"] * one for one in self.waves(tick)]
        channels = [*facts, *marks, *vectors, scaled_gap, *waves]
        return np.array(channels, "float32"), codes

    def waves(self, tick):
        """Return the sines and cosines of the calendar."""
        tick, found = self.local(tick), []
        for _, period, n_harmonics in self.spec["calendar"]:
            phase = tick % period * (2 * math.pi / period)
            for harmonic in range(1, n_harmonics + 1):
                found += [math.sin(harmonic * phase), math.cos(harmonic * phase)]
        return found

    def local(self, tick):
        """Return the local time of a tick."""
        if self.spec["time_zone"] is None:
            return tick
        per_day = self.clock["ticks_per_day"]
        when = datetime.fromtimestamp(tick * 86_400 / per_day, UTC)
        ahead = when.astimezone(ZoneInfo(self.spec["time_zone"])).utcoffset()
        return tick + int(ahead.total_seconds() * per_day) // 86_400

    def period(self, tick):
        """Return the moment of a tick: the tick itself, or the number of its period."""
        length = self.moments
        if not length:
            return tick
        # Floats lack the digits of nanoseconds since 1970.
        return self.local(tick) // (int(length) if length.is_integer() else length)


class State:
    """State of one customer in one history column."""

    def __init__(self, history):
        self.history = history
        self.first = self.last = None
        # Number of events and, if these are joined, of moments, and of visits.
        has_moments, has_visits = history.moments is not None, history.pause is not None
        self.counts = np.zeros(1 + has_moments + has_visits)
        n_numbers = 1 + has_visits + 2 * history.n_facts
        self.sums = np.zeros((len(history.rates), n_numbers))  # of counts and facts
        start = history.spec["start"]
        if start is not None:
            vectors = np.array(start["vectors"], "float32")[None, :, None]
            self.vectors = np.repeat(vectors, start["size"], axis=2)
            self.weights = np.array([start["weights"]], "float32")

    def add(self, event):
        """Add an event.

        Return channels, codes, the scaled interarrival time, and whether the event
        begins a moment.
        """
        one = self.history
        tick = one.tick(event["time"])
        gap = None if self.last is None else tick - self.last
        begins = self.last is None or one.period(tick) != one.period(self.last)
        channels, codes = one.encode(event, gap)
        facts = channels[: one.n_facts].astype("float64")
        amounts = np.copysign(np.expm1(np.abs(facts)), facts) + one.spec["origins"]
        visit = [] if one.pause is None else [gap is None or gap > one.pause]
        fade = np.exp(-one.rates * (gap or 0))[:, None]
        self.sums = fade * self.sums + np.concatenate([[1.0], visit, facts, amounts])
        self.first = tick if self.first is None else self.first
        self.last = tick
        self.counts += [1, *[begins] * (one.moments is not None), *visit]
        return channels, codes, (gap or 0) / one.unit, begins

    def at(self, cutoff):
        """Return row features and decayed sums at a cutoff (a tick)."""
        one = self.history
        ages = [np.nan, np.nan]
        sums = self.sums
        if self.last is not None:
            ages = [(cutoff - self.last) / one.unit, (cutoff - self.first) / one.unit]
            sums = np.exp(-one.rates * (cutoff - self.last))[:, None] * sums
        n_counted = sums.shape[1] - 2 * one.n_facts  # events, perhaps visits
        parts = np.split(sums, [n_counted, n_counted + one.n_facts], axis=1)
        counts, facts, amounts = parts
        means = (facts / (counts[:, :1] + 1)).ravel()
        logs = np.log1p([*ages, *self.counts, *counts.T.ravel()])
        raw = np.array([*logs, *means, *one.waves(cutoff)])
        features = (raw - one.spec["row_center"]) / one.spec["row_scale"]
        return np.nan_to_num(np.clip(features, -10, 10)), amounts.ravel()


def scaled(part, values):
    """Impute and scale numbers, and mark missing ones."""
    values = np.array([np.nan if v is None else float(v) for v in values])
    values[np.isinf(values)] = np.nan
    missing = np.isnan(values)
    values = np.where(missing, part["typical"], values.clip(-HUGE, HUGE))
    values = np.concatenate([values, missing[part["marked"]]])
    if part["least"] is not None:
        values = values.clip(part["least"], part["most"])
    return ((values - part["mean"]) * part["weight"]).tolist()


def microseconds(time):
    """Return microseconds since 1970 for a datetime or its text."""
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    since = moment - datetime(1970, 1, 1, tzinfo=moment.tzinfo and UTC)
    return (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds


def days(time):
    """Return days since 1970 for a datetime or its text."""
    return microseconds(time) / DAY


def _key(level):
    """Return a key for a level: numbers, texts and booleans are different."""
    return isinstance(level, str), isinstance(level, bool), level
