"""What every algorithm is: a policy that acts and a rule that learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from slm_lightning.core import EnvInfo, Seen
from slm_lightning.nets.masks import without_mask
from slm_lightning.nets.net import Learner
from slm_lightning.nets.recurrent import RecurrentNet
from slm_lightning.rl.distributions import Categorical, Distribution, distribution_for
from slm_lightning.rl.exploration import epsilon_greedy, random_action
from slm_lightning.rl.schedules import value_at
from slm_lightning.spec.model import AgentSpec, AlgorithmParams, NetParams, ScheduleSpec

Info = dict[str, Tensor]
Step = tuple[Any, ...]
"""``(names, loss_fn, *tensors)``: one step of the named optimizers on ``loss_fn(*tensors) -> (loss,
info)``. Where there are no names nothing is stepped: ``loss_fn(*tensors)`` changes nets, without
gradients."""
Optimize = Callable[..., Info]
"""``optimize(names, loss_fn, *tensors, then=steps) -> info``: a step, and those that follow it, each on
what the one before has left. An algorithm hands over the whole update as functions of their tensors,
not a loss, so that forward, backward, clip and step can become one graph. Other parameters get no
gradient. A number that changes over training is a tensor to it: as anything else it would be a constant
of the graph."""


class Agent(nn.Module):
    """An algorithm. One file each; ``agent.algorithm.name`` names its class.

    ``frame``, and ``round_start``, the frame at which the round began, are kept current by whoever
    drives the agent; scheduled values are functions of them.
    """

    Params: ClassVar[type[AlgorithmParams]]
    on_policy: ClassVar[bool] = True
    """Whether it learns from nothing but what its present policy has just collected."""
    actions: ClassVar[frozenset[str]] = frozenset(
        {"discrete", "continuous", "multi_discrete", "multi_binary"}
    )
    """Kinds of action space it can act in (``ActionSpec.kind``)."""
    memories: ClassVar[frozenset[str]] = frozenset(
        {"OnPolicyBatchReplay", "OnPolicyReplay", "OnPolicyCrossEntropy"}
    )
    """Names of the memories it can learn from."""
    has_critics: ClassVar[bool] = False
    """Whether it has critics apart from its policy, whose net ``agent.critic_net`` may describe."""
    recurrent: ClassVar[bool] = False
    """Whether it can learn from sequences, as a net needs that remembers (RecurrentNet)."""
    masks: ClassVar[bool] = False
    """Whether it keeps to the actions that an environment allows (``EnvInfo.mask_size``)."""
    boltzmann: Tensor  # [] temperature of a Boltzmann policy
    _frame: int

    def __init__(self, params: AlgorithmParams, net: NetParams, env: EnvInfo):
        super().__init__()
        self.params = params
        self.explore_var_spec = params.explore_var_spec
        self.action_policy = params.action_policy
        self.distribution = distribution_for(env.action, params.action_pdtype)
        self.action_spec, self.mask_size = env.action, env.mask_size
        self.register_buffer("boltzmann", torch.ones(()), persistent=False)
        self.frame = self.round_start = 0
        self.workers = 1
        """Processes that train it together; a frame of each is a frame."""

    @classmethod
    def build(cls, spec: AgentSpec, env: EnvInfo) -> Self:
        """The agent that a spec describes. It is in eval mode, in which it acts: a loss that is to take
        in the statistics of its batch says so (:func:`slm_lightning.nets.norms.batch_statistics`)."""
        return cls(spec.algorithm, spec.net, env).eval()

    def act(self, obs: Tensor, explore: bool = True) -> Tensor:
        """Actions ``[N, *action.shape]`` for ``obs [N, *obs_shape]``; greedy without ``explore``.
        Where ``hidden_size`` is not 0, ``obs`` is Recalled: a driver keeps what is remembered."""
        raise NotImplementedError

    @property
    def hidden_size(self) -> int:
        """Numbers H that the agent remembers of an episode; 0 at its start."""
        return sum(body.state_size for body in self._bodies())

    def remember(self, obs: Tensor, hidden: Tensor) -> Tensor:
        """What is remembered ``[N, H]`` when ``obs [N, *obs_shape]`` follows on ``hidden [N, H]``."""
        seen = without_mask(obs, self.mask_size)
        return torch.cat([body.remember(seen, hidden) for body in self._bodies()], -1)

    def _bodies(self) -> list[RecurrentNet]:
        """Those that remember; a target net lives on what the net that it follows remembers."""
        bodies = [module for module in self.modules() if isinstance(module, RecurrentNet)]
        return [body for body in bodies if next(body.parameters()).requires_grad]

    def learn(self, batch: Any, optimize: Optimize) -> Info:
        """One round of learning from a Batch (on-policy) or a Sample (from a replay memory). Returns
        metrics, scalars left on the device; for a Sample (the batch, or its ``past``) also the
        ``td_error [K, B]``, from which the memory may take priorities."""
        raise NotImplementedError

    def learners(self) -> dict[str, Learner]:
        """What each optimizer steps, by name."""
        raise NotImplementedError

    def schedules(self) -> dict[str, float]:
        """The scheduled values at the current frame, for the record: by the keys of the algorithm
        without their ``_spec``."""
        specs = {key: spec for key, spec in self.params if isinstance(spec, ScheduleSpec)}
        return {key.removesuffix("_spec"): value_at(spec, self.frame) for key, spec in specs.items()}

    @property
    def frame(self) -> int:
        """The frame at which it acts or learns."""
        return self._frame

    @frame.setter
    def frame(self, frame: int) -> None:
        self.at(frame)

    def at(self, frame: int, round_start: int | None = None) -> None:
        """Sets ``frame``, and ``round_start``, and spares what a module does with all it is given."""
        self.__dict__["_frame"] = frame
        if round_start is not None:
            self.__dict__["round_start"] = round_start
        if self.action_policy == "boltzmann":
            self.boltzmann.fill_(value_at(self.explore_var_spec, frame, 1.0))

    @property
    def temperature(self) -> Tensor | float:
        """What logits are divided by: the exploration variable of a Boltzmann policy, else 1."""
        return self.boltzmann if self.action_policy == "boltzmann" else 1.0

    def choose(self, pi: Distribution, explore: bool) -> Tensor:
        """An action from ``pi`` as ``action_policy`` says; its mode without ``explore``."""
        if not explore:
            return pi.mode()
        if self.action_policy not in ("epsilon_greedy", "random"):
            return pi.sample()
        mode = pi.mode()
        allowed = pi.allowed if self.mask_size and isinstance(pi, Categorical) else None
        if self.action_policy == "random":
            return random_action(self.action_spec, len(mode), mode.device, allowed)
        return self._epsilon_greedy(lambda: mode, mode, allowed)

    def choose_by_value(self, q: Callable[[Seen], Tensor], obs: Seen, explore: bool = True) -> Tensor:
        """An action ``[B]`` from ``Q(s, ·) = q(obs) [B, A]``: greedy without ``explore``, else by the
        policy. Where ``action_policy`` names none, it is ε-greedy if there is a schedule of ε, and else
        what ``action_pdtype`` makes of Q as logits."""
        if not explore:
            return q(obs).argmax(-1)
        if self.action_policy == "default" and self.explore_var_spec is None:
            return self.distribution([q(obs)]).sample()
        if self.action_policy in ("default", "epsilon_greedy"):
            rows = obs if isinstance(obs, Tensor) else obs.rows
            allowed = rows[:, -self.mask_size :] > 0 if self.mask_size else None
            return self._epsilon_greedy(lambda: q(obs).argmax(-1), rows, allowed)
        return self.choose(Categorical([q(obs)], self.temperature), explore)

    def _epsilon_greedy(
        self, greedy: Callable[[], Tensor], rows: Tensor, allowed: Tensor | None
    ) -> Tensor:
        """The ``greedy()`` action for each of ``rows [B, ...]``, or one by chance."""
        epsilon = value_at(self.explore_var_spec, self.frame)
        return epsilon_greedy(greedy, self.action_spec, epsilon, rows.shape[0], rows.device, allowed)


def mean_info(infos: Sequence[Info]) -> Info:
    """The mean of each metric over those updates of a round that have it."""
    if len(infos) == 1:
        return infos[0]
    keys = dict.fromkeys(key for info in infos for key in info)
    return {key: torch.stack([info[key] for info in infos if key in info]).mean() for key in keys}
