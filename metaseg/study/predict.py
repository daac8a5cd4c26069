"""Prediction with a trained run: its folder or URL and an image with metadata in, a mask out."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn
from torch.nn.functional import interpolate

from metaseg.config import ConfigError, MetadataMode, NetworkConfig
from metaseg.data.decode import pixel_statistics, to_channels
from metaseg.data.metadata import MetadataEncoder
from metaseg.data.reading import ImagePixels, Reading
from metaseg.data.shrink import shrink_image
from metaseg.device import autocast
from metaseg.networks.block_name import MissingBlockError
from metaseg.networks.block_source import Code
from metaseg.networks.blocks import block_name
from metaseg.networks.build import build, is_from_elsewhere, read_architecture
from metaseg.schema import DONE, UNKNOWN
from metaseg.store.runs import DamagedRunError, FinishedRun, from_json
from metaseg.store.storage import open_storage
from metaseg.study.exported_model import open_onnx, open_weights
from metaseg.training.evaluate import predict_logits


@dataclass(frozen=True)
class Predictor:
    """A trained network with everything needed to use it on images of any size.

    `Predictor.open` takes a finished run of a store, `Predictor.load` its folder.

    Example:
        >>> from pathlib import Path
        >>> import torch
        >>> from metaseg import NetworkConfig, Predictor, RunConfig, ScheduleConfig, fit
        >>> from metaseg import DataConfig, SyntheticConfig, make_seven_cells, prepare
        >>> cells = make_seven_cells(Path("cells"), SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
        >>> dataset = prepare(cells, DataConfig(), Path("cache"))
        >>> network, schedule = NetworkConfig(width=2, depth=1), ScheduleConfig(epochs=1, crop=32)
        >>> run = RunConfig("sme", "true", 0, dataset.fingerprint, network, schedule)
        >>> fitted = fit(run, dataset, torch.device("cpu"))
        >>> predictor = Predictor(fitted.model.eval(), fitted.encoder, "true", dataset.classes, dataset.channels)
        >>> predictor.predict(dataset.image(0), {"cell_line": "HeLa"}).shape
        (64, 64)
    """

    model: nn.Module
    encoder: MetadataEncoder
    metadata_mode: MetadataMode
    classes: tuple[str, ...]
    channels: int
    reading: Reading = Reading()
    """The way in which image files are to be read (`metaseg.decode_image`)."""

    @classmethod
    def load(cls, folder: Path | str, blocks: Sequence[Code] = ()) -> "Predictor":
        """Load the network from a finished run's folder, its URL in a bucket, or a file that `metaseg export` wrote.

        Args:
            folder: STORE/runs/RUN_ID, or an exported model.onnx or model.safetensors.
            blocks: code from outside metaseg that the run's block and network may be.

        Raises:
            ConfigError: the folder isn't a finished run's, the file isn't an exported one, or the run's block is from
                outside metaseg and not in `blocks`.
            DamagedRunError: as `open`.
        """
        if (file := Path(folder)).suffix in (".onnx", ".safetensors") and file.is_file():
            return cls._load_exported(file, blocks)
        return cls.open(find_run(folder), blocks)

    @classmethod
    def open(cls, run: FinishedRun, blocks: Sequence[Code] = ()) -> "Predictor":
        """Load the network of a finished run.

        Raises:
            ConfigError: its block is from outside metaseg and not in `blocks`.
            DamagedRunError: its files aren't what was written, or are of a network that this version doesn't know.
        """
        description, weights = run.read("config.json"), run.read("weights.safetensors")
        config = from_json(description) or {}
        try:
            return cls._parse(config, weights, blocks)
        except MissingBlockError as error:
            raise ConfigError(f"{run.locate('config.json')}: {error}{_where_defined(config)}") from error
        except KeyError as error:
            raise DamagedRunError(f"{run.locate('config.json')}: not a run's configuration: no {error}") from error
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise DamagedRunError(f"{run.locate('config.json')}: not a run's configuration: {error}") from error
        except (RuntimeError, SafetensorError) as error:  # keys or shapes that aren't the network's; no safetensors
            where, reason = run.locate("weights.safetensors"), str(error).splitlines()[0]
            raise DamagedRunError(f"{where}: not this network's weights: {reason}") from error

    @classmethod
    def _load_exported(cls, file: Path, blocks: Sequence[Code]) -> "Predictor":
        try:
            if file.suffix == ".safetensors":
                return cls._parse(*open_weights(file), blocks)
            config, model = open_onnx(file)
            dataset = config["dataset"]
            encoder, reading = MetadataEncoder.from_json(dataset["metadata"]), Reading.from_json(dataset["reading"])
            mode: MetadataMode = config["arm"]["metadata_mode"]
            return cls(model.eval(), encoder, mode, tuple(dataset["classes"]), dataset["channels"], reading)
        except MissingBlockError as error:
            raise ConfigError(f"{file}: {error}") from error
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{file}: not an exported model: {str(error).splitlines()[0]:.200}") from error

    @classmethod
    def _parse(cls, config: Mapping[str, Any], weights: bytes, blocks: Sequence[Code]) -> "Predictor":
        dataset, arm, network, tensors = config["dataset"], config["arm"], config["network"], load(weights)
        if max(network["depth"], network["hidden_layers"]) > len(tensors):  # it would take for ever to build
            raise RuntimeError(f"the network has more layers than the file has tensors ({len(tensors)})")
        encoder = MetadataEncoder.from_json(dataset["metadata"])
        classes = tuple(dataset["classes"])
        architecture = read_architecture(config.get("architecture"), blocks)
        # Without memory, since the description may ask for any size; code from elsewhere may need numbers, though.
        with torch.random.fork_rng(devices=[]), torch.device("cpu" if is_from_elsewhere(architecture) else "meta"):
            model = build(
                dataset["channels"],
                len(classes),
                block_name(arm["block"], own=blocks),
                0 if arm["metadata_mode"] == "absent" else encoder.size,
                NetworkConfig(**network | {"positions": tuple(network["positions"])}),
                heads=arm["metadata_mode"] == "heads",
                architecture=architecture,
            )
        if wrong := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
            raise RuntimeError(f"{wrong[0]} holds NaN or infinity")
        floating = {name: tensor.float() for name, tensor in tensors.items() if tensor.is_floating_point()}
        model.load_state_dict({**tensors, **floating}, assign=True)
        reading = Reading.from_json(dataset.get("reading", {}))
        return cls(model.eval(), encoder, arm["metadata_mode"], classes, dataset["channels"], reading)

    def encode(self, metadata: Mapping[str, str | float | None]) -> npt.NDArray[np.float32]:
        """Encode one image's metadata as the `(1, M)` vector that the network sees.

        A value that isn't known is "unknown", None, NaN or empty text, for networks that were trained for that.

        Raises:
            UnknownMetadataError: a value that didn't occur in training, or one that isn't known.
            ConfigError: a column is missing or isn't one of the run's.
        """
        if self.metadata_mode == "absent":
            return np.zeros((1, 0), dtype=np.float32)
        expected = [code.column for code in self.encoder.codes]
        if set(metadata) != set(expected):
            may_lack = [code.column for code in self.encoder.codes if code.knows_unknown]
            lacking = [f"{name}={UNKNOWN}" for name in may_lack if name not in metadata]
            hint = f" (what isn't known is given as {', '.join(lacking)})" if lacking else ""
            raise ConfigError(f"metadata columns are {sorted(metadata)}; this run expects {sorted(expected)}{hint}")
        vector = self.encoder.encode(pd.DataFrame([dict(metadata)]))
        return np.zeros_like(vector) if self.metadata_mode == "zeros" else vector

    def predict(self, pixels: ImagePixels, metadata: Mapping[str, str | float | None]) -> npt.NDArray[np.uint8]:
        """Segment one image.

        Args:
            pixels: `(H, W, 1)` or `(H, W, 3)`, or of as many channels as the run was trained on, as
                `metaseg.decode_image(path, predictor.reading)` returns them.
            metadata: column name to value, as in `encode`.

        Raises:
            ConfigError: the image has another number of channels, or as `encode`.
            UnknownMetadataError: as `encode`.

        Returns:
            `(H, W)` uint8, 0 background, k the k-th of `classes`.
        """
        logits = self.logits([pixels], self.encode(metadata))[0]
        label = logits[0] > 0 if len(self.classes) == 1 else logits.argmax(dim=0)
        return label.to(torch.uint8).numpy()

    def probabilities(self, pixels: ImagePixels, metadata: Mapping[str, str | float | None]) -> npt.NDArray[np.float32]:
        """`(K, H, W)` probability of each of `classes` in each pixel; arguments as of `predict`."""
        logits = self.logits([pixels], self.encode(metadata))[0]
        probability = torch.sigmoid(logits) if len(self.classes) == 1 else torch.softmax(logits, dim=0)[1:]
        return probability.numpy()

    @property
    def device(self) -> torch.device:
        """The device that the network computes on: the CPU, unless `to` has moved it."""
        return next((tensor.device for tensor in self.model.parameters()), torch.device("cpu"))

    def to(self, device: torch.device) -> "Predictor":
        """The same network on a device."""
        return replace(self, model=self.model.to(device))

    @torch.no_grad()
    def logits(self, pixels: Sequence[ImagePixels], vectors: npt.NDArray[np.float32]) -> torch.Tensor:
        """Logits of images of one size, computed at once.

        Args:
            pixels: N images, as for `predict`.
            vectors: `(N, M)` their metadata, a row of `encode` each.

        Raises:
            ConfigError: an image has another number of channels.

        Returns:
            `(N, 1, H, W)`, foreground above 0; or, of K > 1 classes, `(N, 1 + K, H, W)`, background first. On the CPU.
        """
        arrays = [self._standardise(image) for image in pixels]
        with autocast(self.device):  # as in evaluation, so that the run's scores hold for these predictions
            logits = predict_logits(
                self.model, torch.stack(arrays).to(self.device), torch.from_numpy(vectors).to(self.device)
            ).float()
        height, width = pixels[0].shape[:2]
        if self.reading.shrink > 1:
            whole = tuple(side * self.reading.shrink for side in logits.shape[2:])
            logits = interpolate(logits, whole, mode="bilinear", align_corners=False)[:, :, :height, :width]
        return logits.cpu()

    def _standardise(self, image: ImagePixels) -> torch.Tensor:
        """`(C, H, W)` the network's input, shrunk where the run's images were."""
        if self.reading.every_channel and image.shape[2] != self.channels:
            raise ConfigError(f"the image has {image.shape[2]} channels; expected {self.channels}")
        small = shrink_image(to_channels(image, self.channels), self.reading.shrink)
        mean, std = pixel_statistics(small)
        return (torch.tensor(small).movedim(-1, 0).float() - mean) / std


def find_run(where: Path | str) -> FinishedRun:
    """Open a finished run by its folder, or by its URL in a bucket.

    Raises:
        ConfigError: there is no finished run.
        DamagedRunError: as `FinishedRun.open`.
    """
    address = str(Path(where).resolve() if "://" not in str(where) else where).rstrip("/")
    parent, _, name = address.rpartition("/")
    expected = f"expected a folder STORE/runs/RUN_ID that holds {DONE}"
    if not name or not parent:
        raise ConfigError(f"{where} isn't a finished run; {expected}")
    try:
        return FinishedRun.open(open_storage(parent), name)
    except FileNotFoundError:
        raise ConfigError(f"{where} isn't a finished run; {expected}") from None
    except NotADirectoryError:
        raise ConfigError(f"{where} is a file; {expected}") from None


def _where_defined(config: Mapping[str, Any]) -> str:
    """Advice on how to give the classes of a run's block, from where they were when it was trained."""
    sources = config.get("own_blocks")
    if not isinstance(sources, list) or not all(isinstance(source, dict) for source in sources):
        return ""
    given = shlex.join(f"{source.get('file')}:{source.get('class')}" for source in sources)
    return f". It was defined in {given}: give `--blocks {given}`, or `blocks=` in Python"
