"""Choose customers and treatments under a budget and capacities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from sklearn_seqcrm._columns import warn_other_order
from sklearn_seqcrm._durations import as_numbers
from sklearn_seqcrm._sklearn_compat import Interval, validate_params
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._treatments import in_order_of_arms, label_array
from sklearn_seqcrm.uplift._knapsack import Limit, Plan, solve


@validate_params(
    {
        "budget": [Interval(Real, 0, np.inf, closed="both"), None],
        "capacity": [
            Interval(Integral, 0, None, closed="left"),
            Mapping,
            pd.Series,
            None,
        ],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
    }
)
def choose_contacts(
    effect: ArrayLike,
    *,
    value: ArrayLike = 1.0,
    cost: float | Mapping[Any, float] | ArrayLike = 0.0,
    budget: float | None = None,
    capacity: int | Mapping[Any, int] | pd.Series | None = None,
    treatments: ArrayLike | None = None,
    channels: ArrayLike | None = None,
    customers: ArrayLike | None = None,
    effect_samples: ArrayLike | None = None,
    confidence_level: float = 0.95,
) -> Bunch:
    """Choose the contacts with the highest expected profit.

    Each customer gets at most one treatment, and only one that is expected to earn more
    than it costs.

    Parameters
    ----------
    effect : array-like of shape (n,) or (n, n_treatments)
        Expected effect of each treatment on the outcome of each customer, against no
        contact, such as `predict` of an uplift estimator returns. Columns of a
        DataFrame are found by the labels of the treatments.
    value : float or array-like of shape (n,), default=1.0
        Value of one outcome, such as the margin of a purchase, of all customers or of
        each; in the unit of `cost`.
    cost : float, mapping or array-like, default=0.0
        Cost of a contact, at least 0: one number, or an array of shape (n_treatments,)
        for each treatment, (n,) or (n, n_treatments) for each customer. With as many
        customers as treatments, use two dimensions. Costs of treatments in a mapping, a
        Series or a DataFrame are found by the labels of the treatments, and those of an
        array are in the order of `treatments`, such as an estimator's `treatments_`.
        Those with labels may also name no contact, with the cost 0.
    budget : float or None, default=None
        Largest sum of the costs, at least 0; None or infinity for no limit. For a
        number of contacts, such as 100 mails, use `capacity`.
    capacity : int, mapping, Series or None, default=None
        Largest number of contacts, at least 0: of all, or a mapping of treatments, or
        of `channels`, to numbers, or a Series with these names as index; those that it
        does not name have no limit. None for no limit at all.
    treatments : array-like of shape (n_treatments + 1,) or None, default=None
        Labels of no contact (first) and of the columns of `effect`, such as an
        estimator's `treatments_`. None: 0, 1, 2, ...
    channels : array-like of shape (n_treatments,) or None, default=None
        Channel, or day, of each treatment, to which `capacity` refers. None: each
        treatment is a channel of its own.
    customers : array-like of shape (n,) or None, default=None
        Customer of each row, for the result, and to make sure that each one occurs only
        once. None: the index of `effect`, or 0, 1, 2, ...
    effect_samples : array-like of shape (n_samples, n) or (n_samples, n, \
            n_treatments), or None, default=None
        Effects by models of bootstrap samples, of an ensemble or of a posterior, for
        the interval. None for no interval.
    confidence_level : float, default=0.95
        Probability of the interval, between 0 and 1.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With the attributes:

        contacts : DataFrame of n_contacts rows
            The chosen contacts, highest profit first: ``row`` (position in `effect`),
            ``customer``, ``treatment`` (label), ``effect``, ``cost`` and ``profit``,
            the value of the effect less the cost.
        treatment : ndarray of shape (n,)
            The chosen label of each row, that of no contact included.
        profit : float
            Sum of the profits.
        lower, upper : float
            Ends of its interval; NaN without `effect_samples`.
        cost : float
            Sum of the costs.
        bound : float
            No choice within the limits has a higher expected profit than this.
        optimality_gap : float
            ``bound - profit``: 0 if no other choice is better.

    Raises
    ------
    ValueError
        If shapes differ, a number is missing or infinite, a cost or a limit is
        negative, a customer occurs more than once, `capacity` names an unknown
        treatment or channel, or columns have other names than the treatments.
    TypeError
        If numbers are of another type.

    Warns
    -----
    UserWarning
        If there is a `budget`, and all costs are 0. If `value`, `cost` or `customers`
        has the index of `effect` in another order: rows are matched by position.

    See Also
    --------
    sklearn_seqcrm.metrics.policy_value : The value of a choice, estimated from an
        experiment.

    Notes
    -----
    With the profit ``p[i, j] = value[i] * effect[i, j] - cost[i, j]`` of customer ``i``
    and treatment ``j``, the choice ``x`` of zeros and ones maximises ::

        sum(p * x)  with  sum over j of x[i, j] <= 1  for each customer i,
                          sum(cost * x) <= budget,
                          sum over the treatments of a channel of x <= its capacity

    which is a multiple-choice knapsack problem [1]_. How it is solved, and whether the
    result is the best there is:

    - No limit, or limits that do not bind: the best treatment of each customer. Exact.
    - One limit, a budget or a number of contacts: the greedy algorithm on the convex
      hulls of cost and profit [1]_, in ``n * log(n)`` steps. It is exact if all costs
      are equal, and otherwise loses less than the profit of one contact: the choice in
      which a single customer is contacted in part is the best of all choices with
      fractions, whose profit is ``bound``.
    - Several limits: prices of the limits (Lagrange multipliers) that minimise the
      bound, by cutting planes; the best treatment at these prices; then the cheapest
      changes that keep the limits or use what is left.
    - If the optimality gap is then above a millionth of the profit, and at most 1,000
      pairs of customer and treatment could be in a better choice, the integer program
      of these pairs is solved by HiGHS. Exact, unless its search ends at 10,000 nodes.

    A million customers and three treatments took 4 seconds with one limit, and 20 to 45
    with two or three, on one busy core.

    ``optimality_gap`` is an upper bound of what was lost. Of equally good customers,
    the first rows are chosen.

    The profit is that of expected effects. Customers are chosen because their estimates
    are high, and estimates are high in part by chance: the profit to come is lower than
    that of the estimates on average. The interval of ``effect_samples`` shows how
    uncertain the effects are, not this bias. For an honest figure, choose by a rule,
    and estimate its `policy_value` on customers that no model was fitted on.

    References
    ----------
    .. [1] Sinha, P. and Zoltners, A. A. (1979). The multiple-choice knapsack problem.
       Operations Research 27(3), 503-515. https://doi.org/10.1287/opre.27.3.503

    Examples
    --------
    >>> from sklearn_seqcrm.uplift import choose_contacts
    >>> effect = [[0.10, 0.15], [0.02, 0.20], [-0.05, 0.01]]
    >>> result = choose_contacts(
    ...     effect,
    ...     value=100,
    ...     cost=[1, 8],
    ...     budget=10,
    ...     treatments=["none", "mail", "call"],
    ... )
    >>> result.contacts[["row", "treatment", "cost", "profit"]]
       row treatment  cost  profit
    0    1      call   8.0    12.0
    1    0      mail   1.0     9.0
    >>> result.treatment.tolist(), result.profit, result.optimality_gap
    (['mail', 'call', 'none'], 21.0, 0.0)
    """
    for name, given in {"value": value, "cost": cost, "customers": customers}.items():
        warn_other_order(effect, given, name, "effect")
    n_rows, n_treatments = _matrix(effect).shape
    labels = _labels(treatments, n_treatments)
    effects = _matrix(in_order_of_arms(effect, labels[1:], "effect"))
    names = _customers(customers, effect, n_rows)
    values = _per_row(value, n_rows)
    costs = _costs(_of_treatments(cost, labels, n_rows), n_rows, n_treatments)
    profits = values[:, None] * effects - costs
    limits = _limits(costs, budget, capacity, labels[1:], channels)
    plan = solve(profits, limits)
    rows = np.flatnonzero(plan.choice >= 0)
    chosen = plan.choice[rows]
    contacts = pd.DataFrame(
        {
            "row": rows,
            "customer": names[rows],
            "treatment": labels[chosen + 1],
            "effect": effects[rows, chosen],
            "cost": costs[rows, chosen],
            "profit": profits[rows, chosen],
        }
    ).sort_values("profit", ascending=False, kind="stable", ignore_index=True)
    lower, upper = np.nan, np.nan
    if effect_samples is not None:
        sampled = _samples(effect_samples, effects.shape)[:, rows, chosen]
        profit_samples = sampled @ values[rows] - contacts["cost"].sum()
        tail = (1 - confidence_level) / 2
        lower, upper = np.quantile(profit_samples, [tail, 1 - tail])
    profit = float(contacts["profit"].sum())
    optimality_gap = _optimality_gap(plan, profit)
    return Bunch(
        contacts=contacts,
        treatment=labels[plan.choice + 1],
        profit=profit,
        lower=float(lower),
        upper=float(upper),
        cost=float(contacts["cost"].sum()),
        bound=profit + optimality_gap,
        optimality_gap=optimality_gap,
    )


def _optimality_gap(plan: Plan, profit: float) -> float:
    """Return what a better choice could earn more; 0 if that is rounding."""
    difference = plan.bound - profit
    return float(difference) if difference > 1e-9 * max(1.0, abs(profit)) else 0.0


def _matrix(effect: Any) -> np.ndarray:
    """Return finite floats of shape (n, n_treatments)."""
    found = _floats(effect, "effect")
    if found.ndim == 1:
        found = found[:, None]
    if found.ndim != 2 or not found.shape[1]:
        raise ValueError(
            "effect must have a row for each customer and a column for each treatment; "
            f"got the shape {found.shape}."
        )
    return found


def _floats(values: Any, name: str) -> np.ndarray:
    found = as_numbers(values, name)
    n_bad = int((~np.isfinite(found)).sum())
    if n_bad:
        raise ValueError(
            f"{name} has {n_bad} missing or infinite values among {found.size}; leave "
            "those customers out, or replace the values."
        )
    return found


def _labels(treatments: Any, n_treatments: int) -> np.ndarray:
    """Return the labels of no contact and of the treatments."""
    if treatments is None:
        return np.arange(n_treatments + 1)
    if isinstance(treatments, str) or np.ndim(treatments) != 1:
        raise TypeError(
            "treatments must be a list of labels, that of no contact first; got "
            f"{treatments!r}."
        )
    labels = np.asarray(pd.Series(treatments))
    if len(labels) != n_treatments + 1 or len(set(labels.tolist())) < len(labels):
        raise ValueError(
            f"treatments must have {n_treatments + 1} different labels, that of no "
            f"contact and one for each column of effect; got {labels.tolist()}. Pass "
            "effects, as predict returns them, and not the outcomes of all arms."
        )
    return labels


def _customers(customers: Any, effect: Any, n_rows: int) -> np.ndarray:
    """Return the customer of each row, each of which occurs once."""
    what = "customers"
    if customers is None:
        if not isinstance(effect, pd.DataFrame | pd.Series):
            return np.arange(n_rows)
        what, customers = "The index of effect", effect.index
    names = pd.Series(label_array(customers)).infer_objects()
    if len(names) != n_rows:
        raise ValueError(
            f"customers has {len(names)} rows, but effect has {n_rows}; there must be "
            "one customer for each row."
        )
    n_missing = int(names.isna().sum())
    if n_missing:
        raise ValueError(
            f"{what} has {n_missing} missing values among {n_rows}; leave those rows "
            "out."
        )
    again = names.duplicated()
    if again.any():
        raise ValueError(
            f"{what} has {int(again.sum())} rows of customers who have a row already, "
            f"such as {names[again].tolist()[0]!r}; keep one row of each customer, the "
            "latest one for example, or pass customers=, the names of customers."
        )
    return names.to_numpy()


def _per_row(value: Any, n_rows: int) -> np.ndarray:
    found = _floats(value, "value")
    if found.ndim > 1 or (found.ndim == 1 and len(found) != n_rows):
        raise ValueError(
            f"value must be a number, or have one for each of {n_rows} customers; got "
            f"the shape {found.shape}."
        )
    return np.broadcast_to(found, n_rows)


def _of_treatments(cost: Any, labels: np.ndarray, n_rows: int) -> Any:
    """Return costs in the order of the treatments, those with labels without control.

    No contact, the first of the labels, may be among them if it costs nothing.
    """
    none, *wanted = np.asarray(labels, dtype=object).tolist()
    if isinstance(cost, pd.Series | pd.DataFrame):
        names = cost.axes[-1].tolist()
        has_all = len(names) == len(labels) and set(names) == {none, *wanted}
        # A Series with a number for each customer may have any index.
        if has_all and cost.shape != (n_rows,):
            cost = dict(cost.items())
    if not isinstance(cost, Mapping):
        return in_order_of_arms(cost, wanted, "cost")
    given = {label: one for label, one in cost.items() if label != none}
    if set(given) != set(wanted):
        raise ValueError(
            f"cost names {list(cost)}, and the treatments beside {none!r} are "
            f"{wanted}; give each of them a cost, and pass the labels of all arms as "
            "treatments=, no contact first."
        )
    free = _floats(cost.get(none, 0), "cost")
    if np.any(free):
        raise ValueError(
            f"cost of {none!r}, the first of treatments, must be 0, because it is no "
            f"contact; got {free[free != 0].flat[0]:g}. Subtract it from the others."
        )
    # A number for each treatment, or (n, n_treatments) of columns.
    return _floats([cost[label] for label in wanted], "cost").T


def _costs(cost: Any, n_rows: int, n_treatments: int) -> np.ndarray:
    """Return the cost of each treatment of each customer, (n, n_treatments)."""
    found = _floats(cost, "cost")
    if found.shape == (n_treatments,):
        found = found[None, :]
    elif found.shape == (n_rows,):
        found = found[:, None]
    elif found.shape not in {(), (n_rows, n_treatments), (n_rows, 1)}:
        raise ValueError(
            f"cost must be a number, have one for each of {n_treatments} treatments or "
            f"{n_rows} customers, or both; got the shape {found.shape}. No contact "
            "costs nothing, and has no cost of its own."
        )
    if (found < 0).any():
        raise ValueError(
            f"cost has {int((found < 0).sum())} negative values; a contact that earns "
            "something by itself belongs into value and effect."
        )
    return np.broadcast_to(found, (n_rows, n_treatments))


def _limits(
    costs: np.ndarray,
    budget: float | None,
    capacity: int | Mapping[Any, int] | pd.Series | None,
    treatments: np.ndarray,
    channels: Any,
) -> list[Limit]:
    """Return what each contact uses of each limited resource."""
    limits = []
    channel = _channels(channels, treatments)
    if budget is not None and budget < np.inf:
        if costs.size and not costs.any():
            warn_user(
                f"budget={budget!r} limits nothing, as all costs are 0. Pass the cost "
                "of a contact, or limit the number of contacts by capacity=."
            )
        limits.append(Limit(costs, float(budget)))
    if isinstance(capacity, pd.Series):
        capacity = _by_name(capacity)
    if isinstance(capacity, Mapping):
        limits += _limits_of_channels(costs.shape, capacity, channel)
    elif capacity is not None:
        limits.append(Limit(np.broadcast_to(1.0, costs.shape), float(capacity)))
    return limits


def _channels(channels: Any, treatments: np.ndarray) -> np.ndarray:
    """Return the channel of each treatment, by default the treatment itself."""
    if channels is None:
        return treatments
    channel = np.asarray(pd.Series(in_order_of_arms(channels, treatments, "channels")))
    if len(channel) != len(treatments):
        raise ValueError(
            f"channels must name the channel of each of {len(treatments)} "
            f"treatments; got {channel.tolist()}."
        )
    return channel


def _limits_of_channels(
    shape: tuple[int, ...], capacity: Mapping[Any, int], channel: np.ndarray
) -> Iterator[Limit]:
    """Yield the limit of each channel that `capacity` names; `shape` is that of costs.

    `channel` is that of each treatment.
    """
    for name, most in capacity.items():
        uses = channel == name
        if not np.any(uses):
            raise ValueError(
                f"capacity names {name!r}, which is none of {channel.tolist()}. "
                "Pass one number to limit all contacts, or name the treatments by "
                "treatments=, no contact first."
            )
        if isinstance(most, bool) or not isinstance(most, Integral) or most < 0:
            raise ValueError(
                f"capacity of {name!r} must be an integer of at least 0; got {most!r}."
            )
        yield Limit(np.broadcast_to(uses.astype(float), shape), float(most))


def _by_name(capacity: pd.Series) -> dict[Any, Any]:
    """Return the capacities of a Series, each of whose names occurs once."""
    again = capacity.index.duplicated()
    if again.any():
        raise ValueError(
            f"capacity names {capacity.index[again].tolist()[0]!r} more than once; its "
            "index must have the name of each treatment or channel once."
        )
    return capacity.to_dict()


def _samples(effect_samples: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return samples of effects, (n_samples, n, n_treatments)."""
    found = _floats(effect_samples, "effect_samples")
    if found.ndim == 2 and shape[1] == 1:
        found = found[:, :, None]
    if found.ndim != 3 or found.shape[1:] != shape or not len(found):
        raise ValueError(
            f"effect_samples must have the shape (n_samples, {shape[0]}, {shape[1]}); "
            f"got {found.shape}."
        )
    return found
