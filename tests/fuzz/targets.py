"""Targets of fuzzing: readers of files that others write. Each takes any bytes, and may only raise its own error.

`seeds` are whole files, from which fuzzing starts.
"""

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import tifffile
from optuna.distributions import FloatDistribution, distribution_to_json
from PIL import Image

from analysis.figures.learning import draw_learning, read_history
from analysis.figures.scores import Title
from analysis.results.dataset import Part, Record, Source
from analysis.results.declaration import Comparison, ResultsError, Run, Study, read_json, read_study
from analysis.results.external_tables import Table, read_table
from analysis.results.extra_scores import read_scores
from analysis.results.row_files import SCHEMA, decode_with_metadata, encode, read_rows
from analysis.results.store_rows import check_rows, read_run
from analysis.results.text_columns import read_images, run_text
from analysis.sweeps.trials import read_sweep, read_trials, settings_of
from metaseg.config import ConfigError
from metaseg.data.decode import decode_image, decode_mask
from metaseg.data.manifest import ManifestError
from metaseg.data.mask_values import MaskValues
from metaseg.data.reading import Reading
from metaseg.datasets.coco import draw_outlines, read_coco
from metaseg.datasets.nnunet_description import describe
from metaseg.store.folder import FolderStorage

REFUSED = (ResultsError, ManifestError, ConfigError)
"""Errors that a reader may raise."""

FOLDER = Path(tempfile.mkdtemp(prefix="metaseg-fuzz-"))

RUN = Run("r1", "baseline", 0)


@dataclass(frozen=True)
class Target:
    """A family of readers."""

    run: Callable[[bytes], None]
    """The first byte chooses the reader, the rest is its file."""
    seeds: Callable[[], Iterator[bytes]]


def chosen(readers: Mapping[str, Callable[[bytes], object]], data: bytes) -> None:
    """Give the file to the reader that the first byte chooses."""
    if not data:
        return
    reader = list(readers.values())[data[0] % len(readers)]
    with contextlib.suppress(*REFUSED):
        reader(data[1:])


def written(name: str, content: bytes) -> Path:
    """A file with that content."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def store(name: str, content: bytes) -> FolderStorage:
    """A store of a finished run, one of whose files has that content."""
    written("runs/r1/DONE", json.dumps({"sha256": dict.fromkeys(("config.json", "images.parquet"), "")}).encode())
    written(name, content)
    return FolderStorage(FOLDER)


# --- images and masks ------------------------------------------------------------------------------------------------
def _image(content: bytes) -> None:
    pixels = decode_image(written("image.bin", content))
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] in (1, 3)


def _mask(content: bytes) -> None:
    for classes in (["a"], ["a", "b"]):
        mask = decode_mask([written("mask.bin", content)], MaskValues(tuple(classes)))
        assert mask.dtype == np.uint8
        assert mask.max() <= len(classes)


def _kept(content: bytes) -> None:
    for every_channel in (False, True):
        pixels = decode_image(written("image.bin", content), Reading(kept=True, every_channel=every_channel))
        assert pixels.dtype in (np.uint8, np.uint16, np.float32)
        assert pixels.ndim == 3
        assert np.isfinite(pixels).all()


IMAGES = {"image": _image, "mask": _mask, "kept": _kept}


def image_seeds() -> Iterator[bytes]:
    """Small PNGs, TIFFs and JPEGs of each kind."""
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    mask = Image.fromarray(np.where(grey > 20, 255, 0).astype(np.uint8))
    colour = Image.fromarray(np.stack([grey, grey + 1, grey], axis=-1))
    files = [(mask, "PNG", {}), (mask.convert("1"), "PNG", {}), (mask.convert("P"), "PNG", {}), (colour, "JPEG", {})]
    files += [(colour.convert("RGBA"), "PNG", {}), (mask, "TIFF", {"compression": "tiff_lzw"})]
    for image, kind, options in files:
        content = io.BytesIO()
        image.save(content, kind, **options)
        yield from (bytes([reader]) + content.getvalue() for reader in range(2))
    planes = np.arange(96, dtype=np.float32).reshape(2, 6, 8)
    for kind in ({"ome": True}, {"imagej": True}, {"compression": "zlib"}):
        content = io.BytesIO()
        tifffile.imwrite(content, planes, photometric="minisblack", metadata={"axes": "CYX"}, **kind)
        yield bytes([2]) + content.getvalue()
    for array in (grey.astype(np.uint16) * 300, np.stack([grey] * 3, axis=-1), grey > 20):
        content = io.BytesIO()
        tifffile.imwrite(content, array)
        yield from (bytes([reader]) + content.getvalue() for reader in range(2))


# --- Parquet ---------------------------------------------------------------------------------------------------------
def _foreign(content: bytes) -> None:
    read_table(Table(written("scores.parquet", content)), {})


def _collected(content: bytes) -> None:
    table, about = decode_with_metadata(content, "rows.parquet")
    assert isinstance(about, dict)
    ids = list(dict.fromkeys(table["run_id"].to_pylist()))
    if ids and None not in ids:
        try:
            assert len(read_rows({"rows.parquet": content}, ids)) <= table.num_rows
        except KeyError:
            raise AssertionError("a run id of the file isn't found in it") from None


def _run_images(content: bytes) -> None:
    table, stored = read_images(content, "images.parquet", None)
    check_rows(table, "images.parquet")
    run_text(table, stored, None)


def _history(content: bytes) -> None:
    study = Study("s", "d", "baseline", ("baseline",), (RUN,), "")
    history = read_history(store("runs/r1/history.parquet", content), study)
    if len(history) < 100:
        draw_learning(history, Title("t"), "baseline")


def _extra(content: bytes) -> None:
    read_scores(store("scores/r1.parquet", content), RUN)


SPACE = {"network.lr": FloatDistribution(0.1, 1.0)}


def sweep_record() -> dict[str, Any]:
    """A sweep's description."""
    return {
        "name": "w", "dataset": "d", "arm": "sme", "space": {k: distribution_to_json(v) for k, v in SPACE.items()},
        "conditions": {}, "objectives": [{"name": "val_f1", "direction": "maximize"}], "constraints": [],
        "sampler": "tpe", "pruner": "none", "seed": 0, "tuning_seed": 0, "trials_planned": 2, "network": {},
        "schedule": {}, "command": "c", "generation": 1, "fingerprint": "f", "arm_settings": {},
    }  # fmt: skip


