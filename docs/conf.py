"""Sphinx configuration: `make docs`."""

import os
import sys
import tomllib
from importlib.metadata import version as installed_version
from pathlib import Path

HERE = Path(__file__).parent
URLS = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["urls"]
# For our own extensions.
sys.path.insert(0, str(HERE))

project = "sklearn_seqcrm"
author = "The sklearn_seqcrm developers"
copyright = f"2026, {author}"
version = release = installed_version("sklearn-seqcrm")

extensions = [
    "gallery",
    "linked_names",
    "mathml",
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
# Other pages include the benchmark results; gallery notebooks are for download, and
# examples.md has the gallery in sections.
exclude_patterns = [
    "_build",
    "benchmark_results",
    "auto_examples/*.ipynb",
    "auto_examples/index.rst",
]
myst_heading_anchors = 2
myst_enable_extensions = ["colon_fence", "dollarmath"]

# Code of pages and examples runs unless SEQCRM_DOCS_RUN is 0; that of a page runs again
# if it has changed. A warning of the code is a warning of the build.
runs = os.environ.get("SEQCRM_DOCS_RUN") != "0"
nb_execution_mode = "cache" if runs else "off"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # seconds for a cell
nb_output_stderr = "remove-warn"
nb_merge_streams = True
# The language of code that has not run is unknown.
suppress_warnings = [] if runs else ["myst-nb.lexer"]
# With a backend set, the kernel would not show the figures of a page.
os.environ.pop("MPLBACKEND", None)
# Small networks are as fast on one thread, and much faster if other processes run.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Each kernel would warn that it uses TCP without encryption; ours logs errors only.
os.environ["JUPYTER_PATH"] = str(HERE / "_kernel")

templates_path = ["_templates"]
# Docstrings have single backticks for names and for parameters: a known name becomes a
# link, and anything else plain code, without a warning. (scikit-learn has "literal"
# here, and writes the role of every link.)
default_role = "py:obj"

# Links to other documentations need their lists of names from the network, and Sphinx
# warns if it cannot load one. `make docs` stops at warnings and should work without a
# network, so these links are made only by Read the Docs, or with SEQCRM_DOCS_ONLINE=1.
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

ALONE = [
    "index",
    "installation",
    "getting_started",
    "faq",
    "glossary",
    "benchmarks",
    "defaults",
    "citing",
    "changelog",
    "contributing",
    "architecture",
]
html_theme = "pydata_sphinx_theme"
html_title = "sklearn_seqcrm"
html_favicon = "_static/favicon.svg"
html_math_renderer = "mathml"
html_theme_options = {
    "github_url": URLS["Repository"],
    "use_edit_page_button": True,
    "logo": {
        "text": project,
        "image_light": "_static/favicon.svg",
        "image_dark": "_static/favicon.svg",
    },
    "navbar_start": ["navbar-logo", "version"],
    "footer_end": ["theme-version"],
    # Pages in folders are generated from docstrings and examples, and cannot be edited.
    "secondary_sidebar_items": {
        "*": ["page-toc", "edit-this-page"],
        "*/**": ["page-toc"],
    },
}
# Pages without siblings have nothing to show on the left.
html_sidebars = {page: [] for page in ALONE}
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_js_files = ["full_size.js"]
# "fit()" in the contents of the page of a class, not "LSTMClassifier.fit()".
toc_object_entries_show_parents = "hide"
_, github_user, github_repo = URLS["Repository"].rsplit("/", 2)
html_context = {
    "github_user": github_user,
    "github_repo": github_repo,
    "github_version": "main",
    "doc_path": "docs",
}
# Docstrings have the types, in words.
autodoc_typehints = "none"
html_show_sourcelink = False

# The class template lists our own members. Inherited ones are documented by pandas or
# scikit-learn, where the references of their docstrings resolve.
autodoc_inherit_docstrings = False
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    # Other files are shown on pages, and are not examples to run.
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",
    "plot_gallery": runs,
    "abort_on_example_error": True,
    "show_signature": False,
    "write_computation_times": False,
    "minigallery_sort_order": "gallery.position",
    "image_scrapers": "gallery.scrape",
    "reset_modules": ("matplotlib", "gallery.enlarge_text"),
    "image_srcset": ["2x"],  # sharp on screens of high resolution
    "thumbnail_size": (400, 280),
    # For "Examples using" on the API pages and, if examples run, for links from their
    # code to these pages.
    "backreferences_dir": "generated/examples",
    "doc_module": "sklearn_seqcrm",
}
