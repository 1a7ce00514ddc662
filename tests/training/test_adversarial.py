"""The critic, its hinge loss, and the weight that balances it against the reconstruction."""

import pytest
import torch
import torch.nn.functional as F

from celebgen_cli.training.adversarial import (
    AdversarialCVAE,
    PatchCritic,
    balanced,
    critic_loss,
    cvae_weights,
    deception_loss,
)


def critic() -> PatchCritic:
    torch.manual_seed(0)
    return PatchCritic((8, 8, 8))


def test_a_logit_sees_a_patch_of_38_pixels() -> None:
    """Without its norms, which see the whole picture."""
    made = critic()
    layers = torch.nn.Sequential(*[m for m in made.layers if not isinstance(m, torch.nn.GroupNorm)])
    images = torch.zeros(1, 3, 128, 128, requires_grad=True)
    layers(images)[0, 0, 8, 8].backward()
    touched = images.grad[0].abs().sum((0,)).nonzero()  # type: ignore[index]
    assert (touched.amax(0) - touched.amin(0) + 1).tolist() == [38, 38]


def test_hinge_loss_by_hand_and_where_its_gradient_goes() -> None:
    made, real, fake = critic(), torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32, requires_grad=True)
    loss = critic_loss(made, real, fake)
    with torch.no_grad():
        expected = F.relu(1 - made(real)).mean() + F.relu(1 + made(fake)).mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    loss.backward()
    assert fake.grad is None
    assert all(p.grad is not None for p in made.parameters())


def test_deceiving_moves_the_picture_alone() -> None:
    made, fake = critic(), torch.rand(2, 3, 32, 32, requires_grad=True)
    loss = deception_loss(made, fake)
    assert float(loss) == pytest.approx(-float(made(fake).mean()), rel=1e-5)
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
