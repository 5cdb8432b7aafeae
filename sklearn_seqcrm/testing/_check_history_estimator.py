"""Run the laws that hold for every estimator that takes histories."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal
from unittest import SkipTest

from sklearn.base import BaseEstimator, clone

import sklearn_seqcrm
from sklearn_seqcrm._typing import Estimator
from sklearn_seqcrm.testing import _laws


def all_estimators() -> list[tuple[str, type[Any]]]:
    """Find every public estimator and transformer of sklearn_seqcrm.

    Returns
    -------
    list of (str, type)
        Name and class of each, by name. Loads all packages, torch included.

    See Also
    --------
    sklearn.utils.discovery.all_estimators : Those of scikit-learn.

    Examples
    --------
    >>> from sklearn_seqcrm.testing import all_estimators
    >>> [name for name, _ in all_estimators()]
    ['ConformalClassifier', 'ConformalRegressor', 'DiscreteTimeSurvival', ...]
    """
    found = {}
    for package in pkgutil.iter_modules(sklearn_seqcrm.__path__):
        if package.name.startswith("_"):
            continue
        module = importlib.import_module(f"sklearn_seqcrm.{package.name}")
        for name in module.__all__:
            member = getattr(module, name)
            if inspect.isclass(member) and issubclass(member, BaseEstimator):
                found[name] = member
    return sorted(found.items())


_ON_FAIL = ("raise", "warn", None)
_MAX_LENGTH = 100  # of an id: the parameters of nested estimators fill pages


def check_history_estimator(
    estimator: Estimator,
    *,
    on_fail: Literal["raise", "warn"] | None = "raise",
    expected_failed_checks: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Check that an estimator treats histories correctly.

    scikit-learn's own checks pass plain arrays, and skip nearly everything if an
    estimator takes none. These checks pass rows with ragged histories:

    - padding and batches: a row has the same outputs alone, in a batch with the longest
      history, and in a batch with other rows of its customer,
    - outputs follow the order of the rows,
    - predictions from a `HistoryEncoder` with `moments` do not depend, to the last bit,
      on the order of the events of a moment,
    - one event, no event, an unknown customer (equal to one without events) and a very
      long history have outputs,
    - events at or after a cutoff, or before a lookback, have no effect,
    - all history columns have an effect; columns in another order have the same outputs
      or raise an error; object arrays are equal to DataFrames, if they are taken,
    - `fit` starts afresh, repeats itself, leaves its input and the global generators
      unchanged, and keeps no log, no history and no DataFrame,
    - clones, pickles, and rows out of pickles give the outputs of the originals.

    Parameters
    ----------
    estimator : estimator
        A classifier, regressor or transformer, not fitted, that takes raw `X`: a
        DataFrame with the history column ``"history"`` (and in one check a second
        one), the columns ``"who"`` and ``"at"`` that it was attached by, and numbers,
        booleans, text and datetimes with missing values. Put an estimator of encoded
        histories after a `HistoryEncoder`, or into `make_history_pipeline`. Set its
        `random_state`. It is cloned.
    on_fail : {"raise", "warn", None}, default="raise"
        Action for an unexpected failure of a check: raise its error, warn, or only
        report it.
    expected_failed_checks : dict of str to str or None, default=None
        Reasons why checks fail, by the name of the check.

    Returns
    -------
    list of dict
        A result for each check, with the keys ``"check_name"``, ``"status"``
        ("passed", "failed", "skipped", "xfail", or "xpass" if it was expected to fail
        and does not), ``"exception"`` (or None) and ``"expected_to_fail_reason"`` (or
        None).

    Raises
    ------
    Exception
        With ``on_fail="raise"``, the error of the first check that fails, with a note
        of the check's name.
    ValueError
        If `on_fail` has another value, or `expected_failed_checks` an unknown name.

    See Also
    --------
    sklearn.utils.estimator_checks.check_estimator : The contract on plain arrays.
    parametrize_with_history_checks : One pytest case for each check.

    Examples
    --------
    >>> from sklearn_seqcrm.feature_extraction import RFMFeatures
    >>> from sklearn_seqcrm.testing import check_history_estimator
    >>> results = check_history_estimator(RFMFeatures())
    >>> {result["status"] for result in results}
    {'passed'}
    """
    if on_fail not in _ON_FAIL:
        raise ValueError(f"on_fail must be one of {_ON_FAIL}; got {on_fail!r}.")
    reasons = _reasons(expected_failed_checks)
    estimator = clone(estimator)
    results = []
    for check in _laws.ALL_CHECKS:
        name = check.__name__
        reason, error = reasons.get(name), None
        try:
            check(estimator)
        except Exception as caught:
            error = caught
        # xpass: an expected failure that passes, whose reason is out of date.
        if isinstance(error, SkipTest):
            status = "skipped"
        elif error is None:
            status = "passed" if reason is None else "xpass"
        else:
            status = "failed" if reason is None else "xfail"
        if status == "failed" and error is not None:
            error.add_note(f"check_history_estimator: {name} failed.")
            if on_fail == "raise":
                raise error
            if on_fail == "warn":
                message = f"{name} failed with {type(error).__name__}: {error}"
                warnings.warn(message, UserWarning, stacklevel=2)
        results.append(
            {
                "check_name": name,
                "status": status,
                "exception": error,
                "expected_to_fail_reason": reason,
            }
        )
    return results


