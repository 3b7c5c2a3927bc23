"""Sphinx settings; the pages are put beside this file's copy by docs/build.py. Nothing that a page
needs comes from elsewhere.
"""

from docutils import nodes
from latex2mathml.converter import convert

project, author, copyright = "llmrec", "The llmrec authors", "2026 onwards, The llmrec authors"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.mermaid",
]
html_theme, html_title = "sphinx_book_theme", "llmrec"
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": True,
    "home_page_in_toc": True,
    "navbar_persistent": [],
}
nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # tables and links of outputs, too
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_fence_as_directive = ["mermaid"]
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files, html_js_files = ["site.css"], ["site.js"]
# without a mode the theme complains on a first visit
html_favicon, html_context = "favicon.svg", {"default_mode": "auto"}
mermaid_use_local = "mermaid/default.js"
mermaid_init_config = {
    "startOnLoad": False,
    "themeVariables": {"fontSize": "16px"},
    "flowchart": {"useMaxWidth": False, "nodeSpacing": 24, "rankSpacing": 32, "padding": 8},
}
mermaid_light_theme, mermaid_dark_theme = "neutral", "dark"
mermaid_width = mermaid_height = "auto"
mermaid_fullscreen = False
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
suppress_warnings = [
    "mystnb.unknown_mime_type",
    "myst.header",
    "misc.highlighting_failure",
    "ref.term",
    "ref.ref",
]


def write_formula(translator, node: nodes.Node) -> None:
    """A formula as MathML, which browsers draw without a script."""
    is_block = isinstance(node, nodes.math_block)
    formula = convert(node.astext(), display="block" if is_block else "inline")
    translator.body.append(f'<div class="math">{formula}</div>' if is_block else formula)
    raise nodes.SkipNode


def setup(app) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(write_formula, None), block_renderers=(write_formula, None)
    )
