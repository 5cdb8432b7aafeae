"""Sphinx configuration: `make docs`."""

import os
from importlib.metadata import version as installed_version

project = "sklearn_seqcrm"
author = "The sklearn_seqcrm developers"
copyright = f"2026, {author}"
version = release = installed_version("sklearn-seqcrm")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
# Included by another page.
exclude_patterns = ["_build", "benchmark_results"]
# The front page is the README, whose title is the project's name.
myst_heading_anchors = 2
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_seqcrm"
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
    # Training nets takes minutes, so pages show code alone unless asked.
    "plot_gallery": os.environ.get("SEQCRM_DOCS_RUN") == "1",
    "abort_on_example_error": True,
    "show_signature": False,
    "write_computation_times": False,
}
