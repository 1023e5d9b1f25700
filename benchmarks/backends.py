"""Vector steps per second of CartPole by torch and by Gymnasium, and their ratio.

    python -m benchmarks.backends [--steps 2000] [--device cpu] [--num-envs 16 1024]

Both are made by ``make_env`` and take the same random actions, in turns in the same process on one
thread; the best of three is printed, because what else the machine does can only slow it down.
"""

from __future__ import annotations

import argparse
import time

import torch

from benchmarks.measure.arguments import count
from slm_lightning.core import Keys, VectorEnv
from slm_lightning.envs import make_env
from slm_lightning.rl.exploration import random_action
from slm_lightning.spec.model import EnvParams

REPEATS = 3


def steps_per_second(env: VectorEnv, actions: list[torch.Tensor], device: torch.device) -> float:
    env.reset()
    start = time.perf_counter()
    for action in actions:
        env.step(action)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return len(actions) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=count, default=2000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num-envs", type=count, nargs="+", default=[16, 1024])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    for num_envs in arguments.num_envs:
        best = {"torch": 0.0, "gymnasium": 0.0}
        for _ in range(REPEATS):
            for backend in best:
                params = EnvParams(name="CartPole-v1", backend=backend, num_envs=num_envs, max_frame=1)
                env = make_env(params, Keys(0), device=arguments.device)
                steps = (
                    arguments.steps if backend == "torch" else max(arguments.steps * 16 // num_envs, 20)
                )
                where = device if backend == "torch" else "cpu"
                actions = [random_action(env.info.action, num_envs, where) for _ in range(steps)]
                best[backend] = max(best[backend], steps_per_second(env, actions, device))
                env.close()
        ratio = best["torch"] / best["gymnasium"]
        print(
            f"CartPole-v1, {num_envs} sub-environments: torch on {device} {best['torch']:.0f} vector "
            f"steps/s, Gymnasium (sync) {best['gymnasium']:.0f}: {ratio:.1f} x",
            flush=True,
        )


if __name__ == "__main__":
    main()
