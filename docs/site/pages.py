"""Pages of the documentation site that aren't files of `docs/`, and the site's navigation: a hook of MkDocs.

`docs/` reads on its own where the repository is shown. The site adds

- its navigation, which is that of `docs/README.md`;
- pages of files outside `docs/` that pages point to: the README, which is the site's first page, and others at their
  path in the repository;
- a page for each folder that a page points to, which lists its files;
- the docstrings of all public names, in the place of the signatures of `reference/api.md`.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from docs.reference.make_api import PACKAGES, public_names  # noqa: E402 - found once its folder is known

CONTENTS = "docs/README.md"
API = "docs/reference/api.md"
MOVED = {"README.md": "index.md", CONTENTS: "contents.md"}
"""Files of the repository that have another name on the site; others keep their path, those of `docs/` without it."""

PROJECT = ("CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md")
"""Documents beside the README, which the navigation shows last."""

CODE = {".R": "r", ".cff": "yaml", ".py": "python", ".toml": "toml", ".yaml": "yaml"}
"""Kinds of files outside `docs/` that are shown on a page: a browser would download them."""

TARGET = re.compile(r'(?<=\]\()(?![a-z]+:|[#/])[^)\s#]+|(?<= src=")(?!https?:)[^"#]+')
"""Target of a link or an image, without the heading."""

LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+\.md)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Set the navigation: README, the sections of the contents, and the project's own documents."""
    project = [{"All documentation": MOVED[CONTENTS]}, *PROJECT]
    config.nav = [{"metaseg": MOVED["README.md"]}, *sections((ROOT / CONTENTS).read_text()), {"Project": project}]
    return config


def sections(contents: str) -> list[dict[str, list[object]]]:
    """Navigation of a page of contents.

    A heading is a section, a line of text alone one within it, and each link to a page in a list is a page.
    """
    found: list[dict[str, list[object]]] = []
    for line in contents.replace("\n  ", " ").splitlines():  # a line for each entry of a list
        if line.startswith("## "):
            pages: list[object] = []
            found.append({line[3:]: pages})
            within = pages
        elif found and line and line[0].isalpha():
            within = []
            pages.append({line: within})
        elif found:
            within += [{title[0].upper() + title[1:]: target} for title, target in LINK.findall(line)]
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages point to and the site doesn't have; and what is added may point to more."""
    if contents := files.get_file_from_path(CONTENTS.removeprefix("docs/")):
        files.remove(contents)  # it would be the first page
    waiting = [*MOVED, *PROJECT, *(repository_path(file.src_uri) for file in files.documentation_pages())]
    while waiting:
        source = waiting.pop()
        path, page = ROOT / source, place(source)
        if not files.get_file_from_path(page):
            if path.is_dir() or path.suffix in CODE:
                files.append(File.generated(config, page, content=listing(path) if path.is_dir() else code(path)))
            else:
                files.append(File.generated(config, page, abs_src_path=str(path)))
        if path.suffix == ".md":
            waiting += [each for each in targets(source, path.read_text()) if not files.get_file_from_path(place(each))]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links of a page point to where the site has what they mean."""
    source = repository_path(page.file.src_uri)
    if source == API:
        markdown = api()
    if source.endswith("/table.md"):
        page.meta |= {"hide": ["navigation"], "search": {"boost": 0.5}}  # wide, with every word of the vocabulary
        markdown = markdown.replace(r"\<", "&lt;")  # which Python-Markdown doesn't know
    return TARGET.sub(lambda match: pointed(source, page.file.src_uri, match[0]), markdown)


def pointed(source: str, page: str, target: str) -> str:
    """A target from a page of the site; one that isn't in the repository stays, and the build warns of it."""
    if (ROOT / source).is_dir() or not (meant := meaning(source, target)):
        return target
    return relpath(place(meant), PurePosixPath(page).parent)


def targets(source: str, text: str) -> Iterator[str]:
    """Paths in the repository of what a document points to."""
    for target in TARGET.findall(text):
        if meant := meaning(source, target):
            yield meant


def meaning(source: str, target: str) -> str:
    """Path in the repository of a document's target; empty if there is nothing, or if it lies elsewhere."""
    meant = normpath(PurePosixPath(source).parent / target)
    return meant if (ROOT / meant).exists() and not meant.startswith("..") else ""


def place(source: str) -> str:
    """Path on the site of a file or folder of the repository."""
    if (ROOT / source).is_dir():
        source = f"{source}/index.md"
    elif PurePosixPath(source).suffix in CODE and not source.startswith("docs/"):
        source = f"{source}.md"
    return MOVED.get(source, source.removeprefix("docs/"))


def repository_path(page: str) -> str:
    """Path in the repository of a file of the site."""
    for source, moved in MOVED.items():
        if page == moved:
            return source
    if page.endswith("/index.md") and (ROOT / "docs" / page).parent.is_dir():
        return f"docs/{PurePosixPath(page).parent}"
    return f"docs/{page}" if (ROOT / "docs" / page).exists() else page


def listing(folder: Path) -> str:
    """A page with links to the files in a folder and below it."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return "\n".join([f"# Files of {folder.relative_to(ROOT)}\n", *(f"- [{name}]({name})" for name in names), ""])


def code(path: Path) -> str:
    """A page that shows a file."""
    return f"# {path.relative_to(ROOT)}\n\n```{CODE[path.suffix]}\n{path.read_text().rstrip()}\n```\n"


def api() -> str:
    """The reference of public names, made from their docstrings."""
    introduction, _, _ = (ROOT / API).read_text().partition("\n## ")
    parts = [introduction]
    for package in PACKAGES:
        parts += [f"\n## {package}\n", *(f"::: {package}.{public.name}\n" for public in public_names(package))]
    return "\n".join(parts)
