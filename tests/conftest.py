"""Fixtures that all tests share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from metaseg.config import DataConfig
from metaseg.data.dataset import Dataset
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table

if TYPE_CHECKING:
    from kill_matrix import Cluster, Table


LONGEST = (
    "tests/test_planted_effect.py",
    "tests/cluster/test_cluster.py",
    "tests/metaseg/engine/test_run_study.py",
    "tests/studies/test_studies.py",
    "tests/metaseg/engine/test_retries.py",
    "tests/benchmarks/test_benchmarks.py",
)
"""Modules with the longest tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start long tests first: at the end of the suite, no worker then waits minutes for another's last test."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real images: `METASEG_TEST_DATA`, else `../shared/data` beside the checkout."""
    folder = Path(os.environ.get("METASEG_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; METASEG_TEST_DATA can name another folder")
    return folder


@pytest.fixture(scope="session")
def tiny_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 26 smooth random images (16 train, 4 val, 6 test) of two sizes; masks are where they are above 127."""
    folder = tmp_path_factory.mktemp("tiny")
    generator = np.random.default_rng(0)
    rows = []
    for number, split in enumerate(["train"] * 16 + ["val"] * 4 + ["test"] * 6):
        size = (24, 20) if number % 3 else (20, 30)
        smooth = gaussian_filter(generator.standard_normal(size), 3)
        pixels = np.interp(smooth, (smooth.min(), smooth.max()), (0, 255)).astype(np.uint8)
        image, mask = f"image{number}.png", f"mask{number}.png"
        Image.fromarray(pixels).save(folder / image)
        Image.fromarray((pixels > 127).astype(np.uint8) * 255).save(folder / mask)
        rows.append({"image": image, "mask": mask, "split": split, "line": "abc"[number % 3], "dose": number / 10})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def tiny_dataset(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The tiny manifest, prepared, with metadata `line` (categorical) and `dose` (continuous)."""
    manifest = read_table(tiny_manifest, ["line", "dose"])
    return prepare(manifest, DataConfig(), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def folded_dataset(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The tiny manifest in three folds."""
    manifest = read_table(tiny_manifest, ["line", "dose"])
    without_split = replace(manifest, table=manifest.table.drop(columns="split"))
    return prepare(without_split, DataConfig(folds=3), tmp_path_factory.mktemp("folded"))


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray of two cores for all tests that want one; `run_study` uses the connection that is there."""
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def cluster() -> Iterator["Cluster"]:
    """A head without CPUs and two nodes of one CPU each, for studies that are attacked."""
    from kill_matrix import running_cluster

    # Ray's sockets lie in the folder, and their paths have to be short.
    folder = Path(tempfile.mkdtemp(prefix="km-"))
    with running_cluster(folder, nodes=2) as cluster:
        yield cluster
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def references(tiny_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Undisturbed reference stores by number of workers: the attacked study's runs, trained by plain PyTorch."""
    import torch.multiprocessing

    from kill_matrix import train_undisturbed

    folder = tmp_path_factory.mktemp("references")
    for workers in (1, 2):
        arguments = (workers, folder / f"rendezvous{workers}", tiny_dataset.path, folder / str(workers))
        torch.multiprocessing.spawn(train_undisturbed, arguments, nprocs=workers)
    return {workers: folder / str(workers) for workers in (1, 2)}


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Iterator["Table"]:
    """Faults that attacked studies survived; printed at the end, and written to the file METASEG_KILL_MATRIX."""
    from kill_matrix import Table

    table = Table()
    yield table
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + table.to_markdown())
    if path := os.environ.get("METASEG_KILL_MATRIX"):
        Path(path).write_text(table.to_markdown() + "\n")
