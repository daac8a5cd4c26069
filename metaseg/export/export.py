"""Export of a run: files of a format, the passport and the card, in a new folder that appears whole."""

import io
import os
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load

from metaseg.config import ConfigError
from metaseg.data.reserved_names import split_of, stored_name
from metaseg.export.card import write_card
from metaseg.export.card_scores import read_scores
from metaseg.export.formats import FORMATS
from metaseg.export.model import Checked, Model
from metaseg.export.passport import describe
from metaseg.networks.block_source import Code
from metaseg.schema import AS_TRAINED, IMAGES, WEIGHTS
from metaseg.store.runs import FinishedRun, require_fingerprint
from metaseg.store.storage import open_storage
from metaseg.study.exported_model import to_text
from metaseg.study.predict import Predictor, find_run


@dataclass(frozen=True)
class Exported:
    """Paths of the files that were written."""

    folder: Path
    files: tuple[str, ...]
    checked: Checked


def export_run(
    address: str,
    out: Path,
    format_name: str,
    authors: tuple[str, ...] = (),
    licence: str | None = None,
    blocks: Sequence[Code] = (),
) -> Exported:
    """Export the network of a finished run.

    Args:
        address: path or URL of the run: STORE/runs/RUN_ID.
        out: folder to make.
        format_name: key of `FORMATS`.
        authors: names of the model's authors.
        licence: SPDX identifier of the model's licence.
        blocks: code from outside metaseg that the run's block and network may be.

    Raises:
        ConfigError: there is no such run or format, the folder exists or can't be made, a package is missing, the
            format needs a licence and authors, or the network can't be exported.
        DamagedRunError: the run's files aren't what was written.
        CheckError: what was exported gives other probabilities than the network, or isn't valid.
    """
    if format_name not in FORMATS:
        raise ConfigError(f"format is {format_name!r}; expected one of {', '.join(FORMATS)}")
    chosen = FORMATS[format_name]
    if chosen.needs_licence and not (licence and authors):
        lacking = "--author NAME" if licence else "--license SPDX_ID (such as CC-BY-4.0)"
        raise ConfigError(f"format {format_name!r} needs a licence and authors; expected {lacking}")
    if licence is not None and not re.fullmatch(r"[A-Za-z0-9.+-]+", licence):
        raise ConfigError(f"license is {licence!r}; expected an SPDX identifier, such as CC-BY-4.0 or MIT")
    if os.path.lexists(out):
        raise ConfigError(f"out is {out}, which exists; expected a folder to make")
    if not out.absolute().parent.is_dir() or not os.access(out.absolute().parent, os.W_OK | os.X_OK):
        raise ConfigError(f"out is {out}, whose folder isn't there or can't be written to; expected one that can")
    run = find_run(address)
    predictor = Predictor.open(run, blocks)
    counts = count_images(run)
    passport = describe(run, predictor, counts, authors, licence)
    model = Model(predictor, passport, load(run.read(WEIGHTS)), authors, licence, tuple(blocks))
    scores = read_scores(run, predictor.encoder)
    temporary = out.absolute().with_name(f".{out.absolute().name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        checked = chosen.write(model, temporary)
        card = write_card(passport, scores, checked, chosen.library, chosen.usage)
        (temporary / "README.md").write_text(card)
        (temporary / "passport.json").write_text(to_text(passport))
        chosen.finish(model, temporary)
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    return Exported(out, tuple(files), checked)


def count_images(run: FinishedRun) -> dict[str, int]:
    """Images with a mask by split: those tested, and the others where the store still has the decoded dataset."""
    config: dict[str, Any] = run.description()
    rows = run.table(IMAGES, ["image", "subgroup", "evaluation"], [])
    rows = rows[rows["evaluation"] == AS_TRAINED]
    counts = {"test": len(rows.drop_duplicates(["image", "subgroup"]))}
    try:
        fingerprint = require_fingerprint(config["dataset"]["fingerprint"])
        store = open_storage(run.storage.where.rpartition("/")[0])
        content = store.read_foreign(f"cache/{fingerprint}/table.parquet")
        table = pd.read_parquet(io.BytesIO(content or b""))
        fold, subset = config.get("fold"), config.get("subset")
        split = table["split" if fold is None else split_of(fold)]
        for name in ("train", "val"):
            chosen = split == name
            if subset and name in subset["splits"]:
                chosen &= table[stored_name(subset["column"])].astype(str) == str(subset["value"])
            counts[name] = int(chosen.sum())
    except Exception:  # the decoded dataset may be gone, or another's file: the card then says what is known
        return {"test": counts["test"]}
    return counts
