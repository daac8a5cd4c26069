"""Pages of `docs/` and the documents beside it: links, headings, contents, and pages that scripts make."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from checkout import ROOT
from docs.results import make_gallery

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"]
LINK = re.compile(r'\]\((?![a-z]+:)([^)\s#]*)(?:#([^)\s]+))?\)|(?: src|href)="(?![a-z]+:)([^"#]+)')
FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Headings as GitHub and the site name them: small letters, blanks as hyphens, no other punctuation."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("\\", "")
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        assert slug not in found, f"{name(page)}: two headings are {heading}, and links lead to the first only"
        found.add(slug)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_of_a_page_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for path, heading, attribute in LINK.findall(FENCED.sub("", page.read_text())):
        target = (page.parent / (path or attribute)).resolve() if path or attribute else page
        assert target.exists(), f"{name(page)} points to {path or attribute}"
        if heading:
            assert heading in anchors(target), f"{name(page)} points to {path}#{heading}; {name(target)} lacks it"


def test_every_page_is_in_the_contents_or_linked_from_a_page_that_is() -> None:
    """The site's navigation is made from the contents."""
    reached, waiting = set(), [ROOT / "docs" / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        targets = [(page.parent / path).resolve() for path, _, _ in LINK.findall(page.read_text()) if path]
        waiting += [target for target in targets if target.suffix == ".md" and target not in {*reached, *waiting}]
    lonely = {page for page in (ROOT / "docs").rglob("*.md") if page not in reached}
    assert not lonely
    listed = {path for path, _, _ in LINK.findall((ROOT / "docs" / "README.md").read_text())}
    for folder in ("how-to", "reference", "explanation", "results"):
        assert {f"{folder}/{page.name}" for page in (ROOT / "docs" / folder).glob("*.md")} <= listed


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lists_within_lists_are_indented_by_four_so_that_github_and_the_site_show_the_same(page: Path) -> None:
    lines = FENCED.sub(lambda code: "\n" * code[0].count("\n"), page.read_text()).splitlines()
    assert not [line for line in lines if re.match(r" {1,3}([-*]|\d+[.)]) ", line)]
    assert not re.search(r"^ {1,3}```", page.read_text(), re.MULTILINE)


def test_the_gallery_is_what_its_script_makes() -> None:
    assert make_gallery.PAGE.read_text() == make_gallery.make_page()


def test_the_gallery_shows_images_only_of_data_whose_terms_allow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, data in {"ours": "**Data: SIMULATED cells**", "theirs": "**Data: LIVECell**"}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "table.md").write_text(f"# Study {folder}: F1\n\n{data}\n\n> Nothing is concluded.\n")
        for picture in ("overlays.png", "forest.png"):
            (tmp_path / folder / picture).touch()
    monkeypatch.setattr(make_gallery, "HERE", tmp_path)
    assert "overlays.png" in make_gallery.entry("ours", "Ours")
    theirs = make_gallery.entry("theirs", "Theirs")
    assert "overlays.png" not in theirs
    assert "forest.png" in theirs
    shown = re.findall(r'src="results/([\w-]+)/overlays.png"', make_gallery.PAGE.read_text())
    assert shown
    assert not {"livecell-livecell", "kits-kits_ct_slices"} & set(shown)


def test_hooks_of_the_site_and_what_pages_need_of_it_are_in_the_repository() -> None:
    text = re.sub(r"(?<= )!\S+", "", (ROOT / "mkdocs.yml").read_text())
    settings = yaml.safe_load(text)
    command = subprocess.run(["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, timeout=30).stdout
    assert "mkdocs build" in command
    assert settings["strict"]
    assert "--quiet\n" not in command  # MkDocs counts warnings where it prints them
    assert set(settings["validation"]["links"].values()) == {"warn"}
    assert all((ROOT / hook).is_file() for hook in settings["hooks"])
    assert all((ROOT / "docs" / sheet).is_file() for sheet in settings["extra_css"])
