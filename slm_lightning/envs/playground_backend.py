"""MuJoCo Playground: many robots at once in JAX, on the GPU where JAX has one.

Everything of a vector step happens on JAX's device, new episodes included, and tensors are handed over
without a copy. The seed of an episode is a function of its number, so no host has to be waited for.
"""

from __future__ import annotations

import difflib
import os
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from slm_lightning.core import ActionSpec, EnvInfo, Keys, Step, Stream
from slm_lightning.errors import MissingError, SpecError
from slm_lightning.spec.model import EnvParams
from slm_lightning.spec.wording import listed, shown

PREFIX = "playground/"
DEVICES = {"auto": None, "cuda": "gpu", "gpu": "gpu", "cpu": "cpu"}
"""``env.device``, and what JAX calls it."""

REPEATS = {"PendulumSwingup": 4}
"""Steps for which an action is taken, where Playground's own training takes several."""


class Running(NamedTuple):
    """The episodes of ``N`` sub-environments, as JAX arrays."""

    state: Any  # Playground's State, every leaf [N, ...]
    age: Any  # [N] int32 decisions made so far
    episode: Any  # [N] int32


class PlaygroundEnv:
    """``env.backend: playground``, ids ``playground/<Env>``; further keys of ``env`` override the
    environment's configuration, such as ``impl``, and ``device`` is auto, cuda or cpu.

    Actions are clipped to [-1, 1]. Of several observations the one called ``state`` is shown. The
    numbers depend on ``num_envs`` in their last bits, as the compiler's sums do.
    Raises MissingError where JAX or Playground is not installed or has no such environment, SpecError
    where the configuration has no such key.
    """

    def __init__(
        self,
        params: EnvParams,
        keys: Keys,
        stream: Stream = Stream.ENV,
        num_envs: int | None = None,
        render_mode: str | None = None,
    ):
        self.num_envs = num_envs or params.num_envs
        self.render_mode = render_mode
        self.jax = import_jax(params.name)
        options = dict(params.model_extra or {})
        self.device = self._device(options.pop("device", None) or "auto")
        self.envs = self._load(params, options)
        config = self.envs._config
        name = params.name.removeprefix(PREFIX)
        self.repeat = params.action_repeat or REPEATS.get(name, int(config.get("action_repeat", 1)))
        own = -(-int(config.episode_length) // self.repeat)
        self.limit = min(params.max_t or own, own)
        self.envs.metadata = {"render_fps": round(1 / (self.envs.dt * self.repeat))}
        self.key = self.jax.device_put(
            self.jax.random.PRNGKey(keys.seed_for(stream)), self.device
        )  # of which every episode's seed is made
        self._begin = self.jax.jit(self._begin_all)
        self._step = self.jax.jit(self._step_all)
        self.info = EnvInfo(
            name=params.name,
            num_envs=self.num_envs,
            obs_shape=self._obs_shape(params.name),
            obs_dtype=torch.float32,
            action=ActionSpec("continuous", (self.envs.action_size,)),
            max_episode_steps=self.limit,
        )

    def reset(self) -> Tensor:
        """Starts episode 0 of every sub-environment; ``obs [N, *obs_shape]``."""
        self.running = self._begin(self.key)
        return self._observed()

    def step(self, action: Tensor) -> Step:
        """Takes ``action [N, k]``; finished sub-environments begin their next episode. The tensors are
        JAX's own memory: they are to be read only."""
        self.running, *parts = self._step(self.key, self.running, self._from_torch(action))
        next_obs, reward, terminated, truncated = (torch.from_dlpack(part) for part in parts)
        return Step(next_obs, reward, terminated, truncated, self._observed())

    def state_dict(self) -> dict[str, Any]:
        """The whole state of the simulation, which Playground does give up."""
        leaves = [np.asarray(leaf) for leaf in self.jax.tree.leaves(self.running)]
        return {"leaves": [torch.from_numpy(_as_signed(leaf).copy()) for leaf in leaves]}

    def load_state_dict(self, state: dict[str, Any]) -> Tensor:
        """Puts the state back; returns its observations."""
        like, tree = self.jax.tree.flatten(self._begin(self.key))
        arrays = [x.numpy().view(old.dtype) for x, old in zip(state["leaves"], like, strict=True)]
        self.running = self.jax.tree.unflatten(tree, self.jax.device_put(arrays, self.device))
        return self._observed()

    def actions(self, action: Tensor) -> np.ndarray:
        """What the environment takes for an agent's ``action [N, k]``."""
        return action.clamp(-1, 1).cpu().numpy()

    def from_env(self, obs: Any) -> np.ndarray:
        """An observation of the environment itself, as an agent sees it."""
        return np.asarray(obs["state"] if isinstance(obs, dict) else obs)

    def render(self) -> np.ndarray | None:
        if self.render_mode != "rgb_array":
            return None
        first = self.jax.tree.map(lambda leaf: leaf[0], self.running.state)
        return np.asarray(self.envs.render(first, height=480, width=640))

    def close(self) -> None:
        pass

    def _begin_all(self, key: Any) -> Running:
        zeros = self.jax.numpy.zeros(self.num_envs, dtype="int32")
        return Running(self._first_states(key, zeros), zeros, zeros)

    def _first_states(self, key: Any, episode: Any) -> Any:
        """States ``[N, ...]`` at the start of each sub-environment's ``episode [N]``."""
        fold = self.jax.random.fold_in
        seed = self.jax.vmap(lambda i, e: fold(fold(key, i), e))
        return self.jax.vmap(self.envs.reset)(seed(self.jax.numpy.arange(self.num_envs), episode))

    def _step_all(self, key: Any, running: Running, action: Any) -> tuple[Any, ...]:
        jax, jnp = self.jax, self.jax.numpy
        action = jnp.clip(action, -1, 1)

        def once(held: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], None]:
            state, reward = held
            over = state.done > 0
            after = jax.vmap(self.envs.step)(state, action)
            return (self._where(over, state, after), reward + jnp.where(over, 0, after.reward)), None

        fresh = running.state.replace(done=jnp.zeros_like(running.state.done))
        none = jnp.zeros(self.num_envs, dtype=fresh.reward.dtype)
        (state, reward), _ = jax.lax.scan(once, (fresh, none), length=self.repeat)
        age = running.age + 1
        terminated, truncated = state.done > 0, age >= self.limit
        ended = terminated | truncated
        episode = running.episode + ended
        begun = jax.lax.cond(
            ended.any(),
            lambda: self._where(ended, self._first_states(key, episode), state),
            lambda: state,
        )
        after = Running(begun, jnp.where(ended, 0, age), episode)
        # a simulation that breaks down ends its episode, with an observation that is no number
        seen = jnp.nan_to_num(_obs(state))
        return after, seen, jnp.nan_to_num(reward), terminated, truncated

    def _where(self, mask: Any, one: Any, other: Any) -> Any:
        """``one`` where ``mask [N]``, else ``other``; both are states."""

        def choose(x: Any, y: Any) -> Any:
            rows = mask.reshape(-1, *[1] * (y.ndim - 1)) if y.ndim else mask[0]
            return self.jax.numpy.where(rows, x, y).astype(y.dtype)

        return self.jax.tree.map(choose, one, other)

    def _observed(self) -> Tensor:
        return torch.from_dlpack(self.jax.numpy.asarray(_obs(self.running.state)))

    def _from_torch(self, action: Tensor) -> Any:
        """On JAX's device, without a copy where it already is there."""
        if (action.device.type == "cuda") == (self.device.platform == "gpu"):
            return self.jax.dlpack.from_dlpack(action.detach().contiguous())
        return self.jax.device_put(action.cpu().numpy(), self.device)

    def _device(self, name: Any) -> Any:
        if name not in DEVICES:
            raise SpecError.at("env.device", f"expected {listed(DEVICES)}, not {shown(name)}")
        try:
            return self.jax.local_devices(backend=DEVICES[name])[0]
        except RuntimeError:
            hint = 'write env.device "auto", or install JAX for CUDA: pip install "jax[cuda12]"'
            raise MissingError("JAX finds no GPU here", hint) from None

    def _load(self, params: EnvParams, options: dict[str, Any]) -> Any:
        """The environment of the id; by default in Warp on a GPU and in JAX elsewhere."""
        from mujoco_playground import registry

        if params.vectorization_mode == "async":
            message = 'Playground has no processes; write "sync"'
            raise SpecError.at("env.vectorization_mode", message)
        if params.frame_stack not in (None, 1):
            raise SpecError.at("env.frame_stack", "is not for Playground's environments; write 1")
        name = params.name.removeprefix(PREFIX)
        if name not in registry.ALL_ENVS:
            close = difflib.get_close_matches(name, registry.ALL_ENVS, n=3, cutoff=0.5)
            hint = f"there are {', '.join(PREFIX + known for known in close or registry.ALL_ENVS)}"
            raise MissingError(f"MuJoCo Playground has no {name}", hint)
        config = registry.get_default_config(name)
        for key in options.keys() - set(config.keys()):
            known = f"there are {listed(['device', *config.keys()])}"
            raise SpecError.at(f"env.{key}", f"neither a key of env nor one of {params.name}; {known}")
        impl = {"impl": "warp" if self.device.platform == "gpu" else "jax"} if "impl" in config else {}
        try:
            return registry.load(name, config_overrides=impl | options)
        except Exception as error:  # whatever the simulator, or the download of a robot, raises
            raise MissingError(
                f"{params.name} cannot be made: {type(error).__name__}: {error}"
            ) from error

    def _obs_shape(self, name: str) -> tuple[int, ...]:
        state = self.jax.eval_shape(self.envs.reset, self.key)
        if isinstance(state.obs, dict) and "state" not in state.obs:
            raise SpecError.at("env.name", f"{name} shows {listed(state.obs)} and no state")
        return tuple(_obs(state).shape)


def import_jax(name: str) -> Any:
    """JAX, made to leave memory of the GPU to PyTorch. Raises MissingError."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        import jax
        import jax.dlpack
        import mujoco_playground  # noqa: F401
    except ImportError as error:
        raise MissingError(
            f"{name} needs MuJoCo Playground: {error}", 'pip install "slm-lightning[playground]"'
        ) from error
    return jax


def _obs(state: Any) -> Any:
    return state.obs["state"] if isinstance(state.obs, dict) else state.obs


def _as_signed(array: np.ndarray) -> np.ndarray:
    """The same bits in a type that PyTorch knows well."""
    signed = {"uint32": np.int32, "uint64": np.int64, "uint16": np.int16}
    return array.view(signed[array.dtype.name]) if array.dtype.name in signed else array
