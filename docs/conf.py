"""Sphinx configuration: `make docs`."""

import os
import sys
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
URLS = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["urls"]
# For `linked_names`.
sys.path.insert(0, str(HERE))

project = "sklearn_seqcrm"
author = "The sklearn_seqcrm developers"
copyright = f"2026, {author}"
version = release = installed_version("sklearn-seqcrm")

extensions = [
    "linked_names",
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
# The second is included by other pages; notebooks of the gallery are for download.
exclude_patterns = ["_build", "benchmark_results", "auto_examples/*.ipynb"]
myst_heading_anchors = 2
myst_enable_extensions = ["colon_fence", "dollarmath"]

# Code of pages and examples runs, unless that is switched off; that of a page
# again when it has changed. A warning that it prints is one of the build.
runs = os.environ.get("SEQCRM_DOCS_RUN") != "0"
nb_execution_mode = "cache" if runs else "off"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # seconds for a cell
nb_output_stderr = "remove-warn"
nb_merge_streams = True
# What has not run does not tell its language.
suppress_warnings = [] if runs else ["myst-nb.lexer"]
# With a backend of its own, a kernel would not show the figures of a page.
os.environ.pop("MPLBACKEND", None)
# Small networks are as fast on one thread, and much faster beside other processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

templates_path = ["_templates"]
# Docstrings have single backticks for names and parameters alike: a name becomes a
# link, and what cannot be found plain code, without a warning. (scikit-learn has
# "literal" here, and spells out the role of every link.)
default_role = "py:obj"

# Links to the documentation of others need their lists of names from the network, and
# Sphinx warns of each that it cannot reach. `make docs` stops at warnings and should be
# quick without a network, so that these links are made where they are asked for alone:
# by Read the Docs, or with SEQCRM_DOCS_ONLINE=1.
by_read_the_docs = os.environ.get("READTHEDOCS") == "True"
if by_read_the_docs or os.environ.get("SEQCRM_DOCS_ONLINE") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_timeout = 10  # seconds; they are asked at the same time
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "skorch": ("https://skorch.readthedocs.io/en/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "matplotlib": ("https://matplotlib.org/stable", None),
    }

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_seqcrm"
html_theme_options = {
    "github_url": URLS["Repository"],
    "use_edit_page_button": True,
    # Pages in folders are made from docstrings and examples, and cannot be edited.
    "secondary_sidebar_items": {
        "*": ["page-toc", "edit-this-page"],
        "*/**": ["page-toc"],
    },
}
html_sidebars = {"index": []}
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
_, github_user, github_repo = URLS["Repository"].rsplit("/", 2)
html_context = {
    "github_user": github_user,
    "github_repo": github_repo,
    "github_version": "main",
    "doc_path": "docs",
}
# Types stand in the docstrings, in words.
autodoc_typehints = "none"
html_show_sourcelink = False

# The class template lists the members that we wrote; those that pandas or
# scikit-learn documents keep their docstring there, whose references only resolve
# there.
autodoc_inherit_docstrings = False
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    # Others are shown on pages, and are no examples to be run.
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",
    "plot_gallery": runs,
    "abort_on_example_error": True,
    "show_signature": False,
    "write_computation_times": False,
    # Who uses what: for "Examples using" on the pages of the API, and (if examples are
    # run) for links from their code to these pages.
    "backreferences_dir": "generated/examples",
    "doc_module": "sklearn_seqcrm",
}