def _trials(content: bytes) -> None:
    written("sweeps/w/sweep.json", json.dumps(sweep_record()).encode())
    storage = store("sweeps/w/trials.parquet", content)
    sweep = read_sweep(storage, "w")
    for _, row in read_trials(storage, sweep).head(20).iterrows():
        settings_of(row, sweep)


PARQUET = {
    "table from elsewhere": _foreign,
    "collected rows": _collected,
    "images of a run": _run_images,
    "history": _history,
    "extra scores": _extra,
    "trials": _trials,
}


def parquet(frame: pd.DataFrame, **options: Any) -> bytes:
    """A frame as Parquet."""
    content = io.BytesIO()
    frame.to_parquet(content, index=False, **options)
    return content.getvalue()


def run_rows() -> pd.DataFrame:
    """Rows of `images.parquet`."""
    counts = {name: [3, 4, 5] for name in ("tp", "fp", "fn", "tn")}
    text = {"image": ["a", "b", "c"], "class": "n", "evaluation": "as-trained", "group": ["a", "b", "c"]}
    return pd.DataFrame({**text, "subgroup": ["x", "y", "x"], **counts, "meta_line": ["x", "y", "x"], "meta_size": 0.5})


def parquet_seeds() -> Iterator[bytes]:
    """A whole file for each reader, and for all files each reader."""
    elsewhere = pd.DataFrame({"arm": ["a", "b"] * 3, "image": [0, 0, 1, 1, 2, 2], "score": 0.5, "seed": 1})
    columns: dict[str, Any] = {}
    for field in SCHEMA:
        filled = pa.array(["r1", "r1"]).dictionary_encode() if pa.types.is_dictionary(field.type) else pa.array([1, 2])
        columns[field.name] = filled.cast(field.type)
    epochs = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.5, 0.4], "val_f1": [np.nan, 0.5], "learning_rate": 0.1})
    scores = run_rows()[["image", "subgroup", "class"]].assign(hd95=1.5, surface_dice=0.5, surface_tolerance=2.0)
    trials = pd.DataFrame(
        {
            "number": [0, 1], "state": ["complete", "failed"], "run_id": ["a", ""], "error": "", "reused": False,
            "feasible": True, "val_f1": [0.5, np.nan], "epochs": [2, 0], "epochs_planned": 2, "image_epochs": 4,
            "seconds": 1.0, "parameters": 10.0, "curve_epoch": [[1, 2], []], "curve_val_f1": [[0.4, 0.5], []],
            "param_network.lr": [0.2, np.nan],
        }
    )  # fmt: skip
    files = [parquet(elsewhere), encode(pa.table(columns), {"r1": {}}), parquet(run_rows()), parquet(epochs)]
    files += [parquet(scores), parquet(trials), parquet(run_rows(), compression=None)]
    for file in files:
        yield from (bytes([reader]) + file for reader in range(len(PARQUET)))


