"""Keys that are well-typed and do not go together."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.dice import Dice, Keys
from tests.fuzz.valid import ALGORITHMS, CRITICS

Clash = Callable[[Dice, Keys], str]
"""Changes a spec so that keys of it contradict each other, and returns the path of one; or returns
nothing where the spec does not lend itself to that."""


def actions(dice: Dice, spec: Keys) -> str:
    """An algorithm in an environment whose actions it cannot take."""
    name = spec["agent"]["algorithm"]["name"]
    kinds = ALGORITHMS[name].actions
    if len(kinds) > 1 or spec["agent"]["net"].get("type", "").endswith("ConvNet"):
        return ""
    other = "Pendulum-v1" if "discrete" in kinds else "CartPole-v1"
    frames = {key: spec["env"][key] for key in ("num_envs", "max_frame")}
    spec["env"] = {"name": other, **frames}
    spec["agent"]["algorithm"].pop("action_pdtype", None)
    return "agent.algorithm.name"


def memory(dice: Dice, spec: Keys) -> str:
    name = spec["agent"]["algorithm"]["name"]
    if name == "Random":
        return ""
    other = "Replay" if ALGORITHMS[name].on_policy else "OnPolicyReplay"
    spec["agent"]["memory"]["name"] = other
    return "agent.memory.name"


def minibatch(dice: Dice, spec: Keys) -> str:
    keys = spec["agent"]["memory"]
    if "max_size" not in keys or keys["name"].startswith("OnPolicy"):
        return ""
    keys["batch_size"] = keys["max_size"] + dice.randint(1, 100)
    return "agent.memory.batch_size"


def episodes(dice: Dice, spec: Keys) -> str:
    """Whole episodes of several sub-environments."""
    if spec["agent"]["memory"]["name"] not in ("OnPolicyReplay", "OnPolicyCrossEntropy"):
        return ""
    spec["env"]["num_envs"] = dice.randint(2, 9)
    return "" if spec["agent"]["algorithm"]["name"] == "Random" else "env.num_envs"


def exploration(dice: Dice, spec: Keys) -> str:
    keys = spec["agent"]["algorithm"]
    keys["action_policy"] = dice.choice(["epsilon_greedy", "boltzmann"])
    keys["explore_var_spec"] = None
    return "agent.algorithm.explore_var_spec"


def freezing(dice: Dice, spec: Keys) -> str:
    """A temperature of 0 or below."""
    keys = spec["agent"]["algorithm"]
    keys["action_policy"] = "boltzmann"
    keys["explore_var_spec"] = {"name": "linear_decay", "start_val": 1, "end_val": 0, "end_step": 10}
    return "agent.algorithm.explore_var_spec.end_val"


def backwards(dice: Dice, spec: Keys) -> str:
    """A schedule that ends before it begins."""
    schedule = {"name": "linear_decay", "start_val": 1, "end_val": 0.5, "start_step": 9, "end_step": 3}
    spec["agent"]["algorithm"]["explore_var_spec"] = schedule
    return "agent.algorithm.explore_var_spec.end_step"


def distribution(dice: Dice, spec: Keys) -> str:
    names = ["Categorical", "Normal", "Bernoulli", "MultiCategorical"]
    fits = {"Normal", spec["agent"]["algorithm"].get("action_pdtype")}
    if spec["env"].get("name") in ("CartPole-v1", "Acrobot-v1"):
        fits = {"Categorical"}
    elif spec["env"]["name"] not in ("Pendulum-v1", "MountainCarContinuous-v0"):
        return ""
    spec["agent"]["algorithm"]["action_pdtype"] = dice.choice([n for n in names if n not in fits])
    return "agent.algorithm.action_pdtype"


def convolution(dice: Dice, spec: Keys) -> str:
    """A net for images where there are none."""
    if spec["env"]["name"] not in ("CartPole-v1", "Acrobot-v1") or not spec["agent"]["net"]:
        return ""
    if spec["agent"]["algorithm"]["name"] == "Random":
        return ""
    spec["agent"]["net"] = {"type": "ConvNet", "conv_hid_layers": [[8, 2]]}
    return "agent.net.type"


def statistics(dice: Dice, spec: Keys) -> str:
    """A net that normalises by the batch, for an algorithm that learns by acting."""
    net = spec["agent"]["net"]
    if not ALGORITHMS[spec["agent"]["algorithm"]["name"]].on_policy or net.get("type") != "MLPNet":
        return ""
    net.pop("layer_norm", None)
    net["batch_norm"] = True
    return "agent.net.batch_norm"


def gain(dice: Dice, spec: Keys) -> str:
    if not spec["agent"]["net"]:
        return ""
    spec["agent"]["net"] |= {"init_fn": "kaiming_uniform_", "init_std": 0.1}
    return "agent.net.init_std"


def learning_rate(dice: Dice, spec: Keys) -> str:
    if not spec["agent"]["net"]:
        return ""
    spec["agent"]["net"]["lr_scheduler_spec"] = {"name": "LinearToZero"}
    return "agent.net.lr_scheduler_spec.frame"


def critics(dice: Dice, spec: Keys) -> str:
    """A net for critics that the algorithm does not have."""
    if spec["agent"]["algorithm"]["name"] in CRITICS:
        return ""
    spec["agent"]["critic_net"] = {"type": "MLPNet", "hid_layers": [8]}
    return "agent.critic_net"


def memories(dice: Dice, spec: Keys) -> str:
    """A net that remembers, for an algorithm that cannot."""
    if spec["agent"]["algorithm"]["name"] not in (*CRITICS, "SIL", "PPOSIL", "Random"):
        return ""
    spec["agent"]["net"] = {"type": "RecurrentNet", "cell_type": "GRU", "rnn_hidden_size": 4}
    return "agent.net.type"


def processes(dice: Dice, spec: Keys) -> str:
    if spec["env"].get("backend") != "torch":
        return ""
    spec["env"]["vectorization_mode"] = "async"
    return "env.vectorization_mode"


def budget(dice: Dice, spec: Keys) -> str:
    """Less than one round."""
    name = spec["agent"]["algorithm"]["name"]
    if spec["agent"]["memory"]["name"] != "OnPolicyBatchReplay" or name == "Random":
        return ""
    spec["env"] |= {"num_envs": 4, "max_frame": 3}
    return "env.max_frame"


def limit(dice: Dice, spec: Keys) -> str:
    """An argument of the environment that is the lab's to give."""
    spec["env"]["max_episode_steps"] = 10
    return "env.max_episode_steps"


def name(dice: Dice, spec: Keys) -> str:
    """A name of another library, or of nothing."""
    path = dice.choice(["agent.algorithm.name", "agent.memory.name", "agent.net.type", "env.backend"])
    *parents, key = path.split(".")
    section = spec
    for parent in parents:
        section = section[parent]
    if not section:
        return ""
    section[key] = dice.choice(["A2C", "Rainbow", "Transformer", "", "../../x", "a\0b", "🐍" * 9])
    return path


CLASHES: tuple[Clash, ...] = (
    *(
        actions,
        memory,
        minibatch,
        episodes,
        exploration,
        freezing,
        backwards,
        distribution,
        convolution,
    ),
    *(statistics, gain, learning_rate, critics, memories, processes, budget, limit, name),
)
