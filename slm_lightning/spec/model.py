"""The typed shape of a spec: what every section may say, with types, ranges and defaults.

The sections that belong to one component (``agent.algorithm``, ``agent.memory``, ``agent.net``) are
typed beside that component, as its ``Params``; this module holds what all of them share.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from slm_lightning.errors import Problem
from slm_lightning.spec.base import SpecModel
from slm_lightning.spec.families import atari_id, default_backend
from slm_lightning.spec.named import LossSpec as LossSpec
from slm_lightning.spec.named import LRScheduleSpec as LRScheduleSpec
from slm_lightning.spec.named import OptimSpec as OptimSpec
from slm_lightning.spec.named import ScheduleSpec as ScheduleSpec
from slm_lightning.spec.numeric import (
    Count,
    Float,
    Fraction,
    Frame,
    Int,
    Positive,
    switch,
)
from slm_lightning.spec.numeric import NonNegative as NonNegative
from slm_lightning.spec.numeric import keyword as keyword
from slm_lightning.spec.search_params import (
    Pruner,
    SearchParams,
    SearchResources,
    SearchScheduler,
    pruner_in_force,
)


class NetParams(SpecModel):
    """Keys that every kind of net shares."""

    type: str
    """The kind of net."""
    shared: bool = False
    """Actor and critic share one body with two heads and one optimizer."""
    use_same_optim: bool = False
    """The critic takes the actor's keys in all things."""
    hid_layers_activation: str = "relu"
    """Activation after every hidden layer: any ``torch.nn`` class name, in any case."""
    out_layer_activation: str | list[str | None] | None = None
    """Activation after the output layer; a list has one for each head."""
    init_fn: str | None = None
    """Initialiser of ``torch.nn.init`` for weights (biases become 0); null keeps PyTorch's."""
    init_std: Positive | None = None
    """Gain of the output heads' initialiser; null uses the hidden layers' gain."""
    log_std_init: Annotated[Float | None, Field(ge=-5, le=2)] = None
    """Start of a state-independent log σ for Gaussian policies; null lets the net output log σ."""
    clip_grad_val: Positive | None = None
    """Largest global gradient norm of the net."""
    loss_spec: LossSpec = LossSpec()
    """Loss of the value regression."""
    optim_spec: OptimSpec = OptimSpec()
    """The optimizer."""
    lr_scheduler_spec: LRScheduleSpec | None = None
    """Learning-rate schedule; null keeps it constant."""
    update_type: Literal["polyak", "replace"] = "replace"
    """How a target net follows."""
    update_frequency: Count = 1
    """``replace``: frames between copies."""
    polyak_coef: Fraction = 0.0
    """``polyak``: weight τ of the online net. 0 and values above one half are read as older specs meant
    them, as the weight of the target net."""
    gpu: Annotated[bool | Literal["auto", "true", "false"] | None, BeforeValidator(switch)] = "auto"
    """``auto`` trains on a GPU where there is one; false on the CPU."""
    normalize: bool = False
    """Divide image observations by 255."""
    actor_init_std: Positive | None = None
    critic_init_std: Positive | None = None
    actor_optim_spec: OptimSpec | None = None
    critic_optim_spec: OptimSpec | None = None
    actor_lr_scheduler_spec: LRScheduleSpec | None = None
    critic_lr_scheduler_spec: LRScheduleSpec | None = None
    actor_clip_grad_val: Positive | None = None
    critic_clip_grad_val: Positive | None = None

    @property
    def tau(self) -> float:
        """The weight of the online net in a ``polyak`` update."""
        return self.polyak_coef if 0 < self.polyak_coef <= 0.5 else 1 - self.polyak_coef

    @property
    def state_size(self) -> int:
        """Numbers that the net remembers of an episode; 0 where it sees nothing but the present."""
        return 0

    @property
    def batch_statistics(self) -> str:
        """The key that makes the net normalise by statistics of the batch; empty where none does."""
        return ""

    @property
    def dropout(self) -> str:
        """The key that is a layer of dropout; empty where none is."""
        return ""

    def problems(self, path: str) -> Iterator[Problem]:
        """What no single key of this section, which stands at ``path``, can tell."""
        return iter(())

    def part(self, name: Literal["actor", "critic"]) -> Self:
        """The section as the actor or the critic reads it: its own ``actor_*`` or ``critic_*`` keys
        win; with ``use_same_optim`` the critic reads the actor's."""
        prefix = "actor_" if self.use_same_optim else f"{name}_"
        own = {k.removeprefix(prefix): v for k, v in self if k.startswith(prefix) and v is not None}
        return self.model_copy(update=own)


