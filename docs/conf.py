"""Sphinx settings; the pages are put beside this file's copy by docs/build.py."""
project, author, copyright = "llmrec", "The llmrec authors", "2026 onwards, The llmrec authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
html_theme, html_title = "sphinx_book_theme", "llmrec"
html_theme_options = {"show_toc_level": 2, "use_download_button": True, "home_page_in_toc": True}
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_fence_as_directive = ["mermaid"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "misc.highlighting_failure", "ref.term", "ref.ref"]
