"""Where do these numbers come from? The command, and each run's code, versions and hardware."""

import numpy as np
import pandas as pd

from analysis.report.data import ReportData
from analysis.report.grid import Cell, Grid
from analysis.report.section import Part, Section, to_csv
from analysis.results.declaration import read_json
from analysis.results.store_rows import Collected
from metaseg.store.storage import Storage


def section(data: ReportData) -> Section:
    """The command and the versions in words, and the runs as a table."""
    words = [f"Command: {data.study.command}", *_files(data)]
    runs = data.supplement.runs
    if runs is None or runs.empty:
        return Section("Provenance", (Part((_listed(data.collected),), tuple(words), (), False),))
    for column in ("commit", "versions", "device", "training_version"):
        values = ", ".join(sorted(set(runs[column].dropna().astype(str)) - {""}))
        words.append(f"{column.replace('_', ' ').capitalize()}: {values or 'unknown'}.")
    named = [name for name in ("arm", "seed", "fold") if name in runs]
    table = Grid(
        "Runs",
        "run id",
        (*named, "seconds"),
        tuple(
            (row["run_id"], (*(Cell(str(row[name])) for name in named), Cell(_whole(row["seconds"]))))
            for _, row in runs.iterrows()
        ),
    )
    return Section("Provenance", (Part((table,), tuple(words), (), False, {"runs.csv": to_csv(runs)}),))


def provenance(storage: Storage, collected: Collected) -> pd.DataFrame:
    """Where each finished run came from: run_id, arm, seed, fold (where the study has folds), commit, versions, device,
    seconds and training_version."""
    missing = {run.run_id for run in collected.missing}
    rows = []
    for run in collected.study.runs:
        path = f"runs/{run.run_id}/config.json"
        content = storage.read_or_none(path) if run.run_id not in missing else None
        if content is None:
            continue
        config = read_json(content, storage.locate(path))
        versions = config.get("versions") or {}
        rows.append(
            {
                "run_id": run.run_id,
                "arm": f"{run.arm} {run.part}".strip(),
                "seed": run.seed,
                **({"fold": run.fold} if run.fold else {}),
                "commit": str(config.get("git_commit") or "")[:12],
                "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
                "device": str((config.get("hardware") or {}).get("device", "")),
                "seconds": config.get("seconds"),
                "training_version": config.get("training_version"),
            }
        )
    return pd.DataFrame(rows)


def _files(data: ReportData) -> list[str]:
    """Names of what lies beside the page: figures in both forms, and tables."""
    names = sorted({name for each in data.before for name in each.files})
    figures = [name.removesuffix(".svg") for name in names if name.endswith(".svg")]
    tables = [name for name in names if name.endswith(".csv")]
    said = [f"Figures, as PNG and for papers as SVG: {', '.join(figures)}."] if figures else []
    return [*said, f"Tables: {', '.join(tables)}; all tables of this page: table.md and table.tex."]


def _listed(collected: Collected) -> Grid:
    """Finished runs as the study declared them, where no more is known."""
    runs = [run for run in collected.study.runs if run not in collected.missing]
    folds = bool(collected.study.folds)
    rows = (
        (
            run.run_id,
            (Cell(f"{run.arm} {run.part}".strip()), Cell(str(run.seed)), *([Cell(run.fold)] if folds else [])),
        )
        for run in runs
    )
    return Grid("Runs", "run id", ("arm", "seed", *(["fold"] if folds else [])), tuple(rows))


def _whole(seconds: object) -> str:
    known = isinstance(seconds, int | float | np.number) and np.isfinite(seconds)
    return f"{seconds:.0f}" if known else "-"