class NoNet(NetParams):
    """The empty section of an algorithm that learns nothing."""

    type: Literal[""] = ""


class AlgorithmParams(SpecModel):
    """Keys that every algorithm shares."""

    name: str
    """The algorithm."""
    action_pdtype: str = "default"
    """Action distribution; ``default`` takes Categorical, Normal or their multi-dimensional kin."""
    action_policy: Literal["default", "random", "epsilon_greedy", "boltzmann"] = "default"
    """How an action is taken from the net's output; ``default`` samples the distribution."""
    explore_var_spec: ScheduleSpec | None = None
    """Schedule of ε or of the Boltzmann temperature."""
    gamma: Fraction
    """Discount factor γ."""

    learns: ClassVar[bool] = True
    """Whether it learns at all; ``agent.net`` may be empty where it does not."""
    imitates: ClassVar[bool] = False
    """Whether past episodes are kept beside the on-policy memory, and drawn from in every round."""
    acts_on_tensors: ClassVar[bool] = False
    """Whether it acts, unless by ε, on nothing but tensors, so that acting can be part of a graph."""

    @property
    def horizon(self) -> int:
        """What one round collects: vector steps, or episodes where the memory counts those."""
        raise NotImplementedError

    def updates(self, num_envs: int) -> int:
        """Minibatches drawn for a round from what is kept over rounds."""
        raise NotImplementedError

    def steps_on(self, frames: int, num_envs: int) -> int:
        """Steps of an optimizer in a round that collects ``frames``."""
        return 1


class ReplayAlgorithmParams(AlgorithmParams):
    """Keys that algorithms share which learn from a replay memory."""

    training_frequency: Count
    """Frames between rounds of learning."""
    training_start_step: Frame | None = None
    """Frames before the first round; default the memory's ``batch_size``."""
    training_iter: Count
    """Minibatches drawn for a round."""

    def start(self, batch_size: int) -> int:
        """Frames before the first round."""
        return batch_size if self.training_start_step is None else self.training_start_step

    def updates(self, num_envs: int) -> int:
        return self.training_iter

    def steps_on(self, frames: int, num_envs: int) -> int:
        return self.updates(num_envs)


class MemoryParams(SpecModel):
    """Keys that every memory shares."""

    whole_episodes: ClassVar[bool] = False
    """Whether a round is a number of episodes; else it is a number of vector steps."""
    replay: ClassVar[bool] = False
    """Whether transitions are kept over rounds and drawn from."""

    name: str
    """The kind of memory."""


class EnvParams(SpecModel):
    """Section ``env``. Keys not listed here go to the environment's constructor."""

    model_config = ConfigDict(extra="allow")

    name: str
    """Environment id."""
    num_envs: Annotated[Int, Field(ge=1, le=1_000_000)] = 1
    """Sub-environments stepped together."""
    max_frame: Count
    """Training budget in frames, summed over sub-environments."""
    max_t: Count | None = None
    """Time limit of an episode in steps; null keeps the environment's own."""
    normalize_obs: bool = False
    """Standardise observations by their running mean and deviation."""
    normalize_reward: bool = False
    """Divide rewards by the running deviation of the discounted return."""
    clip_obs: Positive | None = None
    """Clip observations to ± this; default 10 with ``normalize_obs``."""
    clip_reward: Positive | tuple[Float, Float] | None = None
    """Clip rewards to ± this or to [low, high]; default 1 for Atari games, 10 with
    ``normalize_reward``."""
    reward_scale: Float = 1.0
    """Factor on the reward that the agent learns from."""
    frame_stack: Annotated[Int, Field(ge=1, le=1000)] | None = None
    """Latest observations shown together, oldest first, zeros before an episode's first: images one
    behind the other along their channels, vectors end to end; default 4 for Atari games, else 1."""
    action_repeat: Annotated[Int, Field(ge=1, le=1000)] | None = None
    """Steps of the environment for which an action is taken, their rewards summed; default 4 for Atari
    games, else 1."""
    backend: str | None = None
    """Which library runs the environment; default ``atari`` for Atari games, ``playground`` for ids
    that begin with playground/, else ``gymnasium``."""
    entry_point: str | None = None
    """``module:Class`` of an environment of your own, which is then called ``name``."""
    vectorization_mode: Literal["sync", "async"] | None = None
    """Sub-environments in this process (sync, the default) or one process each (async)."""
    step_timeout: NonNegative = 60.0
    """Seconds that a vector step of Gymnasium environments may take, or a reset; 0 for ever."""

    @model_validator(mode="before")
    @classmethod
    def _clip_atari(cls, data: Any) -> Any:
        """The default of ``clip_reward``, written down, so that the record shows it."""
        if not isinstance(data, dict) or data.get("clip_reward") is not None:
            return data
        return {**data, "clip_reward": 1.0} if atari_id(str(data.get("name"))) else data

    @property
    def library(self) -> str:
        """The backend that runs the environment."""
        if self.backend or self.entry_point:
            return self.backend or "gymnasium"
        return default_backend(self.name)


