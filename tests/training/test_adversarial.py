"""The critic, its hinge loss, and the weight that balances it against the reconstruction."""

import pytest
import torch
import torch.nn.functional as F

from celebgen_cli.training.adversarial import (
    SHIFT,
    AdversarialCVAE,
    Critic,
    PatchHead,
    balanced,
    critic_loss,
    cvae_weights,
    deception_loss,
    shifted,
)


class Backbone:
    """Two layers in the place of AlexNet's."""

    channels = (6, 12)

    def unit_features(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [F.pixel_unshuffle(images, 4)[:, :6] + 1, F.pixel_unshuffle(images, 8)[:, :12] ** 2]


def critic(backbone: bool = True) -> Critic:
    torch.manual_seed(0)
    return Critic(5, Backbone() if backbone else None, 8, (8, 8, 8))  # type: ignore[arg-type]


def test_a_logit_sees_a_patch_of_38_pixels() -> None:
    """And the means over 4 px that its edges cut."""
    torch.manual_seed(0)
    images = torch.rand(1, 3, 128, 128, requires_grad=True)
    PatchHead((8, 8, 8))(images)[0, 0, 8, 8].backward()
    touched = images.grad[0].abs().sum((0,)).nonzero()  # type: ignore[index]
    assert all(38 <= size <= 44 for size in (touched.amax(0) - touched.amin(0) + 1).tolist())


def test_the_fine_part_of_a_picture_is_nothing_where_it_is_flat() -> None:
    head, seen = PatchHead((8, 8, 8)), []
    head.layers.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.rand(2, 3, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    head(images)
    torch.testing.assert_close(seen[0][:, :3], images)
    assert seen[0][:, 3:].abs().max() < 1e-5
    head(images + torch.tensor([1.0, -1.0]).repeat(16))
    expected = torch.tensor([4.0, -4.0]).repeat(16).expand(2, 3, 32, 32)
    torch.testing.assert_close(seen[1][:, 3:], expected, atol=1e-5, rtol=0)


def test_pictures_are_moved_together_and_edges_mirrored() -> None:
    images = torch.rand(2, 3, 32, 32)
    places = set()
    for seed in range(20):
        moved = shifted(images, torch.Generator().manual_seed(seed))
        assert moved.shape == images.shape
        found = [
            (y, x)
            for y in range(-SHIFT, SHIFT + 1)
            for x in range(-SHIFT, SHIFT + 1)
            if torch.equal(moved[..., 4:-4, 4:-4], images.roll((y, x), (2, 3))[..., 4:-4, 4:-4])
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 10
    twice = [shifted(images, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*twice)


def test_there_is_a_head_for_pixels_one_a_layer_and_one_that_reads() -> None:
    images, text = torch.rand(3, 3, 32, 32), torch.randn(3, 5)
    assert [tuple(x.shape) for x in critic()(images, text)] == [(3, 1, 4, 4), (3, 1, 8, 8), (3, 1, 4, 4), (3, 1)]
    assert [tuple(x.shape) for x in critic(backbone=False)(images, text)] == [(3, 1, 4, 4)]


def test_only_the_last_head_reads_the_text() -> None:
    made, images = critic().eval(), torch.rand(3, 3, 32, 32)
    *first, read = made(images, torch.randn(3, 5))
    *second, read_again = made(images, torch.randn(3, 5))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.allclose(read, read_again)


def test_the_backbone_is_neither_trained_nor_kept() -> None:
    torch.manual_seed(0)
    backbone = torch.nn.Conv2d(3, 3, 1)
    backbone.channels = (3,)  # type: ignore[assignment]
    made = Critic(5, backbone, 8, (8, 8, 8))  # type: ignore[arg-type]
    assert not {id(p) for p in backbone.parameters()} & {id(p) for p in made.parameters()}
    assert not any("backbone" in name for name in made.state_dict())


def test_hinge_loss_by_hand_and_where_its_gradient_goes() -> None:
    made, real, fake = critic().eval(), torch.rand(2, 3, 32, 32), torch.rand(3, 3, 32, 32, requires_grad=True)
    one, other = torch.randn(2, 5), torch.randn(3, 5)
    loss = critic_loss(made, real, one, fake, other)
    with torch.no_grad():
        heads = zip(made(real, one), made(fake, other), strict=True)
        each = [float(F.relu(1 - a).mean() + F.relu(1 + b).mean()) for a, b in heads]
    assert float(loss.detach()) == pytest.approx(sum(each) / 4, rel=1e-5)
    loss.backward()
    assert fake.grad is None
    assert all(p.grad is not None for p in made.parameters())


def test_deceiving_moves_the_picture_alone() -> None:
    made, fake, text = critic().eval(), torch.rand(2, 3, 32, 32, requires_grad=True), torch.randn(2, 5)
    loss = deception_loss(made, fake, text)
    answers = sum(float(x.detach().mean()) for x in made(fake, text))
    assert float(loss.detach()) == pytest.approx(-answers / 4, rel=1e-5)
    loss.backward()
    assert fake.grad is not None and fake.grad.abs().max() > 0
    assert all(p.grad is None for p in made.parameters())


@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
def test_the_second_gradient_is_the_given_share_of_the_first(share: float) -> None:
    torch.manual_seed(1)
    decoded, target, direction = torch.rand(2, 3, 8, 8, requires_grad=True), *torch.rand(2, 2, 3, 8, 8)
    first, second = (decoded - target).square().mean(), (decoded * direction).mean() * 300
    total, weight = balanced(first, second, decoded, share)
    along = 2 * (decoded - target).detach() / decoded.numel()
    against = 300 * direction / decoded.numel()
    expected = share * along.norm() / against.norm()
    assert float(weight) == pytest.approx(float(expected), rel=1e-5, abs=1e-9)
    assert float(total) == pytest.approx(float(first + expected * second), rel=1e-5)
    total.backward()
    torch.testing.assert_close(decoded.grad, along + expected * against)


def test_the_cvae_is_found_beside_its_critic() -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.Linear(2, 2)

    alone = Two()
    both = AdversarialCVAE(alone, critic())  # type: ignore[arg-type]
    assert cvae_weights(dict(alone.state_dict())).keys() == alone.state_dict().keys()
    assert cvae_weights(dict(both.state_dict())).keys() == alone.state_dict().keys()
