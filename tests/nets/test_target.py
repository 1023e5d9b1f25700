"""A target net, and the net that it follows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slm_lightning.nets.mlp import MLPNet
from slm_lightning.nets.target import TargetNet
from tests.conftest import assert_equal


@pytest.mark.parametrize("update_type", ["polyak", "replace"])
def test_it_follows_a_net_that_was_moved(update_type):
    """Also its buffers, which are other tensors once a module is on another device or of another
    type."""
    params = MLPNet.Params(
        type="MLPNet", hid_layers=[4], update_type=update_type, polyak_coef=0.0, update_frequency=1
    )
    online = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    both = nn.ModuleList([online, TargetNet(online, params, num_envs=1)]).double()
    target = both[1]
    for _ in range(3):
        online(torch.randn(8, 3, dtype=torch.float64))
    with torch.no_grad():
        online[0].weight.add_(1.0)
    target.follow(0, 1)
    assert_equal(target.net.state_dict(), online.state_dict())
    assert online[1].running_mean.any()
