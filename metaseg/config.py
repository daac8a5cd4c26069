"""The typed configuration of a run: everything that can change its numbers, and nothing else.

The dataclasses are frozen and hold plain values, so that a configuration can be hashed into a run id
(`metaseg.study.run_id`), stored as JSON, and turned into command-line options (`metaseg.cli.options`). Field docstrings
are the options' help texts.
"""

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from metaseg.schema import MARGIN, Average, Empty

MetadataMode = Literal["true", "zeros", "shuffled", "absent", "heads"]
"""Metadata that an arm sees: each sample's own, all zeros, permuted among samples, none, or each sample's own by way of
the output head that it selects, instead of the blocks."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

LEFT_OUT = "left out"
"""Split of samples that are in none of `SPLITS`: a fold neither trains on them nor tests them."""

IGNORED = 255
"""Value of a decoded mask's pixels that count neither in a loss nor in a score."""

MOST_SHRINK = 64
"""Largest factor by which images are shrunk."""

Position = Literal["encoder", "bottleneck", "decoder"]
POSITIONS: tuple[Position, ...] = get_args(Position)

Folding = int | str
"""Folds: so many that are drawn; `groups`, one for each group; or `column`, those of the manifest's column `fold`, and
`column:NAME`, of another one."""

FOLDS_OF = "column:"
"""Start of a folding by a column that the user names."""

Activation = Literal["relu", "silu", "gelu", "tanh"]

Modulate = Literal["convolved", "normalised", "output"]
"""Feature maps of a level that its block re-weights: the second convolution's output, before the normalisation; the
normalisation's output, before the activation; or the level's output, after the activation."""

Init = Literal["own", "shared"]
"""Initial weights of a run's network: drawn one after the other with those of its blocks; or, outside blocks, the same
for all arms of a seed."""

Start = Literal["random", "identity"]
"""Effect of a block before training: as it is initialised, or none, so that a network computes what it did."""

Train = Literal["all", "blocks"]
"""Parameters that are trained: all, or those of blocks alone, in a network that stays as it is."""

BatchNorm = Literal["keep", "group"]
"""Treatment of batch normalisation in a network from elsewhere: kept, or replaced by group normalisation."""

Shape = Literal["cyclic", "one-cycle", "cosine", "constant"]
"""Shape of the learning rate schedule (`metaseg.training.schedule`)."""


Loss = Literal["bce-dice", "cross-entropy", "focal", "tversky"]
"""Loss of a sample (`metaseg.training.losses`)."""

LATER = frozenset({"fold", "init", "architecture", "loss", "early_stopping", "metadata_dropout"})
"""Fields of `RunConfig` that came after the first runs: a run whose value is the default keeps the id it would have had
before."""


class ConfigError(ValueError):
    """A setting with an impossible value. The message names the setting, its value and what was expected.

    Example:
        >>> from metaseg import NetworkConfig
        >>> NetworkConfig(depth=0)
        Traceback (most recent call last):
            ...
        metaseg.config.ConfigError: depth is 0; expected at least 1
    """


def check_settings(config: object, rules: Iterable[tuple[str, bool, str]]) -> None:
    """Raise a `ConfigError` for the first rule, (field, whether it is kept, what is expected), that isn't kept."""
    for setting, kept, expected in rules:
        _require(kept, setting, getattr(config, setting), expected)


