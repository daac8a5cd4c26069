"""Writes `docs/gallery.md`: reports that lie in this folder, with their pictures and what they conclude.

    python docs/results/make_gallery.py

Figures of numbers are shown of every study. Pictures of images are shown only of data whose terms allow it: simulated
ones, and the Data Science Bowl 2018 (BBBC038, CC0).
"""

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "gallery.md"

STUDIES = {
    "seven_cells": "Seven cell lines",
    "livecell": "Eight cell lines in LIVECell's layout",
    "annotation_styles": "Styles of annotation",
    "anomalies": "A rare task: debris and bubbles",
    "kits": "Kidney tumours by size",
    "dsb2018": "Data Science Bowl 2018: clusters of appearance",
    "dsb2018-tuned": "The same with every arm tuned",
    "annotation_styles-dsb2018": "Styles of annotation on Data Science Bowl 2018",
}
"""Folders that are shown, in this order, with their headings."""

FREE = re.compile(r"^\*\*Data: SIMULATED |^Dataset dsb2018:", re.MULTILINE)
"""Words by which a page names data whose images may be shown."""

PICTURE = "overlays.png"
FIGURES = ("forest.png", "f1.png")
CAPTIONS = {
    PICTURE: "what networks miss and what they add",
    "forest.png": "differences with their intervals",
    "f1.png": "F1 of each arm and seed",
}
SHOWN = 2
"""Pictures of a study."""

INTRODUCTION = """\
# Gallery of reports

Made by `python docs/results/make_gallery.py` from reports that lie in this repository. A picture leads to its report:
scores by arm and subgroup, verdicts, figures, controls and methods. All networks are small and were trained in minutes;
on simulated images it is known what metadata can add.

## Real images, in folds

[<img src="evidence/evidence.png" width="420" alt="Differences with their intervals, by claim">](evidence.md)
[<img src="evidence/wbc-rarity/rarity.png" width="300" alt="F1 of a rare task">](evidence.md#how-rare-may-a-task-be)

The [evidence](evidence.md) tests the paper's claims on public images, each by networks that didn't train on it.
"""


def entry(name: str, heading: str) -> str:
    """A study's heading, pictures and conclusion.

    Raises:
        ValueError: its page doesn't begin as reports do.
    """
    text = (HERE / name / "table.md").read_text()
    said = re.search(r"^> (.+)", text, re.MULTILINE)
    if not text.startswith("# Study ") or not said:
        raise ValueError(f"{name}/table.md has no conclusion; expected a report")
    wanted = (PICTURE, *FIGURES) if FREE.search(text) else FIGURES
    shown = [picture for picture in wanted if (HERE / name / picture).is_file()][:SHOWN]
    report = f"results/{name}/table.md"
    pictures = [
        f'[<img src="results/{name}/{picture}" width="320" alt="{heading}: {CAPTIONS[picture]}">]({report})'
        for picture in shown
    ]
    data = re.search(r"^\*\*Data: (.+)\*\*$", text, re.MULTILINE)
    links = [f"[Report]({report})"]
    if (HERE / f"{name}.md").is_file():
        links.append(f"[what it means](results/{name}.md)")
    if (HERE / name / "report.html").is_file():
        links.append(f"[as one page that works offline](results/{name}/report.html)")
    conclusion = re.split(r"(?<=[).]\.|[a-z]\.) (?=[A-Z])", said[1])[0]
    parts = [
        f"## {heading}",
        "\n".join(pictures),
        *([f"Data: {data[1]}."] if data else []),
        conclusion,
        " · ".join(links),
    ]
    return "\n\n".join(parts) + "\n"


def make_page() -> str:
    """The page's text."""
    return "\n".join([INTRODUCTION, *(entry(*each) for each in STUDIES.items())])


if __name__ == "__main__":
    PAGE.write_text(make_page())
