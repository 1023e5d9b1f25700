"""Specs that cannot run, by number: a valid one, broken in one place in a way that no rule allows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.fuzz.clashes import CLASHES
from tests.fuzz.dice import Dice, Keys
from tests.fuzz.valid import valid_spec


class Broken(NamedTuple):
    """A spec file that is refused."""

    fault: str
    """What is wrong with it."""
    text: str
    path: str
    """Of a key that the message has to name; empty where the text itself is at fault."""


class Fault(NamedTuple):
    """A spec with a key that is wrong, and the path that is to be named."""

    spec: Keys
    path: str


FREE = ("agent.net.arc", "agent.net.actor_arc", "agent.net.critic_arc", "agent.critic_net.arc",
        "agent.critic_net.actor_arc", "agent.critic_net.critic_arc", "search", "meta.search",
        "meta.search_resources", "meta.search_scheduler")  # fmt: skip
"""Sections that are broken by tests of their own."""
ENV = frozenset(
    (
        *("name", "num_envs", "max_frame", "max_t", "normalize_obs", "normalize_reward", "clip_obs"),
        *("reward_scale", "frame_stack", "action_repeat", "vectorization_mode"),
    )
)
"""Keys of ``env`` that the lab reads itself."""
MANIFOLD = frozenset({"gpu", "clip_reward", "target_entropy", "out_layer_activation", "distributed"})
"""Keys that take values of several types."""
KEYWORDS = ("optim_spec", "loss_spec", "lr_scheduler_spec")
"""Ends of the paths of sections whose keys are PyTorch's, but for these."""
OWN_KEYWORDS = frozenset({"name", "lr", "frame", "min_factor"})


def broken_spec(number: int) -> Broken:
    """File ``number``; every call gives an equal one."""
    dice = Dice(number)
    fault = dice.choice(list(FAULTS))
    for _ in range(1000):
        spec = valid_spec(dice.randrange(10**9))
        if found := FAULTS[fault](dice, spec):
            if isinstance(found, Broken):
                return found
            return Broken(fault, as_file(found.spec), found.path)
    raise AssertionError(f"no spec can be broken so: {fault}")


def as_file(spec: Keys) -> str:
    return json.dumps({"fuzzed": spec})


def leaves(section: Keys, path: str = "") -> Iterator[tuple[Keys, str, str]]:
    """Every key whose type and range are the lab's: its section, its name, its path."""
    for key, value in section.items():
        where = f"{path}.{key}" if path else key
        foreign = (path == "env" and key not in ENV) or (
            path.endswith(KEYWORDS) and key not in OWN_KEYWORDS
        )
        if where in FREE or foreign:
            continue
        yield section, key, where
        if isinstance(value, dict):
            yield from leaves(value, where)


def pick(dice: Dice, spec: Keys, kinds: Any = object) -> tuple[Keys, str, str] | None:
    """A random key of one type of value; None where the spec has none."""
    found = [
        leaf for leaf in leaves(spec) if isinstance(leaf[0][leaf[1]], kinds) and leaf[1] not in MANIFOLD
    ]
    if kinds in (int, (int, float)):
        found = [leaf for leaf in found if not isinstance(leaf[0][leaf[1]], bool)]
    return dice.choice(found) if found else None


def wrong_type(dice: Dice, spec: Keys) -> Fault | None:
    leaf = pick(dice, spec, (int, float, str, bool, list, dict))
    if leaf is None:
        return None
    section, key, path = leaf
    value = section[key]
    if isinstance(value, bool):
        wrong: list[Any] = [2, "maybe", [], {}, 0.5]
    elif isinstance(value, int | float):
        wrong = ["high", True, False, [1], {}, ""]
    elif isinstance(value, str):
        wrong = [3, [], {"x": 1}, True]
    elif isinstance(value, list):
        wrong = [3, "64", {"0": 1}, True]
    else:
        wrong = [7, "PPO", [value], True]
    section[key] = dice.choice(wrong)
    return Fault(spec, path)


COUNTS: list[Any] = [0, -3, 1.5, 10**16, "0"]
RANGES: list[tuple[str, list[Any]]] = [
    ("gamma lam beta polyak_coef min_factor cross_entropy", [1.001, -1]),
    ("lr alpha_lr clip_grad_val clip_obs actor_clip_grad_val", [0, -0.5]),
    ("alpha val_loss_coef explore_noise entropy_penalty_coef", [-0.001]),
    ("start_step end_step training_start_step", [-1, 2.5, 10**16]),
    ("training_frequency time_horizon training_epoch training_iter minibatch_size", COUNTS),
    ("batch_size max_size max_frame max_t log_frequency eval_frequency", COUNTS),
    ("policy_delay num_quantiles update_frequency frame rnn_hidden_size", COUNTS),
    ("num_envs", [0, -1, 1_000_001, 0.5]),
    ("max_session frame_stack action_repeat", [0, 1001]),
    ("rigorous_eval", [-1, 1001]),
    ("seed", [-1, 2**63, 0.5]),
    ("rnn_num_layers", [0, 101]),
    ("hid_layers", [[0], [8, -1], [1.5], ["wide"], [None]]),
]
BOUNDS = {key: values for keys, values in RANGES for key in keys.split()}
"""Values out of range, by key."""


