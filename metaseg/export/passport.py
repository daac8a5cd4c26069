"""The passport of a trained network: what it takes and gives, how metadata are told to it, and where it is from."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import metaseg
from metaseg.data.metadata import CategoricalCode, ContinuousCode
from metaseg.export.whole_image import TOLD_NOTHING
from metaseg.schema import UNKNOWN, WEIGHTS
from metaseg.store.runs import FinishedRun
from metaseg.study.exported_model import PASSPORT_VERSION
from metaseg.study.predict import Predictor


def describe(
    run: FinishedRun,
    predictor: Predictor,
    images: Mapping[str, int],
    authors: tuple[str, ...] = (),
    licence: str | None = None,
) -> dict[str, Any]:
    """Describe a run's network by plain values: docs/how-to/export.md explains each.

    Args:
        run: the run, whose `config.json` has been read as a configuration already.
        predictor: its network.
        images: number of images by split, as far as known.
        authors: names.
        licence: SPDX identifier.
    """
    config = run.description()
    dataset = config["dataset"]
    told = predictor.metadata_mode not in TOLD_NOTHING
    columns = [] if predictor.metadata_mode == "absent" else [_column(code) for code in predictor.encoder.codes]
    return {
        "passport": PASSPORT_VERSION,
        "name": f"{re.sub(r'@.*', '', str(config['arm']['block']))} on {dataset['name']}",
        "arm": config["arm"],
        "classes": list(predictor.classes),
        "image": {
            "channels": predictor.channels,
            "values": "as in the file" if predictor.reading.kept else "0 to 255",
            "standardised_by": "its own mean and standard deviation over pixels and channels",
            "reading": asdict(predictor.reading),
            "smallest_side": int(getattr(predictor.model, "stride", 1)) + 1,
        },
        "metadata": {
            "is_input": told,
            "size": predictor.encoder.size if told else 0,
            "elements": [name for column in columns for name in column["elements"]] if told else [],
            "columns": columns,
        },
        "network": config["network"],
        "architecture": config.get("architecture"),
        "training": {
            "dataset": dataset["name"],
            "about": dataset.get("about", ""),
            "fingerprint": dataset["fingerprint"],
            "subgroup_column": dataset.get("subgroup_column"),
            "subset": config.get("subset"),
            "fold": config.get("fold"),
            "images": dict(images),
            "schedule": config.get("schedule"),
            "best_epoch": config.get("best_epoch"),
        },
        "provenance": {
            "run_id": config.get("run_id", run.folder.rpartition("/")[2]),
            "seed": config.get("seed"),
            "parameters": config.get("parameters"),
            "weights_sha256": run.checksums[WEIGHTS],
            "training_version": config.get("training_version"),
            "versions": config.get("versions"),
            "git_commit": config.get("git_commit"),
            "exported_by": f"metaseg {metaseg.__version__}",
        },
        "authors": list(authors),
        "license": licence,
    }


def _column(code: CategoricalCode | ContinuousCode) -> dict[str, Any]:
    """A column and its code, with a name for each element of the vector that it fills."""
    if isinstance(code, CategoricalCode):
        values = [*code.vocabulary, UNKNOWN][: code.size]
        elements = [f"{code.column}={value}" for value in values]
        kind = "categorical"
    else:
        elements = [f"({code.column} - {code.mean:g}) / {code.std:g}", f"{code.column}={UNKNOWN}"][: code.size]
        kind = "continuous"
    return {"kind": kind, **asdict(code), "elements": elements, "may_be_unknown": code.knows_unknown}
