"""`metaseg predict`: masks of images by a trained run."""

from pathlib import Path

from metaseg.config import ConfigError
from metaseg.terminal import visible


def predict(run: Path, image: Path, out: Path, metadata: tuple[str, ...] = (), blocks: tuple[str, ...] = ()) -> None:
    """Segment an image with a trained run.

    Args:
        run: A finished run's folder, STORE/runs/RUN_ID.
        image: PNG, TIFF or JPEG file.
        out: Mask to write: 8-bit PNG, 0 for background, k for the run's k-th class (255 if there is only one class).
        metadata: The image's metadata as COLUMN=VALUE, for each column that the run was trained with. COLUMN=unknown
            where training had unknown values or withheld known ones.
        blocks: Blocks from outside metaseg that the run was trained with, each FILE.py:CLASS.
    """
    from PIL import Image

    from metaseg.data.decode import decode_image
    from metaseg.data.manifest import ManifestError
    from metaseg.data.metadata import UnknownMetadataError
    from metaseg.networks.block_file import read_blocks
    from metaseg.study.predict import Predictor
    from metaseg.text import clean_text

    pairs = [item.partition("=") for item in metadata]
    malformed = [name for name, equals, _ in pairs if not equals]
    if malformed:
        raise ConfigError(f"metadata is {malformed[0]!r}; expected COLUMN=VALUE")
    columns = [name for name, _, _ in pairs]
    if repeated := [name for name in columns if columns.count(name) > 1]:
        raise ConfigError(f"metadata has {repeated[0]!r} twice; expected each column once")
    if not image.is_file():
        raise ConfigError(
            f"image is {image}, which is {'a folder' if image.is_dir() else 'not there'}; expected a file"
        )
    if out.is_dir() or not out.parent.is_dir():
        wrong = "which is a folder" if out.is_dir() else "whose folder isn't there"
        raise ConfigError(f"out is {out}, {wrong}; expected a file to write")
    predictor = Predictor.load(run, read_blocks(blocks))
    told = {clean_text(name): value for name, _, value in pairs}
    try:
        mask = predictor.predict(decode_image(image, predictor.reading), told)
    except (ManifestError, UnknownMetadataError) as error:
        raise ConfigError(str(error)) from error
    Image.fromarray(mask * 255 if len(predictor.classes) == 1 else mask).save(out, format="PNG")
    share = ", ".join(f"{name} {(mask == k).mean():.1%}" for k, name in enumerate(predictor.classes, start=1))
    print(visible(f"{out}: {share} of {mask.shape[1]}x{mask.shape[0]} pixels"))
