"""The page: every study in a table, and one or several with their progress, curves and findings. No scripts."""

import time
from collections.abc import Callable, Sequence
from html import escape
from urllib.parse import quote

from metaseg.cli.status import QUIET_SECONDS, StudyStatus
from metaseg.terminal import visible
from metaseg.watching.curves import draw_curves
from metaseg.watching.state import StudyView

REFRESH_SECONDS = 10
"""Time after which a browser loads the page again."""

MOST_SHOWN = 200
"""Most failed runs, or running ones, that are listed."""

STYLE = """
:root { color-scheme: light; --ink: #1d2430; --faint: #667085; --line: #d9dee7; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.2rem 1rem 4rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.3rem; margin: 0 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .3rem; padding-top: .6rem; border-top: 1px solid var(--line);
  overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { margin: .3rem 0; max-width: 52rem; overflow-wrap: anywhere; }
.small { color: var(--faint); font-size: .9rem; }
.bar { display: flex; height: 1rem; border-radius: .5rem; overflow: hidden; background: #eceff4; margin: .5rem 0; }
.done { background: #009e73; } .running { background: #56b4e9; } .failed { background: #d55e00; }
.warning { color: #b03a00; font-weight: 600; }
.note { display: inline-block; border: 1px solid #b03a00; color: #b03a00; border-radius: .3rem; padding: 0 .4rem;
  font-weight: 700; font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { border-bottom: 2px solid var(--ink); }
th:first-child, td.text { text-align: left; overflow-wrap: anywhere; }
.panels { display: flex; flex-wrap: wrap; gap: .5rem 1.2rem; }
figure { margin: 0; width: 260px; } figcaption { font-size: .85rem; overflow-wrap: anywhere; }
svg text { font-size: 11px; fill: var(--faint); }
a { color: var(--accent); }
"""

Link = Callable[[str], str]
"""Gives the address of a study's page or report by name; empty where there is none."""


def plain(text: str) -> str:
    """Text that a browser shows and doesn't obey."""
    return escape(visible(text))


def to_html(
    where: str,
    statuses: Sequence[StudyStatus],
    views: Sequence[StudyView],
    unreadable: Sequence[str],
    study_link: Link = lambda name: "",
    report_link: Link = lambda name: "",
    refresh: bool = True,
) -> str:
    """The page.

    Args:
        where: the store's path or URL.
        statuses: of all studies.
        views: of those that are shown in full.
        unreadable: paths of files, or sentences on them, that couldn't be read.
        study_link: address of a study's own page, by its name.
        report_link: address of a report, by its name in the store.
        refresh: whether a browser loads the page again.
    """
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    again = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if refresh else ""
    told = f", and loaded again every {REFRESH_SECONDS} seconds" if refresh else ""
    problems = "".join(f'<p class="warning">Can\'t be read: {plain(path)}</p>' for path in unreadable)
    body = [
        f"<h1>{plain(where)}</h1>",
        f'<p class="small">As of {now}{told}.</p>',
        problems,
        _table(statuses, study_link),
        *(_study(view, report_link) for view in views),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{again}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{plain(_title(where, views))}</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(part for part in body if part)
        + "</body></html>\n"
    )


def _title(where: str, views: Sequence[StudyView]) -> str:
    if len(views) != 1:
        return f"metaseg: {where}"
    status = views[0].status
    return f"{status.done}/{status.runs} {status.name}"


def _counts(status: StudyStatus) -> tuple[int, int, int, int]:
    """Runs that are done, running, waiting, failed."""
    running = sum(len(driver["status"].get("running", ())) for driver in status.drivers)
    waiting = max(0, status.runs - status.done - running - len(status.failed))
    return status.done, running, waiting, len(status.failed)


def _table(statuses: Sequence[StudyStatus], link: Link) -> str:
    if not statuses:
        return "<p>No study has been started on this store yet.</p>"
    heads = "".join(f"<th>{name}</th>" for name in ("study", "runs", "done", "running", "waiting", "failed"))
    rows = []
    for status in statuses:
        name, address = plain(status.name), link(status.name)
        shown = f'<a href="{escape(address)}">{name}</a>' if address else name
        cells = "".join(f"<td>{number}</td>" for number in (status.runs, *_counts(status)))
        rows.append(f"<tr><th>{shown}</th>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _study(view: StudyView, report_link: Link) -> str:
    status = view.status
    done, running, waiting, failed = _counts(status)
    share = 100 / max(1, status.runs)
    bar = "".join(
        f'<div class="{kind}" style="width:{count * share:.2f}%"></div>'
        for kind, count in (("done", done), ("running", running), ("failed", failed))
    )
    address = report_link(view.finding.report) if view.finding.report else ""
    report = f'<p><a href="{escape(address)}">The last report</a></p>' if address else ""
    curves = draw_curves(view)
    caption = (
        '<p class="small">F1 on validation images by epoch. Thin: runs (seeds and folds); thick: their mean, as far as '
        f"half of them have come (of each network, where an arm has several); dashed: of {plain(view.baseline)}.</p>"
    )
    return "\n".join(
        [
            f'<h2 id="{quote(status.name)}">{plain(status.name)}</h2>',
            f"<p>{plain(view.about)}</p>" if view.about else "",
            f'<div class="bar">{bar}</div>',
            f"<p>{done} of {status.runs} runs done, {running} running, {waiting} waiting, {failed} failed. "
            f"{plain(status.looks)}</p>",
            _drivers(status),
            report,
            _findings(view),
            f"<h3>Validation curves</h3>{caption}{curves}" if curves else "",
            _failures(status),
        ]
    )


def _drivers(status: StudyStatus) -> str:
    parts = []
    for driver in status.drivers:
        seconds = time.time() - driver["time"]
        seen = f"last seen {max(0.0, seconds):.0f} s ago" + (": has it died?" if seconds > QUIET_SECONDS else "")
        left = str(driver["status"].get("time_left", "?"))
        line = f"Trained from {driver['host']}, process {driver['pid']}, {seen}; time left {left}"
        runs = driver["status"].get("running", [])[:MOST_SHOWN]
        rows = "".join(
            f'<tr><th>{plain(str(run["label"]))}</th><td class="text">{plain(str(run["state"]))}</td></tr>'
            for run in runs
        )
        parts.append(f'<p>{plain(line)}</p><div class="scroll"><table><tbody>{rows}</tbody></table></div>')
    if not status.drivers and (status.open or status.done < status.runs):
        parts.append("<p>No driver is training it; the study's command, given again, goes on.</p>")
    return "".join(parts)


def _findings(view: StudyView) -> str:
    finding = view.finding
    mark = "" if finding.final else ' <span class="note">not final</span>'
    rows = "".join(
        f'<tr><th>{plain(name)}</th><td class="text">{plain(text)}</td></tr>' for name, text in finding.lines
    )
    table = f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>' if rows else ""
    return f'<h3>Comparisons{mark}</h3><p class="small">{plain(finding.about)}</p>{table}'


def _failures(status: StudyStatus) -> str:
    if not status.failed:
        return ""
    listed = list(status.failed.items())
    rows = "".join(
        f'<tr><th>{plain(label)}</th><td class="text">{plain(reason or "no reason was recorded")}</td></tr>'
        for label, reason in listed[:MOST_SHOWN]
    )
    more = f"<p>and {len(listed) - MOST_SHOWN} more</p>" if len(listed) > MOST_SHOWN else ""
    return f'<h3 class="warning">Failed runs</h3><div class="scroll"><table><tbody>{rows}</tbody></table></div>{more}'
