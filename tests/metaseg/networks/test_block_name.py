"""Names of blocks in run configurations: metaseg's own as ever, others with the hash of their source."""

import importlib
import os
import pickle
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from checkout import ROOT
from metaseg.config import ConfigError, NetworkConfig
from metaseg.networks.block_file import read_blocks
from metaseg.networks.block_name import BlockName, MissingBlockError
from metaseg.networks.blocks import BLOCKS, ChannelModulation, Matched, block_name, build_block, channelwise
from metaseg.networks.mlp import MLPConfig
from metaseg.networks.unet import UNet

SOURCE = """
    \"\"\"A block.\"\"\"
    from torch import nn
    from metaseg.networks.blocks import ChannelModulation, channelwise

    from functools import cache, partial
    import torch

    FACTOR = 2.0
    ACT = nn.LeakyReLU(0.1)
    POWER = partial(torch.pow, exponent=1)
    NAMES = {'a': {'x', 'y', 'z'}}
    STEPS = []
    STEPS.append(1)

    class Conf:
        offset = 0

    CONF = Conf()

    @cache
    def constant():
        return 1.5

    def scaled(values):
        return FACTOR * values

    class Shift(ChannelModulation):
        needs_metadata = True

        def __init__(self, channels, metadata_size, mlp):
            super().__init__(channels, metadata_size, mlp)
            self.shift = nn.Linear(metadata_size, channels)

        def forward(self, features, metadata, k=FACTOR):
            shift = ACT(POWER(scaled(self.shift(metadata)))) * k * constant() + CONF.offset + len(NAMES) + len(STEPS)
            return features + channelwise(shift)

    ARMS = [Shift]

    if __name__ == "__main__":
        import sys
        sys.path.append(".")
        from metaseg.networks.blocks import block_name
        print(type(Shift).__name__, block_name(Shift))
"""


@dataclass(frozen=True)
class PowerSettings:
    """Settings of a block for tests."""

    power: int = 2


class Power(ChannelModulation):
    """A block with a setting of its own."""

    settings = PowerSettings

    def __init__(self, channels: int, metadata_size: int, mlp: MLPConfig, settings: PowerSettings) -> None:
        super().__init__(channels, metadata_size, mlp)
        self.power = settings.power
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, features: Tensor, metadata: Tensor) -> Tensor:
        return features * channelwise(self.scale[None] ** self.power)


def module(folder: Path, source: str, name: str = "own_block") -> ModuleType:
    (folder / f"{name}.py").write_text(textwrap.dedent(source))
    sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return importlib.import_module(name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


@pytest.mark.parametrize("name", BLOCKS)
def test_metasegs_own_blocks_are_named_as_ever(name: str) -> None:
    for named in (block_name(name), block_name(BLOCKS[name])):
        assert (str(named), named.block, named.source) == (name, BLOCKS[name], None)


def test_a_block_from_outside_carries_the_hash_of_its_source(folder: Path) -> None:
    own = block_name(module(folder, SOURCE).Shift)
    name, _, digest = own.partition("@")
    assert name == "Shift"
    assert len(digest) == 12
    assert own.source is not None
    assert own.source.modules == ("own_block",)
    assert own.source.file == str(folder / "own_block.py")


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("features + channelwise", "features - channelwise", False),
        ("FACTOR = 2.0", "FACTOR = 3.0", False),
        ("return FACTOR * values", "return values", False),
        ("needs_metadata = True", "needs_metadata = True\n        unused = frozenset({'reduction'})", False),
        ("A block.", "A block, described otherwise.", True),
        ("FACTOR = 2.0", "FACTOR = 2.0  # why", True),
        ("def scaled(values):", "UNRELATED = 1\n\n    def scaled(values):", True),
        ("return FACTOR * values", "return (FACTOR\n                * values)", True),
        ("ACT = nn.LeakyReLU(0.1)", "ACT = nn.LeakyReLU(0.9)", False),
        ("POWER = partial(torch.pow, exponent=1)", "POWER = partial(torch.pow, exponent=2)", False),
        ("return 1.5", "return 2.5", False),
        ("k=FACTOR", "k=3 * FACTOR", False),
        ("NAMES = {'a': {'x', 'y', 'z'}}", "NAMES = {'a': {'x', 'y'}}", False),
        ("STEPS.append(1)", "STEPS.append(2)", False),
        ("offset = 0", "offset = 1", False),
        ("ARMS = [Shift]", "ARMS = [Shift, Shift]", True),
    ],
)
def test_what_changes_the_block_changes_its_name_and_nothing_else_does(
    folder: Path, old: str, new: str, same: bool
) -> None:
    first = block_name(module(folder, SOURCE).Shift)
    assert old in SOURCE
    second = block_name(module(folder, SOURCE.replace(old, new, 1)).Shift)
    assert (first == second) is same


def test_a_name_is_found_again_only_with_its_class(folder: Path) -> None:
    shift = module(folder, SOURCE).Shift
    text = str(block_name(shift))
    assert block_name(text, own=[shift]).block is shift
    with pytest.raises(MissingBlockError, match="isn't metaseg's; expected its class to be given"):
        block_name(text)
    edited = module(folder, SOURCE.replace("2.0", "3.0")).Shift
    with pytest.raises(MissingBlockError, match=r"block 'Shift' of .*own_block.py has changed"):
        block_name(text, own=[edited])