def _require(condition: bool, setting: str, value: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{setting} is {value!r}; expected {expected}")


def _require_one_of(choices: object, setting: str, value: object) -> None:
    known = get_args(choices)
    _require(value in known, setting, value, f"one of {', '.join(known)}")


@dataclass(frozen=True)
class DataConfig:
    """Settings of a dataset: classes, channels, and the split where the manifest has none.

    Example:
        >>> from metaseg import DataConfig
        >>> DataConfig(classes=("kidney", "tumour"), channels="grey").val_fraction
        0.2
    """

    classes: tuple[str, ...] = ()
    """Names of the foreground classes; by default those of the layout, if it names any, else one: foreground.
    One: every mask value above 0 is that class (instance labels are binarised). Several: mask value k is the k-th
    name."""

    foreground: tuple[str, ...] = ()
    """Mask values that are the one class, where not all above 0 are: 1, or a range such as 128..255."""

    ignore: int | None = None
    """Mask value of pixels that count neither in training nor in scores, such as a void border's 255."""

    channels: Literal["auto", "grey", "rgb", "all"] = "auto"
    """Channels of the network's input. auto: rgb when any image has colour, else grey. Grey images are repeated into
    rgb; colour images become grey by ITU-R 601 luma. all: those of the files, of any number, the same in all images."""

    pixels: Literal["8-bit", "keep"] = "8-bit"
    """Values of the network's input, before each image is standardised. 8-bit: those of 16-bit images are scaled to 8
    bits. keep: 16-bit and float values stay as they are."""

    shrink: int = 1
    """Side of the squares of pixels that become one, in images by their mean and in masks by their most frequent value:
    for images that are larger than a small network's view. Scores are of the smaller masks."""

    val_fraction: float = 0.2
    """Share of samples for validation, where the manifest has no split column or there are --folds."""

    test_fraction: float = 0.2
    """Share of samples for test, where the manifest has no split column and there are no --folds."""

    split_seed: int = 0
    """Seed of the split or folds, and of --limit-per-group's choice. It is not the seed of a run."""

    folds: Folding | None = None
    """Test every sample once, by networks that are trained on other folds. A number: so many folds, of whole groups,
    with subgroups in proportion. groups: each group is left out in turn, such as a hospital or a cell line that is to
    be new (see --group-by). column: the folds that the manifest's column `fold` names; column:NAME: those of another
    column, such as a stain that is left out in turn while fields stay whole. A split in the manifest is replaced; a
    fold's validation is taken from the others, --val-fraction of all samples."""

    limit_per_group: int | None = None
    """Keep at most this many samples of each value of the first categorical metadata column."""

    limit_training: tuple[str, ...] = ()
    """VALUE=COUNT ...: train and validate on at most COUNT samples of a value of the first categorical metadata column,
    in each fold, and test all: how rare may a task or a cell line be? A smaller number's samples are among those of a
    larger."""

    def __post_init__(self) -> None:
        _require(len(set(self.classes)) == len(self.classes), "classes", self.classes, "distinct names")
        _require(len(self.classes) < 255, "classes", len(self.classes), "fewer than 255")
        ranges = all(re.fullmatch(r"[0-9]{1,5}(\.\.[0-9]{1,5})?", text) for text in self.foreground)
        _require(ranges, "foreground", self.foreground, "values, or ranges such as 128..255")
        rising = all(
            int(low) <= int(high or low) for low, _, high in (text.partition("..") for text in self.foreground)
        )
        _require(rising, "foreground", self.foreground, "the lower value of a range first")
        _require(not self.foreground or len(self.classes) <= 1, "foreground", self.foreground, "one of the --classes")
        _require(self.ignore is None or 0 <= self.ignore < 2**16, "ignore", self.ignore, "a mask's value")
        _require(self.channels in ("auto", "grey", "rgb", "all"), "channels", self.channels, "auto, grey, rgb or all")
        _require(self.pixels in ("8-bit", "keep"), "pixels", self.pixels, "8-bit or keep")
        _require(1 <= self.shrink <= MOST_SHRINK, "shrink", self.shrink, f"from 1 to {MOST_SHRINK}")
        _require(0 < self.val_fraction < 1, "val_fraction", self.val_fraction, "a share between 0 and 1")
        _require(0 < self.test_fraction < 1, "test_fraction", self.test_fraction, "a share between 0 and 1")
        _require(
            self.val_fraction + self.test_fraction < 1,
            "val_fraction + test_fraction",
            self.val_fraction + self.test_fraction,
            "less than 1, so that samples are left for training",
        )
        folds = self.folds
        _require(
            folds in (None, "groups", "column")
            or (isinstance(folds, int) and folds >= 2)
            or (isinstance(folds, str) and folds.startswith(FOLDS_OF) and folds != FOLDS_OF),
            "folds",
            folds,
            "a number from 2, groups, column or column:NAME",
        )
        _require(
            self.limit_per_group is None or self.limit_per_group >= 3,
            "limit_per_group",
            self.limit_per_group,
            "at least 3 (one for each of train, val and test)",
        )
        _ = self.training_limits

    @property
    def training_limits(self) -> dict[str, int]:
        """Most samples for training and validation together, by value; raises `ConfigError` where there is none."""
        limits: dict[str, int] = {}
        for item in self.limit_training:
            value, separator, count = item.rpartition("=")
            given = count.isascii() and count.isdigit() and int(count) >= 2 and value and value not in limits
            expected = "VALUE=COUNT, each value once and each count at least 2 (one for training, one for validation)"
            _require(bool(separator and given), "limit_training", item, expected)
            limits[value] = int(count)
        return limits


@dataclass(frozen=True)
class NetworkConfig:
    """Size of the U-Net, and the place and size of its blocks. The kind of block belongs to the arm.

    Example:
        >>> from metaseg import NetworkConfig
        >>> NetworkConfig(width=8, depth=3, positions=("bottleneck",)).reduction
        4
    """

    width: int = 16
    """Channels of the first level; each level below has twice as many."""

    depth: int = 4
    """Number of times the image is halved."""

    reduction: int = 4
    """Reduction ratio: a block's hidden layer has channels / reduction units (paper: 4)."""

    hidden_layers: int = 1
    """Hidden layers of a block's perceptron (paper: 1)."""

    activation: Activation = "relu"
    """Activation after each hidden layer of a block's perceptron (paper: relu)."""

    embedding: int = 0
    """Elements of a learned linear embedding of the metadata vector, one for all blocks; 0: none (paper: 0)."""

    positions: tuple[Position, ...] = POSITIONS
    """Where blocks sit: any subset of encoder, bottleneck and decoder."""

    modulate: Modulate = "output"
    """Feature maps that blocks re-weight: the output of a level's second convolution (convolved), the same after
    normalisation (normalised), or the level's output after the activation (paper: output)."""

    def __post_init__(self) -> None:
        _require(self.width >= 1, "width", self.width, "at least 1 channel")
        _require(self.depth >= 1, "depth", self.depth, "at least 1")
        _require(self.reduction >= 1, "reduction", self.reduction, "at least 1")
        _require(self.hidden_layers >= 1, "hidden_layers", self.hidden_layers, "at least 1")
        _require_one_of(Activation, "activation", self.activation)
        _require(self.embedding >= 0, "embedding", self.embedding, "at least 0")
        _require_one_of(Modulate, "modulate", self.modulate)
        _require(set(self.positions) <= set(POSITIONS), "positions", self.positions, f"a subset of {POSITIONS}")


BLOCK_SETTINGS = ("reduction", "hidden_layers", "activation")
"""Fields of `NetworkConfig` that mean something to any network, since they are of blocks."""


@dataclass(frozen=True)
class ArchitectureConfig:
    """The network that blocks are put in, and how; all defaults stand for metaseg's own U-Net.

    Example:
        >>> from metaseg import ArchitectureConfig
        >>> ArchitectureConfig(network="monai.BasicUNet(features=(8, 8, 16, 32, 64, 8))", start="identity").train
        'all'
    """

    network: str = "unet"
    """Network that blocks are put in: unet, resdunet or unet-concat (metaseg's); smp.Unet:resnet34 and others by
    family, monai.BasicUNet, torchvision.fcn_resnet50; or a factory of your own, FILE.py:NAME or module:NAME, called
    with in_channels and out_channels. Settings follow in parentheses: "monai.BasicUNet(features=(8, 8, 16, 32, 64,
    8))". --width and other settings of metaseg's U-Net don't apply to networks from elsewhere."""

    weights: Path | None = None
    """File of trained weights to start from, with the network's own keys: safetensors, or a state dict of PyTorch."""

    condition_at: tuple[str, ...] = ()
    """Modules of the network whose outputs blocks modulate: names, or patterns in which * stands for a part of a name
    without dots. By default the network's stages; `metaseg networks NAME` lists both."""

    start: Start = "random"
    """identity: blocks pass features unchanged until training changes that, for networks with trained weights."""

    train: Train = "all"
    """blocks: train the blocks alone, in a network that stays as it is."""

    batch_norm: BatchNorm = "keep"
    """group: replace batch normalisation by group normalisation, so that a sample's result doesn't depend on its
    batch, nor a run's on its number of workers."""

    def __post_init__(self) -> None:
        _require_one_of(Start, "start", self.start)
        _require_one_of(Train, "train", self.train)
        _require_one_of(BatchNorm, "batch_norm", self.batch_norm)
        _require(bool(self.network.strip()), "network", self.network, "a network's name")


@dataclass(frozen=True)
class Architecture:
    """A network other than metaseg's U-Net as a run's id has it: `metaseg.networks.network_name` makes it."""

    network: str
    """Its name with all settings given, and a hash of its source if that is the user's own."""
    weights: str | None
    """SHA-256 of the weights that training starts from, if any, in the form in which the store keeps them."""
    condition_at: tuple[str, ...]
    """Patterns of modules that are conditioned; empty: its stages."""
    start: Start
    train: Train
    batch_norm: BatchNorm
    defaults: str = ""
    """Hash of the settings that aren't given, as the network's package has them."""

    def __post_init__(self) -> None:
        _require_one_of(Start, "start", self.start)
        _require_one_of(Train, "train", self.train)
        _require_one_of(BatchNorm, "batch_norm", self.batch_norm)


@dataclass(frozen=True)
class ScheduleConfig:
    """Length of training, learning rate, batches and crops.

    Example:
        >>> from metaseg import ScheduleConfig
        >>> ScheduleConfig(epochs=20, shape="one-cycle", crop=96).batch_size
        8
    """

    epochs: int = 100
    """Passes over the training samples, one random crop of each (paper: 100)."""

    shape: Shape = "cyclic"
    """Course of the learning rate over the whole training (paper: cyclic). cyclic: cycles triangles from lr_min;
    one-cycle: up from lr_min in the first 30 % of steps, then down to it, each half a cosine; cosine: from lr_max down
    to lr_min, half a cosine; constant: lr_max."""

    cycles: int = 8
    """Triangular learning-rate cycles over the whole training, where shape is cyclic (paper: 8)."""

    lr_min: float = 2e-4
    """Lowest learning rate, where shape isn't constant (paper: 2e-4)."""

    lr_max: float = 8e-4
    """Highest learning rate (paper: 8e-4)."""

    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW): a step shrinks each parameter by this times the learning rate (paper: 0)."""

    batch_size: int = 8
    """Samples a step, summed over all workers of the run."""

    crop: int = 128
    """Side of the square training crop, in pixels. Smaller images are reflected up to it."""

    intensity: float = 0.0
    """Random contrast (up to this share more or less) and brightness (up to so many standard deviations) of training
    crops; 0: none (paper: not stated)."""

    validate_every: int = 1
    """Epochs between validations at full resolution; the last epoch is always validated."""

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        _require_one_of(Shape, "shape", self.shape)
        _require(self.cycles >= 1, "cycles", self.cycles, "at least 1")
        _require(0 < self.lr_min <= self.lr_max, "lr_min", self.lr_min, f"above 0 and at most lr_max ({self.lr_max})")
        _require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        _require(0 <= self.intensity < 1, "intensity", self.intensity, "from 0 to below 1")
        _require(self.crop >= 8, "crop", self.crop, "at least 8 pixels")
        _require(self.validate_every >= 1, "validate_every", self.validate_every, "at least 1")

    def longer(self, factor: float) -> "ScheduleConfig":
        """The schedule with `factor` times the epochs and as many validations, rounded."""
        return replace(
            self, epochs=max(round(self.epochs * factor), 1), validate_every=max(round(self.validate_every * factor), 1)
        )


@dataclass(frozen=True)
class LossConfig:
    """The loss of a sample, and the weights of its classes.

    Example:
        >>> from metaseg import LossConfig
        >>> LossConfig("focal", class_weights=(0.5, 1, 4)).focal_gamma
        2.0
    """

    loss: Loss = "bce-dice"
    """Loss of each sample. bce-dice: cross-entropy plus 1 - soft Dice; cross-entropy alone; focal (Lin et al. 2017),
    which counts pixels the less the surer they are right; tversky (Salehi et al. 2017), a Dice in which false positives
    and negatives count differently. Cross-entropy is the binary one where there is one class."""

    focal_gamma: float = 2.0
    """Focusing exponent of the focal loss: 0 is cross-entropy (Lin et al.: 2)."""

    tversky_alpha: float = 0.3
    """Weight of false positives in the Tversky loss; with both weights 0.5 it is 1 - soft Dice (Salehi et al.: 0.3)."""

    tversky_beta: float = 0.7
    """Weight of false negatives in the Tversky loss (Salehi et al.: 0.7)."""

    class_weights: tuple[float, ...] = ()
    """Weights of background and of each class, in this order, so one more than --classes; by default all alike. A pixel
    counts with the weight of its true class; the means of Dice and Tversky over classes have no background, and
    use the others."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_weights", tuple(map(float, self.class_weights)))  # 1 and 1.0 are one run
        _require_one_of(Loss, "loss", self.loss)
        gamma, alpha, beta, weights = self.focal_gamma, self.tversky_alpha, self.tversky_beta, self.class_weights
        _require(
            gamma == 0 or 1 <= gamma < math.inf,
            "focal_gamma",
            gamma,
            "0, or from 1 (between them, the gradient is infinite at a pixel that is certain)",
        )
        _require(0 <= alpha < math.inf, "tversky_alpha", alpha, "at least 0")
        _require(0 <= beta < math.inf, "tversky_beta", beta, "at least 0")
        _require(alpha + beta > 0, "tversky_alpha + tversky_beta", alpha + beta, "above 0")
        _require(all(0 < weight < math.inf for weight in weights), "class_weights", weights, "numbers above 0")
        unused = {"focal_gamma": "focal", "tversky_alpha": "tversky", "tversky_beta": "tversky"}
        for setting, loss in unused.items():
            default = getattr(type(self), setting)
            chosen = getattr(self, setting)
            _require(self.loss == loss or chosen == default, setting, chosen, f"{default} where the loss isn't {loss}")


