"""Optimizers by the names and keys of ``optim_spec``."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slm_lightning.nets.mlp import MLPNet
from slm_lightning.nets.optim import make_optimizer


def make(plain: bool = False, **optim_spec) -> torch.optim.Optimizer:
    net = MLPNet.Params(type="MLPNet", hid_layers=[], optim_spec=optim_spec)
    return make_optimizer([nn.Parameter(torch.zeros(3))], net.optim_spec, fused=not plain)


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
    assert not make(name=name, plain=True).defaults["fused"]


def test_hogwild_names_are_the_plain_optimizers():
    assert type(make(name="GlobalAdam")) is torch.optim.Adam
    assert type(make(name="GlobalRMSprop")) is torch.optim.RMSprop
