"""Size presets."""

import pytest

from celebgen_cli.errors import UsageError
from celebgen_cli.models.cvae import CVAE
from celebgen_cli.models.presets import PRESETS, preset, tiny
from celebgen_cli.models.unet import UNet
from celebgen_cli.training.clip import CompactCLIP


def test_tiny_has_less_than_a_million_parameters_in_all() -> None:
    sizes = tiny()
    networks = (CompactCLIP(sizes.clip), CVAE(sizes.cvae), UNet(sizes.unet))
    assert sum(p.numel() for network in networks for p in network.parameters()) < 1_000_000


@pytest.mark.parametrize("name", PRESETS)
def test_the_networks_of_a_preset_fit_together(name: str) -> None:
    sizes = preset(name)
    assert sizes.clip.width == sizes.cvae.text_width == sizes.unet.text_width
    assert sizes.clip.embed_dim == sizes.cvae.pooled_width == sizes.unet.pooled_width
    assert sizes.cvae.latent_channels == sizes.unet.latent_channels
    assert sizes.cvae.latent_size % 2 ** (len(sizes.unet.widths) - 1) == 0
    assert sizes.clip.width % sizes.clip.heads == 0
    assert (sizes.cvae.image_size, sizes.cvae.latent_size) == {
        "tiny": (32, 8),
        "small64": (64, 16),
        "base128": (128, 16),
    }[name]


def test_unknown_preset() -> None:
    with pytest.raises(UsageError, match=r"no preset 'huge'; choose one of tiny, small64, base128"):
        preset("huge")
