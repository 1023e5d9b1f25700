"""The typed shape of a spec: what every section may say, with types, ranges and defaults.

The sections that belong to one component (``agent.algorithm``, ``agent.memory``, ``agent.net``) are
typed beside that component, as its ``Params``; this module holds what all of them share.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _read_number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _number(value: Any) -> int | float:
    """Numeric strings (YAML 1.1 reads ``3e-4`` as one) become numbers; bool is never a number."""
    if isinstance(value, str):
        value = _read_number(value)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return value
    except OverflowError:
        pass
    raise PydanticCustomError("number", "expected a finite number")


def _integer(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise PydanticCustomError("number", "expected a whole number")
    return int(number)


def _keyword(value: Any) -> Any:
    """A keyword argument of a torch class, whose type is not known here: numeric strings become
    numbers, all else stays."""
    number = _read_number(value) if isinstance(value, str) else None
    return value if number is None or not math.isfinite(number) else number


MOST = 10**15
"""No count of anything may exceed this; it also keeps frames exact as floats."""

Float = Annotated[float, BeforeValidator(_number)]
Int = Annotated[int, BeforeValidator(_integer)]
Positive = Annotated[Float, Field(gt=0)]
NonNegative = Annotated[Float, Field(ge=0)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
Count = Annotated[Int, Field(ge=1, le=MOST)]
Frame = Annotated[Int, Field(ge=0, le=MOST)]


class SpecModel(BaseModel):
    """Base of every section. Docstrings below the fields become the JSON Schema's descriptions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    unread: ClassVar[dict[str, str]] = {}
    """Keys SLM Lab specs carry here that nothing reads, each with the reason; accepted with a note."""


class KeywordSpec(SpecModel):
    """Something named, whose further keys are keyword arguments of what it names."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Any, BeforeValidator(_keyword)]] = Field(init=False)

    name: str

    @property
    def keywords(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__)


class ScheduleSpec(SpecModel):
    """A value that changes with the frame count."""

    name: Literal["no_decay", "linear_decay", "rate_decay", "periodic_decay"] = "no_decay"
    start_val: Float
    """Value up to ``start_step``."""
    end_val: Float | None = None
    """Value from ``end_step`` on; default ``start_val``."""
    start_step: Frame = 0
    """Frame at which the change begins."""
    end_step: Frame = 0
    """Frame at which the change is complete."""


class OptimSpec(KeywordSpec):
    """An optimizer of ``torch.optim`` by name; further keys are its keyword arguments."""

    name: str = "Adam"
    lr: Positive = 1e-3
    """Learning rate at frame 0."""


class LossSpec(KeywordSpec):
    """A loss of ``torch.nn`` by name; further keys are its keyword arguments."""

    name: str = "MSELoss"


class LRScheduleSpec(KeywordSpec):
    """``LinearToZero``/``LinearToMin`` over ``frame`` frames, or a ``torch.optim.lr_scheduler``."""

    frame: Count | None = None
    """Frames until the end of the linear decay."""
    min_factor: Fraction = 0.0
    """``LinearToMin``: the factor of the initial learning rate that is kept."""


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
    log_std_init: Float | None = None
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
    """``polyak``: weight τ of the online net."""
    gpu: bool | Literal["auto", "true", "false"] | None = "auto"
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

    def part(self, name: Literal["actor", "critic"]) -> Self:
        """The section as the actor or the critic reads it: its own ``actor_*`` or ``critic_*`` keys
        win; with ``use_same_optim`` the critic reads the actor's."""
        prefix = "actor_" if self.use_same_optim else f"{name}_"
        own = {k.removeprefix(prefix): v for k, v in self if k.startswith(prefix) and v is not None}
        return self.model_copy(update=own)


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

    @property
    def horizon(self) -> int:
        """What one round collects: vector steps, or episodes where the memory counts those."""
        raise NotImplementedError


class MemoryParams(SpecModel):
    """Keys that every memory shares."""

    whole_episodes: ClassVar[bool] = False
    """Whether a round is a number of episodes; else it is a number of vector steps."""

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
    """Clip rewards to ± this or to [low, high]; default 10 with ``normalize_reward``."""
    reward_scale: Float = 1.0
    """Factor on the reward that the agent learns from."""
    backend: str | None = None
    """Which library runs the environment; default by the id."""
    entry_point: str | None = None
    """``module:Class`` of an environment of your own, which is then called ``name``."""
    vectorization_mode: Literal["sync", "async"] | None = None
    """Sub-environments in this process (sync, the default) or one process each (async)."""


class MetaParams(SpecModel):
    """Section ``meta``: how the experiment is run."""

    unread: ClassVar[dict[str, str]] = {
        "num_gpus": "GPUs are dealt to sessions round-robin",
        "random_seed": 'write "seed" instead',
        "git_sha": "recorded from the repository at the start of the run",
    }

    distributed: Literal[False, "synced", "shared"] = False
    """One model trained by many workers."""
    max_session: Annotated[Int, Field(ge=1, le=1000)] = 1
    """Sessions (seeds) of a trial."""
    max_trial: Count | None = None
    """Settings that a search tries."""
    log_frequency: Count = 10_000
    """Frames between rows of the record."""
    eval_frequency: Count = 10_000
    """Frames between evaluations, when ``rigorous_eval`` asks for them."""
    rigorous_eval: Annotated[Int, Field(ge=0, le=1000)] = 0
    """Episodes of each evaluation during training: greedy, in environments of their own. 0 evaluates
    the final policy only."""
    search_resources: dict[str, Any] | None = None
    """Cores and GPU share of one session in a search."""
    search_scheduler: dict[str, Any] | None = None
    """Early stopping of a search's settings."""
    seed: Annotated[Int, Field(ge=0, lt=2**63)] = 0
    """Root of every random draw."""


class AgentSpec(SpecModel):
    """Section ``agent``, resolved: each part typed by the component it names."""

    name: str = ""
    algorithm: AlgorithmParams
    memory: MemoryParams
    net: NetParams


class Spec(SpecModel):
    """A whole spec, resolved: every default filled in, ready to run."""

    name: str
    agent: AgentSpec
    env: EnvParams
    meta: MetaParams
    search: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data as it stands in ``spec_resolved.json``; loading it gives an equal Spec."""
        return self.model_dump(mode="json", serialize_as_any=True)
