"""Specs of SLM Lab as their authors meant them.

Some name what that lab has dropped, and some never ran in it: here each is read as what can run, with a
sentence about it. A spec written for this lab (``RawSpec.native``) is taken as it stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from slm_lightning.spec.dimension import SEARCHABLE
from slm_lightning.spec.load import copied
from slm_lightning.spec.model import keyword
from slm_lightning.spec.space import IF
from slm_lightning.spec.wording import dotted

GONE = frozenset({"HydraDQN", "HydraMLPNet"})
"""Names that SLM Lab's own specs still say, and that neither lab has."""

BY_VALUE = frozenset({"SARSA", "VanillaDQN", "DQN", "DoubleDQN"})
"""Algorithms that act on the values of actions, without a distribution to learn."""
FEED_FORWARD = frozenset({"SIL", "PPOSIL", "SoftActorCritic", "CrossQ"})
"""Algorithms of SLM Lab that cannot learn from sequences."""
WITH_CRITICS = frozenset({"SoftActorCritic", "CrossQ"})
"""Algorithms of SLM Lab whose critics may have a net of another kind."""
EPISODIC = ("OnPolicyReplay", "OnPolicyCrossEntropy")

LEFTOVERS: dict[str, tuple[str, ...]] = {
    "": ("body", "ablation"),
    "agent.algorithm": (
        *("add_entropy", "clip_eps", "entropy_coef", "entropy_anneal_epi", "explore_anneal_epi"),
        *("normalize_state", "training_batch_epoch", "training_min_timestep", "use_gae", "use_nstep"),
    ),
    "agent.memory": ("stack_len",),
    "env": (
        *("frame_op", "frame_op_len", "image_downsize", "max_tick", "max_tick_unit", "save_frequency"),
    ),
    "agent.net": (
        *("clip_grad", "cuda_id", "lr", "lr_anneal_timestep", "lr_decay", "lr_decay_frequency"),
        *("lr_decay_min_timestep", "update_weights"),
    ),
    "meta": (
        *(
            "max_epi",
            "max_tick",
            "max_tick_unit",
            "max_total_t",
            "param_spec_process",
            "save_frequency",
        ),
        *("train_mode", "training_mode"),
        *("cuda_offset", "eval_model_prepath", "experiment", "experiment_ts", "graph_prepath"),
        *("info_prepath", "log_prepath", "model_prepath", "prepath", "resume", "session", "trial"),
    ),
}
"""Keys that SLM Lab once read, or wrote into the specs it saved, by section."""

DRAWN = re.compile(rf"((?:(?!__).)*[^_])__?({'|'.join((*SEARCHABLE, 'grid_search'))})")
"""A key of ``search``, of which a single underscore before the distribution was a slip."""


class Draft:
    """A copy of a spec's data, whatever it holds, and ``notes`` of what was changed in it."""

    def __init__(self, data: dict[str, Any]):
        self.data: dict[str, Any] = copied(data)
        self.notes: list[str] = []

    def section(self, path: str) -> dict[str, Any]:
        """The section at ``path``; an empty one of its own where there is none."""
        found: Any = self.data
        for key in path.split(".") if path else ():
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def get(self, path: str) -> Any:
        """The value at ``path``; None where there is none."""
        section, _, key = path.rpartition(".")
        return self.section(section).get(key)

    def number(self, path: str) -> float | None:
        """The number at ``path``, which may be text; None where it is none."""
        value = keyword(self.get(path))
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def put(self, path: str, value: Any, note: str) -> None:
        """Puts ``value`` in the place of what ``note`` tells about."""
        section, _, key = path.rpartition(".")
        self.section(section)[key] = value
        self.notes.append(f"{path}: {note}")

    def drop(self, path: str, why: str) -> None:
        """Takes out what nothing is to read."""
        section, _, key = path.rpartition(".")
        if self.section(section).pop(key, None) not in (None, False):
            self.notes.append(f"{path} is not read: {why}")

    @property
    def algorithm(self) -> str:
        name = self.get("agent.algorithm.name")
        return name if isinstance(name, str) else ""


