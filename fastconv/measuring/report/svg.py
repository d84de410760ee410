"""matplotlib figures as SVG text that reads on light and on dark paper, by itself or inside a page.

Backgrounds are transparent and words stay words. Colours stand in the drawing as figures.py gives them; where the reader
prefers dark, a style sheet that looks for those colours puts others in their place.
"""

import io
import re
from html import escape
from typing import TYPE_CHECKING

from fastconv.measuring.extras import require
from fastconv.measuring.report.figures import FAINT, GRID, INK, OURS, PAPER, PEERS, REFERENCE, SHADE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["STYLE", "inline", "standalone"]

DARK = {
    INK: "#dde3ea",
    FAINT: "#6b7785",
    PAPER: "#14181d",
    SHADE: "#1e252d",
    GRID: "#2c353f",
    OURS: "#3bc9db",
    PEERS: "#ff922b",
    REFERENCE: "#adb5bd",
}


def _style() -> str:
    rules = [
        f'svg [style*="{what}: {light}"]{{{what}:{dark}!important}}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    ]
    return (
        "svg text{font-family:system-ui,'DejaVu Sans',sans-serif!important}"
        f"@media screen and (prefers-color-scheme:dark){{{''.join(rules)}}}"
    )


STYLE = _style()  # what a page needs once for all the pictures in it


def standalone(figure: "Figure", title: str) -> str:
    """The text of an SVG file."""
    begin, rest = _drawing(figure).split(">", 1)
    name = f'<title>{escape(title)}</title><style type="text/css">{STYLE}</style>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{begin} role="img">{name}{rest}'


def inline(figure: "Figure", name: str, title: str, description: str) -> str:
    """An svg element for an HTML page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to draw.
    name : str
        Begins each id of the element: another for each picture of a page.
    title, description : str
        Read out to those who do not see the picture.
    """
    drawing = _drawing(figure)
    drawing = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", drawing).replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', drawing))
    drawing = re.sub(r'\sid="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", drawing)
    drawing = re.sub(r'(href="|url\()#', rf"\1#{name}-", drawing)
    begin, rest = drawing.split(">", 1)
    begin = re.sub(r'\s(?:width|height)="[^"]*pt"', "", begin)
    labels = f'role="img" aria-labelledby="{name}-title {name}-text"'
    words = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-text">{escape(description)}</desc>'
    return f"{begin} {labels}>{words}{rest}".strip()


def _drawing(figure: "Figure") -> str:
    """The svg element alone, the same on every run."""
    stream = io.StringIO()
    with require("matplotlib").rc_context({"svg.fonttype": "none", "svg.hashsalt": "fastconv"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r"\s*<style.*?</style>", "", text, count=1, flags=re.DOTALL)
