"""Replay memories: a ring of the latest transitions in contiguous tensors on the training device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slm_lightning.core import Batch, EnvInfo, Sample
from slm_lightning.data.arrays import Array, array, chosen, tensor, write
from slm_lightning.data.frames import FrameRing
from slm_lightning.data.memory import PrioritizedReplay, Replay
from slm_lightning.data.sequences import SequenceRows
from slm_lightning.data.sum_tree import SumTree

RECORDED = ("action", "reward", "terminated", "truncated")
"""Columns that are taken from a rollout as they are."""
COLUMNS = (*RECORDED, "position", "age")
LEAST_PRIORITY = 1e-30
"""Of transitions without error where ε is 0: when no other is left, these are drawn."""


class ReplayMemory:
    """Transitions of ``N`` sub-environments, a vector step a row, drawn uniformly.

    ``max_size`` is rounded up to whole vector steps. A transition is known by its place
    ``(step % steps) * N + env``. Observations are kept as the agent saw them, normalised ones included.

    Args: ``seq_len, hidden_size``: of an agent that remembers. Each transition is drawn together with
    those before it, as the last of a sequence of ``seq_len`` steps: a minibatch has L · B rows, and its
    observations are Sequences, which go on from what the agent remembered.
    """

    def __init__(
        self,
        params: Replay,
        env: EnvInfo,
        obs_dtype: torch.dtype,
        gamma: float,
        device: torch.device,
        seq_len: int = 1,
        hidden_size: int = 0,
    ):
        self.params, self.gamma = params, gamma
        self.num_envs = env.num_envs
        self.steps = -(-params.max_size // env.num_envs)
        self.head = 0
        """Vector steps ever added."""
        self.tail = 0
        """The oldest of them that is still here."""
        self.sampled = 0
        """Vector steps that had been added when the memory was last drawn from."""
        shape = (self.steps, env.num_envs)
        self.action = torch.empty(*shape, *env.action.shape, dtype=env.action.dtype, device=device)
        self.reward = torch.empty(shape, device=device)
        self.terminated = torch.empty(shape, dtype=torch.bool, device=device)
        self.truncated = torch.empty(shape, dtype=torch.bool, device=device)
        self.position = torch.empty(shape, dtype=torch.int64, device=device)
        self.age = torch.zeros(shape, dtype=torch.uint8, device=device)
        self.frames = FrameRing(env, obs_dtype, self.steps, device)
        self.sequences: SequenceRows | None = None
        if hidden_size:
            self.sequences = SequenceRows(self.steps, env.num_envs, seq_len, hidden_size, device)
        ahead = torch.arange(params.num_step_returns, device=device)
        self.ahead, self.decay = array(ahead), array(gamma**ahead)
        self.discounts = array(gamma ** (ahead + 1))
        self.equal = torch.ones(0)
        """The weights of a uniform draw."""
        self.recorded = RECORDED + (("hidden", "ended") if hidden_size else ())
        columns = self._columns()
        self.arrays = {name: array(column) for name, column in columns.items()}
        """The columns to be written."""
        self.flat = {name: array(column.flatten(0, 1)) for name, column in columns.items()}
        """The columns to be read by places."""

    def __len__(self) -> int:
        """Transitions that can be drawn."""
        return (self.head - self.tail) * self.num_envs

    def add(self, batch: Batch) -> None:
        """Takes in a rollout ``[T, N, ...]``, which follows the one before it."""
        columns = {name: array(getattr(batch, name)) for name in self.recorded}
        obs, next_obs = array(batch.obs), array(batch.next_obs)
        for start in range(0, len(obs), self.frames.most):
            part = slice(start, start + self.frames.most)
            rows = {name: column[part] for name, column in columns.items()}
            self._append(rows | self.frames.append(obs[part], next_obs[part]), len(rows["reward"]))

    def _append(self, rows: dict[str, Array], steps: int) -> None:
        write(self.arrays, self.head, rows)
        self.head += steps
        self.tail = max(self.tail, self.head - self.steps)
        if not self.frames.roomy:  # each step wrote at most two images, so pushed out at most two
            oldest = range(self.tail, min(self.tail + 2 * steps, self.head))
            positions = self.arrays["position"][[step % self.steps for step in oldest]]
            self.tail += self.frames.lost(positions)

    def sample(self, minibatches: int, progress: float = 0.0) -> Sample:
        """``[K, B]`` transitions, drawn with replacement; ``progress`` is the share of training that
        is done, in [0, 1]."""
        index = self._draw(minibatches)
        if self.params.use_cer:
            self._combine(index[0])
        self.sampled = self.head
        weight = self._weight(index, progress)
        if self.sequences is None:
            return self._gather(index, weight)
        windows = self.sequences.windows(index, self.tail, self.head)
        rows = self._gather(windows.flatten(1), weight.repeat(1, windows.shape[1]))
        obs, next_obs = self.sequences.gather(windows, rows.obs, rows.next_obs)
        return rows._replace(obs=obs, next_obs=next_obs)

    def feedback(self, index: Tensor, td_error: Tensor) -> None:
        """Takes the TD errors ``[K, B]`` of a sample; a uniform draw has no use for them."""

    def _draw(self, minibatches: int) -> Tensor:
        shape = (minibatches, self.params.batch_size)
        drawn = torch.randint(len(self), shape, device=self.reward.device)
        places = array(drawn)
        places += self.tail * self.num_envs
        places %= self.reward.numel()
        return drawn

    def _weight(self, index: Tensor, progress: float) -> Tensor:
        if self.equal.shape != index.shape:
            self.equal = torch.ones(index.shape, device=index.device)
        return self.equal

    def _combine(self, index: Tensor) -> None:
        """The newest transitions take the last places of one minibatch ``index [B]``."""
        new = min((self.head - self.sampled) * self.num_envs, len(self), len(index))
        newest = self.head * self.num_envs - 1 - torch.arange(new, device=index.device)
        index[len(index) - new :] = newest % self.reward.numel()

    def _gather(self, index: Tensor, weight: Tensor) -> Sample:
        """The transitions at ``index [K, B]``, with n-step returns that end where the episode or the
        recording does."""
        places = array(index)
        reward, last, discount = self._returns(places)
        frame = self._frame(places)
        return Sample(
            obs=tensor(self.frames.read(*frame)),
            action=tensor(self.flat["action"][places]),
            reward=tensor(reward),
            next_obs=tensor(self.frames.read_next(*(frame if last is places else self._frame(last)))),
            terminated=tensor(self.flat["terminated"][last]),
            discount=tensor(discount),
            weight=weight,
            place=index,
        )

    def _frame(self, index: Array) -> tuple[Array, Array | None]:
        """Number and age of the newest frames of the observations at ``index [...]``."""
        number = self.flat["position"][index] * self.num_envs + index % self.num_envs
        return number, self.flat["age"][index] if self.frames.stack > 1 else None

    def _returns(self, index: Array) -> tuple[Array, Array, Array]:
        """``Σ γ^i r``, the place of the last reward in it, and γ^m; all ``[K, B]``."""
        num_envs, flat = self.num_envs, self.flat
        if self.params.num_step_returns == 1:
            none_more = index * 0
            return flat["reward"][index], index, self.discounts[none_more]
        places = (index[..., None] + self.ahead * num_envs) % self.reward.numel()
        newest = places // num_envs == (self.head - 1) % self.steps
        stops = newest | flat["terminated"][places] | flat["truncated"][places]
        more = (stops[..., :-1].cumsum(-1) == 0).sum(-1)  # rewards after the first, up to a stop
        reward = flat["reward"][places] * self.decay
        returns = chosen(self.ahead <= more[..., None], reward, 0.0).sum(-1)
        return returns, (index + more * num_envs) % self.reward.numel(), self.discounts[more]

    def state_dict(self) -> dict[str, Any]:
        """What changes beside the ``rows`` that are added."""
        counters = {"head": self.head, "tail": self.tail, "sampled": self.sampled}
        return counters | {"frames": self.frames.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.head, self.tail, self.sampled = state["head"], state["tail"], state["sampled"]
        self.frames.load_state_dict(state["frames"])

    def rows(self, since: int = 0) -> dict[str, Any]:
        """What was added from vector step ``since`` on and can still be drawn, on the CPU, with all
        that is needed to draw it."""
        start = max(since, self.tail)
        written = tensor(self.frames.written)
        row = torch.arange(start, self.head, device=self.reward.device) % self.steps
        columns = {name: column[row].cpu() for name, column in self._columns().items()}
        first = self.position[start % self.steps] if len(row) else written + 1
        return {"start": start, "frames": self.frames.since(first), **columns}

    def put(self, rows: dict[str, Any]) -> None:
        """Writes down what ``rows`` gave, once more; the older ones come first."""
        start, count = rows["start"], len(rows["reward"])
        row = torch.arange(start, start + count, device=self.reward.device) % self.steps
        for name, column in self._columns().items():
            column[row] = rows[name].to(column.device)
        self.frames.put(rows["frames"])

    def _columns(self) -> dict[str, Tensor]:
        """What is kept of each transition beside its observations, each ``[steps, N, ...]``."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        if self.sequences is not None:
            columns |= {"hidden": self.sequences.hidden, "ended": self.sequences.ended}
        return columns