ArithmeticName = Literal[
    "auto", "float32 channels-first", "float32 channels-last", "bfloat16 channels-first", "bfloat16 channels-last",
    "float16 channels-first", "float16 channels-last", "float32 channels-first compiled",
    "float32 channels-last compiled", "bfloat16 channels-first compiled", "bfloat16 channels-last compiled",
]  # fmt: skip
"""Number format and memory format of a training, and whether it is compiled (`metaseg.device.Arithmetic`)."""


@dataclass(frozen=True)
class EngineConfig:
    """Resources of a study: workers, CPUs, GPUs, retries and checkpoints. They don't change what a run is.

    Example:
        >>> from metaseg import EngineConfig
        >>> EngineConfig(workers_per_run=(1, 4), gpus_per_worker=1).max_retries
        3
    """

    workers_per_run: tuple[int, ...] = (1,)
    """Data-parallel workers that share a run's batches. Two numbers are the least and the most: the run takes what is
    there when it starts, and again after a fault."""

    cpus_per_worker: float = 1.0
    """CPU cores that a worker reserves. It computes with one thread."""

    gpus_per_worker: float | None = None
    """GPUs that a worker reserves: 0.25 packs four runs on one. By default 1 where Ray has GPUs now, else 0; say it
    where nodes with GPUs join later."""

    max_concurrent: int | None = None
    """Train at most so many runs at once. By default as many as Ray has room for."""

    max_retries: int = 3
    """Times that a run is tried again after a fault that isn't its own: a process or node that died. Preemptions don't
    count. A run that diverges, is out of memory or has a wrong setting isn't tried again."""

    stall_minutes: float | None = None
    """Take a run that gives no sign of life for so long for one whose machine has failed: its process is ended, and it
    is tried again. Longer than the longest epoch, and than the evaluation at the end. By default it is only told."""

    checkpoint_minutes: float = 5.0
    """Minutes of training between checkpoints: what a fault can cost a run."""

    checkpoint_epochs: int | None = None
    """Keep a checkpoint after every so many epochs too."""

    arithmetic: ArithmeticName = "auto"
    """Number format and memory format of training, for example "float32 channels-last", and whether the network is
    compiled. By default what is fastest on the machine, measured once for each network and kept there; `config.json`
    says which. Compiling is only considered for runs of 20 minutes and more."""

    cuda_graphs: bool = True
    """On a GPU, capture a training step in a CUDA graph and replay it, where that can be: small networks then
    don't wait for Python to launch each operation."""

    def __post_init__(self) -> None:
        workers = self.workers_per_run
        _require(
            len(workers) in (1, 2) and 1 <= workers[0] <= workers[-1],
            "workers_per_run",
            workers,
            "a number from 1, or two: the least and the most",
        )
        _require(self.cpus_per_worker >= 0, "cpus_per_worker", self.cpus_per_worker, "at least 0")
        gpus = self.gpus_per_worker
        _require(
            gpus is None or 0 <= gpus < 1 or gpus == int(gpus), "gpus_per_worker", gpus, "a share, or a whole number"
        )
        _require(
            self.max_concurrent is None or self.max_concurrent >= 1, "max_concurrent", self.max_concurrent, "at least 1"
        )
        _require(self.max_retries >= 0, "max_retries", self.max_retries, "at least 0")
        _require(self.stall_minutes is None or self.stall_minutes > 0, "stall_minutes", self.stall_minutes, "above 0")
        _require(self.checkpoint_minutes > 0, "checkpoint_minutes", self.checkpoint_minutes, "above 0")
        _require(
            self.checkpoint_epochs is None or self.checkpoint_epochs >= 1,
            "checkpoint_epochs",
            self.checkpoint_epochs,
            "at least 1",
        )


