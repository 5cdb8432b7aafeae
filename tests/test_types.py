"""Types and docstrings of parameters name what is checked when the code runs."""

import importlib
import inspect
import pkgutil
import re
import typing

import pytest

import sklearn_seqcrm
from sklearn_seqcrm._sklearn_compat import StrOptions


def checked_parameters():
    """Yield type, text and allowed strings of each parameter that has a fixed set."""
    for package in pkgutil.iter_modules(sklearn_seqcrm.__path__):
        if package.name.startswith("_"):
            continue
        module = importlib.import_module(f"sklearn_seqcrm.{package.name}")
        for name in module.__all__:
            public = getattr(module, name)
            takes = public.__init__ if inspect.isclass(public) else public
            where = "_parameter_constraints", "_skl_parameter_constraints"
            constraints = getattr(public, where[not inspect.isclass(public)], {})
            hints = typing.get_type_hints(takes) if constraints else {}
            texts = described(inspect.getdoc(public))
            for parameter, allowed in constraints.items():
                for one in allowed if isinstance(allowed, list) else ():
                    if isinstance(one, StrOptions):
                        case = f"{name}-{parameter}"
                        both = hints[parameter], texts[parameter]
                        yield pytest.param(*both, one.options, id=case)


def described(docstring):
    """Return the text of each parameter of a docstring, its type included."""
    found = re.split(r"^(\w[\w, ]*) : ", docstring, flags=re.MULTILINE)
    texts = zip(found[1::2], found[2::2], strict=True)
    return {name: text for names, text in texts for name in names.split(", ")}


def literals(hint):
    """All strings that a type names, and `str` if it takes any."""
    if typing.get_origin(hint) is typing.Literal:
        return set(typing.get_args(hint))
    inner = [literals(arg) for arg in typing.get_args(hint)]
    return set().union(*inner, {str} if hint is str else set())


@pytest.mark.parametrize(("hint", "text", "options"), list(checked_parameters()))
def test_types_and_texts_name_the_strings_that_are_allowed(hint, text, options):
    assert literals(hint) == set(options)
    assert [one for one in options if f'"{one}"' not in text] == []
