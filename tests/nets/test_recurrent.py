"""RecurrentNet against PyTorch's own recurrent layers, and what it forgets and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from slm_lightning.core import Recalled, Sequences
from slm_lightning.nets.actor_critic import ActorCriticNet
from slm_lightning.nets.net import Net
from slm_lightning.nets.recurrent import RecurrentNet
from tests.algorithms.support import OBS, info

T, N, H = 7, 3, 5
CELLS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
every_cell = pytest.mark.parametrize("cell", CELLS)
every_depth = pytest.mark.parametrize("layers", [1, 2])


def params(cell: str = "GRU", **keys: Any) -> RecurrentNet.Params:
    return RecurrentNet.Params(type="RecurrentNet", cell_type=cell, rnn_hidden_size=H, **keys)


def make_body(cell: str = "GRU", layers: int = 1, **keys: Any) -> RecurrentNet:
    torch.manual_seed(0)
    return RecurrentNet(params(cell, rnn_num_layers=layers, **keys), (OBS,))


def sequences(body: RecurrentNet, starts: list[tuple[int, int]] | None = None) -> Sequences:
    """Noise; an episode begins at each (step, sub-environment) of ``starts``."""
    torch.manual_seed(1)
    start = torch.zeros(T, N, dtype=torch.bool)
    for t, n in starts or []:
        start[t, n] = True
    return Sequences(torch.randn(T, N, OBS), torch.randn(N, body.state_size), start)


def reference(body: RecurrentNet, cell: str) -> Any:
    """PyTorch's layer with the same weights."""
    layer = CELLS[cell](OBS, H, num_layers=len(body.cells))
    with torch.no_grad():
        for i, own in enumerate(body.cells):
            for name, weight in own.named_parameters():
                getattr(layer, f"{name}_l{i}").copy_(weight)
    return layer


def split(body: RecurrentNet, state: Tensor) -> Any:
    """A state as PyTorch's layers take it: h, or (h, c), ``[layers, N, H]``."""
    parts = state.view(len(state), len(body.cells), -1, H).permute(2, 1, 0, 3).contiguous()
    return (parts[1], parts[0]) if body.is_lstm else parts[0]


@every_depth
@every_cell
def test_a_sequence_equals_torch(cell, layers):
    body = make_body(cell, layers)
    seen = sequences(body)
    expected, last = reference(body, cell)(seen.obs, split(body, seen.hidden))
    assert_close(body(seen).view(T, N, H), expected)
    state = body.unroll(seen).view(T, N, -1)[-1]
    assert_close(split(body, state), last)


@every_depth
@every_cell
def test_nothing_crosses_the_start_of_an_episode(cell, layers):
    """What follows a start is as if it were a sequence of its own, and other columns do not see it."""
    body = make_body(cell, layers)
    seen = sequences(body, starts=[(3, 1), (0, 2)])
    found, plain = body(seen).view(T, N, H), body(sequences(body)).view(T, N, H)
    zero = torch.zeros(1, body.state_size)
    alone = Sequences(seen.obs[3:, 1:2], zero, torch.zeros(T - 3, 1, dtype=torch.bool))
    assert_close(found[3:, 1], body(alone))
    fresh = Sequences(seen.obs[:, 2:], zero, torch.zeros(T, 1, dtype=torch.bool))
    assert_close(found[:, 2], body(fresh))
    assert_close(found[:, 0], plain[:, 0])
    assert_close(found[:3, 1], plain[:3, 1])


@every_depth
@every_cell
def test_step_by_step_equals_at_once(cell, layers):
    body = make_body(cell, layers, fc_hid_layers=[6])
    seen = sequences(body, starts=[(2, 0)])
    at_once, hidden = body(seen).view(T, N, H), seen.hidden
    for obs, start, expected in zip(seen.obs, seen.start, at_once):
        hidden = body.remember(obs, hidden.masked_fill(start[:, None], 0.0))
        assert_close(body(Recalled(obs, hidden)), expected)


def test_successors_are_seen_after_all_before_them():
    """Each as if the sequence ended with it, in an episode that ended there too."""
    body = make_body("LSTM", 2)
    seen = sequences(body, starts=[(3, 1)])
    next_obs = torch.randn(T, N, OBS)
    found = body(replace(seen, next_obs=next_obs)).view(T, N, H)
    for t in range(T):
        start = torch.cat([seen.start[: t + 1], torch.zeros(1, N, dtype=torch.bool)])
        longer = Sequences(torch.cat([seen.obs[: t + 1], next_obs[t][None]]), seen.hidden, start)
        assert_close(found[t], body(longer).view(t + 2, N, H)[-1])


def test_gradients_flow_back_to_the_start_of_the_episode_and_no_further():
    body = make_body()
    seen = sequences(body, starts=[(2, 0)])
    obs = seen.obs.clone().requires_grad_()
    body(replace(seen, obs=obs)).view(T, N, H)[-1].sum().backward()
    assert obs.grad is not None
    assert (obs.grad[2:, 0] != 0).all() and (obs.grad[:2, 0] == 0).all()
    assert (obs.grad[:, 1:] != 0).all()


def test_columns_are_drawn_by_their_rows():
    body = make_body()
    seen = sequences(body, starts=[(2, 0), (4, 1)])
    columns = torch.tensor([2, 0])
    index = (torch.arange(T)[:, None] * N + columns).flatten()
    assert_close(body(seen[index]), body(seen)[index])


@pytest.mark.parametrize("shared", [False, True])
def test_actor_and_critic_remember_apart(shared):
    torch.manual_seed(0)
    net = ActorCriticNet(params("LSTM", shared=shared), info())
    sizes = [body.state_size for body in net.modules() if isinstance(body, RecurrentNet)]
    assert sizes == [2 * H] if shared else [2 * H, 2 * H]
    obs, hidden = torch.randn(N, OBS), torch.randn(N, sum(sizes))
    before = net.policy(Recalled(obs, hidden)).log_probs, net.value(Recalled(obs, hidden))
    hidden[:, -1] += 1
    after = net.policy(Recalled(obs, hidden)).log_probs, net.value(Recalled(obs, hidden))
    assert torch.equal(before[0], after[0]) != shared
    assert not torch.equal(before[1], after[1])


def test_initialisers_reach_the_cells():
    net = Net(params("RNN", init_fn="orthogonal_", fc_hid_layers=[6]), (OBS,), [2])
    (cell,) = net.body.cells
    assert_close(cell.weight_hh @ cell.weight_hh.T, torch.eye(H))
    assert not cell.bias_ih.any() and not cell.bias_hh.any()
    linear = net.body.fc[0]
    assert_close(linear.weight.T @ linear.weight, 2 * torch.eye(OBS))  # gain √2 of relu
    Net(params("LSTM", init_fn="kaiming_uniform_"), (OBS,), [2])


@pytest.mark.parametrize("name", ["gru", "Gru", "GRU"])
def test_cells_are_named_in_any_case(name):
    assert params(name).cell_type == "GRU"


def test_a_policy_cannot_see_the_future():
    (problem,) = params(bidirectional=True).problems("agent.net")
    assert str(problem) == "agent.net.bidirectional: a policy cannot look into the future; write false"
    assert not list(params().problems("agent.net"))