def out_of_range(dice: Dice, spec: Keys) -> Fault | None:
    found = [leaf for leaf in leaves(spec) if leaf[1] in BOUNDS]
    section, key, path = dice.choice(found)
    section[key] = dice.choice(BOUNDS[key])
    return Fault(spec, path)


MARK = 987654321


def not_finite(dice: Dice, spec: Keys) -> Broken | None:
    leaf = pick(dice, spec, (int, float))
    if leaf is None:
        return None
    leaf[0][leaf[1]] = MARK
    tokens = [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e400",
        '"nan"',
        '"inf"',
        '"1e999"',
        "9" * 5000,
    ]
    return Broken("not finite", as_file(spec).replace(str(MARK), dice.choice(tokens)), leaf[2])


def huge(dice: Dice, spec: Keys) -> Fault | None:
    agent, env = spec["agent"], spec["env"]
    match dice.choice(["envs", "memory", "weights", "layers"]):
        case "envs" if env.get("backend") != "torch" and agent["memory"]["name"] in (
            "OnPolicyBatchReplay", "Replay", "PrioritizedReplay"):  # fmt: skip
            env["num_envs"] = 1_000_000
            return Fault(spec, "env.num_envs")
        case "memory" if "max_size" in agent["memory"]:
            agent["memory"]["max_size"] = dice.choice([10**12, 10**15, "1e13"])
            return Fault(spec, "agent.memory.max_size")
        case "weights" if "hid_layers" in agent["net"]:
            agent["net"]["hid_layers"] = dice.choice([[10**6, 10**6], [10**12], [4, 10**15]])
            return Fault(spec, "agent.net.hid_layers")
        case "layers" if "hid_layers" in agent["net"]:
            agent["net"]["hid_layers"] = [1] * 100_000
            return Fault(spec, "agent.net.hid_layers")
    return None


def unknown_key(dice: Dice, spec: Keys) -> Fault | None:
    sections = [("", spec), ("agent", spec["agent"]), ("meta", spec["meta"]), ("env", spec["env"])]
    sections += [(f"agent.{key}", spec["agent"][key]) for key in ("algorithm", "memory", "net")]
    path, section = dice.choice([pair for pair in sections if pair[1]])
    word = "".join(dice.choice("abcdefghijklmnopqrstuvwxyz_é ☃") for _ in range(dice.randint(5, 14)))
    if word in section or not word.strip(" _"):
        return None
    section[word] = dice.choice([1, None, "x", [1], {"a": 1}])
    return Fault(spec, f"{path}.{word}" if path else word)


REQUIRED = ("agent", "agent.algorithm", "agent.algorithm.name", "agent.algorithm.gamma", "agent.memory",
            "agent.memory.name", "agent.memory.batch_size", "agent.memory.max_size", "agent.net",
            "agent.net.type", "agent.net.hid_layers", "agent.net.rnn_hidden_size", "env", "env.name",
            "env.max_frame", "agent.algorithm.lam", "agent.algorithm.time_horizon")  # fmt: skip


def missing_key(dice: Dice, spec: Keys) -> Fault | None:
    path = dice.choice(REQUIRED)
    optional = spec["agent"]["algorithm"]["name"] in ("Random", "ActorCritic", "SIL")
    *parents, key = path.split(".")
    section = spec
    for parent in parents:
        section = section.get(parent, {})
    if key not in section or (optional and path.startswith(("agent.algorithm.", "agent.net."))):
        return None
    del section[key]
    return Fault(spec, path)


def key_twice(dice: Dice, spec: Keys) -> Broken | None:
    leaf = pick(dice, spec, (int, float))
    if leaf is None:
        return None
    section, key, path = leaf
    value, section[key] = section[key], MARK
    twice = f'{value}, "{key}": {value}'
    return Broken("key twice", as_file(spec).replace(str(MARK), twice), path)


def too_deep(dice: Dice, spec: Keys) -> Broken:
    depth = dice.choice([65, 200, 5000, 100_000])
    opened, closed = dice.choice([("[", "]"), ('{"a": ', "}")])
    spec["agent"]["name"] = MARK
    buried = opened * depth + "1" + closed * depth
    return Broken("too deep", as_file(spec).replace(str(MARK), buried), "")


def cut_off(dice: Dice, spec: Keys) -> Broken:
    text = as_file(spec)
    return Broken("cut off", text[: dice.randrange(len(text))], "")


def clash(dice: Dice, spec: Keys) -> Fault | None:
    path = dice.choice(CLASHES)(dice, spec)
    return path and Fault(spec, path)


FAULTS: dict[str, Any] = {
    "wrong type": wrong_type,
    "out of range": out_of_range,
    "not finite": not_finite,
    "huge": huge,
    "unknown key": unknown_key,
    "missing key": missing_key,
    "key twice": key_twice,
    "too deep": too_deep,
    "cut off": cut_off,
    "clash": clash,
}
"""Each breaks a spec, or gives None where it has nothing to break."""
