"""The look that all figures of the reports share."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Okabe and Ito's colours, told apart with any colour vision; the classes keep theirs through the whole report.
LEUKEMIC = "#d55e00"
NORMAL = "#0072b2"
INK = "#222222"
MUTED = "#767676"
FAINT = "#dddddd"

Columns = dict[str, np.ndarray]
"""A table: arrays of shape (rows,) by the names of their columns."""

PIXELS_PER_INCH = 100
"""CSS pixels that one inch of a figure takes on the page."""
_DOTS_PER_INCH = 170


@dataclass(frozen=True)
class Illustration:
    """A drawn figure and its words.

    Attributes
    ----------
    name : str
        File name without suffix, and anchor on the page.
    title, alt, caption : str
        Plain text; `alt` describes the picture to those who cannot see it.
    png : bytes
    width, height : int
        Size on the page, CSS pixels.
    """

    name: str
    title: str
    alt: str
    caption: str
    png: bytes
    width: int
    height: int


def new_figure(width: float, height: float, *, gap: float = 0.04) -> Figure:
    """Make an empty figure of a size in inches, outside pyplot's global state; `gap` is between rows, inches."""
    layout = ConstrainedLayoutEngine(h_pad=gap)
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def illustrate(figure: Figure, *, generated: bool, name: str, title: str, alt: str, caption: str) -> Illustration:
    """Render a figure; one of drawn cells says so itself, since figures travel without their page."""
    if generated:
        figure.suptitle("generated cells, not a result", x=0.01, ha="left", fontsize=9, color=LEUKEMIC)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, facecolor="white")
    width, height = (round(float(inches) * PIXELS_PER_INCH) for inches in figure.get_size_inches())
    return Illustration(name, title, alt, caption, buffer.getvalue(), width, height)


def label_axes(panel: Axes, horizontal: str, vertical: str) -> None:
    """Label axes, and draw them as all axes of the reports."""
    panel.set_xlabel(horizontal, fontsize=10, color=INK)
    panel.set_ylabel(vertical, fontsize=10, color=INK)
    panel.tick_params(labelsize=9, colors=INK, length=3, color=MUTED)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(MUTED)
    panel.grid(visible=True, color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)


def add_legend(panel: Axes, *, n_columns: int = 1) -> None:
    """Add a legend in the look of the reports."""
    panel.legend(
        loc="lower right", ncols=n_columns, fontsize=9, frameon=True, framealpha=0.9, edgecolor="none", labelcolor=INK
    )


def class_colour(leukemic: object) -> str:
    """Return the colour of a class."""
    return LEUKEMIC if leukemic else NORMAL


@cache
def _drawn_characters() -> frozenset[int]:
    """List the code points that the figures' font can draw."""
    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def drawable(text: str, *, longest: int = 40) -> str:
    """Adapt a name to a figure: short, with "?" for characters missing from the font; the tables show it in full."""
    shortened: Sequence[str] = text if len(text) <= longest else text[: longest - 1] + "…"
    known = _drawn_characters()
    return "".join(character if ord(character) in known else "?" for character in shortened)
