"""The page on architecture agrees with import-linter's contracts and the tree."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
LAYERS = re.findall(r"\w+", " ".join(CONTRACTS["contracts"][0]["layers"]))


def test_table_and_picture_have_the_layers():
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = re.findall(r"(?m)^\| `(\w+)` \| .* \| .* \|$", page)
    picture = ROOT / "docs" / "images" / "layers.svg"
    drawn = re.findall(r'class="n">(\w+)<', picture.read_text())
    assert sorted(table) == sorted(drawn) == sorted(LAYERS)


@pytest.mark.parametrize("page", ["architecture.md", "contributing.md"])
def test_files_on_the_page_exist(page):
    """The table of earlier names is at the end of the page."""
    text = (ROOT / "docs" / page).read_text().split("\n## Where the files of")[0]
    named = set(re.findall(r"`([\w./]+\.py)`", text))
    # Not from the root, which has environments that may be being installed.
    folders = ("sklearn_seqcrm", "tests", "tools", "examples", "benchmarks", "docs")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    existing = [f"/{path.relative_to(ROOT)}" for path in paths]
    assert [
        name for name in named if not any(f.endswith(f"/{name}") for f in existing)
    ] == []
    assert named
