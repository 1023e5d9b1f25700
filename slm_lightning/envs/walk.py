"""A random walk through an environment that nobody has tried yet: whether it keeps to the interface,
and whether it can be brought back."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import Env, spaces

from slm_lightning.core import EnvInfo, Keys, Stream
from slm_lightning.envs.crash import trace_of, where_raised
from slm_lightning.envs.gym_backend import GymVectorEnv
from slm_lightning.envs.gym_making import explained, make_own
from slm_lightning.envs.step_limit import StepLimit
from slm_lightning.envs.wrappers import MASK
from slm_lightning.errors import MissingError
from slm_lightning.spec.model import EnvParams

STEPS = 200
SECONDS = 5.0
"""After which a walk is long enough."""
MAKING = 5
"""An environment may be made for as long as so many steps may take."""
KEYS = Keys(0)


class Look(NamedTuple):
    """What an environment is like. ``doubt`` says why it cannot be brought back exactly, if so."""

    info: EnvInfo
    doubt: str = ""


class Trace(NamedTuple):
    """An episode: how it began, what was done, and what was shown."""

    seed: int
    actions: list[Any]
    shown: list[Any]  # one more than actions: (obs, reward, terminated, truncated)


def look_closely(params: EnvParams) -> Look:
    """What an environment is like that may do anything, for a process that may be lost.

    Raises MissingError for a step that breaks the interface; SpecError for spaces that are not
    supported.
    """
    with StepLimit(MAKING * params.step_timeout):
        made = GymVectorEnv(params, KEYS, num_envs=1)
    made.close()
    return Look(made.info, walk(params))


def walk(params: EnvParams) -> str:
    """Takes 200 random steps, and their episodes again in a new environment, in another order.
    Returns why episodes cannot be brought back, or nothing.

    Raises MissingError naming the step and what is wrong with it.
    """
    first, second = _Walker(params), _Walker(params)
    try:
        traces = first.walk()
        if how := second.differs(traces[0]):
            return f"does not repeat itself from its seed and actions: {how}"
        for trace in reversed(traces):
            if how := second.differs(trace):
                return f"keeps traces of earlier episodes over a reset: {how}"
        return ""
    finally:
        first.env.close()
        second.env.close()


class _Walker:
    """One environment, played at random."""

    def __init__(self, params: EnvParams):
        self.params, self.limit = params, StepLimit(params.step_timeout)
        with explained(params), StepLimit(MAKING * params.step_timeout):
            self.env: Env = make_own(params)
        self.actions = copy.deepcopy(self.env.action_space)  # the environment may draw from its own
        self.actions.seed(KEYS.seed_for(Stream.BASELINE))
        self.taken = 0

    def walk(self) -> list[Trace]:
        """Episodes of ``STEPS`` steps in all, each step checked."""
        until, traces = time.monotonic() + SECONDS, list[Trace]()
        while self.taken < STEPS and time.monotonic() < until:
            seed = KEYS.seed_for(Stream.BASELINE, len(traces))
            trace = Trace(seed, [], [self._reset(seed)])
            traces.append(trace)
            ended = False
            while not ended and self.taken < STEPS and time.monotonic() < until:
                trace.actions.append(self._action(trace.shown[-1][0]))
                trace.shown.append(self._step(trace.actions[-1]))
                ended = trace.shown[-1][2] or trace.shown[-1][3]
        return traces

    def differs(self, trace: Trace) -> str:
        """Where the same seed and actions lead elsewhere, in words; nothing where they do not."""
        names = ("observation", "reward", "terminated", "truncated")
        for t, shown in enumerate(self._again(trace)):
            for name, one, other in zip(names, trace.shown[t], shown):
                if not _same(one, other):
                    return f"another {name} in step {t}" if t else "another observation in reset"
        return ""

    def _again(self, trace: Trace) -> Iterator[Any]:
        yield self._reset(trace.seed)
        for action in trace.actions:
            yield self._step(action)

    def _action(self, obs: Any) -> Any:
        if isinstance(obs, dict) and MASK in obs and isinstance(self.actions, spaces.Discrete):
            return self.actions.sample(mask=np.asarray(obs[MASK], dtype=np.int8))
        return self.actions.sample()

    def _reset(self, seed: int) -> Any:
        answer = self._ask("reset", seed=seed)
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
            raise self._wrong("reset()", f"returns {_kind(answer)}, not (observation, info)")
        self._check_obs(answer[0])
        return _copy(answer[0]), 0.0, False, False

    def _step(self, action: Any) -> Any:
        self.taken += 1
        answer = self._ask("step", action)
        if not (isinstance(answer, tuple) and len(answer) == 5 and isinstance(answer[4], dict)):
            wanted = "(observation, reward, terminated, truncated, info)"
            raise self._wrong("step()", f"returns {_kind(answer)}, not {wanted}")
        obs, reward, *ends, _ = answer
        self._check_obs(obs)
        if np.ndim(reward) or not isinstance(reward, int | float | np.number | np.bool_ | np.ndarray):
            raise self._wrong("reward", f"is {_kind(reward)}, not a number")
        if not np.isfinite(reward):
            raise self._wrong("reward", f"is {reward}")
        for name, end in zip(("terminated", "truncated"), ends):
            if not isinstance(end, bool | np.bool_):
                raise self._wrong(name, f"is {end!r}, {_kind(end)}, not a bool")
        return _copy(obs), float(reward), bool(ends[0]), bool(ends[1])

    def _ask(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        try:
            with self.limit:
                return getattr(self.env, method)(*arguments, **keywords)
        except (Exception, SystemExit) as error:
            if method == "reset" and "'seed'" in str(error) and isinstance(error, TypeError):
                raise self._wrong("reset()", "takes no seed", str(error)) from error
            said = f"raises {type(error).__name__}: {error} ({where_raised(trace_of(error))})"
            raise self._wrong(f"{method}()", said) from error

    def _check_obs(self, obs: Any) -> None:
        for name, space, part in _parts("observation", self.env.observation_space, obs):
            if fault := _fault(space, part):
                raise self._wrong(name, fault)

    def _wrong(self, field: str, what: str, hint: str = "") -> MissingError:
        when = f"step {self.taken}" if self.taken else "the first reset"
        return MissingError(
            f"{self.params.name} breaks the interface of Gymnasium: {field} {what}, in {when} of a"
            " random walk",
            hint or "gymnasium.utils.env_checker.check_env tells more about an environment",
        )


def _parts(name: str, space: Any, obs: Any) -> Iterator[tuple[str, Any, Any]]:
    """The parts of an observation by name, each with its space."""
    if isinstance(space, spaces.Dict) and isinstance(obs, dict) and obs.keys() == space.keys():
        for key in space:
            yield from _parts(f'{name}["{key}"]', space[key], obs[key])
    else:
        yield name, space, obs


def _fault(space: Any, obs: Any) -> str:
    """What is wrong with an observation, in words."""
    if not isinstance(space, spaces.Box):
        return "" if space.contains(obs) else f"{obs!r} is not in observation_space {space}"
    try:
        array = np.asarray(obs)
    except ValueError as error:
        return f"is no array: {error}"
    if array.shape != space.shape:
        return f"has the shape {array.shape}, and observation_space {space.shape}"
    if not np.can_cast(array.dtype, space.dtype, "same_kind"):
        return f"is of {array.dtype}, and observation_space of {space.dtype}"
    array = array.astype(space.dtype)
    if not np.isfinite(array).all():
        return "is not finite"
    outside = np.argwhere((array < space.low) | (array > space.high))
    if len(outside):
        at = tuple(int(i) for i in outside[0])
        low, high = space.low[at], space.high[at]
        return f"has {array[at]:g} at {list(at)}, outside of [{low:g}, {high:g}]"
    return ""


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(np.array_equal(one, other))


def _copy(obs: Any) -> Any:
    """What a later step cannot write over."""
    if isinstance(obs, dict):
        return {key: _copy(part) for key, part in obs.items()}
    if isinstance(obs, tuple | list):
        return tuple(_copy(part) for part in obs)
    return np.array(obs) if isinstance(obs, np.ndarray) else obs


def _kind(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"
