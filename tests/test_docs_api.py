import importlib
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
