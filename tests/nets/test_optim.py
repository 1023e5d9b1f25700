"""Optimizers by the names and keys of ``optim_spec``."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slm_lightning.nets.mlp import MLPNet
from slm_lightning.nets.net import Learner
from slm_lightning.nets.optim import clip_gradients, forget_gradients, make_optimizer


def make(**optim_spec) -> torch.optim.Optimizer:
    net = MLPNet.Params(type="MLPNet", hid_layers=[], optim_spec=optim_spec)
    return make_optimizer(Learner([nn.Parameter(torch.zeros(3))], net))


def test_name_rate_and_keywords():
    optim = make(name="RMSprop", lr=0.02, alpha=0.9)
    assert type(optim) is torch.optim.RMSprop
    assert (optim.defaults["lr"], optim.defaults["alpha"]) == (0.02, 0.9)


def test_numeric_strings_are_numbers():
    optim = make(name="AdamW", lr="3e-4", weight_decay="1e-5")
    assert (optim.defaults["lr"], optim.defaults["weight_decay"]) == (3e-4, 1e-5)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_the_fused_step_is_taken_unless_the_spec_says_otherwise(name):
    assert make(name=name).defaults["fused"]
    assert not make(name=name, fused=False).defaults["fused"]
    assert not make(name=name, foreach=True).defaults["fused"]


def test_hogwild_names_are_the_plain_optimizers():
    assert type(make(name="GlobalAdam")) is torch.optim.Adam
    assert type(make(name="GlobalRMSprop")) is torch.optim.RMSprop


@pytest.mark.parametrize("limit", [0.1, 100.0])
def test_clipping_is_that_of_torch(limit):
    ours = [nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(4)), nn.Parameter(torch.ones(2))]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    for parameters in (ours, theirs):
        sum(parameter.square().sum() for parameter in parameters[:2]).backward()
    assert torch.equal(clip_gradients(ours, limit), nn.utils.clip_grad_norm_(theirs, limit))
    for mine, other in zip(ours[:2], theirs):
        assert torch.equal(mine.grad, other.grad)
    assert ours[2].grad is None
    forget_gradients(ours)
    assert all(parameter.grad is None for parameter in ours)
