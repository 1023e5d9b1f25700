"""The collector: an agent acts in a vector environment, a rollout is written down."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Agent
from slm_lightning.core import Batch, VectorEnv
from slm_lightning.errors import IntegrityError
from slm_lightning.rl.normalizers import Normalizers


class Episode(NamedTuple):
    """A finished episode: the frame count at its end, its raw return and its length in steps."""

    frame: int
    ret: float
    length: int


class Collector:
    """Fills rollout tensors that are allocated once, on the device where training happens.

    It knows no algorithm. At most one host synchronisation a vector step: the action, and that only
    where the environment lives on the CPU and the agent does not.
    """

    def __init__(
        self,
        env: VectorEnv,
        agent: Agent,
        normalizers: Normalizers,
        device: torch.device,
        state: dict[str, Any] | None = None,
    ):
        """Begins where ``state`` was taken, or else with new episodes."""
        self.env, self.agent, self.normalizers, self.device = env, agent, normalizers, device
        self.frame = 0
        self.tracker = EpisodeTracker(env.info.num_envs, device)
        self.stage = Stage(device)
        self.buffers: Batch | None = None
        if state is None:
            self.obs = self._observe("obs", env.reset())
        else:
            self._restore(state)

    def collect(self, steps: int, version: int) -> tuple[Batch, list[Episode]]:
        """A rollout of ``steps`` vector steps ``[T, N, ...]`` and the episodes that ended in it.

        The tensors are written over by the next call.
        """
        buffers = self._allocate(steps)
        with torch.inference_mode():
            for t in range(steps):
                self._step(buffers, t)
        return self._finish(buffers, steps, version)

    def collect_episodes(self, episodes: int, limit: int, version: int) -> tuple[Batch, list[Episode]]:
        """As ``collect``, until ``episodes`` have ended or ``limit`` vector steps are made."""
        buffers, t, ended = self._allocate(min(limit, 1024)), 0, 0
        with torch.inference_mode():
            while ended < episodes and t < limit:
                if t == len(buffers.reward):
                    buffers = self._allocate(min(limit, 2 * t))
                self._step(buffers, t)
                t += 1
                ended += int((buffers.terminated[t - 1] | buffers.truncated[t - 1]).sum())
        return self._finish(buffers, t, version)

    def state_dict(self) -> dict[str, Any]:
        """What the next round depends on, between rounds."""
        return {
            "frame": self.frame,
            "obs": self.obs.clone(),
            "env": self.env.state_dict(),
            "ret": self.tracker.ret,
            "length": self.tracker.length,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        """Goes on where ``state`` was taken. Raises IntegrityError where the environments, brought
        back by their seeds and actions, do not show the same observations."""
        raw = self.stage("obs", self.env.load_state_dict(state["env"]))
        self.obs = state["obs"].to(self.device)
        if not torch.equal(self.normalizers.obs(raw).to(self.obs.dtype), self.obs):
            raise IntegrityError(
                f"{self.env.info.name} did not repeat itself from its seeds and actions",
                "the session cannot go on exactly; start it again",
            )
        self.frame = state["frame"]
        self.tracker.ret = state["ret"].to(self.device)
        self.tracker.length = state["length"].to(self.device)

    def _step(self, buffers: Batch, t: int) -> None:
        buffers.obs[t].copy_(self.obs)
        self.agent.frame = self.frame
        action = self.agent.act(buffers.obs[t])
        step = self.env.step(action)
        buffers.action[t].copy_(action)
        buffers.reward[t].copy_(self.stage("reward", step.reward))
        buffers.terminated[t].copy_(self.stage("terminated", step.terminated))
        buffers.truncated[t].copy_(self.stage("truncated", step.truncated))
        next_obs = self._observe("next_obs", step.next_obs)
        buffers.next_obs[t].copy_(next_obs)
        if step.obs is step.next_obs:
            self.obs = next_obs
        else:
            done = buffers.terminated[t] | buffers.truncated[t]
            self.obs = self._observe("obs", step.obs, fresh=done)
        self.frame += self.env.info.num_envs

    def _observe(self, name: str, obs: Any, fresh: Tensor | None = None) -> Tensor:
        """Observations on the device, normalised; their statistics take in the ``fresh`` rows
        (default all)."""
        raw = self.stage(name, obs)
        normalize = self.normalizers.obs
        if normalize.moments is not None:
            normalize.moments.update(raw if fresh is None else raw[fresh])
        return normalize(raw)

    def _allocate(self, steps: int) -> Batch:
        if self.buffers is not None and len(self.buffers.reward) >= steps:
            return self.buffers
        with torch.inference_mode(False):  # what is learned from must be able to carry gradients
            self.buffers = self._grow(steps, self.buffers)
        return self.buffers

    def _grow(self, steps: int, old: Batch | None) -> Batch:
        info, device = self.env.info, self.device
        shape = (steps, info.num_envs)
        obs_dtype = torch.uint8 if self.obs.dtype == torch.uint8 else torch.float32
        buffers = Batch(
            obs=torch.empty(*shape, *info.obs_shape, dtype=obs_dtype, device=device),
            action=torch.empty(*shape, *info.action.shape, dtype=info.action.dtype, device=device),
            reward=torch.empty(shape, device=device),
            next_obs=torch.empty(*shape, *info.obs_shape, dtype=obs_dtype, device=device),
            terminated=torch.empty(shape, dtype=torch.bool, device=device),
            truncated=torch.empty(shape, dtype=torch.bool, device=device),
            version=0,
        )
        if old is not None:
            for new_rows, old_rows in zip(buffers[:6], old[:6]):
                new_rows[: len(old_rows)].copy_(old_rows)
        return buffers

    def _finish(self, buffers: Batch, steps: int, version: int) -> tuple[Batch, list[Episode]]:
        batch = Batch._make((*(rows[:steps] for rows in buffers[:6]), version))
        start = self.frame - steps * self.env.info.num_envs
        episodes = self.tracker.update(batch.reward, batch.done, start)
        reward = self.normalizers.reward(batch.reward, batch.terminated)
        return batch._replace(reward=reward), episodes


class Stage:
    """Brings arrays to the device: nothing moves where it already is, host memory is pinned."""

    def __init__(self, device: torch.device):
        self.device = device
        self.pinned: dict[str, Tensor] = {}

    def __call__(self, name: str, x) -> Tensor:
        tensor = torch.as_tensor(x)
        if tensor.device.type == self.device.type or self.device.type == "cpu":
            return tensor.to(self.device)
        if name not in self.pinned:
            self.pinned[name] = torch.empty_like(tensor, pin_memory=True)
        self.pinned[name].copy_(tensor)
        return self.pinned[name].to(self.device, non_blocking=True)


class EpisodeTracker:
    """Raw returns and lengths of finished episodes, a whole rollout at a time."""

    def __init__(self, num_envs: int, device: torch.device):
        self.ret = torch.zeros(num_envs, dtype=torch.float64, device=device)
        self.length = torch.zeros(num_envs, dtype=torch.int64, device=device)

    def update(self, reward: Tensor, done: Tensor, start: int) -> list[Episode]:
        """Takes raw ``reward [T, N]`` and ``done [T, N]`` of the rollout that began at frame
        ``start``; returns the episodes that ended, in order of time."""
        steps, num_envs = reward.shape
        returns = self.ret + reward.double().cumsum(0)
        lengths = self.length + torch.arange(1, steps + 1, device=done.device)[:, None]
        env, t = done.T.nonzero(as_tuple=True)  # by sub-environment, then by time
        again = env[1:] == env[:-1]  # the episode before it ended in this rollout too
        ret, length = returns[t, env], lengths[t, env]
        ended_ret, ended_length = ret.clone(), length.clone()
        ended_ret[1:] -= torch.where(again, ret[:-1], 0)
        ended_length[1:] -= torch.where(again, length[:-1], 0)
        self.ret = returns[-1] - _last_of_each(env, ret, num_envs)
        self.length = lengths[-1] - _last_of_each(env, length, num_envs)
        order = t.argsort(stable=True)
        frames = start + (t[order] + 1) * num_envs
        return [
            Episode(*row)
            for row in zip(frames.tolist(), ended_ret[order].tolist(), ended_length[order].tolist())
        ]


def _last_of_each(env: Tensor, value: Tensor, num_envs: int) -> Tensor:
    """The last ``value`` of each sub-environment, 0 where there is none; ``env`` is sorted."""
    last = torch.zeros(num_envs, dtype=value.dtype, device=value.device)
    is_last = torch.ones_like(env, dtype=torch.bool)
    is_last[:-1] = env[1:] != env[:-1]
    last[env[is_last]] = value[is_last]
    return last