def parametrize_with_history_checks(
    estimators: Iterable[Estimator],
    *,
    expected_failed_checks: Callable[[Any], Mapping[str, str]] | None = None,
) -> Any:
    """Make a pytest case of each estimator and check.

    Parameters
    ----------
    estimators : iterable of estimators
        As `check_history_estimator` takes them.
    expected_failed_checks : callable or None, default=None
        Function of an estimator that returns reasons why checks fail, by the name of
        the check. Such a case has to fail.

    Returns
    -------
    pytest.MarkDecorator
        For a test with the arguments ``estimator`` and ``check``, which calls
        ``check(estimator)``. Needs pytest.

    Raises
    ------
    ValueError
        If a check that is expected to fail has an unknown name.

    See Also
    --------
    sklearn.utils.estimator_checks.parametrize_with_checks : The contract on plain
        arrays.

    Examples
    --------
    >>> from sklearn_seqcrm.feature_extraction import RFMFeatures
    >>> from sklearn_seqcrm.testing import parametrize_with_history_checks
    >>> @parametrize_with_history_checks([RFMFeatures(), RFMFeatures(dialect="btyd")])
    ... def test_histories(estimator, check):
    ...     check(estimator)
    """
    import pytest  # not a dependency of the library

    cases = []
    for estimator in estimators:
        found = expected_failed_checks(estimator) if expected_failed_checks else None
        reasons = _reasons(found)
        for check in _laws.ALL_CHECKS:
            reason = reasons.get(check.__name__)
            marks = []
            if reason is not None:
                marks = [pytest.mark.xfail(reason=reason, strict=True)]
            label = f"{_short(estimator)}-{check.__name__}"
            cases.append(pytest.param(estimator, check, marks=marks, id=label))
    return pytest.mark.parametrize(("estimator", "check"), cases)


def _reasons(expected: Mapping[str, str] | None) -> dict[str, str]:
    """Return the reasons by check; raise a ValueError for an unknown check."""
    names = [check.__name__ for check in _laws.ALL_CHECKS]
    reasons = dict(expected or {})
    unknown = [name for name in reasons if name not in names]
    if unknown:
        raise ValueError(f"There are no checks {unknown}; there are {names}.")
    return reasons


def _short(estimator: Any) -> str:
    """Return one short line for an estimator; for a pipeline its last step."""
    last = getattr(estimator, "steps", [(None, estimator)])[-1][1]
    # Without addresses of functions: processes that share tests compare names.
    line = re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(last).split()))
    return line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 3]}..."
