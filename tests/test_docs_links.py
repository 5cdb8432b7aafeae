"""Links between files of the project exist; no network is needed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
]
LINK = r"\]\(([^)\s]+)\)"


def target_of(page, link):
    """Return the file of a link; pages of examples are made from scripts."""
    path = link.split("#")[0]
    if example := re.fullmatch(r"auto_examples/(\w+)(\.rst)?", path):
        return ROOT / "examples" / f"{example[1]}.py"
    if name := re.fullmatch(r"generated/sklearn_seqcrm\.(\w+)\.(\w+)\.rst", path):
        # Made from an entry of the API page, which has a test of its own.
        return ROOT / "sklearn_seqcrm" / name[1]
    return page.parent / path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(LINK, page.read_text(encoding="utf-8"))
    ours = [link for link in links if not re.match(r"https?://|mailto:|#", link)]
    assert [link for link in ours if not target_of(page, link).exists()] == []


def headings(page):
    """Return the anchors of a page: targets, and headings of the first two levels."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#{1,2} (.+)$", text, flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", title.lower()) for title in titles]
    targets = re.findall(r"^\(([\w-]+)\)=$", text, flags=re.MULTILINE)
    return {*targets, *(title.replace(" ", "-") for title in plain)}


@pytest.mark.parametrize("page", PAGES[:-2], ids=lambda page: page.name)
def test_links_lead_to_headings(page):
    links = re.findall(
        r"\]\(([\w/]*\.md)?#([^)\s]+)\)", page.read_text(encoding="utf-8")
    )
    pages = [(page.parent / path if path else page, anchor) for path, anchor in links]
    assert [one for one in pages if one[1] not in headings(one[0])] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_external_links_are_complete_and_use_https(page):
    links = re.findall(LINK, page.read_text(encoding="utf-8"))
    others = [link for link in links if link.startswith("http")]
    assert [
        link for link in others if not re.match(r"https://[\w.-]+\.\w+", link)
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_statics_are_merged_from_the_left(page):
    """An inner merge loses customers who are not in the table of statics."""
    text = page.read_text(encoding="utf-8")
    merges = re.findall(r"\.merge\(([^()]*people[^()]*|[^()]*customers[^()]*)\)", text)
    assert [one for one in merges if 'how="left"' not in one] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_extras_are_installed_from_a_checkout(page):
    """The package index has no release yet."""
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"(?<!un)install\s+['\"`]*sklearn-seqcrm", text) == []


def test_every_page_is_in_the_sidebar():
    """Otherwise readers cannot find it."""
    names = "index.md", "guide.md", "defaults.md"
    text = "".join((ROOT / "docs" / name).read_text() for name in names)
    trees = re.findall(r"```\{toctree\}(.*?)```", text, flags=re.DOTALL)
    listed = set(re.findall(r"[\w/]+(?=>|$)", "\n".join(trees), flags=re.MULTILINE))
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages - listed == set()


def test_every_example_is_in_a_section_and_in_the_sidebar():
    """Both lists of the page are in the same order."""
    page = (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
    shown = re.findall(r"^ +\.\./examples/(\w+)\.py$", page, flags=re.MULTILINE)
    linked = re.findall(r"^auto_examples/(\w+)$", page, flags=re.MULTILINE)
    examples = [path.stem for path in (ROOT / "examples").glob("plot_*.py")]
    assert shown == linked
    assert sorted(shown) == sorted(examples)
