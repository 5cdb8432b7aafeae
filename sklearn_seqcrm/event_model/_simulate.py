"""Simulated futures: many paths of each row, one event of all at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from sklearn_seqcrm._encoding import MISSING
from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._store import LONGEST, Column, later
from sklearn_seqcrm.event_model._draws import PathDraws
from sklearn_seqcrm.event_model._event_net import (
    EventNet,
    FlatState,
    go_on,
    read_to_ends,
    state_at_first,
)
from sklearn_seqcrm.event_model._learned import LearnedEvents, last_times, silence
from sklearn_seqcrm.event_model._levels import LevelField
from sklearn_seqcrm.event_model._likelihood import parts_of
from sklearn_seqcrm.event_model._network import EventNetwork
from sklearn_seqcrm.event_model._own_levels import EarlierLevels, OwnLevels
from sklearn_seqcrm.event_model._time_density import choose_by_weight

# Paths that begin at once, and paths below which others do: most end soon, and a step
# of few is mostly overhead. States of many more do not fit into a processor's caches.
_PATHS_AT_ONCE, _FEWEST_PATHS = 2**13, 2**12
# Probabilities of all draws of some rows at once: 2 MiB, which caches hold. Of 10,000
# levels and 16 draws, 64 MiB at once took half as much time more.
_PROBABILITIES_AT_ONCE = 2**19
# Paths that have an event, its time and its fields.
Step: TypeAlias = tuple[np.ndarray, np.ndarray, dict[str, Column]]


class Told(NamedTuple):
    """What a field is told of the next event of paths, before it is drawn.

    Parameters
    ----------
    states : Tensor of shape (n, H)
        The state, when the event comes, and the fields before.
    is_tie : Tensor of shape (n,), bool
        Whether it is at the moment of the simulated event before.
    having : Tensor of shape (n,)
        Chance that the event has the field; it does if its kind is drawn.
    """

    states: torch.Tensor
    is_tie: torch.Tensor
    having: torch.Tensor


class SimulatedEvents(NamedTuple):
    """Events of paths, sorted by path and time.

    Parameters
    ----------
    path : ndarray of shape (n_events,), int64
        Number of the path.
    times : ndarray of shape (n_events,)
        On the clock of the encoder.
    columns : dict of str to Column
        The fields, in the order of the log.
    n_cut : int
        Paths that were ended because they had too many events.
    """

    path: np.ndarray
    times: np.ndarray
    columns: dict[str, Column]
    n_cut: int


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths that go on.

    Parameters
    ----------
    number : ndarray of shape (n,), int64
        Which paths these are.
    times : ndarray of shape (n,)
        Time of the last event.
    end : ndarray of shape (n,)
        First moment that is not simulated.
    output : Tensor of shape (n, H)
        What the reader returned for the last event.
    static : Tensor of shape (n, H)
        What statics add to it.
    state : list of Tensor of shape (n, H)
        State after the last event.
    n_events : ndarray of shape (n,), int64
        Number of simulated events.
    own : dict of str to OwnLevels of n
        What may be copied, of each field of levels, by its name in the module.
    draws : PathDraws of n
        Random numbers of each path.
    """

    number: np.ndarray
    times: np.ndarray
    end: np.ndarray
    output: torch.Tensor
    static: torch.Tensor
    state: FlatState
    n_events: np.ndarray
    own: dict[str, OwnLevels]
    draws: PathDraws

    def take(self, kept: np.ndarray) -> Paths:
        """The paths at some places, ascending."""
        if len(kept) == len(self.number):
            return self
        there = torch.from_numpy(kept).to(self.output.device)
        return Paths(
            self.number[kept],
            self.times[kept],
            self.end[kept],
            self.output[there],
            self.static[there],
            [numbers[there] for numbers in self.state],
            self.n_events[kept],
            {key: own.take(there) for key, own in self.own.items()},
            self.draws.take(kept),
        )

    def and_those(self, more: Paths) -> Paths:
        """These paths and others."""
        return Paths(
            np.concatenate([self.number, more.number]),
            np.concatenate([self.times, more.times]),
            np.concatenate([self.end, more.end]),
            torch.cat([self.output, more.output]),
            torch.cat([self.static, more.static]),
            [torch.cat(pair) for pair in zip(self.state, more.state, strict=True)],
            np.concatenate([self.n_events, more.n_events]),
            {key: own.and_those(more.own[key]) for key, own in self.own.items()},
            self.draws.and_those(more.draws),
        )

    def at_next(self, gaps: np.ndarray) -> Paths:
        """Paths at the time of their next event.

        Parameters
        ----------
        gaps : ndarray of shape (n,)
            Ticks until it, from the last one.
        """
        is_tie = torch.from_numpy(gaps == 0).to(self.output.device)
        return replace(
            self,
            times=later(self.times, gaps.astype(self.times.dtype)),
            own={key: own.at_next(is_tie) for key, own in self.own.items()},
        )


