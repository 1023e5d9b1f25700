"""Sections ``agent.net`` and ``agent.critic_net`` that docs/spec.md allows."""

from __future__ import annotations

from typing import Any

from slm_lightning.spec.torch_names import ACTIVATIONS, INITIALISERS, LR_SCHEDULERS, OPTIMIZERS
from tests.fuzz.dice import Dice, Keys

KEYWORDS: dict[str, Keys] = {
    "Adam": {"betas": [0.9, 0.99], "eps": 1e-6, "weight_decay": 1e-4, "amsgrad": True},
    "AdamW": {"betas": [0.8, 0.999], "weight_decay": 0.1},
    "RMSprop": {"alpha": 0.95, "momentum": 0.1, "centered": True},
    "SGD": {"momentum": 0.9, "nesterov": True, "dampening": 0},
    "Adadelta": {"rho": 0.8},
    "RAdam": {"weight_decay": 1e-3},
}
"""Of optimizers, in an order in which each may stand with those before it."""

SCHEDULES: dict[str, Keys] = {
    "ConstantLR": {"factor": 0.5, "total_iters": 3},
    "CosineAnnealingLR": {"T_max": 50, "eta_min": 1e-6},
    "CosineAnnealingWarmRestarts": {"T_0": 10, "T_mult": 2},
    "CyclicLR": {"base_lr": 1e-5, "max_lr": 1e-3, "cycle_momentum": False},
    "ExponentialLR": {"gamma": 0.99},
    "LinearLR": {"start_factor": 0.1, "total_iters": 5},
    "MultiStepLR": {"milestones": [2, 4], "gamma": 0.5},
    "OneCycleLR": {"max_lr": 1e-3, "total_steps": 1_000_000, "cycle_momentum": False},
    "PolynomialLR": {"total_iters": 5, "power": 2},
    "StepLR": {"step_size": 3, "gamma": 0.9},
}
LOSSES: dict[str, Keys] = {
    "MSELoss": {},
    "mseloss": {},
    "L1Loss": {},
    "SmoothL1Loss": {"beta": 0.5},
    "HuberLoss": {"delta": 2.0},
}

VECTOR_ARCS: list[Keys] = [
    {
        "modules": {"body": {"Sequential": [{"LazyLinear": {"out_features": 8}}, {"Tanh": None}]}},
        "graph": {"input": "x", "modules": {"body": ["x"]}, "output": "body"},
    },
    {
        "modules": {
            "one": {"LazyLinear": {"out_features": 6}},
            "two": {"LazyWeightNormLinear": {"out_features": 6}},
            "sum": {"MergeSum": {}},
        },
        "graph": {
            "input": "x",
            "modules": {"one": ["x"], "two": ["x"], "sum": [["one", "two"]]},
            "output": "sum",
        },
    },
]
IMAGE_ARC: Keys = {
    "modules": {
        "conv": {"LazyConv2d": {"out_channels": 4, "kernel_size": 2}},
        "flat": {"Flatten": {}},
    },
    "graph": {"input": "x", "modules": {"conv": ["x"], "flat": ["conv"]}, "output": "flat"},
}