def _or_default(section: Any) -> Any:
    return {} if section is None else section


class MetaParams(SpecModel):
    """Section ``meta``: how the experiment is run."""

    unread: ClassVar[dict[str, str]] = {
        "num_gpus": "GPUs are dealt to sessions round-robin",
        "random_seed": 'write "seed" instead',
        "git_sha": "recorded from the repository at the start of the run",
    }

    distributed: Literal[False, "synced", "shared"] = False
    """One model trained by ``max_session`` workers with synchronous gradients; both words mean this."""
    max_session: Annotated[Int, Field(ge=1, le=1000)] = 1
    """Sessions (seeds) of a trial; with ``distributed`` the workers of its only session."""
    max_trial: Count | None = None
    """Settings that a search tries; a search by grid has a default, the size of the grid."""
    log_frequency: Count = 10_000
    """Frames between rows of the record."""
    eval_frequency: Count = 10_000
    """Frames between evaluations, when ``rigorous_eval`` asks for them."""
    rigorous_eval: Annotated[Int, Field(ge=0, le=1000)] = 0
    """Episodes of each evaluation during training: greedy, in environments of their own. 0 evaluates
    the final policy only."""
    search: SearchParams = SearchParams()
    """How a search draws, judges and gives up settings."""
    search_resources: Annotated[
        SearchResources,
        BeforeValidator(_or_default, json_schema_input_type=SearchResources | None),
    ] = SearchResources()
    """What one session takes of a machine in a search."""
    search_scheduler: SearchScheduler | None = None
    """Early stopping of a search's settings by their frames, as SLM Lab's specs write it."""
    seed: Annotated[Int, Field(ge=0, lt=2**63)] = 0
    """Root of every random draw."""
    compile: Annotated[Literal["auto"] | bool, BeforeValidator(switch)] = "auto"
    """Each update as one compiled graph, and each vector step of backend torch: true, false, or where a
    session has so many of them that compiling, which takes seconds, pays (auto)."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Numbers that losses and their gradients are computed in; weights are always single precision."""
    hypothesis: str = ""
    """What the experiment is to show; its report begins with it."""

    @property
    def sessions(self) -> int:
        """Models that a trial trains."""
        return 1 if self.distributed else self.max_session

    @property
    def workers(self) -> int:
        """Processes that train one model."""
        return self.max_session if self.distributed else 1


class AgentSpec(SpecModel):
    """Section ``agent``, resolved: each part typed by the component it names."""

    name: str = ""
    algorithm: AlgorithmParams
    memory: MemoryParams
    net: NetParams
    critic_net: NetParams | None = None
    """Net of the critics, where they are apart from the actor; null takes ``net``, as the loss and the
    targets do in any case."""


class Spec(SpecModel):
    """A whole spec, resolved: every default filled in, ready to run."""

    name: str
    agent: AgentSpec
    env: EnvParams
    meta: MetaParams
    search: dict[str, Any] | None = None

    @property
    def pruner(self) -> Pruner | None:
        """What gives the hopeless settings of a search up, with all its keywords."""
        meta = self.meta
        return pruner_in_force(meta.search, meta.search_scheduler, meta.sessions, self.env.max_frame)

    def to_dict(self) -> dict[str, Any]:
        """Plain data as it stands in ``spec_resolved.json``; loading it gives an equal Spec."""
        return self.model_dump(mode="json", serialize_as_any=True)