class Simulator:
    """Draws what comes next, again and again.

    Parameters
    ----------
    net : EventNet
        The trained net.
    learned : LearnedEvents
        What was learned of the events.
    """

    def __init__(self, net: EventNet, learned: LearnedEvents) -> None:
        self.net = net
        self.module: EventNetwork = net.module_
        self.device = torch.device(net.device)
        self.learned = learned
        # Which have looked their levels up, once instead of in every step.
        self.encoders = dict(learned.encoder.fields)
        for name, one in learned.fields.items():
            if isinstance(one, LevelField):
                self.encoders[name] = self.encoders[name].prepared_for(one.no_column())

    def run(
        self,
        data: RowData,
        keys: np.ndarray,
        end: np.ndarray,
        n_paths: int,
        most_events: int,
    ) -> SimulatedEvents:
        """Simulate, and keep all events.

        Parameters
        ----------
        data, keys, end, n_paths, most_events
            As for `steps`.
        """
        steps: list[Step] = []
        n_cut = 0
        for step, n_ended in self.steps(data, keys, end, n_paths, most_events):
            steps.append(step)
            n_cut += n_ended
        return self._joined(steps, data, n_cut)

    def steps(
        self,
        data: RowData,
        keys: np.ndarray,
        end: np.ndarray,
        n_paths: int,
        most_events: int,
    ) -> Iterator[tuple[Step, int]]:
        """Yield the next event of some paths, and how many of these end with it.

        Parameters
        ----------
        data : RowData of n
            Rows.
        keys : ndarray of shape (n,), uint64
            Key of each row, as `keys_of` returns them. The random numbers of a path
            follow from the key of its row and its number there.
        end : ndarray of shape (n,)
            First moment that is not simulated.
        n_paths : int
            Paths of each row; path ``k`` belongs to row ``k // n_paths``.
        most_events : int
            Paths with so many events end there.
        """
        self.module.eval()
        filled = np.flatnonzero(data.sources[0].stop > data.sources[0].start)
        earlier = self._earlier(data)
        n_begun, n_all = 0, len(filled) * n_paths
        paths: Paths | None = None
        while n_begun < n_all or (paths is not None and len(paths.number)):
            few = paths is None or len(paths.number) < _FEWEST_PATHS
            if few and n_begun < n_all:
                place = np.arange(n_begun, min(n_begun + _PATHS_AT_ONCE, n_all))
                some = filled[place // n_paths] * n_paths + place % n_paths
                n_begun += len(some)
                begun, step = self._next_events(
                    *self._begin(data, keys, end, some, n_paths, earlier)
                )
                paths = begun if paths is None else paths.and_those(begun)
            else:
                assert paths is not None
                paths, step = self._next_events(paths)
            too_many = paths.n_events >= most_events
            yield step, int(too_many.sum())
            if too_many.any():
                paths = paths.take(np.flatnonzero(~too_many))

    def _earlier(self, data: RowData) -> dict[str, EarlierLevels]:
        """Levels that rows have had, of each field that may be copied."""
        module = self.module
        if not module.copies:
            return {}
        [source] = data.sources
        is_tie = module.is_tie(source.channels)
        return {
            key: EarlierLevels.of(
                source, is_tie, code, module.fields[key].copies.repeats
            )
            for key, code in module.codes.items()
        }

    def _begin(
        self,
        data: RowData,
        keys: np.ndarray,
        end: np.ndarray,
        numbers: np.ndarray,
        n_paths: int,
        earlier: dict[str, EarlierLevels],
        stratified: bool = False,
    ) -> tuple[Paths, torch.Tensor, np.ndarray]:
        """Paths at the cutoffs of their rows, and how long nothing came before."""
        rows, of_path = np.unique(numbers // n_paths, return_inverse=True)
        own = data.take(rows)
        [source] = own.sources
        there = torch.from_numpy(of_path).to(self.device)
        output, state = self.states(own)
        is_empty = source.stop == source.start
        output[self._moved(is_empty)] = self.module.first
        static = torch.from_numpy(own.static).to(self.device)
        row = self._moved(rows)[there]
        paths = Paths(
            numbers,
            last_times(source)[of_path],
            end[rows][of_path],
            output[there],
            self.module.of_statics(static)[there],
            [one[there] for one in state],
            np.zeros(len(numbers), dtype="int64"),
            {key: OwnLevels.begin(one, row) for key, one in earlier.items()},
            PathDraws.of_paths(
                keys[rows][of_path],
                numbers % n_paths,
                of_path if stratified else None,
            ),
        )
        # The first moment that is not over yet.
        scale = self.learned.gaps
        least = scale.steps(silence(source)).clip(1) * scale.step
        return paths, static[there, -1], least[of_path]

    def probabilities(
        self, data: RowData, keys: np.ndarray, name: str, n_draws: int
    ) -> np.ndarray:
        """Probabilities of the codes of a field of the next event.

        Parameters
        ----------
        data : RowData of n
            Rows, as many as memory has room for.
        keys : ndarray of shape (n,), uint64
            As for `run`.
        name : str
            A categorical field.
        n_draws : int
            Draws of what is told before the field: when, and the fields before it.

        Returns
        -------
        ndarray of shape (n, n_codes), float32
            Means over the draws.
        """
        paths, gaps = self._at_next(data, keys, n_draws)
        *_, told = self._draw_fields(paths, gaps, until=name)
        key = self._key_of(name)
        at_once = max(1, _PROBABILITIES_AT_ONCE // (n_draws * self.module.n_codes(key)))
        means = [
            some.unflatten(0, (-1, n_draws)).mean(dim=1)
            for _, some in self._portions(paths, told, key, at_once * n_draws)
        ]
        # Of generated and copied shares together, which are rounded.
        return torch.cat(means).clamp(max=1).cpu().numpy()

    def _portions(
        self,
        paths: Paths,
        told: Told,
        key: str,
        at_once: int,
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield some paths, and the probability of each code of a field for them."""
        density, own = self.module.fields[key], paths.own.get(key)
        n = len(told.states)
        for there in torch.arange(n, device=self.device).split(at_once):
            had = None if own is None else own.take(there)
            states, is_tie, having = (one[there] for one in told)
            chances = density.probabilities(states, had, is_tie)
            chances *= having[:, None]
            chances[:, MISSING] += 1 - having
            yield there, chances

    def _at_next(
        self, data: RowData, keys: np.ndarray, n_draws: int
    ) -> tuple[Paths, np.ndarray]:
        """Paths at the time of their next event, and the gap before it, in ticks.

        Rows have `n_draws` paths each, whose random numbers are stratified. A first
        event has no gap, which is NaN then.
        """
        self.module.eval()
        [source] = data.sources
        numbers = np.arange(len(data) * n_draws)
        paths, log_censoring_time, least = self._begin(
            data,
            keys,
            source.cutoff,
            numbers,
            n_draws,
            self._earlier(data),
            stratified=True,
        )
        longest = np.full(len(numbers), self.learned.most_events.lengths[-1])
        gaps = self._draw_gaps(paths, log_censoring_time, least, 2 * longest)
        is_empty = (source.stop == source.start)[numbers // n_draws]
        paths = paths.at_next(np.where(is_empty, 0, gaps))
        return paths, np.where(is_empty, np.nan, gaps)

    def _key_of(self, name: str) -> str:
        """Name of a field within the module."""
        return list(self.module.fields)[list(self.learned.fields).index(name)]

    def states(self, data: RowData) -> tuple[torch.Tensor, FlatState]:
        """Output of the reader, and its state, after the last event of each row."""
        final = state_at_first(self.module.reader, len(data))
        for rows, part in parts_of(self.net, data):
            there = torch.from_numpy(rows).to(self.device)
            for whole, one in zip(final, read_to_ends(self.module, part), strict=True):
                whole[there] = one
        return self.module.top_of(final), final

    def _next_events(
        self,
        paths: Paths,
        log_censoring_time: torch.Tensor | None = None,
        least: np.ndarray | None = None,
    ) -> tuple[Paths, Step]:
        """The paths that have another event before their end, and these events."""
        left = _until(paths.times, paths.end)
        gaps = self._draw_gaps(paths, log_censoring_time, least, left)
        # A gap beyond the end of the axis of times is no number of it.
        is_within = gaps < left
        ticks = np.where(is_within, gaps, 0).astype(paths.times.dtype)
        kept = np.flatnonzero(is_within & (later(paths.times, ticks) < paths.end))
        paths, gaps = paths.take(kept), gaps[kept]
        paths = paths.at_next(gaps)
        values, codes, columns, _ = self._draw_fields(paths, gaps)
        paths = self._read(paths, values, codes)
        return paths, (paths.number, paths.times, columns)

    def _read(self, paths: Paths, values: torch.Tensor, codes: torch.Tensor) -> Paths:
        """The paths after an event of these channels and codes."""
        output, state = go_on(self.module, values, codes, paths.state)
        own = {
            key: one.with_drawn(codes[:, self.module.codes[key]])
            for key, one in paths.own.items()
        }
        return replace(
            paths, output=output, state=state, n_events=paths.n_events + 1, own=own
        )

    def _draw_gaps(
        self,
        paths: Paths,
        log_censoring_time: torch.Tensor | None,
        least: np.ndarray | None,
        left: np.ndarray,
    ) -> np.ndarray:
        """Ticks to the next event, shape (n,)."""
        is_tie, logs = self.module.time.draw(
            paths.output + paths.static, paths.draws, log_censoring_time
        )
        most = float(left.max()) + 2 * self.learned.gaps.step
        gaps = self.learned.gaps.ticks(logs.cpu().numpy(), most, paths.times)
        if least is not None:
            return np.maximum(gaps, least)
        gaps[is_tie.cpu().numpy()] = 0
        return gaps

    def _draw_fields(
        self,
        paths: Paths,
        gaps: np.ndarray,
        until: str | None = None,
        draw: dict[str, Callable[[Told], torch.Tensor]] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, Column], Told]:
        """Draw the fields of the next event of each path.

        Parameters
        ----------
        paths : Paths of n
            Paths at the time of the event.
        gaps : ndarray of shape (n,)
            Ticks since the one before.
        until : str or None, default=None
            Stop before this field, which the kinds of events that are drawn have.
        draw : dict of str to callable, or None, default=None
            Draws the codes of some fields, given their context; the density of a field
            draws all others.

        Returns
        -------
        channels, codes : Tensor of shape (n, F) and (n, C)
            The events as the network reads them.
        columns : dict of str to Column
            Their fields as the log has them.
        told : Told of n
            The context of the field `until`.
        """
        module, learned = self.module, self.learned
        layout = learned.encoder.layout
        channels, codes = layout.empty(len(gaps))
        learned.encoder.encode_times(
            paths.times, gaps, out=channels[:, layout.gap_channel :]
        )
        times = self._moved(channels[:, layout.gap_channel :])
        told = module.told_time(paths.output + paths.static, times)
        having = torch.ones_like(told[:, 0])
        # None is at the moment of what came before the cutoff.
        is_tie = self._moved((gaps == 0) & (paths.n_events > 0))
        columns = {}
        applies = np.ones((len(gaps), len(learned.fields)), dtype=bool)
        for i, (key, name) in enumerate(
            zip(module.fields, learned.fields, strict=True)
        ):
            if name == until:
                break
            density, before = module.fields[key], torch.relu(told)
            if draw is not None and name in draw:
                drawn = draw[name](Told(before, is_tie, having))
            elif key in module.codes:
                own_levels = paths.own.get(key)
                if i == 0 and until is not None and learned.applies is not None:
                    drawn, having = self._draw_kind_having(
                        until, before, paths.draws, own_levels, is_tie
                    )
                else:
                    drawn = density.draw(before, paths.draws, own_levels, is_tie)
            else:
                drawn = density.draw(before, paths.draws)
            column = self._column(name, drawn, applies[:, i], paths)
            numbers, is_missing = self.encoders[name].encode(column, paths.times)
            if key in module.codes:
                codes[:, module.codes[key]] = numbers
                own = self._moved(codes[:, module.codes[key]].astype("int64"))
                if i == 0 and learned.applies is not None:
                    applies = learned.applies[numbers]
            else:
                channels[:, module.channels[key][0]] = numbers
                if len(module.channels[key]) > 1:
                    channels[:, module.channels[key][1]] = is_missing
                own = self._moved(channels[:, module.channels[key]])
            columns[name] = column
            if i < len(learned.fields) - 1:
                told = told + density.told(own)
        own_codes = self._moved(codes.astype("int64"))
        told_all = Told(torch.relu(told), is_tie, having)
        return self._moved(channels), own_codes, columns, told_all

    def _draw_kind_having(
        self,
        name: str,
        before: torch.Tensor,
        draws: PathDraws,
        own: OwnLevels | None,
        is_tie: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw kinds of events that have a field; and the chance of any of these.

        Were all kinds drawn, few draws might have none that has the field.
        """
        assert self.learned.applies is not None
        applies = self.learned.applies[:, list(self.learned.fields).index(name)]
        chances = self.module.fields["0"].probabilities(before, own, is_tie)
        chances *= self._moved(applies)
        return choose_by_weight(chances, draws), chances.sum(dim=1)

    def _column(
        self, name: str, drawn: Any, applies: np.ndarray, paths: Paths
    ) -> Column:
        """Values of a field as the log has them, missing where it does not apply."""
        one = self.learned.fields[name]
        if isinstance(one, LevelField):
            codes = np.where(applies, drawn.cpu().numpy(), MISSING)
            return one.column(codes, paths.draws)
        atom, folded = (numbers.cpu().numpy() for numbers in drawn)
        atom = np.where(applies, atom, 0)
        return one.column(atom, folded.astype("float64"), paths.times)

    def _moved(self, numbers: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)

    def _joined(
        self,
        steps: list[Step],
        data: RowData,
        n_cut: int,
    ) -> SimulatedEvents:
        """All steps as one table."""
        none = np.zeros(0, "int64")
        path = np.concatenate([none, *(step[0] for step in steps)])
        # A path has one event in a step, so that these stay in their order.
        order = np.argsort(path, kind="stable")
        nothing = np.zeros(0, data.sources[0].times.dtype)
        times = np.concatenate([nothing, *(step[1] for step in steps)])[order]
        columns = {}
        for name in self.learned.encoder.fields:
            one = self.learned.fields[name]
            if isinstance(one, LevelField):
                empty = one.no_column()
            else:
                empty = one.column(none, np.zeros(0), nothing)
            values = [empty.values, *(step[2][name].values for step in steps)]
            columns[name] = Column(np.concatenate(values)[order], empty.categories)
        return SimulatedEvents(path[order], times, columns, n_cut)


def _until(times: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Ticks from each time to an end after it, or as many as the axis can tell."""
    if times.dtype == "int64":
        end = np.minimum(end, later(times, LONGEST))
    return end - times