@dataclass(frozen=True)
class Scoring:
    """Rules by which scores are made from counts of pixels. No part of a run: they can change without training."""

    average: Average = "images"
    """Overall score: the mean over test images, or over subgroups."""

    empty: Empty = "one"
    """Score of an image whose reference mask lacks the class: 1 if the prediction is empty too, else 0; or left out."""

    endpoint: str | None = None
    """The class that the study is about: comparisons on the others are exploration. The macro average by default."""

    margin: float = MARGIN
    """Equivalence margin: arms whose F1 differs by less count as equal."""


@dataclass(frozen=True)
class Subset:
    """The part of a dataset that a run sees: samples whose `column` is `value`."""

    column: str
    """A metadata column or one of the dataset's strata."""

    value: str

    splits: tuple[Split, ...] = SPLITS
    """The splits that are cut down; the others stay whole."""


@dataclass(frozen=True)
class RunConfig:
    """Resolved configuration of one run. Its run id is a hash of all of it (`metaseg.study.run_id.run_id`).

    Example:
        >>> from metaseg import NetworkConfig, RunConfig, ScheduleConfig
        >>> run = RunConfig("sme", "true", 0, "a3f1", NetworkConfig(width=8), ScheduleConfig(epochs=10))
        >>> run.schedule.epochs
        10
    """

    block: str
    """Name of the block (`metaseg.networks.blocks.BLOCKS`)."""

    metadata_mode: MetadataMode
    """Metadata that the run sees, in training and in evaluation."""

    seed: int
    """Seed of the weights' initialisation, the samples' order and crops, and shuffled metadata."""

    dataset: str
    """Fingerprint of the prepared dataset: pixels, masks, metadata, split, classes and channels."""

    network: NetworkConfig
    schedule: ScheduleConfig

    subset: Subset | None = None
    """Part of the dataset that the run sees, if not all."""

    fold: str | None = None
    """Name of the fold that the run is tested on, where the study has folds."""

    init: Init = "own"
    """Initial weights of layers outside blocks: the run's own, or those that all arms of this seed start from."""

    architecture: Architecture | None = None
    """The network that blocks are put in, if that isn't metaseg's U-Net."""

    loss: LossConfig = LossConfig()
    """Loss that training minimises."""

    early_stopping: int | None = None
    """Number of validations in a row without a better F1 after which training ends; None: after all epochs."""

    metadata_dropout: float = 0.0
    """Probability with which a sample's metadata are withheld in a training epoch: the network is told that they aren't
    known. Above 0, all columns have an element for that."""

    def __post_init__(self) -> None:
        patience = self.early_stopping
        _require(patience is None or patience >= 1, "early_stopping", patience, "at least 1 validation")

    @property
    def names(self) -> tuple[str, ...]:
        """Names that bring code along: of the block, and of the network unless it is metaseg's U-Net."""
        return (self.block,) if self.architecture is None else (self.block, self.architecture.network)

    @property
    def stream(self) -> int:
        """Seed of the run's random numbers: `seed`, or in a fold a hash of both.

        Networks of two folds with the same seed thus share neither initialisation nor order nor crops.
        """
        if self.fold is None:
            return self.seed
        return int.from_bytes(hashlib.sha256(f"{self.seed}/fold {self.fold}".encode()).digest()[:7])

    @property
    def later(self) -> dict[str, Any]:
        """Settings that later versions added, as plain values, where they aren't the default."""
        settings = asdict(self)
        return {
            each.name: settings[each.name]
            for each in fields(self)
            if each.name in LATER and getattr(self, each.name) != each.default
        }

    def resolved(self) -> dict[str, Any]:
        """All settings as plain values; of those that later versions added only what isn't the default."""
        return {name: value for name, value in asdict(self).items() if name not in LATER} | self.later
