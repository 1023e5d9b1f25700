"""Scalars of a graph that are computed before the loops which use them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch._dynamo
from torch import Tensor
from torch._inductor.utils import run_and_get_code
from torch.testing import assert_close

from slm_lightning.updates.compiling import prepare
from slm_lightning.updates.passes import Passes
from slm_lightning.updates.scalars import once
from tests.support import needs_compiler


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    needs_compiler()
    prepare()
    yield
    torch._dynamo.reset()


def corrected(x: Tensor, step: Tensor) -> Tensor:
    """As Adam corrects its moments."""
    return x / (1 - 0.9 ** (step + 1))


def test_a_power_is_taken_before_the_loop_over_an_array():
    x, step = torch.randn(1000), torch.tensor(3.0)
    options = {"post_grad_custom_post_pass": Passes()}
    graph = torch.compile(corrected, fullgraph=True, dynamic=False, options=options)
    made, (code,) = run_and_get_code(graph, x, step)
    assert_close(made, x / (1 - 0.9**4))
    before, loop, after = code.partition("1000L")
    assert "std::pow" in before and loop and "std::pow" not in after


def test_the_operator_is_its_argument():
    x = torch.tensor(2.0)
    assert once(x) == x and once(x) is not x
    torch.library.opcheck(once, (x,), test_utils=("test_schema", "test_faketensor"))
