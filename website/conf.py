"""The configuration of Sphinx. Every name here is one that Sphinx, MyST or furo reads.

The website needs no network: furo uses the fonts of the reader's system, search runs in the browser, and the script
that draws diagrams is a file beside the pages, from a package of which nothing else is used.
"""

from __future__ import annotations

from importlib.metadata import version as installed
from pathlib import Path

project = "Roomkeeper"
author = "the Roomkeeper authors"
copyright = author
release = version = installed("roomkeeper")

_PACKAGES = Path(__file__).resolve().parents[1] / ".venv/website"

extensions = ["myst_parser"]
root_doc = "index"
nitpicky = True
myst_heading_anchors = 4
myst_links_external_new_tab = False
highlight_language = "text"
suppress_warnings = ["misc.highlighting_failure"]  # examples of JSON are cut with an ellipsis

html_theme = "furo"
html_title = f"Roomkeeper {release}"
html_logo = None
html_static_path = ["static", str(_PACKAGES / "mermaidx/assets/mermaid.js")]
html_css_files = ["site.css"]
html_js_files = [("diagrams.js", {"defer": "defer"})]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_use_index = False
html_theme_options = {
    "footer_icons": [],
    "light_css_variables": {"color-brand-primary": "#1f5fbf", "color-brand-content": "#1f5fbf"},
    "dark_css_variables": {"color-brand-primary": "#8ab4f8", "color-brand-content": "#8ab4f8"},
}
