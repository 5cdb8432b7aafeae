"""Order and thumbnails of the gallery.

The sections of `examples.md` decide the order. A thumbnail shows one panel of a figure
at its own size: a row of three panels would be too small to recognise.
"""

import re
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from sphinx.application import Sphinx
from sphinx_gallery.scrapers import matplotlib_scraper
from sphinx_gallery.utils import scale_image

HERE = Path(__file__).parent
IMAGES = HERE / "auto_examples" / "images"


def position(path: str) -> int:
    """Return the position of an example on the page of examples."""
    page = (HERE / "examples.md").read_text(encoding="utf-8")
    names = re.findall(r"^ +\.\./examples/(\w+\.py)$", page, flags=re.MULTILINE)
    return names.index(Path(path).name)


def enlarge_text(gallery_conf: Any, fname: str) -> None:
    """Set the font size of figures of 12 inches, of which a column shows two thirds."""
    plt.rcParams["font.size"] = 12


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: Any) -> str:
    """Save the figures of a block, and the widest panel of the last one for itself."""
    for number in plt.get_fignums():
        figure = plt.figure(number)
        # Colorbars and legends are narrow.
        panels = [ax for ax in figure.axes if ax.get_visible()]
        if not panels:
            continue
        figure.canvas.draw()
        panel = max(panels, key=lambda ax: ax.get_window_extent().width)
        box = panel.get_tightbbox().transformed(figure.dpi_scale_trans.inverted())
        IMAGES.mkdir(parents=True, exist_ok=True)
        figure.savefig(
            IMAGES / f"{Path(block_vars['src_file']).stem}_panel.png",
            bbox_inches=box.padded(0.08),
            dpi=100,
        )
    return str(matplotlib_scraper(block, block_vars, gallery_conf))


def use_panels_as_thumbnails(app: Sphinx) -> None:
    """Overwrite the thumbnails of examples that have drawn a figure."""
    size = app.config.sphinx_gallery_conf["thumbnail_size"]
    for panel in IMAGES.glob("*_panel.png"):
        name = panel.stem.removesuffix("_panel")
        scale_image(panel, IMAGES / "thumb" / f"sphx_glr_{name}_thumb.png", *size)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the thumbnails, after the gallery, which has the default priority."""
    app.connect("builder-inited", use_panels_as_thumbnails, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
