"""A report as one HTML page that needs nothing else: no network, no folder of pictures."""

import base64
import re
from collections.abc import Iterable, Sequence

from analysis.report.first_screen import FirstScreen
from analysis.report.plain_text import to_html as plain
from analysis.report.section import Part, Section

SCALE = 0.65
"""Pixels on the page of a pixel of a figure; screens with more pixels an inch show all of them."""

STYLE = """
:root { color-scheme: light; --ink: #1d2430; --faint: #667085; --line: #d9dee7; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 4rem; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .4rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: .6rem 0; overflow-wrap: anywhere; }
.result { border-left: 4px solid var(--accent); background: #f2f7fb; padding: .6rem 1rem; margin: 1.2rem 0; }
.result p { font-size: 1.05rem; max-width: 62rem; }
.data { font-weight: 600; }
.warning { font-weight: 700; color: #b03a00; border: 2px solid; padding: .4rem .8rem; max-width: none; }
.first { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1rem 2rem; margin: 1rem 0; }
.verdicts > p { margin: 0 0 .4rem; }
.row { display: grid; grid-template-columns: 19rem minmax(0, 1fr); gap: 0 1rem; border-top: 1px solid var(--line); }
.row > div { padding: .5rem 0; }
.arm { font-size: 1.25rem; font-weight: 600; line-height: 1.2; overflow-wrap: anywhere; }
.verdict { font-size: 2.9rem; font-weight: 800; line-height: 1.05; letter-spacing: -.02em; }
.gain { font-size: 1.5rem; font-weight: 700; font-variant-numeric: tabular-nums; line-height: 1.25; }
.interval { font-size: 1rem; font-weight: 400; white-space: nowrap; }
.many .verdict { font-size: 2rem; } .many .gain { font-size: 1.2rem; }
.helps { color: #006d4f; } .hurts { color: #b03a00; } .equal { color: #0b5a91; } .undecided { color: var(--faint); }
.row .bar { position: relative; min-height: 3.5rem; }
.row svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.row.axis > div { padding: 0; } .row.axis .bar { min-height: 1.5rem; font-size: .85rem; color: var(--faint); }
svg .margin { fill: #56b4e9; opacity: .18; } svg .zero { stroke: #444; }
svg .thick { stroke: currentColor; stroke-width: 5; } svg .thin { stroke: currentColor; stroke-width: 1.5; }
svg circle, svg text { fill: currentColor; } svg circle { stroke: #fff; stroke-width: 1.5; }
svg .hollow { fill: #fff; stroke: currentColor; stroke-width: 2; }
.masks { margin: 0; }
@media (min-width: 60rem) {
  .first:has(.verdicts + .masks) { grid-template-columns: minmax(0, 1fr) 24rem; }
  .first:has(.masks) .row { grid-template-columns: 17.5rem minmax(0, 1fr); }
}
@media (max-width: 40rem) {
  .row { grid-template-columns: minmax(0, 1fr); padding-bottom: .5rem; }
  .row .bar { min-height: 2.4rem; } .verdict { font-size: 2.6rem; } .row.axis { padding: 0; }
}
.small, figcaption { color: var(--faint); font-size: .9rem; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; font-size: .9rem; }
a { color: var(--accent); }
figure { margin: 1rem 0; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { white-space: normal; border-bottom: 2px solid var(--ink); }
th:first-child { text-align: left; font-weight: 600; position: sticky; left: 0; background: #fff; }

.below { display: block; font-weight: 400; color: var(--faint); font-size: .8rem; }
td.best, td.helps { font-weight: 700; }
td.helps { color: #006d4f; }
td.hurts { color: #b03a00; font-weight: 700; }
td.second > span:first-child { text-decoration: underline; text-underline-offset: 3px; }
td.faint { color: var(--faint); }
img { max-width: 100%; height: auto; }
@media (max-width: 600px) { figure { overflow-x: auto; } figure img { max-width: none; width: 640px; } }
code, pre { font-size: .85rem; overflow-wrap: anywhere; white-space: pre-wrap; }
@media print { nav { display: none; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def to_html(
    title: str,
    data: str,
    result: Sequence[str],
    about: Sequence[str],
    sections: Iterable[Section],
    first: FirstScreen | None = None,
    warning: str = "",
) -> str:
    """The page.

    Args:
        title: its heading.
        data: one sentence on the images, which says SIMULATED where they are; empty where it isn't known.
        result: paragraphs of the conclusion.
        about: paragraphs on dataset, arms and runs.
        sections: in order; those without a heading continue the one before.
        first: verdicts and a picture above everything else; what is shown there isn't shown again.
        warning: that numbers are without some runs; empty where they aren't.
    """
    shown = first.shown if first else frozenset[str]()
    parts = list(sections)
    headings = [section.heading for section in parts if section.heading and not section.empty]
    links = "".join(f'<a href="#{_anchor(name)}">{plain(name)}</a>' for name in headings)
    body = [
        f"<h1>{plain(title)}</h1>",
        f'<p class="data">{plain(data)}</p>' if data else "",
        f'<p class="warning">{plain(warning)}</p>' if warning else "",
        first.to_html() if first else "",
        f'<div class="result">{_paragraphs(result)}</div>',
        f"<nav>{links}</nav>",
        _paragraphs(about, "small"),
        *(_section(section, shown) for section in parts if not section.empty),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{plain(title)}</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(part for part in body if part)
        + "</body></html>\n"
    )


def _section(section: Section, shown: frozenset[str]) -> str:
    parts = [f'<h2 id="{_anchor(section.heading)}">{plain(section.heading)}</h2>'] if section.heading else []
    parts += [_part(part, shown) for part in section.parts if not part.empty]
    return "\n".join(parts)


def _part(part: Part, shown: frozenset[str]) -> str:
    blocks = [grid.to_html() for grid in part.grids]
    blocks.append(_paragraphs(part.words, "small" if part.grids or part.pictures else ""))
    for name, caption in part.pictures.items():
        if name in shown:
            continue
        content = base64.b64encode(part.files[name]).decode()
        blocks.append(
            f"<figure><figcaption>{plain(caption)}</figcaption>"
            f'<img alt="{plain(caption)}"{_width(part.files[name])} src="data:image/png;base64,{content}"></figure>'
        )
    return "\n".join(block for block in blocks if block)


def _width(png: bytes) -> str:
    """The attribute for a figure's width on the page: its smallest letters are about as large as the page's."""
    pixels = int.from_bytes(png[16:20], "big") if png[12:16] == b"IHDR" else 0
    return f' width="{round(SCALE * pixels)}"' if pixels else ""


def _paragraphs(words: Iterable[str], kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return "\n".join(f"<p{attribute}>{plain(paragraph)}</p>" for paragraph in words)


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
