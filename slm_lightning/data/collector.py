"""The collector: an agent acts in a vector environment, a rollout is written down."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from slm_lightning.algorithms.agent import Agent
from slm_lightning.core import Batch, EnvInfo, Step, VectorEnv
from slm_lightning.data.arrays import Array, array, chosen, joined, places_of
from slm_lightning.data.recall import Recall
from slm_lightning.data.rollout import Rollout
from slm_lightning.errors import IntegrityError, SpecError
from slm_lightning.nets.layers import look_for_hooks
from slm_lightning.rl.normalizers import Normalizers

log = logging.getLogger(__name__)


class Episode(NamedTuple):
    """A finished episode: the frame count at its end, its raw return and its length in steps."""

    frame: int
    ret: float
    length: int


class VectorStep(Protocol):
    """A vector step as one graph."""

    def __call__(self, place: Tensor) -> None:
        """Makes the step whose row is ``place [1]``."""

    def look_again(self) -> None:
        """To be called where more may have changed than the contents of tensors."""


Compiler = Callable[[Callable[[Tensor], dict[str, Tensor]], torch.device], VectorStep]
"""Makes one graph of a function that leaves all it does in tensors, for a device."""


class Collector:
    """Drives agent and environment, one vector step after the other, and writes down what happens.

    It knows no algorithm. The host waits for the agent's device only for the action, where the
    environment lives on the CPU; for masks of actions; and at ends of episodes with ``normalize_obs``.
    """

    def __init__(
        self,
        env: VectorEnv,
        agent: Agent,
        normalizers: Normalizers,
        device: torch.device,
        state: dict[str, Any] | None = None,
        workers: int = 1,
        exact: bool = True,
        compiler: Compiler | None = None,
    ):
        """Begins where ``state`` was taken, or else with new episodes: so too where environments
        cannot be brought back (``exact`` is false). With several ``workers``, who collect side by side,
        a vector step counts the frames of all. With a ``compiler`` a vector step of tensors is one
        graph."""
        self.env, self.agent, self.normalizers, self.device = env, agent, normalizers, device
        self.frame = 0
        self.frames_per_step = env.info.num_envs * workers
        self.tracker = EpisodeTracker(env.info.num_envs, device, workers)
        self.stage = Stage(device)
        self.recall = Recall(agent, env.info.num_envs, device)
        self.tells_over = False
        """Whether the environment says where games end, other than by the ends of episodes."""
        self.rollout: Rollout | None = None
        self.compiler = compiler if env.info.in_tensors else None
        self.graph: VectorStep | None = None
        """The vector step that writes to the rollout."""
        self.latest: Batch | None = None
        """The rollout collected last."""
        if state is None:
            self._begin(env.reset())
        else:
            self._restore(state, exact)

    @property
    def obs_dtype(self) -> torch.dtype:
        """What observations are kept as: images in bytes, all else in single precision."""
        return torch.uint8 if self.obs.dtype == torch.uint8 else torch.float32

    @property
    def raw(self) -> Tensor:
        """What the environment shows now ``[N, *obs_shape]``, before it is normalised."""
        return torch.as_tensor(self.shown)

    def collect(self, steps: int, version: int) -> tuple[Batch, list[Episode]]:
        """A rollout of ``steps`` vector steps ``[T, N, ...]`` and the episodes that ended in it.

        The tensors are written over by the next call.
        """
        rollout = self._room(steps)
        rollout.views[0].copy_(self.obs)
        if self.compiler is not None:
            self._steps_of_graph(self.compiler, rollout, steps)
        else:
            with torch.inference_mode():
                for t in range(steps):
                    self._step(rollout, t)
        return self._finish(rollout, steps, version)

    def collect_episodes(self, episodes: int, limit: int, version: int) -> tuple[Batch, list[Episode]]:
        """As ``collect``, until ``episodes`` have ended or ``limit`` vector steps are made."""
        rollout, t, ended = self._room(min(limit, 1024)), 0, 0
        with torch.inference_mode():
            rollout.views[0].copy_(self.obs)
            while ended < episodes and t < limit:
                if t == rollout.steps:
                    rollout = self._room(min(limit, 2 * t))
                ended += int(self._step(rollout, t).ended.sum())
                t += 1
        return self._finish(rollout, t, version)

    def state_dict(self) -> dict[str, Any]:
        """What the next round depends on, between rounds."""
        state = {
            "frame": self.frame,
            "obs": self.obs.clone(),
            "raw": self.raw.clone(),
            "env": self.env.state_dict(),
            "ret": self.tracker.ret.clone(),
            "length": self.tracker.length.clone(),
        }
        return state if self.recall.hidden is None else state | {"hidden": self.recall.hidden}

    def _restore(self, state: dict[str, Any], exact: bool) -> None:
        """Goes on where ``state`` was taken. Raises IntegrityError where the environments, brought
        back by their seeds and actions, do not show the same again."""
        self.frame = state["frame"]
        if not exact:
            self._begin_after(state["env"])
            return
        self._show(self.env.load_state_dict(state["env"]))
        self.obs = state["obs"].to(self.device)
        same = (self.raw == state["raw"].to(self.raw.device)).flatten(1).all(1)
        if not same.all():
            raise IntegrityError(
                f"sub-environment {int(same.int().argmin())} of {self.env.info.name} did not repeat"
                " itself from its seed and actions: its last observation was another",
                "the session cannot go on exactly; start it again",
            )
        if self.recall.hidden is not None:
            self.recall.hidden = state["hidden"].to(self.device)
        self.tracker.ret = state["ret"].to(self.device)
        self.tracker.length = state["length"].to(self.device)

    def _begin_after(self, state: dict[str, Any]) -> None:
        """New episodes in place of those of ``state``, which are lost."""
        name = self.env.info.name
        log.warning("%s does not repeat itself: new episodes begin, the numbers are approximate", name)
        env: Any = self.env
        self._begin(env.begin_after(state))

    def _begin(self, obs: Any) -> None:
        """All sub-environments show their first observations."""
        self._show(refuse_dead_ends(obs, self.env.info))
        self.obs = torch.as_tensor(self._observe("obs", obs)).to(self.device, copy=True)

    def _show(self, obs: Any) -> None:
        """The first observations of the environment tell where it lives."""
        self.shown, here = obs, self.device.type == "cpu"
        self.on_host = isinstance(obs, np.ndarray)
        normalize = self.normalizers.obs
        plain = normalize.moments is None and normalize.clip is None
        self.as_they_are = plain and (here or not self.on_host)
        """Whether observations need nothing before they are written down."""

    def _step(self, rollout: Rollout, t: int) -> Step:
        if rollout.hidden is not None and self.recall.hidden is not None:
            rollout.hidden[t] = self.recall.hidden
        self.agent.at(self.frame)
        action = self.agent.act(self.recall(rollout.views[t]))
        step = self.env.step(action)
        rollout.write(t, action, step)
        self.shown = refuse_dead_ends(step.obs, self.env.info)
        self.tells_over = step.over is not None
        if self.recall.hidden is not None:
            self.recall.forget(self.stage("ended", step.ended))
        rollout.next_obs[t] = obs = self._observe("next_obs", step.next_obs)
        if step.obs is not step.next_obs:
            obs = self._observe("obs", step.obs, step.ended)
        rollout.obs[t + 1] = obs
        self.frame += self.frames_per_step
        return step

    @torch.no_grad()
    def _steps_of_graph(self, compiler: Compiler, rollout: Rollout, steps: int) -> None:
        assert self.as_they_are and self.recall.hidden is None
        if self.graph is None:
            self.graph = compiler(whole_step(self.env, self.agent, rollout), self.device)
        look_for_hooks(self.agent)
        self.graph.look_again()
        for place in torch.arange(steps, device=self.device).split(1):
            self.agent.at(self.frame)
            self.graph(place)
            self.frame += self.frames_per_step
        self.shown = rollout.views[steps]

    def _observe(self, name: str, obs: Any, fresh: Any = None) -> Any:
        """Observations as they are written down: normalised, their statistics having taken in the
        ``fresh [N]`` rows (default all)."""
        if self.as_they_are:
            return obs
        raw = self.stage(name, obs)
        normalize = self.normalizers.obs
        if normalize.moments is not None:
            normalize.update(raw if fresh is None else raw[self.stage("fresh", fresh)])
        seen = normalize(raw)
        return seen.numpy() if self.on_host and seen.device.type == "cpu" else seen

    def _room(self, steps: int) -> Rollout:
        """A rollout of at least so many steps, with what was written down already."""
        old = self.rollout
        if old is not None and old.steps >= steps:
            return old
        hidden = self.recall.hidden
        size = 0 if hidden is None else hidden.shape[-1]
        with torch.inference_mode(False):  # what is learned from must be able to carry gradients
            self.rollout = Rollout(
                self.env.info, self.obs_dtype, size, steps, self.device, self.on_host
            )
            if old is not None:
                self.rollout.take(old)
        self.graph = None
        return self.rollout

    def _finish(self, rollout: Rollout, steps: int, version: int) -> tuple[Batch, list[Episode]]:
        self.obs = rollout.views[steps]
        batch = rollout.first(steps)
        over = batch.over if self.tells_over else None
        reward = self.normalizers.reward(batch.reward, batch.terminated)
        self.latest = batch._replace(version=version, over=over, reward=reward)
        start = self.frame - steps * self.frames_per_step
        return self.latest, self.tracker.update(array(batch.reward), array(self.latest.ended), start)


def whole_step(env: VectorEnv, agent: Agent, rollout: Rollout) -> Callable[[Tensor], dict[str, Tensor]]:
    """A vector step of which a compiler makes one graph: all of it is tensors."""

    def step(place: Tensor) -> dict[str, Tensor]:
        action = agent.act(rollout.seen.index_select(0, place)[0])
        rollout.write_at(place, action, env.step(action))
        return {}

    return step


def refuse_dead_ends(obs: Any, env: EnvInfo) -> Any:
    """``obs [N, *obs_shape]`` to act on. Raises SpecError where it allows no action."""
    if env.mask_size and not (obs[:, -env.mask_size :] > 0).any(-1).all():
        raise SpecError.at("env.name", f"{env.name} allows no action where an episode goes on")
    return obs


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

    def __init__(self, num_envs: int, device: torch.device, workers: int = 1):
        self.workers = workers
        self.ret = torch.zeros(num_envs, dtype=torch.float64, device=device)
        self.length = torch.zeros(num_envs, dtype=torch.int64, device=device)

    def update(self, reward: Array, ended: Array, start: int) -> list[Episode]:
        """Takes raw ``reward [T, N]`` and ``ended [T, N]`` of the rollout that began at frame
        ``start``; returns the episodes that ended, in order of time."""
        ret, length = array(self.ret), array(self.length)
        if not ended.any():
            ret += reward.sum(0, dtype=ret.dtype)
            length += len(reward)
            return []
        returns = ret + reward.cumsum(0, dtype=ret.dtype)
        lengths = length + (ended | True).cumsum(0)
        env, t = places_of(ended.T)  # by sub-environment, then by time
        order, again = t.argsort(stable=True), env[1:] == env[:-1]
        rows = zip(
            (start + (t[order] + 1) * ended.shape[1] * self.workers).tolist(),
            _since_last(returns[t, env], again)[order].tolist(),
            _since_last(lengths[t, env], again)[order].tolist(),
        )
        last = joined(~again, ended[t[-1:], env[-1:]])  # which is true
        for total, totals in ((ret, returns), (length, lengths)):
            total[:] = totals[-1]
            total[env[last]] -= totals[t, env][last]
        return [Episode(*row) for row in rows]


def _since_last(value: Array, again: Array) -> Array:
    """What has been added since the last episode of the same sub-environment, where ``again`` one
    ended in the rollout."""
    return value - joined(value[:1] * 0, chosen(again, value[:-1], 0))
