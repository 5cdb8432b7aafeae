"""Render formulas as MathML when the pages are built.

Browsers have drawn MathML without JavaScript since 2023, so no page loads a script from
another server. The translation from LaTeX is that of docutils, which covers what the
pages use; an unknown command stops the build.
"""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


def translate(formula: str, is_block: bool) -> str:
    """Return the MathML of a formula."""
    # The only command of the pages that docutils has by another name.
    formula = formula.replace(r"\dots", r"\ldots")
    # LaTeX has a small space between a function and a letter, and docutils has none.
    formula = re.sub(r"\\log (?=[A-Z\\])", r"\\log\\, ", formula)
    return str(tex2mathml(formula, as_block=is_block))


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in a line of text."""
    self.body.append(translate(node.astext(), is_block=False))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula of its own lines, which scrolls if the page is too narrow."""
    formula = translate(node.astext(), is_block=True)
    self.body.append(f'<div class="math-block">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(visit_inline, None),
        block_renderers=(visit_block, None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