class PrioritizedMemory(ReplayMemory):
    """As :class:`ReplayMemory`, drawn in proportion to priorities (Schaul et al. 2016).

    ``P(i) = p_i^α / Σ p^α`` with ``p = |δ| + ε``; new transitions enter with the highest priority so
    far. ``w_i = (N P(i))^-β``, divided by the largest of the minibatch. Each minibatch takes one
    transition from each of B equal stretches of the cumulated priorities.
    """

    params: PrioritizedReplay

    def __init__(self, params: PrioritizedReplay, env: EnvInfo, *args: Any):
        super().__init__(params, env, *args)
        self.tree = SumTree(self.steps * self.num_envs, self.reward.device)
        self.highest = torch.ones((), dtype=torch.float64, device=self.reward.device)

    def add(self, batch: Batch) -> None:
        before, start = self.tail, self.head
        super().add(batch)
        self._set(max(before, self.head - self.steps), self.tail, torch.zeros_like(self.highest))
        self._enter(max(start, self.tail))

    def _enter(self, first: int) -> None:
        """Gives what was added from vector step ``first`` on its priority."""
        self._set(first, self.head, self.highest)

    def _set(self, start: int, end: int, priority: Tensor) -> None:
        """Gives all transitions of the vector steps ``[start, end)``, at most one round of the ring,
        one priority."""
        while start < end:
            row = start % self.steps
            count = min(end - start, self.steps - row)
            self.tree.fill(row * self.num_envs, (row + count) * self.num_envs, priority)
            start += count

    def feedback(self, index: Tensor, td_error: Tensor) -> None:
        """The drawn transitions take the priority of their new TD errors ``[K, B]``."""
        error = td_error.detach().to(torch.float64, copy=True).abs_().add_(self.params.epsilon)
        priority = error.pow_(self.params.alpha).clamp_(min=LEAST_PRIORITY)
        self.highest = torch.maximum(self.highest, priority.max())
        self.tree.set(index.flatten(), priority.flatten())

    def _draw(self, minibatches: int) -> Tensor:
        b, double = self.params.batch_size, torch.float64
        noise = torch.rand(minibatches, b, dtype=double, device=self.reward.device)
        stretch = noise.add_(torch.arange(b, dtype=double, device=noise.device)).div_(b)
        return self.tree.find(stretch.mul_(self.tree.total).view(-1)).view(minibatches, b)

    def _weight(self, index: Tensor, progress: float) -> Tensor:
        beta = self.params.beta + (1 - self.params.beta) * progress
        probability = self.tree.priority[index] / self.tree.total
        weight = (len(self) * probability) ** -beta
        return (weight / weight.amax(-1, keepdim=True)).float()

    def state_dict(self) -> dict[str, Any]:
        used = min(self.head, self.steps) * self.num_envs
        priority = self.tree.priority[:used].clone()
        return super().state_dict() | {"priority": priority, "highest": self.highest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.highest = state["highest"].to(self.reward.device)
        priority = state["priority"].to(self.reward.device)
        self.tree.set(torch.arange(len(priority), device=priority.device), priority)


def make_memory(params: Replay, *args: Any) -> ReplayMemory:
    """The memory of section ``agent.memory``; arguments as :class:`ReplayMemory`."""
    if isinstance(params, PrioritizedReplay):
        return PrioritizedMemory(params, *args)
    return ReplayMemory(params, *args)
