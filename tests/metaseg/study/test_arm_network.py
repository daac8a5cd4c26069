"""Studies of networks from elsewhere: their runs' ids, their weights, and what is trained, stored and used again."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load, load_file, save_file

from checkout import ROOT
from metaseg.config import ArchitectureConfig, ConfigError, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.engine.shipping import ship_weights
from metaseg.networks.block_file import read_blocks
from metaseg.networks.network_name import name_network
from metaseg.networks.segmenter import make_network
from metaseg.scoring.run import score_run
from metaseg.store.runs import DamagedRunError, Store
from metaseg.study.arms import Arm
from metaseg.study.execution import execute, initial_weights
from metaseg.study.plan import Study, plan
from metaseg.study.predict import Predictor
from metaseg.study.run_id import run_id
from metaseg.sweeps.objectives import measure
from metaseg.sweeps.spaces import BOTTLENECK_SPACE
from metaseg.training.fit import build_network, fit
from single_precision import in_single_precision

CPU = torch.device("cpu")
SCHEDULE = ScheduleConfig(epochs=2, cycles=1, lr_max=3e-3, batch_size=4, crop=16)
BASIC = "monai.BasicUNet(features=(4, 4, 4, 8, 8, 4), norm=('group', {'num_groups': 2}))"
OWN = '''
from torch import nn

WIDTH = 4

def make(in_channels, out_channels, kernel=3):
    """A network of one's own."""
    level = nn.Sequential(nn.Conv2d(in_channels, WIDTH, kernel, padding=kernel // 2), nn.ReLU())
    return nn.Sequential(level, nn.Conv2d(WIDTH, out_channels, 1))
'''


def planned(dataset: Dataset, network: str, arms: tuple[str, ...] = ("baseline", "sme"), **settings: object) -> Study:
    chosen = ArchitectureConfig(network=network, **settings)  # type: ignore[arg-type]
    return plan("study", dataset, arms, 1, NetworkConfig(width=8), SCHEDULE, architecture=chosen)


def ids(study: Study) -> list[str]:
    return [run.run_id for run in study.runs]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(OWN)
    return tmp_path / "mine.py"


def test_a_runs_id_has_the_network_its_settings_and_how_it_is_conditioned(tiny_dataset: Dataset) -> None:
    ours = ids(planned(tiny_dataset, "unet"))
    assert ours == ids(plan("study", tiny_dataset, ("baseline", "sme"), 1, NetworkConfig(width=8), SCHEDULE))
    variants = [
        planned(tiny_dataset, BASIC),
        planned(tiny_dataset, BASIC.replace("(4, 4, 4, 8, 8, 4)", "(4, 4, 4, 8, 8, 8)")),
        planned(tiny_dataset, BASIC, start="identity"),
        planned(tiny_dataset, BASIC, condition_at=("down_*",)),
    ]
    found = [identity for study in variants for identity in ids(study)]
    assert len({*found, *ours}) == len(found) + len(ours)
    # Settings of our U-Net mean nothing to another network, however they are given.
    chosen = ArchitectureConfig(network=BASIC.replace(", ", ","))
    other = plan("study", tiny_dataset, ("baseline", "sme"), 1, NetworkConfig(width=4), SCHEDULE, architecture=chosen)
    assert ids(other) == ids(variants[0])


def test_a_factory_of_ones_own_counts_by_its_source(tiny_dataset: Dataset, own: Path) -> None:
    first = ids(planned(tiny_dataset, f"{own}:make"))
    assert ids(planned(tiny_dataset, f"{own}:make(kernel=3)")) != first
    own.write_text(OWN.replace("A network of one's own.", "Another docstring."))
    assert ids(planned(tiny_dataset, f"{own}:make")) == first
    moved = own.rename(own.with_name("moved.py"))
    assert ids(planned(tiny_dataset, f"{moved}:make")) == first
    moved.write_text(OWN.replace("WIDTH = 4", "WIDTH = 6"))
    assert ids(planned(tiny_dataset, f"{moved}:make")) != first


def test_a_network_from_elsewhere_is_trained_scored_and_used_again(tiny_dataset: Dataset, tmp_path: Path) -> None:
    study, store = planned(tiny_dataset, BASIC), Store.at(tmp_path)
    (run,) = (run for run in study.runs if run.arm.name == "sme")
    execute(run.config, tiny_dataset, store, CPU)
    stored = store.open_run(run.run_id)
    assert stored.description()["architecture"]["network"].startswith("monai.BasicUNet{")
    assert all(
        key.startswith(("network.network.", "network.blocks.")) for key in load(stored.read("weights.safetensors"))
    )
    images = pd.read_parquet(Path(store.run_folder(run.run_id)) / "images.parquet")
    images = images[images["evaluation"] == "as-trained"].set_index("image")
    predictor = Predictor.open(stored)
    for sample in tiny_dataset.indices("test"):
        row = tiny_dataset.table.iloc[sample]
        mask = predictor.predict(tiny_dataset.image(sample), {"line": row["line"], "dose": row["dose"]})
        # Images of equal size are evaluated together, which may move single pixels.
        assert int(mask.sum()) == pytest.approx(images.loc[row["image"], ["tp", "fp"]].sum(), abs=2)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / tiny_dataset.fingerprint).symlink_to(tiny_dataset.path)
    assert score_run(store, run.run_id, ["objects"])["differing_images"] == 0
    written = BASIC  # as it was given
    assert study.networks == {"baseline": written, "sme": written}
    assert measure("parameters", run.config, tiny_dataset, CPU) > 500


def test_a_network_of_ones_own_is_used_again_only_with_its_file(
    tiny_dataset: Dataset, tmp_path: Path, own: Path
) -> None:
    study, store = planned(tiny_dataset, f"{own}:make"), Store.at(tmp_path / "store")
    execute(study.runs[1].config, tiny_dataset, store, CPU)
    stored = store.open_run(study.runs[1].run_id)
    assert stored.description()["own_blocks"][0]["file"] == str(own)
    with pytest.raises(
        ConfigError, match=r"network 'make' \(source .* expected its class or function .*--blocks .*mine.py:make"
    ):
        Predictor.open(stored)
    predictor = Predictor.open(stored, read_blocks([f"{own}:make"]))
    assert predictor.predict(tiny_dataset.image(0), {"line": "a", "dose": 1.0}).shape == tiny_dataset.image(0).shape[:2]
    own.write_text(OWN.replace("WIDTH = 4", "WIDTH = 6"))
    with pytest.raises(ConfigError, match="network 'make'"):
        Predictor.open(stored, read_blocks([f"{own}:make"]))


def test_a_stored_name_imports_nothing_that_isnt_given(
    tiny_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, store = planned(tiny_dataset, BASIC), Store.at(tmp_path)
    execute(study.runs[0].config, tiny_dataset, store, CPU)
    stored = store.open_run(study.runs[0].run_id)
    content = stored.description()
    own = tmp_path / "monai.evil.py"
    own.write_text("raise SystemExit('it was run')")
    monkeypatch.chdir(tmp_path)
    for name, said in [
        ("os:system", "unknown network"),
        (str(own), "unknown network"),
        ("monai.evil.py:make", "monai"),
    ]:
        content["architecture"]["network"] = name
        with pytest.raises(ConfigError, match=said):
            Predictor._parse(content, stored.read("weights.safetensors"), ())


def test_training_starts_from_the_weights_of_a_file(tiny_dataset: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(7)
    trained = make_network(name_network(BASIC), tiny_dataset.channels, 1).state_dict()
    save_file(trained, tmp_path / "w.safetensors")
    torch.save({"state_dict": trained}, tmp_path / "w.pt")
    study = planned(tiny_dataset, BASIC, weights=tmp_path / "w.safetensors", start="identity")
    same = planned(tiny_dataset, BASIC, weights=tmp_path / "w.pt", start="identity")
    assert ids(study) == ids(same) != ids(planned(tiny_dataset, BASIC, start="identity"))

    store, config = Store.at(tmp_path / "store"), study.runs[1].config
    with pytest.raises(DamagedRunError, match="isn't there; start the study again with --weights"):
        initial_weights(config, store)
    ship_weights([config], store)
    weights = initial_weights(config, store)
    network = build_network(config, tiny_dataset.channels, 1, 3, weights).state_dict()
    assert all(torch.equal(network[f"network.network.{name}"], tensor) for name, tensor in trained.items())
    execute(config, tiny_dataset, store, CPU)
    assert store.is_done(run_id(config))
    with pytest.raises(ConfigError, match="which weren't given"):
        fit(config, tiny_dataset, CPU)

    (file,) = (tmp_path / "store" / "weights").iterdir()
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(DamagedRunError, match="isn't what was written"):
        initial_weights(config, store)


def test_weights_that_dont_fit_are_refused_before_training(tiny_dataset: Dataset, tmp_path: Path) -> None:
    trained = make_network(name_network(BASIC), tiny_dataset.channels, 1).state_dict()
    name = next(iter(trained))
    for weights, said in [
        ({"other.weight": torch.zeros(1)}, "key 'other.weight', which the network hasn't"),
        ({name: torch.zeros(1)}, rf"{name}' of shape \(1,\); the network expects"),
    ]:
        save_file(weights, tmp_path / "wrong.safetensors")
        with pytest.raises(ConfigError, match=f"arm 'baseline': weights have .*{said}"):
            planned(tiny_dataset, BASIC, weights=tmp_path / "wrong.safetensors")
    (tmp_path / "no.pt").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=r"no\.pt: not a state dict that PyTorch saved"):
        planned(tiny_dataset, BASIC, weights=tmp_path / "no.pt")
    with pytest.raises(ConfigError, match=r"weights is .*expected a file"):
        planned(tiny_dataset, BASIC, weights=tmp_path / "absent.pt")
    # An encoder's weights alone, with its own keys.
    for name, message in [
        ("conv_0", "8 of the network's"),
        ("down_1", "fit several parts of the network: down_1, down_2"),
    ]:
        part = {key.removeprefix(f"{name}."): each for key, each in trained.items() if key.startswith(f"{name}.")}
        save_file(part, tmp_path / "part.safetensors")
        told = (
            pytest.warns(UserWarning, match=message) if name == "conv_0" else pytest.raises(ConfigError, match=message)
        )
        with told:
            planned(tiny_dataset, BASIC, weights=tmp_path / "part.safetensors")
    save_file({key: tensor * torch.nan for key, tensor in trained.items()}, tmp_path / "nan.safetensors")
    with pytest.raises(ConfigError, match="NaN or infinity"):
        planned(tiny_dataset, BASIC, weights=tmp_path / "nan.safetensors")


@pytest.mark.parametrize(
    ("arms", "network", "settings", "said"),
    [
        (
            ("baseline", "sme"),
            "unet",
            {"start": "identity"},
            "start is 'identity', and network 'unet' is metaseg's own",
        ),
        (("baseline", "none"), BASIC, {"train": "blocks"}, "arm 'none': block 'none' has no parameters"),
        (("baseline",), BASIC, {"condition_at": ("dwn_1",)}, "at is 'dwn_1': a BasicUNet has no such module"),
        (("baseline",), "nowhere.py:make", {}, "expected FILE.py:NAME, with a file that is there"),
        (("baseline",), "json:loads", {}, "is called with in_channels, out_channels"),
        (
            ("baseline",),
            "monai.BasicUNet(spatial_dims=3)",
            {},
            "a BasicUNet takes volumes; expected a network for images",
        ),
    ],
)
def test_what_cant_be_is_refused_before_training(
    tiny_dataset: Dataset, arms: tuple[str, ...], network: str, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        planned(tiny_dataset, network, arms, **settings)


def test_heads_are_of_our_u_net_alone(tiny_dataset: Dataset) -> None:
    config = planned(tiny_dataset, BASIC).runs[0].config
    with pytest.raises(
        ConfigError, match=r"network 'monai.BasicUNet.*' has one output layer; expected metaseg's U-Net"
    ):
        build_network(dataclasses.replace(config, metadata_mode="heads"), 1, 1, 3)


def test_blocks_alone_are_trained_on_request(tiny_dataset: Dataset) -> None:
    study = planned(tiny_dataset, BASIC, train="blocks")
    config = study.runs[1].config
    before = build_network(config, tiny_dataset.channels, 1, 4).state_dict()
    after = fit(config, tiny_dataset, CPU).model.state_dict()
    moved = {
        name for name in after if after[name].shape == before[name].shape and not torch.equal(before[name], after[name])
    }
    assert moved
    assert all(name.startswith("network.blocks.") for name in moved)


def test_an_arm_can_have_a_network_of_its_own(tiny_dataset: Dataset) -> None:
    arm = Arm("basic", "sme", "true", network=BASIC)
    study = plan("study", tiny_dataset, ("baseline", "basic"), 1, schedule=SCHEDULE, more_arms=[arm])
    assert [run.config.architecture is None for run in study.runs] == [True, False]
    assert study.networks.keys() == {"basic"}


def test_a_sweep_doesnt_search_what_another_network_hasnt() -> None:
    chosen = ArchitectureConfig(network=BASIC)
    ours = {each.name for each in BOTTLENECK_SPACE.for_arm(Arm("sme", "sme", "true")).dimensions}
    theirs = {each.name for each in BOTTLENECK_SPACE.for_arm(Arm("sme", "sme", "true"), chosen).dimensions}
    assert theirs < ours
    assert theirs <= {"reduction", "hidden_layers", "activation"}


WORKER = """
import sys
from pathlib import Path
import torch, torch.distributed as dist
sys.path[:0] = sys.argv[5:]
import metaseg.device; metaseg.device.half_precision = lambda device: None
from metaseg.config import ArchitectureConfig, NetworkConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.plan import plan
rank, rendezvous, data, store = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
dataset = Dataset.open(data)
schedule = ScheduleConfig(epochs=2, cycles=1, lr_max=3e-3, batch_size=4, crop=16)
study = plan("study", dataset, ["baseline", "sme"], 1, schedule=schedule, architecture=ArchitectureConfig(NETWORK))
execute(study.runs[1].config, dataset, Store.at(store), torch.device("cpu"))
dist.destroy_process_group()
"""


@in_single_precision()
def test_two_workers_give_the_result_of_one(tiny_dataset: Dataset, tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER.replace("NETWORK", repr(BASIC)))
    common = [str(tmp_path / "rendezvous"), str(tiny_dataset.path), str(tmp_path / "two"), str(ROOT)]
    workers = [subprocess.Popen([sys.executable, str(worker), str(rank), *common]) for rank in range(2)]
    assert [each.wait(timeout=120) for each in workers] == [0, 0]
    run = planned(tiny_dataset, BASIC).runs[1]
    execute(run.config, tiny_dataset, Store.at(tmp_path / "one"), CPU)
    folders = [Path(Store.at(tmp_path / name).run_folder(run.run_id)) for name in ("one", "two")]
    losses = [pd.read_parquet(folder / "history.parquet")["train_loss"].to_numpy() for folder in folders]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    one, two = (load_file(folder / "weights.safetensors") for folder in folders)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], rtol=1e-4, atol=1e-5)
    assert json.loads((folders[1] / "config.json").read_text())["hardware"]["workers"] == 2


def test_configurations_with_networks_are_plain_data(tiny_dataset: Dataset) -> None:
    config = planned(tiny_dataset, BASIC).runs[0].config
    assert json.loads(json.dumps(config.resolved())) == config.resolved() | {
        "network": dataclasses.asdict(config.network) | {"positions": list(config.network.positions)},
        "architecture": dataclasses.asdict(config.architecture) | {"condition_at": []},
    }
    assert isinstance(config, RunConfig)