class NetMaker:
    """Nets for one algorithm in one world.

    Args: ``dice``; ``on_policy``: whose nets may not normalise by the batch; ``recurrent``: whether the
    algorithm can learn from sequences; ``values``: whether the net gives action values, of which
    ``quantiles`` are no plain ones; ``image``: whether observations are images.
    """

    def __init__(
        self, dice: Dice, on_policy: bool, recurrent: bool, values: bool, quantiles: bool, image: bool
    ):
        self.dice, self.on_policy, self.values = dice, on_policy, values
        kinds = ["MLPNet", "MLPNet", "TorchArcNet"]
        kinds += ["RecurrentNet"] * recurrent
        kinds += ["DuelingMLPNet"] * (values and not quantiles)
        if image:
            kinds += ["ConvNet"] * 3 + ["DuelingConvNet"] * (values and not quantiles)
        self.kinds, self.image = kinds, image

    def net(self, flat: bool = False) -> Keys:
        """A section. With ``flat`` the net has to take vectors, whatever the observations are."""
        dice = self.dice
        kinds = [kind for kind in self.kinds if not flat or kind in ("MLPNet", "TorchArcNet")]
        kind = dice.choice(kinds)
        section: Keys = {"type": kind, **self._body(kind, self.image and not flat)}
        return section | self._shared()

    def _body(self, kind: str, image: bool) -> Keys:
        dice = self.dice
        if kind == "TorchArcNet":
            if not image and not self.values and dice.maybe(0.3):
                return dict(zip(("actor_arc", "critic_arc"), VECTOR_ARCS))
            return {"arc": IMAGE_ARC if image else dice.choice(VECTOR_ARCS)}
        if kind == "RecurrentNet":
            return {
                "cell_type": dice.choice(["RNN", "LSTM", "GRU", "gru", "Lstm"]),
                "rnn_hidden_size": dice.randint(1, 8),
                **dice.some(
                    {
                        "fc_hid_layers": self._widths(),
                        "rnn_num_layers": dice.randint(1, 2),
                        "seq_len": dice.randint(1, 6),
                        "bidirectional": False,
                    }
                ),
            }
        if kind.endswith("ConvNet"):
            layer: Any = [dice.randint(1, 4), 2]
            layers = dice.choice([[layer], [layer, [2, [1, 2], 1, 0]], [[3, 3, 2, 1, 1]], []])
            own: Keys = {"fc_hid_layers": dice.choice([self._widths(), [], None])}
            own |= {"normalize": dice.maybe(), "batch_norm": dice.maybe() and not self.on_policy}
            return {"conv_hid_layers": layers, **dice.some(own)}
        norms = ["layer_norm"] if self.on_policy else ["layer_norm", "batch_norm", "batch_renorm"]
        chosen = {dice.choice(norms): True} if dice.maybe(0.3) else {}
        return {"hid_layers": self._widths(), **chosen, **dice.some({"weight_norm": dice.maybe()}, 0.2)}

    def _widths(self) -> list[int]:
        return [self.dice.randint(1, 12) for _ in range(self.dice.randint(0, 3))]

    def _shared(self) -> Keys:
        """Keys of every kind of net."""
        dice = self.dice
        keys: Keys = {
            "shared": dice.maybe(),
            "use_same_optim": dice.maybe(),
            "hid_layers_activation": dice.choice([*ACTIVATIONS, "ReLU", "Tanh", "relu", "tanh"]),
            "out_layer_activation": dice.choice([None, None, "tanh"]),
            "log_std_init": dice.choice([None, 0, -0.5]),
            "clip_grad_val": dice.choice([None, 0.5, 10]),
            "loss_spec": self._loss(),
            "optim_spec": self._optimizer(),
            "lr_scheduler_spec": dice.choice([None, self._lr_schedule()]),
            "update_type": dice.choice(["polyak", "replace"]),
            "update_frequency": dice.randint(1, 100),
            "polyak_coef": dice.share(),
            "gpu": dice.choice([True, False, "auto", "true", "false", None]),
            "actor_optim_spec": dice.choice([None, self._optimizer()]),
            "critic_optim_spec": dice.choice([None, self._optimizer()]),
            "actor_lr_scheduler_spec": dice.choice([None, self._lr_schedule()]),
            "critic_lr_scheduler_spec": dice.choice([None, self._lr_schedule()]),
            "actor_clip_grad_val": dice.choice([None, 1.0]),
            "critic_clip_grad_val": dice.choice([None, 0.1]),
        }
        init_fn = dice.choice([None, *INITIALISERS])
        gains = ("init_std", "actor_init_std", "critic_init_std")
        if init_fn and init_fn.startswith(("orthogonal", "xavier")):
            keys |= {key: dice.choice([None, 0.01, 1.0]) for key in gains}
        section = {"init_fn": init_fn, **dice.some(keys)}
        if self.image or init_fn in ("normal_", "ones_"):  # of which plain gradients are too large
            section["clip_grad_val"] = 0.5
        return section

    def _optimizer(self) -> Keys:
        name = self.dice.choice([*OPTIMIZERS, "Adam", "GlobalAdam", "GlobalRMSprop"])
        offered = list(KEYWORDS.get(name.removeprefix("Global"), {}).items())
        keywords = dict(offered[: self.dice.randint(0, len(offered))])
        lr = self.dice.some({"lr": self.dice.log_uniform(1e-6, 1e-2)}, 0.9)
        return {"name": name, **lr, **keywords}

    def _loss(self) -> Keys:
        name = self.dice.choice(list(LOSSES))
        return {"name": name, **self.dice.some(LOSSES[name])}

    def _lr_schedule(self) -> Keys:
        name = self.dice.choice(["LinearToZero", "LinearToMin", *LR_SCHEDULERS])
        if name not in SCHEDULES:
            floor = self.dice.some({"min_factor": self.dice.share()})
            return {"name": name, "frame": self.dice.randint(1, 10**6), **floor}
        return {"name": name, **SCHEDULES[name]}
