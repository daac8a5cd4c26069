"""Image files to segment: one, those of a folder, or cases of nnU-Net's imagesTs."""

import re
from pathlib import Path

from metaseg.config import ConfigError
from metaseg.data.manifest import ManifestError

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""Endings of the files that a folder is searched for."""

NNUNET = re.compile(r"imagesT[rs]\w*")
"""Name of a folder of images as nnU-Net lays them out."""

CHANNEL = re.compile(r"(.+)_(\d{4})")
"""Name of a file in such a folder, without its ending: the case, and the channel."""


def find_images(where: Path, channels: int) -> dict[str, tuple[Path, ...]]:
    """Find the files of each image: one; in nnU-Net's imagesTr and imagesTs, one for each channel.

    Args:
        where: an image, or a folder. Folders within it aren't searched.
        channels: number of files that a case of nnU-Net may have instead of one.

    Returns:
        By name: the file's, or the case's with the file's ending; sorted.

    Raises:
        ConfigError: nothing is there, or no image is.
        ManifestError: cases have other channels than expected.
    """
    if where.is_file():
        return {where.name: (where,)}
    if not where.is_dir():
        raise ConfigError(f"images is {where}, which is not there; expected an image, a folder or a table")
    files = sorted(file for file in where.glob("[!.]*") if file.suffix.lower() in ENDINGS and file.is_file())
    if not files:
        folders = sorted(each.name for each in where.iterdir() if each.is_dir() and not each.name.startswith("."))
        inside = f"; it has the folders {', '.join(folders[:5])}" if folders else ""
        raise ConfigError(f"images is {where}, which holds no PNG, TIFF or JPEG file{inside}")
    if not NNUNET.fullmatch(where.resolve().name):  # elsewhere, four digits may number slices or points in time
        return {file.name: (file,) for file in files}
    matches = [CHANNEL.fullmatch(file.stem) for file in files]
    problems = [
        f"{file.name} has no channel; expected a name such as CASE_0000{file.suffix}"
        for file, match in zip(files, matches, strict=True)
        if not match
    ]
    ManifestError.check(str(where), problems)
    cases: dict[str, list[Path]] = {}
    for file, match in zip(files, matches, strict=True):
        cases.setdefault(f"{match[1] if match else file.stem}{file.suffix}", []).append(file)
    first = len(next(iter(cases.values())))
    expected = first if first in {1, channels} else channels
    problems = [
        f"case {name} has {len(found)} files, one for each channel; expected {expected}"
        for name, found in cases.items()
        if len(found) != expected
    ]
    ManifestError.check(str(where), problems)
    return {name: tuple(found) for name, found in cases.items()}
