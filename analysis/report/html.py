"""A report as one HTML page that needs nothing else: no network, no folder of pictures."""

import base64
import re
from collections.abc import Iterable, Sequence

from analysis.report.plain_text import to_html as plain
from analysis.report.section import Part, Section

STYLE = """
:root { color-scheme: light; --ink: #1d2430; --faint: #667085; --line: #d9dee7; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; color: var(--ink); background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .4rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: .6rem 0; overflow-wrap: anywhere; }
.result { border-left: 4px solid var(--accent); background: #f2f7fb; padding: .6rem 1rem; margin: 1.2rem 0; }
.result p { font-size: 1.05rem; }
.data { font-weight: 600; }
.small, figcaption { color: var(--faint); font-size: .9rem; }
nav { font-size: .9rem; line-height: 2; }
nav a { margin-right: 1rem; white-space: nowrap; }
a { color: var(--accent); }
figure { margin: 1rem 0; }
figcaption { font-weight: 600; margin-bottom: .3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--ink); }
th:first-child { text-align: left; font-weight: 600; position: sticky; left: 0; background: #fff; }
.below { display: block; color: var(--faint); font-size: .8rem; }
td.best, td.helps { font-weight: 700; }
td.helps { color: #006d4f; }
td.hurts { color: #b03a00; font-weight: 700; }
td.second { text-decoration: underline; text-underline-offset: 3px; }
td.faint { color: var(--faint); }
img { max-width: 100%; height: auto; }
code, pre { font-size: .85rem; overflow-wrap: anywhere; white-space: pre-wrap; }
@media print { nav { display: none; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def to_html(title: str, data: str, result: Sequence[str], about: Sequence[str], sections: Iterable[Section]) -> str:
    """The page.

    Args:
        title: its heading.
        data: one sentence on the images, which says SIMULATED where they are; empty where it isn't known.
        result: paragraphs of the conclusion.
        about: paragraphs on dataset, arms and runs.
        sections: in order; those without a heading continue the one before.
    """
    parts = list(sections)
    headings = [section.heading for section in parts if section.heading and not section.empty]
    links = "".join(f'<a href="#{_anchor(name)}">{plain(name)}</a>' for name in headings)
    body = [
        f"<h1>{plain(title)}</h1>",
        f'<p class="data">{plain(data)}</p>' if data else "",
        f'<div class="result">{_paragraphs(result)}</div>',
        f"<nav>{links}</nav>",
        _paragraphs(about, "small"),
        *(_section(section) for section in parts if not section.empty),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{plain(title)}</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(part for part in body if part)
        + "</body></html>\n"
    )


def _section(section: Section) -> str:
    parts = [f'<h2 id="{_anchor(section.heading)}">{plain(section.heading)}</h2>'] if section.heading else []
    parts += [_part(part) for part in section.parts if not part.empty]
    return "\n".join(parts)


def _part(part: Part) -> str:
    blocks = [grid.to_html() for grid in part.grids]
    blocks.append(_paragraphs(part.words, "small" if part.grids or part.pictures else ""))
    for name, caption in part.pictures.items():
        content = base64.b64encode(part.files[name]).decode()
        blocks.append(
            f"<figure><figcaption>{plain(caption)}</figcaption>"
            f'<img alt="{plain(caption)}" src="data:image/png;base64,{content}"></figure>'
        )
    return "\n".join(block for block in blocks if block)


def _paragraphs(words: Iterable[str], kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return "\n".join(f"<p{attribute}>{plain(paragraph)}</p>" for paragraph in words)


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
