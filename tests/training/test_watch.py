"""What stops a run and what does not."""

import json
import math
import random

import pytest
import torch

from celebgen_cli.training.watch import SKIPPED, Trouble, Watch


def judged(losses: list[float], watch: Watch | None = None) -> Trouble | None:
    watch = watch or Watch()
    for step, loss in enumerate(losses):
        watch.add(step, torch.tensor(loss), [torch.tensor(1.0)])
        if trouble := watch.judge():
            return trouble
    return None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("together", [1, 4, 16])
def test_a_loss_that_is_no_number_is_told_with_its_step(bad: float, together: int) -> None:
    watch = Watch()
    found = None
    for step in range(16):
        watch.add(step, torch.tensor(bad if step >= 9 else 1.0), [torch.tensor(1.0)])
        if watch.pending == together and found is None:
            found = watch.judge()
    assert found is not None
    assert found.step == 9
    assert "of step 10 or its gradient is not finite" in found.reason


def test_a_gradient_that_is_no_number() -> None:
    watch = Watch()
    watch.add(4, torch.tensor(0.5), [torch.tensor(1.0), torch.tensor(math.inf)])
    found = watch.judge()
    assert found is not None
    assert (found.step, found.reason) == (4, "loss 0.5 of step 5 has a gradient that is not finite")
    assert watch.judge() is None


def test_a_scaler_may_skip_some_steps() -> None:
    assert judged([1.0, *[math.inf] * (SKIPPED - 1), 1.0, *[math.inf] * (SKIPPED - 1)], Watch(scaled=True)) is None
    found = judged([1.0, *[math.nan] * SKIPPED], Watch(scaled=True))
    assert found is not None
    assert found.step == SKIPPED


def noisy(seed: int, count: int, level: float, spread: float) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(level, spread) for _ in range(count)]


def test_what_is_no_divergence() -> None:
    fall = [10 * math.exp(-i / 30) + 0.3 for i in range(400)]
    heavy = [abs(x) ** 3 for x in noisy(1, 3000, 0.0, 1.0)]  # a few batches are far harder than most
    swing = [1 + 0.8 * math.sin(i / 40) for i in range(2000)]  # against a critic
    step_up = [0.2] * 300 + [0.45] * 300  # another term sets in
    through_zero = [3 - i / 100 + x for i, x in enumerate(noisy(2, 600, 0.0, 0.05))]
    spike = [*noisy(3, 200, 0.5, 0.05), 400.0, 90.0, 8.0, 3.0, *noisy(4, 100, 0.5, 0.05)]
    warm = [1.0, 1.4, 2.0, 2.6, 2.2, 1.5, *noisy(5, 300, 0.9, 0.1)]
    for losses in (fall, heavy, swing, step_up, through_zero, spike, warm, [0.0] * 100, [-2.0] * 100, [1e-9, 1.0] * 50):
        assert judged(losses) is None


def test_a_loss_that_climbs_and_stays_up() -> None:
    found = judged([*noisy(0, 120, 0.5, 0.03), *[0.5 * 1.15**i for i in range(200)]])
    assert found is not None
    assert "the loss diverges" in found.reason
    assert 120 < found.step < 140  # the step at which it had become three times the median, not when that was sure
    assert found.loss > 1.5


def test_a_negative_loss_that_climbs() -> None:
    found = judged([*noisy(0, 120, -2.0, 0.05), *[-2.0 + 0.5 * i for i in range(100)]])
    assert found is not None
    assert 120 < found.step < 135


def test_an_explosion_is_seen_at_once() -> None:
    found = judged([1.0, 0.9, 1.1, 1.0, *[10.0 ** (3 + i) for i in range(20)]])
    assert found is not None
    assert found.step == 4


def test_it_says_while_a_loss_is_up() -> None:
    watch = Watch()
    assert judged(noisy(0, 100, 0.5, 0.03), watch) is None
    assert not watch.climbing
    for step in range(100, 103):
        watch.add(step, torch.tensor(9.0), [])
        assert watch.judge() is None
        assert watch.climbing  # from the first one on: nobody knows yet whether it is one hard batch
    other = Watch()
    other.restore(json.loads(json.dumps(watch.state())))
    assert other.climbing
    assert other.state() == {**watch.state(), "climbing": other.state()["climbing"]}
    watch.add(103, torch.tensor(0.5), [])
    assert watch.judge() is None
    assert not watch.climbing
