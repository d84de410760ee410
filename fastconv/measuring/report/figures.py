"""What all pictures share: colours, an empty figure, plain axes.

matplotlib is imported by the first picture; `pip install "fastconv[bench]"` brings it.
"""

from typing import TYPE_CHECKING

from fastconv.measuring.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#1f2933", "#9aa5b1"
PAPER, SHADE, GRID = "#ffffff", "#f3f5f7", "#e4e7eb"
OURS, PEERS, REFERENCE = "#0b7285", "#e8590c", "#868e96"
WIDTH = 8.0  # inches


def empty_figure(width: float, height: float) -> "Figure":
    """A figure that no window system, and no global state of pyplot, has to do with."""
    return require("matplotlib.figure").Figure(figsize=(width, height), dpi=144, layout="constrained")  # type: ignore[no-any-return]


def bare(axes: "Axes") -> None:
    """Axes without a frame above and to the right."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def headline(axes: "Axes", title: str) -> None:
    """A title that begins where the axes do."""
    axes.set_title(title, loc="left", fontsize=11, color=INK, pad=10)
