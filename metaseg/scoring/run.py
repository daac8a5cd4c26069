"""Extra scores of finished runs: the test images are predicted again from the stored weights.

A run isn't touched: its scores are a file of their own, `scores/RUN_ID.parquet`, which can be made again.
"""

import io
import json
from collections.abc import Collection, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from metaseg import __version__
from metaseg.config import IGNORED, ConfigError, LossConfig, NetworkConfig, RunConfig, ScheduleConfig, Subset
from metaseg.data.dataset import Dataset
from metaseg.data.manifest import ManifestError
from metaseg.device import one_thread
from metaseg.networks.block_source import Code
from metaseg.networks.build import read_architecture
from metaseg.schema import (
    AS_TRAINED,
    CONFIG,
    COUNTS,
    EXTRA_SCORES,
    IMAGES,
    KEY,
    ROW,
    SCORES_SETTINGS,
    SCORES_VERSION,
    WEIGHTS,
    ExtraScore,
    score_file,
)
from metaseg.scoring.masks import TOLERANCE, score_masks
from metaseg.store.runs import DamagedRunError, Store, from_json, require_fingerprint
from metaseg.study.evaluations import evaluations
from metaseg.study.predict import Predictor
from metaseg.training.evaluate import predictions
from metaseg.training.fit import Fitted, encode_metadata
from metaseg.training.metrics import confusion_counts

MOST_DIFFERENT = 0.01
"""Largest share of an image's pixels that may be predicted differently than in the evaluation.

Another kind of processor differs at the edge of the threshold. Beyond this share, the files don't belong together."""


