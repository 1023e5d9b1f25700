"""RecurrentNet: a body that remembers what it saw earlier in the episode.

M. Hausknecht & P. Stone, *Deep recurrent Q-learning for partially observable MDPs*, 2015. What it
remembers is its *state*: the hidden vectors of all its cells, joined, 0 where an episode begins.

    x_t = fc(o_t),    state_t = cells(x_t, state_{t-1}),    features_t = h_t of the last cell

Acting goes on from the state of the step before (Recalled). Learning runs through whole stretches of
experience (Sequences) and backwards through time to their beginning.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from slm_lightning.core import Recalled, Sequences
from slm_lightning.errors import Problem
from slm_lightning.nets.init import activation
from slm_lightning.spec.model import Count, Int, NetParams

CELLS: dict[str, Any] = {"RNN": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


class RecurrentNet(nn.Module):
    """``Sequences [T, N] -> features [T * N, out_features]``, or ``Recalled [N] -> [N, out_features]``;
    each observation is flattened."""

    class Params(NetParams):
        unread: ClassVar[dict[str, str]] = {"normalize": "only image nets divide by 255"}

        cell_type: Annotated[Literal["RNN", "LSTM", "GRU"], BeforeValidator(_upper)]
        """Kind of recurrent cell, in any case; RNN is Elman's with tanh."""
        fc_hid_layers: Annotated[list[Count], Field(max_length=1000)] | None = None
        """Widths of the fully connected layers before the cells."""
        rnn_hidden_size: Count
        """Width of the hidden state."""
        rnn_num_layers: Annotated[Int, Field(ge=1, le=100)] = 1
        """Cells one above the other."""
        bidirectional: bool = False
        """Only false: a policy cannot look into the future."""
        seq_len: Annotated[Int, Field(ge=1, le=100_000)] = 8
        """Steps of the sequences that are drawn from a replay memory; a rollout is one sequence."""

        @property
        def state_size(self) -> int:
            parts = 2 if self.cell_type == "LSTM" else 1
            return self.rnn_hidden_size * self.rnn_num_layers * parts

        def problems(self, path: str) -> Iterator[Problem]:
            if self.bidirectional:
                yield Problem(
                    f"{path}.bidirectional", "a policy cannot look into the future; write false"
                )

    def __init__(self, params: Params, obs_shape: tuple[int, ...]):
        super().__init__()
        width, size = math.prod(obs_shape), params.rnn_hidden_size
        layers: list[nn.Module] = []
        for features in params.fc_hid_layers or []:
            layers += [nn.Linear(width, features), activation(params.hid_layers_activation)]
            width = features
        self.fc = nn.Sequential(*layers)
        cell = CELLS[params.cell_type]
        widths = [width] + [size] * (params.rnn_num_layers - 1)
        self.cells = nn.ModuleList(cell(width, size) for width in widths)
        self.is_lstm = params.cell_type == "LSTM"
        self.state_size = params.state_size
        """Numbers that it remembers."""
        self.offset = 0
        """Where they begin in the hidden state ``[N, H]`` of an agent that has several such nets."""
        self.out_features = size

    def forward(self, obs: Sequences | Recalled) -> Tensor:
        state = self._own(obs.hidden) if isinstance(obs, Recalled) else self.unroll(obs)
        return state[:, -self.out_features :]

    def unroll(self, seen: Sequences) -> Tensor:
        """The states ``[T * N, state_size]`` after each observation; with ``next_obs`` after each of
        those, seen one step after what it follows."""
        state, states = self._own(seen.hidden), []
        features = self._features(seen.obs.flatten(0, 1)).view(*seen.start.shape, -1)
        for x, start in zip(features, seen.start):
            state = self._advance(x, state.masked_fill(start[:, None], 0.0))
            states.append(state)
        after = torch.cat(states)
        if seen.next_obs is None:
            return after
        return self._advance(self._features(seen.next_obs.flatten(0, 1)), after)

    def remember(self, obs: Tensor, hidden: Tensor) -> Tensor:
        """The state ``[N, state_size]`` after ``obs [N, *obs_shape]``, which follows on the agent's
        ``hidden [N, H]``."""
        return self._advance(self._features(obs), self._own(hidden))

    def _own(self, hidden: Tensor) -> Tensor:
        return hidden[:, self.offset : self.offset + self.state_size]

    def _features(self, obs: Tensor) -> Tensor:
        return self.fc(obs.flatten(1).float())

    def _advance(self, x: Tensor, state: Tensor) -> Tensor:
        """One step of every cell; of a state the last numbers are the last cell's h."""
        after = []
        for cell, old in zip(self.cells, state.chunk(len(self.cells), -1)):
            if self.is_lstm:
                c, h = old.chunk(2, -1)
                x, c = cell(x, (h, c))
                after += [c, x]
            else:
                x = cell(x, old)
                after.append(x)
        return torch.cat(after, -1)
