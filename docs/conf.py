"""Sphinx's settings; `make docs` builds the pages into build/docs."""

import re

import fastinit

project = "fastinit"
author = "fastinit contributors"
copyright = "fastinit contributors, BSD-3-Clause"
version = release = fastinit.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",
    "sphinx_copybutton",
]
root_doc = "index"
exclude_patterns = ["_templates"]
templates_path = ["_templates"]
nitpicky = True  # a reference that leads nowhere is a warning, and `make docs` makes warnings errors

# pages: the same files are read on GitHub, so headings have GitHub's anchors
myst_heading_anchors = 4

# reference: from the docstrings; frameworks need not be there
autosummary_generate = True
autodoc_mock_imports = ["torch", "jax", "keras", "dask"]
autodoc_typehints = "none"  # docstrings say it in words
autodoc_member_order = "bysource"
default_role = "autolink"
numpydoc_show_class_members = False  # the template of a class lists them

html_theme = "pydata_sphinx_theme"
html_title = f"fastinit {version}"
html_static_path = ["_static"]
html_css_files = ["fastinit.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "show_prev_next": True,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"why": [], "stream": [], "performance": [], "quality": [], "checkpoint": [], "frameworks": []}


def papers(app, what, name, obj, options, lines):
    """Each paper of a docstring's references is a paragraph by itself: they end with a year."""
    if "References" in lines:
        for number in range(len(lines) - 1, lines.index("References"), -1):
            if re.search(r"\b\d{4}\.$", lines[number]):
                lines.insert(number + 1, "")


def setup(app):
    """Before numpydoc, which has the default priority."""
    app.connect("autodoc-process-docstring", papers, priority=100)
