"""Link the names of the library, and dotted names of others, to their documentation.

A name in single backticks of a docstring is already a reference (`default_role` in
`conf.py`), and resolves if it is complete or in scope: `fit` on the page of a class.
This extension adds references for code in Markdown pages and for names without their
package, such as `EventLog.attach` or `churned(X, "30D")`. Anything that is not a name
of the library, such as a parameter, stays plain code without a warning.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import NoUri
from sphinx.transforms import SphinxTransform
from sphinx.util.nodes import make_refnode

# Usual import aliases.
ALIASES = {"np": "numpy", "pd": "pandas"}


class CodeToReferences(SphinxTransform):
    """Turn code that is a name, with or without arguments, into a reference."""

    default_priority = 500

    def apply(self) -> None:
        """Wrap code that is not part of a reference or a title."""
        for code in list(self.document.findall(nodes.literal)):
            # Links in titles would also be in the tables of contents.
            if isinstance(code.parent, pending_xref | nodes.reference | nodes.title):
                continue
            if name := re.fullmatch(r"([A-Za-z][\w.]*)(\(.*\))?", code.astext()):
                reference = pending_xref(
                    refdomain="py",
                    reftype="obj",
                    reftarget=name[1],
                    refdoc=self.env.docname,
                    refexplicit=True,
                    refwarn=False,
                )
                code.replace_self(reference)
                reference += code


def resolve_without_package(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.reference | None:
    """Find the unique public name that ends with the name of the reference."""
    if node.get("refdomain") != "py" or node["reftype"] != "obj":
        return None
    # Code that is not a reference should not look like one.
    content["classes"] = []
    name = node["reftarget"]
    if len(found := public_names(env, name)) == 1:
        ((full_name, place),) = found.items()
        page = node["refdoc"], place.docname, place.node_id
        return make_refnode(app.builder, *page, content, full_name)
    package, dot, rest = name.partition(".")
    if not dot:
        # Otherwise the parameter `time` would link to Python's module.
        raise NoUri
    # For intersphinx, which comes next.
    node["reftarget"] = f"{ALIASES.get(package, package)}.{rest}"
    return None


def public_names(env: BuildEnvironment, name: str) -> dict[str, Any]:
    """Return the documented names that end with a name, with their locations."""
    return {
        full_name: place
        for full_name, place in env.get_domain("py").objects.items()
        if full_name.endswith(f".{name}")
        # Not the private module that defines a class.
        and not place.aliased
        # A bare `fields` or `fit` may belong to anything.
        and ("." in name or place.objtype in ("class", "function"))
    }


def setup(app: Sphinx) -> dict[str, bool]:
    """Register both, before intersphinx, which has the default priority of 500."""
    app.add_transform(CodeToReferences)
    app.connect("missing-reference", resolve_without_package, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
