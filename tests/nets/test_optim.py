"""Optimizers by the names and keys of ``optim_spec``."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slm_lightning.errors import SpecError
from slm_lightning.nets.mlp import MLPNet
from slm_lightning.nets.net import Learner
from slm_lightning.nets.optim import make_optimizer


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


@pytest.mark.parametrize(
    ("optim_spec", "sentence"),
    [
        ({"name": "Adamm"}, r'"Adamm" is not in torch\.optim'),
        ({"name": "Optimizer"}, "is not in"),
        ({"name": "lr_scheduler"}, "is not in"),
        ({"name": "Adam", "momentum": 0.9}, "Adam: .*momentum"),
        ({"name": "Adam", "eps": -1}, "Adam: .*epsilon"),
        ({"name": "SGD", "nesterov": True}, "SGD: Nesterov"),
        ({"name": "Adam", "fused": True, "foreach": True}, "Adam: .*foreach"),
    ],
)
def test_an_optimizer_that_cannot_be_made_is_a_spec_error(optim_spec, sentence):
    with pytest.raises(SpecError, match=sentence):
        make(**optim_spec)
