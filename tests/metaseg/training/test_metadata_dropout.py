"""Metadata dropout: what networks are told in training, and that those which know unknown lose less by it."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from memory_checkpoints import MemoryCheckpoints, PowerError
from metaseg.config import DataConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.batches import epoch_batches
from metaseg.data.crops import open_cutter
from metaseg.data.dataset import Dataset
from metaseg.data.metadata_modes import dropped
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table
from metaseg.device import one_thread
from metaseg.study.evaluations import evaluate_test_images
from metaseg.training import fit as module
from metaseg.training.fit import encode_metadata, fit, told

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def on_one_thread():
    """As runs are trained; a network this small is slower on several."""
    with one_thread(CPU):
        yield


@pytest.fixture
def config(tiny_dataset) -> RunConfig:
    schedule = ScheduleConfig(epochs=2, cycles=1, lr_max=2e-2, batch_size=5, crop=16)
    network = NetworkConfig(width=4, depth=1)
    return RunConfig("sme", "true", 0, tiny_dataset.fingerprint, network, schedule, metadata_dropout=0.4)


def told_in_epoch(config: RunConfig, dataset: Dataset, epoch: int, workers: int, first_step: int = 0) -> dict:
    """Each training sample's vector in an epoch that so many workers share, from a step on."""
    encoder, vectors = encode_metadata(config, dataset)
    seen, samples = told(config, encoder, vectors, epoch), dataset.indices("train")
    return {
        sample: tuple(seen[sample].tolist())
        for rank in range(workers)
        for batch in epoch_batches(
            dataset, samples, batch_size=5, crop=16, seed=config.stream, epoch=epoch, device=CPU,
            cutter=open_cutter(dataset, CPU), rank=rank, world_size=workers, first_step=first_step,
        )
        for sample in batch.samples.tolist()
    }  # fmt: skip


def test_samples_are_told_the_truth_or_that_nothing_is_known(tiny_dataset, config):
    encoder, vectors = encode_metadata(config, tiny_dataset)
    unknown = torch.tensor([0.0, 0, 0, 1, 0, 1])  # lines a, b and c, or unknown; a dose, or none
    by_epoch = []
    for epoch in (1, 2):
        seen = told(config, encoder, vectors, epoch)
        withheld = torch.from_numpy(dropped(len(vectors), 0.4, config.stream, epoch))
        assert (seen[withheld] == unknown).all()
        assert torch.equal(seen[~withheld], vectors[~withheld])
        assert 0 < withheld.sum() < len(vectors)
        by_epoch.append(withheld.tolist())
    assert by_epoch[0] != by_epoch[1]
    plain = dataclasses.replace(config, metadata_dropout=0.0)
    encoder, vectors = encode_metadata(plain, tiny_dataset)
    assert vectors.shape[1] == 4
    assert told(plain, encoder, vectors, 1) is vectors


def test_what_a_sample_is_told_depends_neither_on_workers_nor_on_interruptions(tiny_dataset, config):
    whole = told_in_epoch(config, tiny_dataset, 2, 1)
    assert len(whole) == len(tiny_dataset.indices("train"))
    assert told_in_epoch(config, tiny_dataset, 2, 3) == whole
    rest = told_in_epoch(config, tiny_dataset, 2, 2, first_step=2)
    assert 0 < len(rest) < len(whole)
    assert rest.items() <= whole.items()


def test_a_robust_training_that_was_interrupted_ends_with_the_same_bits(tiny_dataset, config, monkeypatch):
    monkeypatch.setattr(module, "CHECK_STEPS", 1)
    whole = fit(config, tiny_dataset, CPU).model.state_dict()
    for saved in (2, 4, 6):
        checkpoints = MemoryCheckpoints(saved)
        with pytest.raises(PowerError):
            fit(config, tiny_dataset, CPU, checkpoints=checkpoints)
        resumed = fit(config, tiny_dataset, CPU, checkpoints=checkpoints).model.state_dict()
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    other = fit(dataclasses.replace(config, metadata_dropout=0.1), tiny_dataset, CPU).model.state_dict()
    assert not all(torch.equal(whole[name], other[name]) for name in whole)


def two_lines(folder: Path) -> Path:
    """Images with a bright and a dark disc: line a's foreground is the bright one, b's the dark one.

    The noise is a line's too, so that an image does tell its line, if a network looks.
    """
    folder.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for number, split in enumerate(["train"] * 32 + ["val"] * 4 + ["test"] * 12):
        line = "ab"[number % 2]
        pixels, mask = 120 + generator.normal(0, 3 if line == "a" else 14, (24, 24)), np.zeros((24, 24), np.uint8)
        y, x = np.mgrid[:24, :24]
        for centre, bright in zip((6, 17), generator.permutation([True, False]), strict=True):
            disc = (y - generator.integers(7, 17)) ** 2 + (x - centre) ** 2 <= 16
            pixels[disc] += 70 if bright else -70
            mask[disc] = 255 * (bright == (line == "a"))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"i{number}.png")
        Image.fromarray(mask).save(folder / f"m{number}.png")
        rows.append({"image": f"i{number}.png", "mask": f"m{number}.png", "split": split, "line": line})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def test_a_robust_network_loses_less_when_metadata_are_missing_or_wrong(tmp_path):
    dataset = prepare(read_table(two_lines(tmp_path / "data"), ["line"]), DataConfig(), tmp_path / "cache")
    schedule = ScheduleConfig(epochs=20, cycles=1, lr_max=2e-2, batch_size=8, crop=24, validate_every=5)
    plain = RunConfig("sme", "true", 0, dataset.fingerprint, NetworkConfig(width=8, depth=1, reduction=1), schedule)
    lost = {}
    for share in (0.0, 0.3):
        scores = []
        for seed in (0, 1):
            run = dataclasses.replace(plain, seed=seed, metadata_dropout=share)
            rows = evaluate_test_images(run, fit(run, dataset, CPU), dataset, CPU)
            rows["f1"] = 2 * rows["tp"] / (2 * rows["tp"] + rows["fp"] + rows["fn"])
            scores.append(rows.groupby("evaluation")["f1"].mean())
        mean = pd.concat(scores, axis=1).mean(axis=1)
        assert mean["as-trained"] > 0.95
        missing = mean["unknown"] if share else mean["zeros"]
        lost[share] = mean["as-trained"] - missing
        assert ("unknown" in mean) == bool(share), "only a robust network can be told so"
    assert lost[0.0] > 0.25
    assert lost[0.3] < lost[0.0] / 2