def as_meant(data: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What the spec of SLM Lab ``data`` means here, and one sentence for each thing that is not taken
    as it stands there."""
    draft = Draft(data)
    for reading in READINGS:
        reading(draft)
    return draft.data, draft.notes


def _leftovers(draft: Draft) -> None:
    for path, keys in LEFTOVERS.items():
        for key in keys:
            draft.drop(dotted(path, key), "a key of older versions of SLM Lab")


def _environment(draft: Draft) -> None:
    """Keys that no environment of today takes, but something else does."""
    frames = draft.number("env.frame_op_len")
    if draft.get("env.frame_op") == "concat" and frames and draft.get("env.frame_stack") is None:
        draft.put("env.frame_stack", frames, "taken from frame_op_len")
        for key in ("frame_op", "frame_op_len"):
            draft.section("env").pop(key)
    if draft.section("env").pop("normalize_state", None) and draft.get("env.normalize_obs") is None:
        draft.put("env.normalize_obs", True, "taken from normalize_state")
    if draft.section("env").pop("scale_obs", None):
        draft.put("agent.net.normalize", True, "taken from env.scale_obs, which divided images by 255")
    if draft.get("env.reward_scale") == "sign":
        draft.put("env.clip_reward", 1.0, "taken from reward_scale, which left the sign of rewards")
        draft.section("env").pop("reward_scale")


def _search(draft: Draft) -> None:
    """Searches as SLM Lab 4 wrote them: sections in lists, grids, ``_choice`` for ``__choice``, and a
    class of its own in ``meta.search``."""
    if not isinstance(draft.get("meta.search"), dict):
        draft.drop("meta.search", "a key of older versions of SLM Lab")
    found = draft.get("search")
    if isinstance(found, dict):
        draft.data["search"] = _searched(draft, "search", found)


def _searched(draft: Draft, path: str, section: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for key, value in section.items():
        where = dotted(path, key)
        head, mark, condition = key.partition(IF)
        drawn = DRAWN.fullmatch(head) if isinstance(value, list) else None
        if drawn and drawn[2] == "grid_search":
            key = f"{drawn[1]}__choice{mark}{condition}"
            draft.notes.append(f"{where}: read as {key}; the sampler grid of meta.search tries all")
        elif drawn and drawn[0] != f"{drawn[1]}__{drawn[2]}":
            key = f"{drawn[1]}__{drawn[2]}{mark}{condition}"
            draft.notes.append(f"{where}: read as {key}")
        elif not drawn and isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            value = value[0]
        read[key] = _searched(draft, where, value) if isinstance(value, dict) else value
    return read


def _distribution(draft: Draft) -> None:
    path, name = "agent.algorithm.action_pdtype", draft.get("agent.algorithm.action_pdtype")
    if draft.algorithm in BY_VALUE:
        return
    if name == "GumbelSoftmax":
        draft.put(path, "default", "GumbelSoftmax draws as Categorical does, which is taken")
    elif name == "Argmax":
        draft.put(path, "default", "a policy has to be drawn from to be learned; Argmax never is")


def _temperature(draft: Draft) -> None:
    """An exploration variable above 1 is no probability."""
    policy, schedule = "agent.algorithm.action_policy", "agent.algorithm.explore_var_spec"
    if draft.get(policy) == "epsilon_greedy" and (draft.number(f"{schedule}.start_val") or 0) > 1:
        draft.put(policy, "boltzmann", "its variable begins above 1, so it is read as a temperature")
    if draft.get(policy) == "boltzmann" and draft.number(f"{schedule}.end_val") == 0:
        draft.put(f"{schedule}.end_val", 0.01, "a temperature cannot reach 0; read as 0.01")


def _ppo(draft: Draft) -> None:
    """Rollouts of PPO that SLM Lab could not collect."""
    if draft.algorithm not in ("PPO", "PPOSIL"):
        return
    horizon, memory = "agent.algorithm.time_horizon", draft.get("agent.memory.name")
    if draft.get(horizon) is None and draft.number("agent.algorithm.training_frequency"):
        unit = "episodes" if memory in EPISODIC else "vector steps"
        frequency = draft.section("agent.algorithm").pop("training_frequency")
        draft.put(horizon, frequency, f"left out; taken from training_frequency, in {unit}")
        if draft.get("agent.algorithm.training_epoch") is None:
            draft.put("agent.algorithm.training_epoch", 4, "left out; read as 4")
    elif memory in EPISODIC:
        note = f"PPO learns from time_horizon vector steps; {memory} is read as OnPolicyBatchReplay"
        draft.put("agent.memory.name", "OnPolicyBatchReplay", note)


def _episodes(draft: Draft) -> None:
    """Whole episodes come from a single environment."""
    memory, num_envs = draft.get("agent.memory.name"), draft.number("env.num_envs") or 1
    if memory in EPISODIC and num_envs > 1 and draft.algorithm != "Random":
        note = f"whole episodes are collected from 1 environment; SLM Lab never learned with {memory}"
        draft.put("env.num_envs", 1, f"{note} and {num_envs:g}")


def _memoryless(draft: Draft) -> None:
    """A RecurrentNet for an algorithm that draws single transitions."""
    net = draft.section("agent.net")
    if draft.algorithm not in FEED_FORWARD or net.get("type") != "RecurrentNet":
        return
    layers, width = net.pop("fc_hid_layers", None) or [], net.pop("rnn_hidden_size", None)
    for key in ("cell_type", "rnn_num_layers", "bidirectional", "seq_len"):
        net.pop(key, None)
    net["hid_layers"] = [*layers, width] if isinstance(layers, list) else layers
    note = f"{draft.algorithm} has no memory; RecurrentNet is read as an MLPNet of the same widths"
    draft.put("agent.net.type", "MLPNet", f"{note}, as SLM Lab's had none either (Q12)")


def _nets(draft: Draft) -> None:
    if draft.algorithm and draft.algorithm not in WITH_CRITICS:
        draft.drop("agent.critic_net", f"{draft.algorithm} builds all it needs from agent.net")
    for path in ("agent.net", "agent.critic_net"):
        every = draft.number(f"{path}.update_frequency")
        if every is not None and (every < 1 or every != math.floor(every)):
            frames = max(1, math.ceil(every)) if math.isfinite(every) else 1
            draft.put(
                f"{path}.update_frequency", frames, f"{every:g} is no count of frames; read as {frames}"
            )
        if not str(draft.get(f"{path}.init_fn")).startswith(("orthogonal", "xavier")):
            for key in ("init_std", "actor_init_std", "critic_init_std"):
                draft.drop(f"{path}.{key}", "it is the gain of init_fn orthogonal_ and xavier_*")


def _base(draft: Draft) -> None:
    if draft.algorithm == "DQNBase":
        draft.put("agent.algorithm.name", "DQN", "DQNBase is read as DQN, which it is the base of")


READINGS: tuple[Callable[[Draft], None], ...] = (
    _base,
    _environment,
    _leftovers,
    _search,
    _distribution,
    _temperature,
    _ppo,
    _episodes,
    _memoryless,
    _nets,
)
"""In this order."""