# --- JSON ------------------------------------------------------------------------------------------------------------
def _study(content: bytes) -> None:
    read_study(store("studies/s.json", content), "s")


def _record(content: bytes) -> None:
    record = Record.from_json(content, "_study.json")
    declared = record.declared()
    assert ".." not in record.folder.split("/")
    assert all("/" not in part.file for part in record.parts.values())
    assert isinstance(declared, Study)
    record.to_json()


def _config(content: bytes) -> None:
    images = b""
    storage = store("runs/r1/config.json", content)
    written("runs/r1/images.parquet", images)
    files = {"config.json": content, "images.parquet": images}
    read_run(storage, RUN, {name: hashlib.sha256(each).hexdigest() for name, each in files.items()})


def _summary(content: bytes) -> None:
    read_table(Table(written("summary.json", content), arm="a"), {})


def _sweep(content: bytes) -> None:
    read_sweep(store("sweeps/w/sweep.json", content), "w")


def _any(content: bytes) -> None:
    read_json(content, "x.json")


JSON = {
    "study": _study,
    "record of results": _record,
    "configuration": _config,
    "nnU-Net's summary": _summary,
    "sweep": _sweep,
    "object": _any,
}


def json_seeds() -> Iterator[bytes]:
    """A whole file for each reader."""
    study = Study("s", "d", "baseline", ("baseline", "sme"), (RUN,), "c", comparisons=(Comparison("sme", "baseline"),))
    part = Part("a.parquet", "/x", "0", "1", 3)
    record = Record("s", "d", "f", "line", "f1", (Source("/x", study),), {"r1": part})
    config = {"run_id": "r1", "seed": 0, "arm": {"block": "se", "metadata_mode": "true"}, "parameters": 3}
    case = {"reference_file": "a.png", "metrics": {"1": {"TP": 1, "FP": 2, "FN": 3, "TN": 4}}}
    values: list[Any] = [asdict(study), json.loads(record.to_json()), config | {"dataset": {"fingerprint": "f"}}]
    values += [{"metric_per_case": [case]}, sweep_record(), {}]
    for reader, value in enumerate(values):
        yield bytes([reader]) + json.dumps(value).encode()
        yield bytes([reader]) + b'{"a":' * 100_000 + b"\\ud800"
        yield bytes([reader]) + b"{}"


# --- descriptions of datasets -------------------------------------------------------------------------------------
def _coco(content: bytes) -> None:
    for image in list(read_coco(written("coco.json", content)).values())[:4]:
        if image.height * image.width < 100_000:
            assert draw_outlines(image, "coco.json").shape == (image.height, image.width)


def _nnunet(content: bytes) -> None:
    describe(written("nnunet/dataset.json", content).parent)


DESCRIPTIONS = {"COCO": _coco, "nnU-Net": _nnunet}


def description_seeds() -> Iterator[bytes]:
    """A whole file for each reader."""
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 5}],
        "annotations": [
            {"id": 1, "image_id": 1, "segmentation": [[0, 0, 4, 0, 4, 3]]},
            {"id": 2, "image_id": 1, "segmentation": {"size": [4, 5], "counts": [3, 7, 10]}},
            {"id": 3, "image_id": 1, "segmentation": {"size": [4, 5], "counts": "37:"}},
        ],
    }
    nnunet = {"channel_names": {"0": "grey"}, "labels": {"background": 0, "a": 1}, "file_ending": ".png"}
    nnunet["numTraining"] = 3
    nnunet["metaseg_metadata"] = [{"name": "line", "kind": "categorical", "missing": "error"}]
    yield b"\0" + json.dumps(coco).encode()
    yield b"\1" + json.dumps(nnunet).encode()


TARGETS = {
    "images": Target(lambda data: chosen(IMAGES, data), image_seeds),
    "parquet": Target(lambda data: chosen(PARQUET, data), parquet_seeds),
    "json": Target(lambda data: chosen(JSON, data), json_seeds),
    "descriptions": Target(lambda data: chosen(DESCRIPTIONS, data), description_seeds),
}
