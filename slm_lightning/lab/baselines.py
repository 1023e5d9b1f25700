"""What a random policy scores: the zero of the strength scale.

Baselines of common environments are measured once by ``scripts/random_baselines`` and shipped as
``random_baselines.json``. Any other environment is measured when it is first asked for and kept in a
cache file of the user's; the package itself is never written to.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from filelock import FileLock

from slm_lightning.core import Keys, Stream
from slm_lightning.envs.step_limit import StepLimit
from slm_lightning.errors import StorageError
from slm_lightning.files import atomically
from slm_lightning.redact import redact
from slm_lightning.spec.model import EnvParams

SHIPPED = Path(__file__).with_name("random_baselines.json")
EPISODES = 100
MAX_EPISODE_STEPS = 10_000
MAX_STEPS = 200_000

log = logging.getLogger(__name__)

Make = Callable[[], gymnasium.Env]


class Baseline(NamedTuple):
    """Undiscounted return of the random policy over ``episodes`` episodes."""

    mean: float
    std: float  # sample standard deviation over episodes
    episodes: int


def random_baseline(
    name: str,
    kwargs: Mapping[str, Any],
    cache: Path,
    make: Make | None = None,
    measured: Callable[[Make], Baseline] | None = None,
) -> Baseline | None:
    """The baseline of ``make()``, by default ``gymnasium.make(name, **kwargs)``: shipped, from
    ``cache``, or measured now, by ``measured(make)``, by default ``measure``.

    ``cache`` is a JSON file; it is written under a lock, so sessions that run side by side measure
    once. It knows an environment by its name and arguments only: delete the file when the code of an
    environment has changed.

    Returns None, with a warning in the log, for an environment that cannot be made or played.
    Raises StorageError when the cache cannot be read or written.
    """
    key = baseline_key(name, kwargs)
    make = make or functools.partial(gymnasium.make, name, **kwargs)
    shipped = read_table(SHIPPED)
    if key in shipped:
        return shipped[key]
    try:
        cached = read_table(cache)
        return cached[key] if key in cached else _measure_into(cache, key, make, measured or measure)
    except OSError as error:
        hint = "make its folder writable; it is kept in the folder of the record"
        raise StorageError(f"the random baselines in {cache} cannot be used: {error}", hint) from error


def reward_threshold(name: str) -> float | None:
    """The mean return at which Gymnasium counts its environment ``name`` as solved; None where it does
    not say, and for an environment that is not registered now. Nothing is imported for the answer."""
    found = gymnasium.registry.get(name)
    return None if found is None or found.reward_threshold is None else float(found.reward_threshold)


def registered_name(name: str, kwargs: Mapping[str, Any]) -> str:
    """The name under which Gymnasium has an environment with these arguments, as
    ``LunarLanderContinuous-v3``; its :func:`baseline_key` where there is none."""
    key, registry = baseline_key(name, kwargs), gymnasium.registry
    own = registry.get(name)
    if own is None or not kwargs:
        return key
    same = (own.entry_point, own.max_episode_steps, {**own.kwargs, **kwargs})
    found = [e.id for e in registry.values() if (e.entry_point, e.max_episode_steps, e.kwargs) == same]
    return found[0] if len(found) == 1 else key


def _measure_into(
    cache: Path, key: str, make: Make, measured: Callable[[Make], Baseline]
) -> Baseline | None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{cache}.lock"):
        table = read_table(cache)
        if key not in table:
            try:
                table[key] = measured(make)
            except Exception as error:  # whatever a foreign environment raises, only strength is lost
                log.warning(
                    "no random baseline for %s, its strength is n/a: %s", key, redact(str(error))
                )
                return None
            write_table(cache, table)
    return table[key]


def baseline_key(name: str, kwargs: Mapping[str, Any]) -> str:
    """The environment's name, followed by its constructor arguments as JSON where it has any;
    secrets are left out."""
    return f"{name} {json.dumps(redact(kwargs), sort_keys=True, default=str)}" if kwargs else name


def arguments_of(env: EnvParams) -> dict[str, Any]:
    """What, besides its name, makes an environment this one."""
    own = {key: getattr(env, key) for key in ("max_t", "entry_point", "action_repeat")}
    return {**(env.model_extra or {}), **{k: v for k, v in own.items() if v is not None}}


def measure(make: Make, limit: float = 0) -> Baseline:
    """Plays up to 100 episodes with random actions from the action space, all from fixed seeds.

    The same numbers come out on every call. An episode is cut after 10 000 steps and counts with the
    return so far; no new episode starts after 200 000 steps, so an endless environment ends too.

    Raises whatever ``make`` or the environment raises. A step that takes longer than ``limit`` seconds
    ends the process, where StepLimit may.
    """
    keys, each = Keys(seed=0), StepLimit(limit)
    returns: list[float] = []
    steps = 0
    env = make()
    try:
        env.action_space.seed(keys.seed_for(Stream.BASELINE))
        while len(returns) < EPISODES and steps < MAX_STEPS:
            seed = keys.seed_for(Stream.BASELINE, len(returns))
            total_reward, length = _random_episode(env, seed, each)
            returns.append(total_reward)
            steps += length
    finally:
        env.close()
    return Baseline(float(np.mean(returns)), float(np.std(returns, ddof=1)), len(returns))


def _random_episode(env: gymnasium.Env, seed: int, limit: StepLimit) -> tuple[float, int]:
    """Return and length of one episode that starts from ``seed``."""
    with limit:
        env.reset(seed=seed)
    total_reward, length, done = 0.0, 0, False
    while not done and length < MAX_EPISODE_STEPS:
        with limit:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        total_reward += float(reward)
        length += 1
        done = terminated or truncated
    return total_reward, length


def read_table(path: Path) -> dict[str, Baseline]:
    """The baselines in a JSON file by key; empty when there is no such file or it is damaged."""
    try:
        return {key: Baseline(**entry) for key, entry in json.loads(path.read_text()).items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def write_table(path: Path, table: Mapping[str, Baseline]) -> None:
    """Replaces the file in one step, so that a reader never sees half of it."""
    entries = {key: table[key]._asdict() for key in sorted(table)}
    text = json.dumps(entries, indent=2) + "\n"
    atomically(path, lambda aside: aside.write_text(text, encoding="utf-8"))
