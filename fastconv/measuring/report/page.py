"""The pieces of a page of HTML that stands by itself: skeleton, style, tables that sort by a click, text made safe.

The page asks nothing of any other file or host, and is whole without JavaScript.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from fastconv.measuring.report import svg

__all__ = ["Cell", "document", "element", "figure", "table"]

CSS = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2933;--faint:#52606d;--line:#d5dbe1;--shade:#f3f5f7;
--ours:#0b7285;--bad:#b42318}
@media screen and (prefers-color-scheme:dark){
:root{--paper:#14181d;--ink:#dde3ea;--faint:#a3afbb;--line:#36404a;--shade:#1e252d;--ours:#3bc9db;--bad:#ff8a7a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:76rem;margin:auto;padding:1.5rem 1rem 3rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .5rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.5rem 0 .25rem;padding-top:1rem;border-top:1px solid var(--line);overflow-wrap:anywhere}
p{margin:.25rem 0 .75rem;max-width:46rem}
.headline{font-size:1.15rem}.headline strong{color:var(--ours)}
.faint{color:var(--faint)}.warning{border-left:4px solid var(--bad);padding:.25rem .75rem;background:var(--shade)}
.box{overflow-x:auto;margin:.75rem 0 1rem;max-width:100%}.box:focus-visible{outline:2px solid var(--ours)}
table{border-collapse:separate;border-spacing:0;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
th:first-child,td.words,th.words{text-align:left}
td.long{white-space:normal;min-width:13rem}
thead th{vertical-align:bottom;border-bottom:2px solid var(--faint)}
tbody th{position:sticky;left:0;background:var(--paper);font-weight:inherit}
tbody tr.best{font-weight:600}tbody tr.wrong td,tbody tr.wrong th{color:var(--bad)}
thead button{all:unset;cursor:pointer;font-weight:600}thead button:focus-visible{outline:2px solid var(--ours)}
thead button::after{content:"\\2195";opacity:.45;padding-left:.3em}
[aria-sort=ascending] button::after{content:"\\2191";opacity:1}[aria-sort=descending] button::after{content:"\\2193";opacity:1}
figure{margin:1rem 0}figure svg{display:block;width:100%;min-width:20rem;max-width:38rem;height:auto}
figcaption{color:var(--faint);font-size:.9rem;max-width:46rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem}dt{color:var(--faint)}dd{margin:0;overflow-wrap:anywhere}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}summary{cursor:pointer}
@media (max-width:40rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}main{padding-top:1rem}}
@media print{main{max-width:none;padding:0}.box{overflow:visible}table{font-size:6.5pt}
th,td{padding:.15rem .3rem;white-space:normal;overflow-wrap:anywhere}td.long{min-width:0}tbody th{position:static}
figure svg{min-width:0;max-height:21cm}thead button::after{content:""!important}figure,tr{break-inside:avoid}
h2{break-after:avoid}}
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sorts")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const order = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      const rows = [...body.rows], empty = rows.filter(row => key(row) === "");
      const full = rows.filter(row => key(row) !== "").sort((a, b) => order(key(a), key(b)));
      body.append(...(rising ? full : full.reverse()), ...empty);
    });
  });
}
"""


class Cell(NamedTuple):
    """What a cell of a table shows, and the number that it is sorted by, where it is one.

    Attributes
    ----------
    text : str
        Empty where nothing is known; such cells come last in either order.
    value : float or None
        What to sort by; by `text` if None.
    kind : str
        "" for a number, "words" for a name, "long" for sentences, which may wrap.
    """

    text: str
    value: float | None = None
    kind: str = ""


def element(tag: str, text: str, kind: str = "") -> str:
    """An element that holds text alone."""
    return f"<{tag}{_class(kind)}>{escape(text)}</{tag}>"


def table(name: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[Cell]]]) -> str:
    """A table in a box of its own that scrolls; each row has a class, or "", and its first cell heads it."""
    body = []
    kinds = [""] * len(columns)
    for kind, (first, *others) in rows:
        kinds = [one or cell.kind for one, cell in zip(kinds, (first, *others), strict=True)]
        cells = "".join(f"<td{_class(_kinds(cell))}{_value(cell)}>{escape(cell.text)}</td>" for cell in others)
        body.append(f'<tr{_class(kind)}><th scope="row"{_value(first)}>{escape(first.text)}</th>{cells}</tr>')
    heads = "".join(
        f'<th scope="col"{_class("words" if kind else "")}>{escape(column)}</th>'
        for column, kind in zip(columns, kinds, strict=True)
    )
    return (
        f'<div class="box" role="region" aria-label="{escape(name)}" tabindex="0"><table class="sorts">'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{chr(10).join(body)}\n</tbody></table></div>"
    )


def figure(drawing: str, caption: str) -> str:
    """A picture in a box of its own that scrolls."""
    name = escape(caption)
    box = f'<div class="box" role="region" aria-label="{name}" tabindex="0">{drawing}</div>'
    return f"<figure>{box}<figcaption>{name}</figcaption></figure>"


def document(title: str, parts: Iterable[str]) -> str:
    """The whole page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'{element("title", title)}\n<link rel="icon" href="data:,">\n<style>{CSS}{svg.STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n{chr(10).join(parts)}\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _kinds(cell: Cell) -> str:
    return "words long" if cell.kind == "long" else cell.kind


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _value(cell: Cell) -> str:
    return "" if cell.value is None else f' data-value="{cell.value!r}"'