def test_settings_are_part_of_the_name_of_their_block_alone() -> None:
    names = [str(block_name(Power, settings)) for settings in (None, PowerSettings(2), PowerSettings(3))]
    assert names[0] == names[1]
    assert names[0] != names[2]
    assert '{"power": 3}' in names[2]
    found = block_name(names[2], own=[Power])
    assert found.settings == PowerSettings(3)
    block = build_block(found, 4, 0)
    with torch.no_grad():
        block.scale.fill_(2)
    torch.testing.assert_close(block(torch.ones(1, 4, 2, 2), torch.zeros(1, 0)), torch.full((1, 4, 2, 2), 8.0))
    for wrong in ("sme", Power):
        with pytest.raises(ConfigError, match="settings of block"):
            block_name(wrong, Matched("film"))


def test_a_name_survives_pickling_with_its_class() -> None:
    named = pickle.loads(pickle.dumps(block_name(Power, PowerSettings(3))))
    assert isinstance(named, BlockName)
    assert (named.block, named.settings) == (Power, PowerSettings(3))


@pytest.mark.parametrize("other", ["sme", "me", "film", "film-ivadomed", Power])
def test_matched_has_as_many_parameters_as_whatever_it_is_asked_to_match(other: str | type[ChannelModulation]) -> None:
    network = NetworkConfig(width=16, depth=2)
    sizes = [
        sum(weights.numel() for weights in UNet(1, 1, block, 5, network).parameters())
        for block in (block_name("se-matched", Matched(other)), block_name(other), "se")
    ]
    matched, wanted, _ = sizes
    assert wanted <= matched <= 1.05 * max(wanted, sizes[2])
    assert str(block_name("se-matched", Matched("sme"))) == "se-matched", "as it was called before it had settings"


def test_a_block_that_isnt_in_a_file_is_refused() -> None:
    space: dict[str, Any] = {"__name__": "typed_in"}
    exec(textwrap.dedent(SOURCE), space)
    with pytest.raises(ConfigError, match=r"block 'Shift' isn't defined in a file \(its module is typed_in\)"):
        block_name(space["Shift"])


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_file_that_is_run_names_its_block_as_one_that_is_imported(folder: Path, seed: str) -> None:
    imported = block_name(module(folder, SOURCE).Shift)
    (given,) = read_blocks([f"{folder}/own_block.py:Shift"])
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "own_block.py"], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == imported == block_name(given)


def test_modules_of_the_users_own_are_followed_and_shipped(folder: Path) -> None:
    (folder / "mypkg").mkdir()
    (folder / "mypkg" / "__init__.py").write_text("")
    (folder / "mypkg" / "parts.py").write_text("SCALE = 2\nUNUSED = 1\n")
    (folder / "kernels.py").write_text("import mypkg.parts\n\ndef kernel(x):\n    return mypkg.parts.SCALE * x\n")
    source = SOURCE.replace("import torch\n", "import torch\n    from kernels import kernel\n", 1)
    source = source.replace("return FACTOR * values", "return kernel(values)")
    first = block_name(module(folder, source, "first").Shift)
    assert first.source is not None
    assert first.source.modules == ("first", "kernels", "mypkg.parts")
    (folder / "mypkg" / "parts.py").write_text("SCALE = 3\nUNUSED = 1\n")
    assert block_name(module(folder, source, "second").Shift) != first


def test_a_file_that_has_changed_since_it_was_imported_is_refused_until_it_is_reloaded(folder: Path) -> None:
    own = module(folder, SOURCE)
    first = block_name(own.Shift)
    edited = SOURCE.replace("return FACTOR * values", "return FACTOR + values")
    (folder / "own_block.py").write_text(textwrap.dedent(edited))
    with pytest.raises(ConfigError, match=r"uses scaled of .*own_block.py, which has changed since it was imported"):
        block_name(own.Shift)
    kept = own.Shift
    importlib.reload(own)
    kept.forward = own.Shift.forward  # as IPython's autoreload does: the class stays the same object
    own.Shift = kept
    assert block_name(kept) != first


def test_blocks_are_read_from_files_by_name(folder: Path) -> None:
    (folder / "given.py").write_text(textwrap.dedent(SOURCE))
    (shift,) = read_blocks([f"{folder}/given.py:Shift"])
    assert issubclass(shift, ChannelModulation)
    (folder / "broken.py").write_text("1 / 0")
    for place, said in [
        ("given.py:Shift", "with a file that is there"),
        (f"{folder}/given.py:Shfit", "no block 'Shfit'; it has: .*Shift"),
        (f"{folder}/given.py:torch", "no block 'torch'"),
        (f"{folder}/broken.py:Shift", "can't be run: ZeroDivisionError"),
        ("Shift", "expected FILE.py:NAME"),
    ]:
        with pytest.raises(ConfigError, match=said):
            read_blocks([place])
