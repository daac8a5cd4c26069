"""The contract of conditioned networks, kept by those of other packages, with random weights.

MONAI's are tested everywhere. Those of segmentation_models_pytorch, timm and torchvision need an environment of their
own (docs/how-to/other-networks.md has its commands), and are skipped elsewhere.
"""

import copy
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from metaseg.config import Architecture, ArchitectureConfig, ConfigError, NetworkConfig
from metaseg.networks.build import build
from metaseg.networks.condition import condition
from metaseg.networks.network_name import architecture, name_network
from metaseg.networks.segmenter import Segmenter, make_network

SMALL = "(channels=(8, 8, 16), strides=(2, 2)"
NETWORKS = (
    "monai.BasicUNet(features=(4, 4, 8, 8, 16, 4))",
    "monai.BasicUNetPlusPlus(features=(4, 4, 8, 8, 16, 4))",
    f"monai.UNet{SMALL}, num_res_units=1)",
    f"monai.AttentionUnet{SMALL})",
    "monai.DynUNet(filters=(4, 8, 8, 8, 8))",
    "monai.DynUNet(filters=(4, 8, 8, 8, 8), deep_supervision=True)",
    "monai.SegResNet(init_filters=8)",
    "monai.SwinUNETR(feature_size=12)",
    "smp.Unet:resnet18",
    "smp.Unet:mobilenet_v2",
    "smp.Unet:tu-convnext_atto",
    "smp.UnetPlusPlus:resnet18",
    "smp.FPN:resnet18",
    "smp.DeepLabV3Plus:resnet18",
    "smp.Linknet:resnet18",
    "smp.Segformer:mit_b0",
    "torchvision.fcn_resnet50",
    "torchvision.deeplabv3_mobilenet_v3_large",
)
PACKAGES = {"smp": "segmentation_models_pytorch", "torchvision": "torchvision", "monai": "monai"}


def require(name: str) -> None:
    if find_spec(PACKAGES[name.partition(".")[0]]) is None:
        pytest.skip(f"{PACKAGES[name.partition('.')[0]]} isn't installed: see docs/how-to/other-networks.md")
    if "Swin" in name and find_spec("einops") is None:
        pytest.skip("einops, which MONAI's SwinUNETR needs, isn't installed")


def calibrated(network: nn.Module, image: torch.Tensor, metadata: torch.Tensor) -> nn.Module:
    """The network with the statistics of this batch in its batch normalisations: random ones let features vanish."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(image, metadata)
    return network.eval()


def resolved(name: str, **settings: object) -> Architecture:
    require(name)
    found = architecture(ArchitectureConfig(network=name, **settings))  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_a_third_party_network_keeps_the_contract(name: str) -> None:
    found = resolved(name)
    torch.manual_seed(0)
    image, metadata = torch.rand(2, 1, 45, 70), torch.eye(3)[:2]
    network = calibrated(build(1, 2, "sme", 3, NetworkConfig(reduction=1), architecture=found), image, metadata)
    with torch.no_grad():
        logits = network(image, metadata)
        assert logits.shape == (2, 3, 45, 70)
        torch.testing.assert_close(network(image[:1], metadata[:1]), logits[:1], rtol=1e-2, atol=1e-3)
        other = network(image, metadata.flip(0))
        assert ((other - logits).abs().amax((1, 2, 3)) > 0).all()
        twin = build(1, 2, "sme", 3, NetworkConfig(reduction=1), architecture=found).eval()
        twin.load_state_dict(network.state_dict())
        torch.testing.assert_close(twin(image, metadata), logits)
    # Gradients reach metadata and every block, in training, at all outputs of deep supervision.
    metadata.requires_grad_()
    made = network.train()(torch.rand(2, 1, 64, 64), metadata)
    outputs = made if isinstance(made, list) else [made]
    assert (len(outputs) > 1) == ("deep_supervision" in name)
    torch.stack([each.square().mean() for each in outputs]).sum().backward()
    assert metadata.grad is not None
    assert (metadata.grad.abs().sum(1) > 0).all()
    assert isinstance(network, Segmenter)
    for at, block in network.network.blocks.items():
        assert any(weights.grad is not None for weights in block.parameters()), at


@pytest.mark.parametrize("name", NETWORKS)
def test_a_third_party_network_with_blocks_that_start_as_identity_is_what_it_was(name: str) -> None:
    require(name)
    torch.manual_seed(0)
    bare = make_network(name_network(name), 3, 2).eval()
    whole = condition(copy.deepcopy(bare), 3, "sme", start="identity").eval()
    assert list(whole.network.state_dict()) == list(bare.state_dict())
    image, metadata = torch.rand(2, 3, 64, 64), torch.eye(3)[:2]
    with torch.no_grad():
        expected, found = bare(image), whole(image, metadata)
    first, second = (each["out"] if isinstance(each, dict) else each for each in (expected, found))
    first, second = (each[0] if isinstance(each, list) else each for each in (first, second))
    assert torch.equal(first, second)


@pytest.mark.parametrize("model", ["resnet18", "convnext_atto", "swin_tiny_patch4_window7_224"])
def test_timms_feature_extractors_are_conditioned_at_their_stages(model: str) -> None:
    timm = pytest.importorskip("timm", reason="see docs/how-to/other-networks.md")
    options = {"img_size": 128} if "swin" in model else {}
    network = condition(timm.create_model(model, features_only=True, pretrained=False, **options), 3, "sme").eval()
    assert {each.stride for each in network.maps} >= {4, 8, 16, 32}
    image, metadata = torch.rand(2, 3, 128, 128), torch.eye(3)[:2]
    with torch.no_grad():
        first, second = network(image, metadata), network(image, metadata.flip(0))
    assert all(not torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_batch_normalisation_is_replaced_on_request() -> None:
    found = resolved(f"monai.UNet{SMALL}, num_res_units=1, norm='batch')", batch_norm="group")
    network = build(1, 1, "se", 0, NetworkConfig(), architecture=found)
    kinds = {type(module) for module in network.modules()}
    assert nn.GroupNorm in kinds
    assert not kinds & {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}
    image = torch.rand(2, 1, 32, 32)
    network.train()  # a sample's logits don't depend on its batch
    torch.testing.assert_close(network(image)[:1], network(image[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("monai.BasicUNt", "close are BasicUNet"),
        ("monai.BasicUNet(feature=(8,))", "can't be built: TypeError: .*unexpected keyword argument 'feature'"),
        ("monai.BasicUNet(8)", "expected settings as NAME"),
        ("monai.BasicUNet:resnet18", "settings in parentheses"),
        ("monai.Classifier", "can't be built|can't be run|without a convolution"),
        ("monia.BasicUNet", "unknown network 'monia.BasicUNet'; known: unet, "),
        ("smp.Unet:resnet18(encoder_weights='imagenet')", "downloads weights; expected them in a file"),
    ],
)
def test_a_network_that_cant_be_is_one_clear_error(name: str, said: str) -> None:
    if name.startswith("smp"):
        require(name)
    with pytest.raises(ConfigError, match=said):
        build(1, 1, "sme", 3, NetworkConfig(), architecture=architecture(ArchitectureConfig(network=name)))


def test_a_missing_package_is_told_with_the_command_that_installs_it() -> None:
    if find_spec("segmentation_models_pytorch") is not None:
        pytest.skip("segmentation_models_pytorch is installed")
    with pytest.raises(ConfigError, match="pip install 'segmentation-models-pytorch"):
        name_network("smp.Unet:resnet34")
