"""Arms: the columns of an ablation. Importing this module is cheap, so that pages can name their arms."""

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from metaseg.config import ArchitectureConfig, ConfigError, MetadataMode, NetworkConfig, Position, Subset
from metaseg.schema import BASELINE

if TYPE_CHECKING:  # they import torch
    from metaseg.config import Architecture
    from metaseg.networks.block_name import BlockName
    from metaseg.networks.blocks import ChannelModulation


@dataclass(frozen=True)
class Arm:
    """One column of an ablation: a block, how it sees metadata, and the part of the data it sees.

    Example:
        >>> from metaseg import Arm
        >>> Arm("film-last", block="film", metadata_mode="shuffled").metadata_mode
        'shuffled'
    """

    name: str
    block: "str | type[ChannelModulation]"
    """A key of `metaseg.networks.blocks.BLOCKS`, or a class of your own."""
    metadata_mode: MetadataMode
    subset: Subset | None = None
    """The part of the data that the arm sees, where that isn't all."""
    stratified: bool = False
    """True if the arm is several networks: one for each value of the first categorical metadata column, trained and
    tested on samples of that value alone."""
    settings: Any = None
    """Settings of the block, an instance of its `settings` class; None for their defaults."""
    network: str | None = None
    """The network that the block is put in, where it isn't the study's: a name as `--network` takes it."""
    positions: tuple[Position, ...] | None = None
    """Where the arm's blocks are in the network; None for where the study has them."""
    metadata_dropout: float = 0.0
    """Probability with which a sample's metadata are withheld in a training epoch, from 0 to below 1: the network is
    told that they aren't known. Above 0, the arm is robust: `--metadata-dropout` sets its probability."""

    def __post_init__(self) -> None:
        if not 0 <= self.metadata_dropout < 1:
            raise ConfigError(f"metadata_dropout is {self.metadata_dropout}; expected a probability from 0 to below 1")
        if self.metadata_dropout and self.metadata_mode != "true":
            raise ConfigError(
                f"arm {self.name!r} has metadata dropout and sees {self.metadata_mode!r} metadata; expected 'true'"
            )

    @property
    def block_name(self) -> "BlockName":
        """The block as a run's configuration names it; raises `ConfigError` where there is no such block."""
        from metaseg.networks.blocks import block_name

        return block_name(self.block, self.settings)

    @property
    def design(self) -> tuple[object, ...]:
        """All that an arm and its dummy have in common: the metadata that they see are the only difference.

        Robust arms have an element for unknown metadata, and so other parameters than a dummy that isn't.
        """
        return self.block_name, self.subset, self.positions, self.network, self.metadata_dropout > 0

    def placed(self, network: NetworkConfig) -> NetworkConfig:
        """Settings of a network, with blocks where the arm has them."""
        return network if self.positions is None else replace(network, positions=self.positions)

    def architecture(self, study: ArchitectureConfig) -> "Architecture | None":
        """The network of the arm's runs in a study with the network `study`; None for metaseg's own U-Net.

        Raises:
            ConfigError: there is no such network, or it can't be used so.
        """
        from metaseg.networks.network_name import architecture

        return architecture(study if self.network is None else ArchitectureConfig(network=self.network))

    def record(self) -> dict[str, Any]:
        """Fields of the arm as the store keeps them: JSON, the block and its settings by name."""
        fields = asdict(replace(self, block=self.block_name, settings=None))
        del fields["settings"]
        if self.network is None:
            del fields["network"]
        if self.positions is None:  # as in records from before arms had positions
            del fields["positions"]
        if not self.metadata_dropout:  # as before there was any
            del fields["metadata_dropout"]
        return fields


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(BASELINE, "se", "absent"),
        Arm("baseline-stratified", "se", "absent", stratified=True),
        Arm("baseline-matched", "se-matched", "zeros"),
        Arm("none", "none", "absent"),
        Arm("me", "me", "true"),
        Arm("me-dummy", "me", "zeros"),
        Arm("me-shuffled", "me", "shuffled"),
        Arm("sme", "sme", "true"),
        Arm("sme-dummy", "sme", "zeros"),
        Arm("sme-shuffled", "sme", "shuffled"),
        Arm("film", "film", "true"),
        Arm("film-dummy", "film", "zeros"),
        Arm("film-shuffled", "film", "shuffled"),
        *(Arm(f"{block}-robust", block, "true", metadata_dropout=0.2) for block in ("me", "sme", "film")),
        Arm("film-ivadomed", "film-ivadomed", "true"),
        Arm("film-ivadomed-dummy", "film-ivadomed", "zeros"),
        Arm("film-ivadomed-tied", "film-ivadomed-tied", "true"),
        Arm("film-ivadomed-tied-dummy", "film-ivadomed-tied", "zeros"),
        Arm("cunet-simple", "cunet-simple", "true", positions=("encoder",)),
        Arm("cunet-simple-dummy", "cunet-simple", "zeros", positions=("encoder",)),
        Arm("cunet-complex", "cunet-complex", "true", positions=("encoder",)),
        Arm("cunet-complex-dummy", "cunet-complex", "zeros", positions=("encoder",)),
        Arm("cbn", "cbn", "true"),
        Arm("cbn-dummy", "cbn", "zeros"),
        Arm("cbam", "cbam", "absent"),
        Arm("cbam-metadata", "cbam-metadata", "true"),
        Arm("cbam-metadata-dummy", "cbam-metadata", "zeros"),
        Arm("fuse", "fuse", "absent"),
        Arm("concat", "concat", "true", positions=("bottleneck",)),
        Arm("concat-dummy", "concat", "zeros", positions=("bottleneck",)),
        Arm("concat-input", "se", "true", network="unet-concat"),
        Arm("concat-input-dummy", "se", "zeros", network="unet-concat"),
        Arm("resdunet", "se", "absent", network="resdunet"),
        Arm("resdunet-sme", "sme", "true", network="resdunet"),
        Arm("resdunet-sme-dummy", "sme", "zeros", network="resdunet"),
        Arm("heads", "se", "heads"),
    )
}
"""Arms that every study can have, by name.

Example:
    >>> from metaseg import ARMS
    >>> ARMS["sme-dummy"].metadata_mode
    'zeros'
"""


def find_arm(name: str, more: Sequence[Arm] = (), metadata_dropout: float | None = None) -> Arm:
    """Look an arm up by name, in `more` and `ARMS`; raises `ConfigError` that lists the known ones and the closest.

    A robust arm gets the probability `metadata_dropout`, if one is given.
    """
    known = {**ARMS, **{arm.name: arm for arm in more}}
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(f"unknown arm {name!r}{hint}; known: {', '.join(known)}")
    arm = known[name]
    if metadata_dropout is None or not arm.metadata_dropout:
        return arm
    if metadata_dropout == 0:
        raise ConfigError(f"metadata_dropout is 0; expected a probability above 0 and below 1 for arm {name!r}")
    return replace(arm, metadata_dropout=metadata_dropout)
