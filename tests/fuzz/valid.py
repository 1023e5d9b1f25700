"""Specs that can run, by number: each is put together from what docs/spec.md says may stand together,
and no validator is asked."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tests.envs.probes import probe
from tests.fuzz.dice import Dice, Keys
from tests.fuzz.nets import NetMaker


class World(NamedTuple):
    """An environment that takes microseconds a step."""

    kind: str
    """Of its actions."""
    env: Keys
    backends: tuple[str, ...] = ("gymnasium",)
    image: bool = False
    masked: bool = False


EVERYWHERE = ("gymnasium", "torch")
WORLDS = (
    World("discrete", {"name": "CartPole-v1"}, EVERYWHERE),
    World("discrete", {"name": "Acrobot-v1"}, EVERYWHERE),
    World("discrete", {"name": "MountainCar-v0", "goal_velocity": 0.01}, EVERYWHERE),
    World("discrete", {"name": "FrozenLake-v1", "is_slippery": False, "map_name": "4x4"}),
    World("discrete", {"name": "Blackjack-v1", "natural": True}),
    World("discrete", {"name": "LunarLander-v3", "gravity": -9.0}),
    World("discrete", probe("Identity", kind="discrete")),
    World("discrete", probe("BrightHalf"), image=True),
    World("discrete", probe("BrightHalf"), image=True),
    World("discrete", probe("Allowed"), masked=True),
    World("continuous", {"name": "Pendulum-v1", "g": 9.81}, EVERYWHERE),
    World("continuous", {"name": "MountainCarContinuous-v0"}, EVERYWHERE),
    World("continuous", {"name": "LunarLander-v3", "continuous": True}),
    World("continuous", probe("Identity", kind="continuous")),
    World("multi_discrete", probe("Identity", kind="multi_discrete")),
    World("multi_binary", probe("Identity", kind="multi_binary")),
)
ANY = frozenset({"discrete", "continuous", "multi_discrete", "multi_binary"})
DISCRETE = frozenset({"discrete"})


class Kind(NamedTuple):
    """What docs/spec.md and the paper say of an algorithm."""

    actions: frozenset[str] = ANY
    on_policy: bool = True
    recurrent: bool = True
    masks: bool = True
    values: bool = False
    """Whether its net gives action values."""


Q_LEARNING = Kind(DISCRETE, on_policy=False, values=True)
SOFT = Kind(frozenset({"discrete", "continuous"}), on_policy=False, recurrent=False, masks=False)
ALGORITHMS: dict[str, Kind] = {
    "Reinforce": Kind(),
    "ActorCritic": Kind(),
    "PPO": Kind(),
    "SIL": Kind(recurrent=False),
    "PPOSIL": Kind(recurrent=False),
    "SARSA": Kind(DISCRETE, values=True),
    "VanillaDQN": Q_LEARNING,
    "DQN": Q_LEARNING,
    "DoubleDQN": Q_LEARNING,
    "QRDQN": Q_LEARNING,
    "SoftActorCritic": SOFT,
    "CrossQ": SOFT,
    "TD3": SOFT._replace(actions=frozenset({"continuous"})),
    "Random": Kind(on_policy=False, recurrent=False),
}
CRITICS = ("SoftActorCritic", "CrossQ", "TD3")
ENTROPIC = ("SoftActorCritic", "CrossQ")
IMITATORS = ("SIL", "PPOSIL")
PDTYPES = {
    "discrete": ["Categorical", "GumbelSoftmax"],
    "continuous": ["Normal", "MultivariateNormal", "NormalTanh", "LogNormal", "Gumbel", "Beta"],
    "multi_discrete": ["MultiCategorical"],
    "multi_binary": ["Bernoulli"],
}


def valid_spec(number: int) -> Keys:
    """Spec ``number``; every call gives an equal one."""
    return _Author(Dice(number)).spec()


class _Author:
    """Writes one spec, section by section, each in view of those before it."""

    def __init__(self, dice: Dice):
        self.dice = dice
        self.name = dice.choice(list(ALGORITHMS))
        self.kind = ALGORITHMS[self.name]
        self.world = dice.choice(
            [w for w in WORLDS if w.kind in self.kind.actions and (self.kind.masks or not w.masked)]
        )
        self.whole_episodes = (self.kind.on_policy or self.name == "Random") and dice.maybe(0.25)
        self.replay = not self.kind.on_policy and not self.whole_episodes
        self.num_envs = 1 if self.whole_episodes and self.name != "Random" else dice.randint(1, 4)
        self.batch_size = dice.randint(2, 16)
        self.maker = NetMaker(
            dice,
            self.kind.on_policy,
            self.kind.recurrent and self.kind.masks,
            self.kind.values,
            self.name == "QRDQN",
            self.world.image,
        )

    def spec(self) -> Keys:
        algorithm = self._algorithm()
        agent: Keys = {"name": self.name, "algorithm": algorithm, "net": self._net()}
        agent["memory"] = self._memory(agent["net"].get("type") == "RecurrentNet")
        if self.name in CRITICS and self.dice.maybe():
            agent["critic_net"] = self.maker.net(flat=not self.world.image)
            critic = agent["critic_net"]
        else:
            critic = agent["net"]
        linear = critic.get("hid_layers") and not critic.get("weight_norm")
        if self.name in ENTROPIC and linear and critic["init_fn"] != "zeros_":
            algorithm |= self.dice.some({"spectral_norm": self.dice.maybe()})
        meta = self._meta()
        env = self._env(algorithm, meta.get("max_session", 1) if meta.get("distributed") else 1)
        return {"agent": agent, "env": env, "meta": meta} | self._search(meta, env)

    def _net(self) -> Keys:
        if self.name == "Random" and self.dice.maybe():
            return {}
        return self.maker.net(flat=self.name in CRITICS and not self.world.image)

    def _algorithm(self) -> Keys:
        dice = self.dice
        keys: Keys = {"name": self.name, "gamma": dice.choice([dice.share(), 0.99])}
        keys |= self._acting()
        match self.name:
            case "PPO" | "PPOSIL":
                keys |= self._ppo()
            case "ActorCritic" | "SIL":
                keys |= self._actor_critic()
            case "Reinforce":
                keys |= {"training_frequency": self._horizon(), **self._entropy()}
                keys |= dice.some({"policy_loss_coef": dice.share()})
            case "SARSA":
                keys |= {"training_frequency": self._horizon()}
            case "Random":
                keys |= dice.some({"training_frequency": dice.randint(1, 8), "training_iter": 2})
            case _:
                keys |= self._off_policy()
        if self.name in IMITATORS:
            keys |= dice.some(
                {
                    "sil_policy_loss_coef": dice.share(),
                    "sil_val_loss_coef": dice.share(),
                    "training_iter": dice.randint(1, 2),
                    "training_batch_iter": dice.randint(1, 2),
                }
            )
        return keys

    def _horizon(self) -> int:
        """Vector steps of a round, or its episodes."""
        return self.dice.randint(1, 2) if self.whole_episodes else self.dice.randint(2, 12)

    def _entropy(self) -> Keys:
        return self.dice.some(
            {"entropy_coef_spec": self.dice.choice([None, self.dice.schedule(0, 0.1)])}
        )

    def _acting(self) -> Keys:
        """How actions are taken."""
        dice, pdtypes = self.dice, [*PDTYPES[self.world.kind], "default"]
        if self.kind.values:
            pdtypes.append("Argmax")
        if self.name in ENTROPIC and self.world.kind == "continuous":
            pdtypes = ["default", "NormalTanh", "Normal"]
        keys: Keys = dice.some({"action_pdtype": dice.choice(pdtypes)})
        uniform = [] if keys.get("action_pdtype") == "LogNormal" else ["random", "epsilon_greedy"]
        policy = dice.choice(["default", "boltzmann", None, *uniform])
        if policy is not None:
            keys["action_policy"] = policy
        if policy in ("epsilon_greedy", "boltzmann"):
            keys["explore_var_spec"] = dice.schedule(*((0, 1), (0.1, 5))[policy == "boltzmann"])
        elif dice.maybe():
            keys["explore_var_spec"] = dice.choice([None, dice.schedule(0, 1)])
        return keys

    def _ppo(self) -> Keys:
        dice = self.dice
        optional = {
            "val_loss_coef": dice.share(),
            "minibatch_size": dice.randint(1, 64),
            "normalize_advantages": dice.choice(["standardize", "percentile"]),
            **{key: dice.maybe() for key in ("normalize_v_targets", "clip_vloss", "symlog")},
        }
        return {
            "lam": dice.share(),
            "clip_eps_spec": dice.schedule(0.05, 0.3),
            "time_horizon": self._horizon(),
            "training_epoch": dice.randint(1, 2),
            **self._entropy(),
            **dice.some(optional),
        }

    def _actor_critic(self) -> Keys:
        dice = self.dice
        returns: Keys = dice.choice(
            [{"lam": dice.share()}, {"lam": None, "num_step_returns": self._horizon()}, {}]
        )
        losses = {"policy_loss_coef": dice.share(), "val_loss_coef": dice.share()}
        scaled = {"normalize_v_targets": dice.maybe()}
        own = {"training_frequency": self._horizon(), **self._entropy()}
        return own | returns | dice.some(losses | scaled)

    def _off_policy(self) -> Keys:
        dice = self.dice
        keys: Keys = {"training_frequency": dice.randint(1, 16)}
        if self.name in CRITICS:
            keys |= dice.some({"training_start_step": dice.randint(0, 40)}, 0.95)
            keys |= dice.some({"training_iter": dice.choice([None, 1, 2])})
            keys |= dice.some({"policy_delay": dice.randint(1, 3)})
        else:
            keys |= {"training_iter": dice.randint(1, 2)}
            keys |= dice.some({"training_start_step": dice.choice([None, dice.randint(0, 40)])})
            keys |= dice.some({"training_batch_iter": dice.randint(1, 2)})
        if self.name == "QRDQN":
            keys |= dice.some({"num_quantiles": dice.randint(1, 8)}, 0.9)
        if self.name == "TD3":
            noise = ("explore_noise", "target_noise", "target_noise_clip")
            keys |= dice.some({key: dice.share() for key in noise})
        if self.name in ENTROPIC:
            keys |= dice.some(self._temperature())
        return keys

    def _temperature(self) -> Keys:
        dice = self.dice
        anneal = {"start_ratio": dice.share(), "end_ratio": dice.share()}
        return {
            "target_entropy": dice.choice(["auto", -1.0, 0.5]),
            "entropy_anneal": {"frames": 100} | dice.some(anneal, 0.7),
            "alpha_lr": dice.choice([None, 1e-3]),
            "log_alpha_min": -4,
            "log_alpha_max": 1.5,
            "fixed_alpha": dice.choice([None, 0.2]),
            "alpha_anneal_frames": dice.randint(0, 100),
            "entropy_penalty_coef": dice.share(),
            "symlog": dice.maybe(),
        }

    def _memory(self, sequences: bool) -> Keys:
        dice = self.dice
        sizes = {"batch_size": self.batch_size, "max_size": self.batch_size + dice.randint(0, 300)}
        cer = dice.some({"use_cer": dice.maybe()})
        weights = {"alpha": dice.share(), "epsilon": dice.choice([0, 1e-4, 0.1])}
        if self.replay:
            name = dice.choice(["Replay", "PrioritizedReplay"])
            keys = {"name": name, **sizes, **cer}
            if not sequences:
                keys |= dice.some({"num_step_returns": dice.randint(1, 4)})
            prioritized = {**weights, **dice.some({"beta": dice.share()})}
            return keys | (prioritized if name == "PrioritizedReplay" else {})
        if self.name in IMITATORS:
            name = "OnPolicyReplay" if self.whole_episodes else "OnPolicyBatchReplay"
            drawn = {"sil_replay_name": dice.choice(["Replay", "PrioritizedReplay"])}
            priorities = {"alpha": dice.share(), "epsilon": 1e-3, "beta": dice.share()}
            return {"name": name, **drawn, **sizes, **cer, **dice.some(priorities)}
        if not self.whole_episodes:
            return {"name": "OnPolicyBatchReplay"}
        if self.name != "PPO" and dice.maybe():
            return {"name": "OnPolicyCrossEntropy", **dice.some({"cross_entropy": dice.share()}, 0.8)}
        return {"name": "OnPolicyReplay"}

    def _env(self, algorithm: Keys, workers: int) -> Keys:
        dice, world = self.dice, self.world
        backend = dice.choice(world.backends)
        keys: Keys = {"num_envs": self.num_envs, "max_t": dice.randint(1, 30)}
        keys |= dice.some(
            {
                "normalize_obs": dice.maybe() and not world.image,
                "normalize_reward": dice.maybe(),
                "clip_obs": dice.choice([None, 5.0]),
                "clip_reward": dice.choice([None, 1, [-1, 2]]),
                "reward_scale": dice.choice([0.1, 1, -1]),
            }
        )
        if backend == "gymnasium":
            most = 1 if world.masked else 3
            repeats = {key: dice.randint(1, most) for key in ("frame_stack", "action_repeat")}
            keys |= dice.some(repeats | {"vectorization_mode": "sync", "step_timeout": 60})
        if backend == "torch" or dice.maybe(0.1):
            keys["backend"] = backend
        frames = self._round(algorithm) * workers * dice.randint(1, 3) + dice.randint(0, 50)
        return {**world.env, **keys, "max_frame": frames}

    def _round(self, algorithm: Keys) -> int:
        """Frames of the first round, of one worker."""
        if self.whole_episodes:
            return 60
        if not self.replay:
            n = algorithm.get("num_step_returns") if algorithm.get("lam") is None else None
            horizon = n or algorithm.get("time_horizon") or algorithm.get("training_frequency", 8)
            return horizon * self.num_envs
        frequency, start = algorithm.get("training_frequency", 8), algorithm.get("training_start_step")
        if start is None:
            start = 1000 if self.name in CRITICS else self.batch_size
        reached = (start // frequency + 1) * frequency
        return math.ceil(reached / self.num_envs) * self.num_envs

    def _meta(self) -> Keys:
        dice = self.dice
        keys: Keys = {"max_session": dice.randint(1, 8), "log_frequency": dice.randint(1, 10**5)}
        keys |= {"eval_frequency": dice.randint(1, 10**5), "rigorous_eval": dice.randint(0, 5)}
        keys |= {"distributed": dice.choice([False, False, "synced", "shared"])}
        keys |= {"hypothesis": dice.choice(["", "A longer horizon learns sooner."])}
        keys |= {"compile": dice.choice(["auto", False])}
        keys |= {"precision": dice.choice(["32-true", "32-true", "bf16-mixed"])}
        if self.whole_episodes and self.name in ("PPO", "PPOSIL"):
            keys["distributed"] = False
        return {"seed": dice.choice([0, dice.randint(0, 2**63 - 1)]), **dice.some(keys)}

    def _search(self, meta: Keys, env: Keys) -> Keys:
        """The section ``search``, at times, with what ``meta`` has to say of it."""
        dice = self.dice
        if dice.maybe(0.8):
            return {}
        meta["max_trial"] = dice.randint(1, 100)
        samplers: list[Any] = ["tpe", "random", "qmc", {"name": "cmaes", "popsize": 4}]
        search: Keys = {"sampler": dice.choice(samplers), "batch": dice.randint(1, 8)}
        search |= {"order": dice.choice(["batch", "async"]), "target": 100, "pruner": "none"}
        search |= {"objective": dice.choice(["score", {"score": "maximize"}])}
        meta["search"] = dice.some(search)
        meta |= dice.some({"search_resources": {"cpu": 0.5, "gpu": 0, "memory": 0.5}})
        meta |= dice.some({"search_scheduler": {"grace_period": 1, "reduction_factor": 2}})
        dimensions: Keys = {
            "agent.algorithm.gamma__uniform": [0.9, 1.0],
            "env.reward_scale__choice": [0.1, 1],
            "meta.log_frequency__qrandint": [10, 100, 10],
            "env": {"max_t__lograndint": [2, 20]},
        }
        chosen = dice.some(dimensions, 0.6)
        return {"search": chosen or dimensions}
