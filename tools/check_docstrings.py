"""Validate the docstrings of the public names with numpydoc.

Public are the names in the ``__all__`` of every package, and the public methods and
properties of the classes among them. The checks are those of
``[tool.numpydoc_validation]`` in pyproject.toml.
"""

import importlib
import inspect
import pkgutil
import sys
import tomllib
from pathlib import Path

from numpydoc.validate import get_validation_checks, validate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import sklearn_seqcrm  # noqa: E402  (this checkout's, whatever is installed)


def public_names():
    """Yield the dotted name of everything public, and whether it is a member."""
    for module in pkgutil.iter_modules(sklearn_seqcrm.__path__, "sklearn_seqcrm."):
        if module.name.rpartition(".")[2].startswith("_"):
            continue
        package = importlib.import_module(module.name)
        for name in package.__all__:
            yield f"{module.name}.{name}", False
            value = getattr(package, name)
            if inspect.isclass(value):
                for member in sorted(documented_members(value)):
                    yield f"{module.name}.{name}.{member}", True


def documented_members(cls):
    """Yield the names of the public methods and properties that we wrote."""
    for name in dir(cls):
        value = getattr(cls, name, None)
        # property, cached_property, anything else
        function = getattr(value, "fget", None) or getattr(value, "func", value)
        if name.startswith("_") or not inspect.isroutine(function):
            continue
        if not ours(function):
            continue
        # An override without a docstring keeps the contract of the base class.
        overrides = any(name in vars(base) for base in cls.__mro__ if not ours(base))
        if function.__doc__ or not overrides:
            yield name


def ours(value):
    """Return whether a class or function was defined in this library."""
    return getattr(value, "__module__", "").split(".")[0] == "sklearn_seqcrm"


def main():
    """Print one line per error; return the number of errors."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    checks = get_validation_checks(set(config["tool"]["numpydoc_validation"]["checks"]))
    n_names = n_errors = 0
    for name, is_member in public_names():
        n_names += 1
        report = validate(name)
        place = f"{report['file']}:{report['file_line']}"
        for code, message in report["errors"]:
            # The example of a class shows its methods.
            if code in checks and not (is_member and code == "EX01"):
                n_errors += 1
                print(f"{place}: {name}: {code} {message}")
    print(f"{n_names} public names, {n_errors} docstring errors")
    return n_errors


if __name__ == "__main__":
    sys.exit(main() > 0)
