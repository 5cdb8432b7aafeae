"""The multiple-choice knapsack problem: at most one option of each customer.

A limit has a price, its Lagrange multiplier. At given prices each customer has a best
option, and the sum of what these earn, plus the price of all limits, is an upper bound
of the profit of every choice within the limits (weak duality). What an option earns
less than the best one of its customer, at these prices, is its regret: a choice that
takes it loses at least so much against the bound.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array, vstack

# Pairs of customer and treatment up to which an integer program is solved, the nodes
# of its search, and the share of the profit below which it is not worth it: for a
# million customers HiGHS took 40 seconds for a gain of 0.04 of 800,000.
_MAX_INTEGER = 1000
_MAX_NODES = 10_000
_NEGLIGIBLE = 1e-6
# Changes of a choice that are tried one by one, and rounds of changes together.
_MAX_TRIED = 2000
_MAX_ROUNDS = 20
_MAX_CUTS = 200
_ROUNDING = 1e-12
# Relative error that sums of a million numbers may have in a plan that is correct.
_VERIFIED = 1e-9


class Limit(NamedTuple):
    """A resource that contacts use."""

    used: np.ndarray  # (n, n_treatments): what each contact uses, at least 0
    most: float  # what there is


class Plan(NamedTuple):
    """A choice, and an upper bound of the profit of all choices."""

    choice: np.ndarray  # (n,), int64: treatment of each customer; -1 for none
    bound: float  # no choice within the limits has a higher profit


def solve(profit: np.ndarray, limits: list[Limit]) -> Plan:
    """Choose at most one treatment of each customer, for the highest profit.

    `profit` is that of each contact, (n, n_treatments). Returns the best choice, or a
    good one with a bound.
    """
    free = np.zeros(len(limits))
    problem = _Problem(profit, limits)
    choice = problem.best(free)
    if (problem.left(choice) >= 0).all():
        return Plan(choice, problem.bound(free))
    if len(limits) == 1:
        choice, price = _greedy_by_hulls(profit, limits[0])
        prices = np.array([price])
    else:
        prices = _best_prices(problem)
        choice = problem.best(prices)
    choice = _within_limits(problem, choice, prices)
    choice = _with_what_is_left(problem, choice, prices)
    plan = _with_integer_core(problem, choice, prices)
    _verify(problem, plan)
    return plan


class _Problem(NamedTuple):
    """Profits and limits; the choice of a customer is -1 for no contact."""

    profit: np.ndarray  # (n, n_treatments): that of each contact
    limits: list[Limit]

    @property
    def most(self) -> np.ndarray:
        """Limit of each resource, (n_limits,)."""
        return np.array([one.most for one in self.limits])

    def of_choice(self, values: np.ndarray, choice: np.ndarray) -> np.ndarray:
        """Return a number per contact for the chosen ones, 0 without contact, (n,)."""
        chosen = values[np.arange(len(choice)), choice]
        return np.where(choice >= 0, chosen, 0.0)

    def earned(self, choice: np.ndarray) -> float:
        """Return the profit of a choice."""
        return float(self.of_choice(self.profit, choice).sum())

    def used(self, choice: np.ndarray) -> np.ndarray:
        """Return what a choice uses, (n_limits,)."""
        sums = [self.of_choice(one.used, choice).sum() for one in self.limits]
        return np.array(sums)

    def left(self, choice: np.ndarray) -> np.ndarray:
        """Return what a choice leaves, but for rounding, (n_limits,)."""
        return self.most * (1 + _ROUNDING) - self.used(choice)

    def reduced(self, prices: np.ndarray) -> np.ndarray:
        """Return profits less the prices of what contacts use, (n, n_treatments)."""
        found = self.profit
        for price, limit in zip(prices, self.limits, strict=True):
            found = found - price * limit.used
        return found

    def best(self, prices: np.ndarray) -> np.ndarray:
        """Return the best option of each customer at given prices, (n,)."""
        return _argmax_or_none(self.reduced(prices))

    def bound(self, prices: np.ndarray) -> float:
        """Return the bound at given prices."""
        best = self.reduced(prices).max(axis=1)
        return float(best[best > 0].sum() + prices @ self.most)


def _argmax_or_none(values: np.ndarray) -> np.ndarray:
    return np.where(values.max(axis=1) > 0, values.argmax(axis=1), -1)


def _greedy_by_hulls(profit: np.ndarray, limit: Limit) -> tuple[np.ndarray, float]:
    """Take the increments of convex hulls in descending order of efficiency.

    The options of a customer are points (used, profit), no contact is (0, 0). Only
    those on the upper convex hull are in a best choice with fractions; from one to the
    next, profit grows by ``gained`` and use by ``spent``, with falling ratio. Taking
    increments of all customers by descending ratio is the best choice with fractions
    until the first one that does not fit, whose ratio is the price of the limit (Sinha
    and Zoltners, 1979).
    """
    row, option, gained, spent = _hull_increments(profit, limit.used)
    ratio = np.divide(gained, spent, out=np.full(len(gained), np.inf), where=spent > 0)
    # Stable: increments of a customer stay in order, and first rows come first.
    order = np.argsort(-ratio, kind="stable")
    total = np.cumsum(spent[order])
    n_taken = int(np.searchsorted(total, limit.most * (1 + _ROUNDING), side="right"))
    choice = np.full(len(profit), -1)
    # Later increments of a customer replace earlier ones.
    taken = order[:n_taken]
    choice[row[taken]] = option[taken]
    return choice, float(ratio[order[n_taken]]) if n_taken < len(order) else 0.0


def _hull_increments(
    profit: np.ndarray, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Walk along the upper convex hulls of all customers at once.

    Returns arrays of shape (n_increments,): the customer, the treatment that an
    increment leads to, its additional profit, above 0, and its additional use, at least
    0.
    """
    active = np.flatnonzero((profit > 0).any(axis=1))
    at_profit, at_used = np.zeros(len(active)), np.zeros(len(active))
    steps = []
    while len(active):
        more = profit[active] - at_profit[:, None]
        further = used[active] - at_used[:, None]
        # The steepest way up; of equally steep ones, the longest.
        possible = (more > 0) & (further >= 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(possible, more / further, -1.0)
        steepest = slope.max(axis=1, keepdims=True)
        length = np.where((slope == steepest) & possible, more, -1.0)
        goes = np.flatnonzero(possible.any(axis=1))
        active, option = active[goes], length.argmax(axis=1)[goes]
        steps.append((active, option, more[goes, option], further[goes, option]))
        at_profit, at_used = profit[active, option], used[active, option]
    row, option, gained, spent = (
        np.concatenate(one) for one in zip(*steps, strict=True)
    )
    return row, option, gained, spent


def _best_prices(problem: _Problem) -> np.ndarray:
    """Minimise the bound over prices, by cutting planes (Kelley, 1960).

    The bound is convex and piecewise linear in the prices. A cut is its tangent, whose
    slope is what the best options leave of each limit; the next prices minimise the
    maximum of all cuts.
    """
    limits = problem.limits
    most = [
        np.divide(
            problem.profit.clip(0),
            one.used,
            out=np.zeros_like(problem.profit),
            where=one.used > 0,
        ).max()
        for one in limits
    ]
    prices = np.zeros(len(limits))
    best, best_prices = np.inf, prices
    slopes, heights = [], []
    for _ in range(_MAX_CUTS):
        bound = problem.bound(prices)
        if bound < best:
            best, best_prices = bound, prices
        choice = problem.best(prices)
        slope = problem.most - problem.used(choice)
        slopes.append([*slope, -1.0])
        heights.append(slope @ prices - bound)
        # Variables: the prices, and the height of the highest cut.
        found = linprog(
            [*np.zeros(len(limits)), 1.0],
            A_ub=slopes,
            b_ub=heights,
            bounds=[*((0, one) for one in most), (None, None)],
            method="highs",
        )
        if found.x is None or best - found.fun <= 1e-9 * max(1.0, abs(best)):
            break
        prices = found.x[:-1]
    return best_prices


def _within_limits(
    problem: _Problem, choice: np.ndarray, prices: np.ndarray
) -> np.ndarray:
    """Change a choice to options that use less until all limits are kept."""
    choice = choice.copy()
    reduced = problem.reduced(prices)
    for place in range(len(problem.limits)):
        # A round ends with the limit kept, or with all its users at an option that
        # uses less: there are at most as many rounds as treatments, but for rounding.
        while (excess := -problem.left(choice)[place]) > 0:
            _use_less(problem, choice, reduced, place, excess)
    return choice


def _use_less(
    problem: _Problem,
    choice: np.ndarray,
    reduced: np.ndarray,
    place: int,
    excess: float,
) -> None:
    """Change rows of a choice in place, until the excess over a limit is saved.

    Each row changes once at most, to no contact or to an option that uses less of the
    limit and no more of any other, those of the smallest regret per saving first.
    """
    limit = problem.limits[place]
    rows = np.flatnonzero(problem.of_choice(limit.used, choice) > 0)
    now = choice[rows]
    allowed = limit.used[rows] < limit.used[rows, now][:, None]
    for other in problem.limits:
        allowed &= other.used[rows] <= other.used[rows, now][:, None]
    options = np.where(allowed, reduced[rows], -np.inf)
    change = _argmax_or_none(options)
    kept = np.where(change >= 0, limit.used[rows, change], 0.0)
    saved = limit.used[rows, now] - kept
    regret = reduced[rows, now] - options.max(axis=1).clip(0)
    order = np.argsort(regret / saved, kind="stable")
    n_changed = np.searchsorted(np.cumsum(saved[order]), excess) + 1
    changed = order[:n_changed]
    choice[rows[changed]] = change[changed]


def _with_what_is_left(
    problem: _Problem, choice: np.ndarray, prices: np.ndarray
) -> np.ndarray:
    """Change a choice to options that earn more and fit into what is left."""
    profit, limits = problem.profit, problem.limits
    choice, reduced = choice.copy(), problem.reduced(prices)
    row, option = _fitting(problem, choice, reduced)
    for _ in range(_MAX_ROUNDS):
        if len(row) <= _MAX_TRIED:
            break
        _change_together(problem, choice, row, option)
        row, option = _fitting(problem, choice, reduced)
    left = problem.left(choice)
    for i, j in zip(row[:_MAX_TRIED], option[:_MAX_TRIED], strict=True):
        now = choice[i]
        spent = [
            one.used[i, j] - (one.used[i, now] if now >= 0 else 0) for one in limits
        ]
        gained = profit[i, j] - (profit[i, now] if now >= 0 else 0)
        if gained > 0 and (spent <= left).all():
            choice[i] = j
            left -= spent
    return choice


def _fitting(
    problem: _Problem, choice: np.ndarray, reduced: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and options that earn more and fit, smallest regret first."""
    profit = problem.profit
    fits = profit > problem.of_choice(profit, choice)[:, None]
    for rest, limit in zip(problem.left(choice), problem.limits, strict=True):
        fits &= limit.used - problem.of_choice(limit.used, choice)[:, None] <= rest
    row, option = np.nonzero(fits)
    regret = reduced[row].max(axis=1).clip(0) - reduced[row, option]
    order = np.argsort(regret, kind="stable")
    return row[order], option[order]


def _change_together(
    problem: _Problem, choice: np.ndarray, row: np.ndarray, option: np.ndarray
) -> None:
    """Change a choice in place to the leading options that fit together.

    Where treatments tie at the prices, thousands of customers have no contact yet.
    """
    first = np.sort(np.unique(row, return_index=True)[1])  # one option of each row
    row, option = row[first], option[first]
    fits = np.ones(len(row), dtype=bool)
    for rest, limit in zip(problem.left(choice), problem.limits, strict=True):
        now = problem.of_choice(limit.used, choice)[row]
        fits &= np.cumsum(limit.used[row, option] - now) <= rest
    n_changed = len(fits) if fits.all() else int(fits.argmin())
    choice[row[:n_changed]] = option[:n_changed]


def _with_integer_core(
    problem: _Problem, choice: np.ndarray, prices: np.ndarray
) -> Plan:
    """Solve an integer program over the options that a better choice could have.

    A choice with an option whose regret is above the optimality gap is worse than the
    one that is known, so that only options with a smaller regret are left to decide.
    """
    bound, earned = problem.bound(prices), problem.earned(choice)
    optimality_gap = bound - earned
    if optimality_gap <= _NEGLIGIBLE * abs(earned):
        return Plan(choice, bound)
    reduced = problem.reduced(prices)
    best = reduced.max(axis=1).clip(0)
    possible = (best[:, None] - reduced <= optimality_gap) & (problem.profit > 0)
    # No contact is an option, too: of regret `best`.
    n_options = possible.sum(axis=1) + (best <= optimality_gap)
    core = np.flatnonzero((n_options > 1) & possible.any(axis=1))
    row, column = np.nonzero(possible[core])
    if not 0 < len(row) <= _MAX_INTEGER:
        return Plan(choice, bound)
    fixed = problem.best(prices)
    fixed[core] = -1
    found = _integer_program(
        problem,
        core[row],
        column,
        must=best[core] > optimality_gap,
        row=row,
        fixed=fixed,
    )
    if found.x is None:
        return Plan(choice, bound)
    taken = found.x > 0.5
    fixed[core[row[taken]]] = column[taken]
    unproven = found.fun - found.mip_dual_bound  # 0, unless the search ended early
    in_core = problem.earned(fixed)
    # HiGHS keeps limits up to its own tolerance only.
    is_better = (problem.left(fixed) >= 0).all() and in_core > earned
    best_known = max(earned, in_core + unproven)
    return Plan(fixed if is_better else choice, min(bound, best_known))


def _verify(problem: _Problem, plan: Plan) -> None:
    """Raise a RuntimeError if a plan exceeds a limit or its own bound."""
    most = problem.most
    excess = problem.used(plan.choice) - most
    earned = problem.earned(plan.choice)
    too_high = earned - plan.bound > _VERIFIED * max(1.0, abs(plan.bound))
    if too_high or (excess > _VERIFIED * most).any():
        raise RuntimeError(
            "The contacts that were found exceed a limit, or their bound: used "
            f"{problem.used(plan.choice).tolist()} of {most.tolist()}, profit "
            f"{earned!r}, bound {plan.bound!r}. This is a bug; please report it with "
            "the arguments."
        )


def _integer_program(
    problem: _Problem,
    customer: np.ndarray,
    column: np.ndarray,
    *,
    must: np.ndarray,
    row: np.ndarray,
    fixed: np.ndarray,
) -> Any:
    """Decide pairs of customer and treatment, given the choice of other customers."""
    n_pairs = len(row)
    one_each = csr_array((np.ones(n_pairs), (row, np.arange(n_pairs))))
    used = csr_array(np.array([one.used[customer, column] for one in problem.limits]))
    left = problem.left(fixed)
    return milp(
        -problem.profit[customer, column],
        integrality=np.ones(n_pairs),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(
            vstack([one_each, used], format="csr"),
            lb=np.concatenate([must, np.full(len(left), -np.inf)]),
            ub=np.concatenate([np.ones(len(must)), left]),
        ),
        # A limit of nodes, not of time, so that the result is the same everywhere.
        options={"mip_rel_gap": 0.0, "node_limit": _MAX_NODES},
    )