def score_run(
    store: Store,
    run_id: str,
    scores: Collection[ExtraScore],
    tolerance: float = TOLERANCE,
    blocks: Sequence[Code] = (),
) -> dict[str, Any]:
    """Score a finished run's test images, evaluated as trained, and write the scores to `score_file`.

    Scores that the file has already are made again beside those wanted, with the same tolerance.

    Returns:
        The file's settings: see docs/how-to/extra-scores.md.

    Raises:
        ConfigError: the run's block is from outside metaseg and not in `blocks`.
        DamagedRunError: a file isn't what was written, or the weights don't make the masks that were counted.
    """
    run = store.open_run(run_id)
    there = _settings(store, run_id)
    if "surface-dice" not in scores:  # what is made again is made as it was
        tolerance = there.get("tolerance", tolerance)
    scores = [name for name in EXTRA_SCORES if name in scores or name in there.get("scores", ())]
    predictor, description = Predictor.open(run, blocks), run.description()
    counted = run.table(IMAGES, KEY, COUNTS)
    try:
        config, trained_on = _run_config(description, blocks), description["hardware"]["device"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedRunError(f"{run.locate(CONFIG)}: not a run's configuration: {error!r}") from error
    try:
        dataset = Dataset.open(store.fetch_dataset(config.dataset)).of_fold(config.fold)
    except (ConfigError, ManifestError, FileNotFoundError) as error:
        raise DamagedRunError(f"{run.locate(CONFIG)}: its images can't be opened: {error}") from error
    on_gpu = trained_on != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")  # as it was evaluated, where that can be
    torch.backends.cudnn.deterministic = True
    with one_thread(device):
        fitted = Fitted(predictor.model.to(device), *encode_metadata(config, dataset), best_epoch=0, history=())
        table, counts = _predict_and_score(config, fitted, dataset, device, scores, tolerance)
    different = _differences(table, counts, counted, store.run_folder(run_id))
    settings = {
        "version": SCORES_VERSION,
        "scores": scores,
        "tolerance": tolerance,
        "weights_sha256": run.checksums[WEIGHTS],
        "device": device.type,
        "differing_images": int((different > 0).sum()),
        "largest_share": float(different.max()),
        "versions": {"metaseg": __version__}
        | {name: _version(name) for name in ("monai", "numpy", "scikit-image", "scipy", "torch")},
    }
    content = io.BytesIO()
    rows = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(rows.replace_schema_metadata({SCORES_SETTINGS: json.dumps(settings)}), content)
    store.storage.write(score_file(run_id), content.getvalue())
    return settings


def _predict_and_score(
    config: RunConfig,
    fitted: Fitted,
    dataset: Dataset,
    device: torch.device,
    scores: Sequence[ExtraScore],
    tolerance: float,
) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """A row a test image and class, in the order of the run's own rows; and its counts `(rows, 4)`, made anew."""
    _, samples, vectors = next(evaluations(config, fitted, dataset))
    classes = dataset.classes
    counts = np.zeros((len(samples), len(classes), 4), np.int64)
    found: dict[tuple[int, int], dict[str, float]] = {}
    for positions, logits, target in predictions(fitted.model, dataset, samples, vectors.to(device), device):
        counts[positions] = confusion_counts(logits, target).cpu().numpy()
        labels = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
        for position, predicted, reference in zip(positions, labels.cpu().numpy(), target.cpu().numpy(), strict=True):
            for k in range(len(classes)):
                masks = ((predicted == k + 1) & (reference != IGNORED), reference == k + 1)
                found[int(position), k] = score_masks(*masks, scores, tolerance)
    rows = dataset.table.assign(image=dataset.names).iloc[samples.repeat(len(classes))].reset_index(drop=True)
    table = rows[["image", "subgroup"]].assign(**{"class": list(classes) * len(samples)})
    return table.join(pd.DataFrame([found[key] for key in sorted(found)])), counts.reshape(-1, 4)


def _differences(
    table: pd.DataFrame, counts: npt.NDArray[np.int64], counted: pd.DataFrame, folder: str
) -> npt.NDArray[np.float64]:
    """Lower bound of the share of each row's pixels that are predicted differently than `images.parquet` says."""
    before = counted[counted["evaluation"] == AS_TRAINED].reset_index(drop=True)
    if not before[ROW].astype(str).equals(table[ROW].astype(str)):
        raise DamagedRunError(f"{folder}/images.parquet: not of the images that the decoded dataset has for test")
    changed = np.abs(counts - before[COUNTS].to_numpy())[:, :2].sum(axis=1)
    share = changed / counts.sum(axis=1)
    if share.max() > MOST_DIFFERENT:
        image = table["image"].iloc[int(share.argmax())]
        raise DamagedRunError(
            f"{folder}: its weights predict {share.max():.1%} of the pixels of {image} otherwise than its "
            f"images.parquet counts; expected at most {MOST_DIFFERENT:.0%}"
        )
    return np.asarray(share, np.float64)


def is_scored(store: Store, run_id: str, scores: Collection[ExtraScore], tolerance: float) -> bool:
    """True if the run has these scores, made from its present weights with this tolerance."""
    there, run = _settings(store, run_id), store.open_run(run_id)
    return (
        set(scores) <= set(there.get("scores", ()))
        and ("surface-dice" not in scores or there.get("tolerance") == tolerance)
        and there.get("weights_sha256") == run.checksums.get(WEIGHTS)
    )


def _settings(store: Store, run_id: str) -> dict[str, Any]:
    """Settings of the run's score file; empty if there is none, or it can't be read or is of another version."""
    content = store.storage.read_foreign(score_file(run_id))
    try:
        notes = pq.read_schema(pa.BufferReader(content or b"")).metadata or {}
        settings = from_json(notes.get(SCORES_SETTINGS)) or {}
    except Exception:  # a damaged file can raise anything inside a decoder
        return {}
    names = settings.get("scores")
    return settings if settings.get("version") == SCORES_VERSION and isinstance(names, list) else {}


def _run_config(description: dict[str, Any], blocks: Sequence[Code]) -> RunConfig:
    """The configuration that a run's `config.json` describes."""
    network, arm, subset = description["network"], description["arm"], description["subset"]
    return RunConfig(
        arm["block"],
        arm["metadata_mode"],
        description["seed"],
        require_fingerprint(description["dataset"]["fingerprint"]),
        NetworkConfig(**network | {"positions": tuple(network["positions"])}),
        ScheduleConfig(**description["schedule"]),
        Subset(**subset | {"splits": tuple(subset["splits"])}) if subset else None,
        description.get("fold"),
        init=description.get("init", "own"),
        architecture=read_architecture(description.get("architecture"), blocks),
        loss=LossConfig(**description.get("loss", {})),
        early_stopping=description.get("early_stopping"),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
