import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import sklearn_seqcrm

API_PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.rst"
PACKAGES = [
    module.name
    for module in pkgutil.iter_modules(sklearn_seqcrm.__path__, "sklearn_seqcrm.")
    if "._" not in module.name
]


def documented():
    """Return the names under each ``currentmodule`` of the API page."""
    _, *sections = API_PAGE.read_text().split(".. currentmodule:: ")
    pages = {}
    for section in sections:
        package, _, body = section.partition("\n")
        # Entries of an autosummary are the only indented bare words on the page.
        pages[package.strip()] = re.findall(r"^   (\w+)$", body, flags=re.MULTILINE)
    return pages


def test_every_package_has_a_section():
    assert sorted(documented()) == sorted(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_section_lists_the_public_names(package):
    public = importlib.import_module(package).__all__
    assert sorted(documented()[package]) == sorted(public)


def public_functions(package):
    """Yield the name and the function of all that users call, `__init__` included."""
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        if not inspect.isclass(value):
            yield name, value
            continue
        for attribute, function in inspect.getmembers(value, inspect.isroutine):
            is_public = attribute == "__init__" or not attribute.startswith("_")
            if is_public and function.__module__.startswith("sklearn_seqcrm"):
                yield f"{name}.{attribute}", function


@pytest.mark.parametrize("package", PACKAGES)
def test_arguments_have_types(package):
    untyped = {
        f"{name}({parameter.name})"
        for name, function in public_functions(package)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in ("self", "cls")
        and parameter.annotation in (inspect.Parameter.empty, "Any")
    }
    # pandas decides what it passes to the methods of an extension array.
    assert untyped <= {
        "HistoryArray.astype(dtype)",
        "HistoryArray.take(indices)",
        "HistoryArray.take(fill_value)",
    }


def test_what_packages_ask_of_a_log_is_not_documented():
    """Their arguments have types that users cannot make, such as a timeline."""
    page = API_PAGE.parent / "_templates" / "autosummary" / "class.rst"
    (line,) = re.findall(r"^   :exclude-members: (.+)$", page.read_text(), re.MULTILINE)
    shown = {
        name: str(inspect.signature(function))
        for name, function in public_functions("sklearn_seqcrm.events")
        if name.partition(".")[2] not in line.split(", ")
    }
    assert "EventLog.append" in shown
    inner = re.compile(r"\b(Timeline|Column|Rows|RawLog|Kinds)\b")
    assert [name for name, text in shown.items() if inner.search(text)] == []
