"""The work that all contenders are given: the same simulated images, crops, batches and threads."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from metaseg.config import DataConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.data.preparation import prepare
from metaseg.simulators.settings import SyntheticConfig
from metaseg.simulators.seven_cells import make_seven_cells


@dataclass(frozen=True)
class Size:
    """Amount of work."""

    side: int = 256
    """Side of the square images, in pixels."""

    images: int = 504
    """Training, validation and test together; half of them are for training, a sixth for validation."""

    network: NetworkConfig = NetworkConfig(width=16, depth=4)
    batch: int = 16
    crop: int = 128

    @property
    def synthetic(self) -> SyntheticConfig:
        """The simulated images."""
        an_image_a_well = self.images // 7
        return SyntheticConfig(size=self.side, images_per_line=an_image_a_well, wells_per_line=an_image_a_well)


FULL = Size()
QUICK = Size(images=126)
CHECK = Size(images=126)
"""Size for the regression check: little work, but the same network and batch, so that ratios are those of FULL."""


STUDY = Size(side=128, images=168, network=NetworkConfig(width=8, depth=2), batch=4, crop=96)
"""The network and batch of the default study, `make study`."""


@dataclass(frozen=True)
class Work:
    """Work of every contender in a lap: one crop of each training image."""

    data: Path
    """The folder of the images' table, for those who read files."""
    dataset: Dataset
    """The same images, prepared."""
    size: Size
    device: torch.device
    threads: int

    @property
    def crops(self) -> int:
        """Number of crops in a lap."""
        return len(self.dataset.indices("train"))

    @property
    def steps(self) -> int:
        """Number of batches in a lap; the last may be smaller."""
        return -(-self.crops // self.size.batch)

    def config(self, seed: int = 0, epochs: int = 100, **schedule: object) -> RunConfig:
        """The run that is our part: an SME U-Net that sees the cell line, trained in one cycle."""
        settings = ScheduleConfig(
            epochs=epochs, cycles=1, lr_min=2e-4, lr_max=4e-3, batch_size=self.size.batch, crop=self.size.crop
        )
        return RunConfig(
            "sme", "true", seed, self.dataset.fingerprint, self.size.network, replace(settings, **schedule)
        )


def make_work(folder: Path, size: Size, device: torch.device, threads: int) -> Work:
    """Draw the images into `folder` and prepare them."""
    manifest = make_seven_cells(folder / "data", size.synthetic)
    dataset = prepare(manifest, DataConfig(), folder / "cache")
    return Work(folder / "data", dataset, size, device, threads)
