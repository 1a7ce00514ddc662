from __future__ import annotations

import math

import pytest
import torch

from celebgen_cli.diffusion.objective import add_noise, diffusion_loss, from_velocity, min_snr_weight, velocity
from celebgen_cli.diffusion.schedule import Schedule

SCHEDULE = Schedule.cosine(1000)


def draw(batch: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 2, 3, 3, generator=generator), torch.randn(batch, 2, 3, 3, generator=generator)


def test_velocity_is_undone_at_every_level() -> None:
    x0, noise = draw(6)
    t = torch.tensor([0, 1, 10, 500, 999, 1000])
    x_t, v = add_noise(x0, noise, t, SCHEDULE), velocity(x0, noise, t, SCHEDULE)
    back_x0, back_noise = from_velocity(x_t, v, t, SCHEDULE)
    torch.testing.assert_close(back_x0, x0, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(back_noise, noise, atol=1e-5, rtol=1e-5)


def test_the_two_ends_are_exact() -> None:
    x0, noise = draw()
    assert torch.equal(add_noise(x0, noise, 1000, SCHEDULE), noise)
    assert torch.equal(velocity(x0, noise, 1000, SCHEDULE), -x0)
    assert torch.equal(add_noise(x0, noise, 0, SCHEDULE), x0)
    assert torch.equal(velocity(x0, noise, 0, SCHEDULE), noise)


def test_each_row_has_its_own_timestep() -> None:
    x0, noise = draw(3)
    t = torch.tensor([5, 400, 1000])
    together = add_noise(x0, noise, t, SCHEDULE)
    for row in range(3):
        assert torch.equal(together[row], add_noise(x0[row], noise[row], int(t[row]), SCHEDULE))


def test_agrees_with_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=1000, prediction_type="v_prediction")
    scheduler.alphas_cumprod = SCHEDULE.alphas_cumprod[1:].float()
    x0, noise = draw(4)
    t = torch.tensor([1, 250, 999, 1000])
    torch.testing.assert_close(add_noise(x0, noise, t, SCHEDULE), scheduler.add_noise(x0, noise, t - 1))
    torch.testing.assert_close(velocity(x0, noise, t, SCHEDULE), scheduler.get_velocity(x0, noise, t - 1))


def test_min_snr_weight_by_value() -> None:
    t = torch.arange(1001)
    weight = min_snr_weight(t, SCHEDULE, gamma=5.0)
    assert weight[1000] == 1  # the usual v-form, min(SNR, gamma) / (SNR + 1), is 0 here
    assert weight[0] == 0
    snr = (SCHEDULE.alphas_cumprod / (1 - SCHEDULE.alphas_cumprod))[1:]
    torch.testing.assert_close(weight[1:], (snr.clamp(max=5) + 1).div(snr + 1).float())
    assert (weight[1:][snr <= 5] == 1).all()
    assert (weight.diff() >= 0).all()


def test_min_snr_weight_at_a_signal_to_noise_ratio_of_eleven() -> None:
    t = int((SCHEDULE.snr(torch.arange(1, 1001)) - 11).abs().argmin()) + 1
    assert min_snr_weight(t, SCHEDULE, gamma=5.0).item() == pytest.approx(6 / 12, rel=0.02)
    assert min_snr_weight(t, SCHEDULE, gamma=2.0).item() == pytest.approx(3 / 12, rel=0.02)
    assert min_snr_weight(t, SCHEDULE, gamma=math.inf) == 1


def test_min_snr_weight_refuses_a_negative_gamma() -> None:
    for gamma in (-1.0, math.nan):
        with pytest.raises(ValueError, match="gamma"):
            min_snr_weight(3, SCHEDULE, gamma)


def test_loss_weighs_each_sample_by_its_timestep() -> None:
    target = torch.zeros(2, 3, 2, 2)
    predicted = torch.stack([torch.full((3, 2, 2), 1.0), torch.full((3, 2, 2), 3.0)]).requires_grad_()
    t = torch.tensor([20, 1000])
    low = float(min_snr_weight(20, SCHEDULE))
    assert 0 < low < 0.1
    loss = diffusion_loss(predicted, target, t, SCHEDULE)
    assert loss.item() == pytest.approx((low * 1 + 1 * 9) / 2)
    loss.backward()
    assert predicted.grad is not None
    assert predicted.grad[1, 0, 0, 0].item() == pytest.approx(1 * 2 * 3 / 12 / 2)
    assert diffusion_loss(predicted, target, t, SCHEDULE, gamma=math.inf).item() == pytest.approx((1 + 9) / 2)


def test_loss_of_half_precision_is_taken_in_float32() -> None:
    target = torch.full((1, 4096), 256.0, dtype=torch.float16)  # its square overflows float16
    assert diffusion_loss(torch.zeros_like(target), target, torch.tensor([1000]), SCHEDULE).item() == 65536.0
