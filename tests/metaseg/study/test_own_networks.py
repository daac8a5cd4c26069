"""Networks of users' own in studies, with what such networks bring: dropout, tied layers, odd heads, own weights."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from metaseg.config import ArchitectureConfig, ConfigError, EngineConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.networks import families
from metaseg.networks.network_name import name_network, read_network_name
from metaseg.networks.segmenter import group_normalised
from metaseg.store.checkpoints import StoredCheckpoints
from metaseg.store.runs import Store
from metaseg.study.execution import execute
from metaseg.study.plan import plan
from metaseg.study.predict import Predictor
from metaseg.training.checkpoint import Checkpoints
from metaseg.training.fit import Fitted, build_network, fit

CPU = torch.device("cpu")
SCHEDULE = ScheduleConfig(epochs=3, cycles=1, lr_max=3e-3, batch_size=4, crop=16)
NETWORKS = """
import torch
from torch import nn


def level(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


def dropping(in_channels, out_channels):
    return nn.Sequential(level(in_channels, 4), nn.Dropout2d(0.5), nn.Conv2d(4, out_channels, 1))


class HeadFirst(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.head, self.stem = nn.Conv2d(4, out_channels, 1), level(in_channels, 4)

    def forward(self, image):
        return self.head(self.stem(image))


class Tied(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.stem, self.first, self.head = level(in_channels, 4), level(4, 4), nn.Conv2d(4, out_channels, 1)
        self.second = self.first

    def forward(self, image):
        return self.head(self.second(self.first(self.stem(image))))


class Deep(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.stem = level(in_channels, 4)
        self.deep = nn.Sequential(nn.Conv2d(4, 8, 3, stride=4, padding=1), nn.ReLU())
        self.up = nn.Sequential(nn.Conv2d(8, 4, 3, padding=1), nn.Upsample(scale_factor=4), nn.ReLU())
        self.head = nn.Conv2d(4, out_channels, 1)

    def forward(self, image):
        first = self.stem(image)
        return self.head(first + self.up(self.deep(first)))


class CoarseFirst(Deep):
    def forward(self, image):
        logits = super().forward(image)
        return [nn.functional.avg_pool2d(logits, 2), logits]


class Known(HeadFirst):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        nn.init.constant_(self.head.weight, 0.5)


def wrong(in_channels, out_channels):
    return nn.Sequential(level(in_channels, 4), nn.Conv2d(4, 7, 1))
"""


@pytest.fixture
def networks(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(NETWORKS)
    return tmp_path / "nets.py"


def config(dataset: Dataset, network: str, crossed: bool = False, **settings: object) -> RunConfig:
    chosen = ArchitectureConfig(network=network, **settings)  # type: ignore[arg-type]
    arms = ("baseline", "sme")
    return plan("s", dataset, arms, 1, schedule=SCHEDULE, crossed=crossed, architecture=chosen).runs[1].config


class Kept(StoredCheckpoints):
    """Checkpoints after each epoch, of which the newest of the first two is resumed from."""

    def __init__(self, store: Store, epochs: int) -> None:
        super().__init__(store, "run", EngineConfig(checkpoint_epochs=1))
        self.epochs = epochs

    def save(self, position: str, content: bytes) -> None:
        self.epochs -= 1
        if self.epochs >= 0:
            super().save(position, content)


def same(one: Fitted, other: Fitted) -> bool:
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    # The losses too, since the best weights may be those of the first epoch.
    losses = [[epoch.train_loss for epoch in each.history] for each in (one, other)]
    return losses[0] == losses[1] and all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_layers_that_draw_give_the_same_bits_whatever_was_drawn_before(tiny_dataset: Dataset, networks: Path) -> None:
    run = config(tiny_dataset, f"{networks}:dropping")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = fit(run, tiny_dataset, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(one, fit(run, tiny_dataset, CPU))
    other = dataclasses.replace(run, seed=1)
    assert not same(one, fit(other, tiny_dataset, CPU))


def test_layers_that_draw_go_on_with_the_same_bits_after_an_interruption(
    tiny_dataset: Dataset, networks: Path, tmp_path: Path
) -> None:
    run, store = config(tiny_dataset, f"{networks}:dropping"), Store.at(tmp_path)
    kept: Checkpoints = Kept(store, epochs=1)
    whole = fit(run, tiny_dataset, CPU, checkpoints=kept)
    epochs: list[int] = []
    resumed = fit(run, tiny_dataset, CPU, lambda epoch: epochs.append(epoch.epoch), Kept(store, epochs=0))
    assert epochs == [2, 3]
    assert same(whole, resumed)


@pytest.mark.parametrize("name", ["Tied", "HeadFirst"])
def test_it_is_trained_stored_and_opened(tiny_dataset: Dataset, networks: Path, tmp_path: Path, name: str) -> None:
    run, store = config(tiny_dataset, f"{networks}:{name}"), Store.at(tmp_path)
    study = plan(
        "s", tiny_dataset, ("baseline",), 1, schedule=SCHEDULE, architecture=ArchitectureConfig(f"{networks}:{name}")
    )
    execute(study.runs[0].config, tiny_dataset, store, CPU)
    predictor = Predictor.open(store.open_run(study.runs[0].run_id), study.own_code)
    assert predictor.predict(tiny_dataset.image(0), {}).shape == tiny_dataset.image(0).shape[:2]
    assert run.architecture is not None


def test_images_of_any_size_pass_wherever_blocks_are(tiny_dataset: Dataset, networks: Path) -> None:
    run = config(tiny_dataset, f"{networks}:Deep", condition_at=("stem",))
    network = build_network(run, 1, 1, 4).eval()
    assert network.stride == 4
    assert network(torch.zeros(1, 1, 33, 47), torch.zeros(1, 4)).shape == (1, 1, 33, 47)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "wrong",
            r"fails in training on images of 64 x 64 pixels: the network returned \(2, 7, 64, 64\); expected logits",
        ),
        ("CoarseFirst", r"logits of sizes \[\(32, 32\), \(64, 64\)\]; expected the largest first"),
    ],
)
def test_what_fails_in_training_is_refused_before(tiny_dataset: Dataset, networks: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(tiny_dataset, f"{networks}:{name}")


def test_crossed_seeds_leave_a_network_its_own_initial_weights(tiny_dataset: Dataset, networks: Path) -> None:
    chosen = ArchitectureConfig(f"{networks}:Known")
    study = plan("s", tiny_dataset, ("baseline", "sme"), 1, schedule=SCHEDULE, crossed=True, architecture=chosen)
    first, second = (build_network(run.config, 1, 1, size) for run, size in zip(study.runs, (0, 4), strict=True))
    own = first.bare.state_dict()
    assert (own["head.weight"] == 0.5).all()
    assert all(torch.equal(own[name], tensor) for name, tensor in second.bare.state_dict().items())


def test_weights_of_batch_normalised_networks_load_without_their_statistics(
    tiny_dataset: Dataset, networks: Path, tmp_path: Path
) -> None:
    trained = name_network(f"{networks}:HeadFirst").factory(in_channels=1, out_channels=1).state_dict()
    save_file(trained, tmp_path / "w.safetensors")
    run = config(tiny_dataset, f"{networks}:HeadFirst", batch_norm="group", weights=tmp_path / "w.safetensors")
    network = build_network(run, 1, 1, 4, trained)
    assert torch.equal(network.bare.state_dict()["stem.1.weight"], trained["stem.1.weight"])
    assert "stem.1.running_mean" not in network.bare.state_dict()


def test_batch_normalisation_is_replaced_under_all_its_names_or_not_at_all() -> None:
    shared = torch.nn.BatchNorm2d(8)
    network = group_normalised(torch.nn.ModuleDict({"a": shared, "b": torch.nn.Sequential(shared)}))
    assert network["a"] is network["b"][0]
    assert isinstance(network["a"], torch.nn.GroupNorm)

    class NormAct(torch.nn.BatchNorm2d):
        pass

    with pytest.raises(ConfigError, match="a Sequential has a NormAct, which does more than normalise"):
        group_normalised(torch.nn.Sequential(NormAct(8)))


def test_a_packages_defaults_belong_to_the_run(tiny_dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    small = "monai.UNet(channels=(4, 8), strides=(2,))"
    before = config(tiny_dataset, small)
    assert config(tiny_dataset, small) == before
    changed = families.MONAI_DEFAULTS["UNet"] | {"num_res_units": 1}
    monkeypatch.setitem(families.MONAI_DEFAULTS, "UNet", changed)
    assert config(tiny_dataset, small) != before


@pytest.mark.parametrize("name", ["smp.from_pretrained", "smp.Unet:tu-hf-hub:some/repo", "smp.create_model"])
def test_nothing_is_fetched_by_a_name(name: str) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="see docs/how-to/other-networks.md")
    for read in (name_network, read_network_name):
        with pytest.raises(ConfigError, match=r"which is fetched|has no"):
            read(name)


def test_arms_that_are_the_same_runs_are_refused(tiny_dataset: Dataset) -> None:
    chosen = ArchitectureConfig("resdunet")
    network = NetworkConfig(width=4, depth=1)
    with pytest.raises(ConfigError, match="arms 'baseline' and 'resdunet' are the same runs"):
        plan("s", tiny_dataset, ("baseline", "resdunet"), 1, network, SCHEDULE, architecture=chosen)
