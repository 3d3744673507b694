"""Settings of the documentation site: `make docs` builds it into docs/_build/html, without the internet."""

from importlib import metadata

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

project = "leukospike"
author = copyright = "The leukospike developers"  # noqa: A001 - Sphinx's own name for it
version = release = metadata.version("leukospike")
html_title = f"leukospike {version}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings have shapes and units, which annotations lack
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_show_sphinx = False
html_copy_source = html_show_sourcelink = False
html_math_renderer = "mathml"


def _inline(writer: HTML5Translator, node: nodes.math) -> None:
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(writer: HTML5Translator, node: nodes.math_block) -> None:
    writer.body.append(f"<p>{tex2mathml(node.astext(), as_block=True)}</p>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Write equations as MathML, which browsers show by themselves: MathJax would come from elsewhere."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
