"""``meta.precision: bf16-mixed``: nets compute in bfloat16, weights stay float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slm_lightning.data.workers import Workers
from slm_lightning.updates import Updates
from tests.updates.test_stepper import learner, modes


@pytest.mark.parametrize("around", [False, True], ids=["by itself", "within the autocast of a round"])
@modes
def test_an_update_sees_what_the_one_before_made_of_the_weights(compiled, around, rng):
    net = nn.Linear(4, 1)
    weights, row = list(net.parameters()), torch.randn(2, 4, generator=rng)
    updates = Updates({"net": learner(weights, lr=1.0)}, Workers(), compiled, "bf16-mixed")

    def loss(row):
        value = net(row).float().sum()
        return value, {"loss": value}

    def two():
        return [updates(("net",), loss, row)["loss"].item() for _ in range(2)]

    if around:
        with updates.autocast():
            first, second = two()
    else:
        first, second = two()
    gradients = torch.cat([row.sum(0), torch.tensor([2.0])])
    assert second - first == pytest.approx(-gradients.square().sum().item(), rel=0.05)
