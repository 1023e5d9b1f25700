"""Numbers and lines that can be read."""

from __future__ import annotations

import math

import pytest

from slm_lightning.lab.wording import (
    WIDTH,
    bracketed,
    count,
    duration,
    interval,
    number,
    setting,
    shortened,
    wrapped,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (499.96, "500"),
        (-3.14159, "−3.142"),
        (0.000123456, "0.0001235"),
        (0.0000123456, "1.235e−05"),
        (123456.7, "123\u202f457"),
        (12345678, "1.235e+07"),
        (None, "n/a"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_all_digits_of_a_count():
    assert number(16_120_000, 15) == "16\u202f120\u202f000"
    assert (count(1, "trial"), count(1000, "trial")) == ("1 trial", "1\u202f000 trials")


def test_interval():
    assert interval(-1.5, 2.0) == "−1.5 to 2"
    assert interval(math.nan, math.nan) == ""
    assert bracketed(-1.5, 2.0) == " (95 % interval −1.5 to 2)"
    assert bracketed(math.nan, math.nan) == ""


def test_a_setting_can_be_copied_into_a_spec():
    drawn = {"agent.net.lr": 1.23456e-5, "agent.net.type": "MLPNet", "env.num_envs": 4}
    assert (
        setting(drawn, {"agent.net.lr": "lr"})
        == 'lr 1.235e-05, agent.net.type "MLPNet", env.num_envs 4'
    )


def test_shortened():
    assert shortened("ppo_cartpole_t12", 16) == "ppo_cartpole_t12"
    assert shortened("ppo_cartpole_t12", 9) == "ppo_…_t12"


def test_wrapped():
    first, *rest = wrapped(f"{'word ' * 20}{'x' * (WIDTH + 1)}").splitlines()
    assert len(first) <= WIDTH
    assert rest == [f"  {'word ' * 4}".rstrip(), "  " + "x" * (WIDTH + 1)], "a long name stays whole"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (90_061, "1 d 1 h"),
        (None, "n/a"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
