"""Collects rollouts of PPO on CartPole, as they are and with vector steps as graphs, and prints what a
step takes: one measurement, in a process of its own.

    python -m benchmarks.measure.rollout NUM_ENVS [DEVICE]

The last line is JSON: microseconds of a vector step in both ways, and the CPU seconds until the first
graph was ready, with the imports that it needs.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from benchmarks.measure.ceilings import wait_for
from benchmarks.measure.clocks import cost_of
from benchmarks.measure.works import FOLDER
from slm_lightning.core import Keys
from slm_lightning.data.collector import Collector, Compiler
from slm_lightning.envs import make_env
from slm_lightning.registry import REGISTRY
from slm_lightning.session import Session
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.resolve import resolve
from slm_lightning.updates import CompiledStep, prepare

HORIZON = 128
REPEATS = 20


def collector(num_envs: int, device: torch.device, compiler: Compiler | None) -> Collector:
    overrides = {"env.num_envs": num_envs, "meta.compile": False}
    spec = resolve(load_spec(FOLDER / "massive.json", overrides=overrides), REGISTRY)
    keys = Keys(spec.meta.seed)
    env = make_env(spec.env, keys, device=str(device))
    session = Session.build(spec, env.info, keys).to(device)
    return Collector(env, session.agent, session.normalizers, device, compiler=compiler)


def microseconds(collectors: dict[str, Collector], device: torch.device) -> dict[str, float]:
    """What a vector step of each takes, the best of several rollouts that are made in turns: CPU time
    where that is all there is, as other work takes none of it."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    best = dict.fromkeys(collectors, float("inf"))
    for _ in range(REPEATS):
        for name, each in collectors.items():
            wait_for(device)
            start = clock()
            each.collect(HORIZON, 0)
            wait_for(device)
            best[name] = min(best[name], clock() - start)
    return {name: seconds / HORIZON * 1e6 for name, seconds in best.items()}


def main() -> None:
    torch.set_num_threads(1)
    num_envs, device = int(sys.argv[1]), torch.device([*sys.argv[2:], "cpu"][0])
    eager, graph = (collector(num_envs, device, how) for how in (None, CompiledStep))

    def first() -> None:
        prepare()
        graph.collect(HORIZON, 0)

    answer = {"ready": cost_of(first).cpu}
    print(json.dumps(answer | microseconds({"eager": eager, "graph": graph}, device)))


if __name__ == "__main__":
    main()
