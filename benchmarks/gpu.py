"""Speed on a GPU: environments on the device, environments on the CPU, and a large net.

    python -m benchmarks.gpu [--device cuda] [--num-envs 1024 4096 16384 65536] [--write]
    python -m benchmarks.gpu --device cpu --quick

- PPO of CartPole where the environments are tensors on the device: frames per second including
  learning; the time and the frames until the latest 100 training episodes reach 475; and the share of
  what the memory and the matrix units of the device can do, both measured here, by a copy and by a
  product of matrices. What a round asks for is counted operation by operation, as if none were fused.
  So few updates are not compiled, vector steps of many sub-environments are
  (``meta.compile: auto``).
- The works W1, W2, W3 and W5, whose environments are stepped on the CPU, with learning on the device
  and on the CPU.
- A round of learning of W4, with its convolutional net, on the device and on the CPU.

``--quick`` does all of it in small, to see that it works.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure.arguments import count
from benchmarks.measure.ceilings import Asked, Ceilings, asked_by, best_seconds, measure_ceilings
from benchmarks.measure.pace import WARM_ROUNDS, Pace
from benchmarks.measure.page import command, machine, table, write
from benchmarks.measure.programs import CACHE, run_python
from benchmarks.measure.training import train
from benchmarks.measure.works import FOLDER, WORKS
from slm_lightning.core import ActionSpec, Batch, EnvInfo, Keys
from slm_lightning.data.collector import Collector
from slm_lightning.envs import make_env
from slm_lightning.lab.running.worker import quiet
from slm_lightning.registry import REGISTRY
from slm_lightning.session import Session
from slm_lightning.spec.load import load_spec
from slm_lightning.spec.model import Spec
from slm_lightning.spec.resolve import resolve

TARGET = 475.0
MINIBATCHES = 4
"""Of each epoch, however many sub-environments there are."""
HORIZON = 32
EAGER = {"meta.compile": False}
PONG = EnvInfo("Pong", 8, (4, 84, 84), torch.uint8, ActionSpec("discrete", (6,)), frame_stack=4)
QUICK = {"W1": 2048, "W2": 1200, "W3": 1200, "W5": 8192}
"""The works whose environments are stepped on the CPU, and their frames with ``--quick``."""
GB, TERA = 1e9, 1e12


def massive(num_envs: int, rounds: int, **settings: Any) -> Spec:
    """PPO of CartPole with so many sub-environments, for so many rounds."""
    rollout = num_envs * HORIZON
    overrides = {
        "env.num_envs": num_envs,
        "env.max_frame": rollout * rounds,
        "agent.algorithm.time_horizon": HORIZON,
        "agent.algorithm.minibatch_size": rollout // MINIBATCHES,
        "meta.log_frequency": rollout,
    }
    return resolve(load_spec(FOLDER / "massive.json", overrides=overrides | settings), REGISTRY)


def asked_by_round(num_envs: int, device: torch.device) -> Asked:
    """What one round asks of the device when nothing is compiled."""
    spec = massive(num_envs, 1, **EAGER)
    keys = Keys(spec.meta.seed)
    env = make_env(spec.env, keys, device=str(device))
    session = Session.build(spec, env.info, keys).to(device)
    session.configure_optimizers()
    collector = Collector(env, session.agent, session.normalizers, device)

    def work() -> None:
        batch, _ = collector.collect(HORIZON, 0)
        session.agent.learn(batch, session.optimize)

    work()
    asked = asked_by(work)
    env.close()
    return asked


def on_device(num_envs: int, rounds: int, device: torch.device, ceilings: Ceilings) -> list[str]:
    """A row of the first table."""
    pace = Pace(device, TARGET)
    with tempfile.TemporaryDirectory() as folder:
        train(massive(num_envs, rounds), Path(folder), str(device), (pace,))
    asked = asked_by_round(num_envs, device)
    rounds_a_second = pace.frames_per_second / num_envs / HORIZON
    seconds, frames = pace.reached or (None, None)
    return [
        f"{num_envs:,}",
        f"{pace.frames_per_second:,.0f}",
        "not reached" if seconds is None else f"{seconds:.1f} s",
        "–" if frames is None else f"{frames:,}",
        f"{asked.bytes * rounds_a_second / ceilings.bandwidth:.1%}",
        f"{asked.flops * rounds_a_second / ceilings.matrix[torch.float32]:.1%}",
    ]


def cpu_environments(name: str, frames: int, device: torch.device) -> list[str]:
    """A row of the second table: a work's frames per second, by the wall clock, caches warm."""
    speeds = []
    for where in (str(device), "cpu"):
        arguments = ["-m", "benchmarks.measure.ours", name, "", "0", str(frames), where]
        with tempfile.TemporaryDirectory() as cache:
            answers = [run_python(arguments, {CACHE: cache}).answer for _ in range(2)]
        speeds.append(answers[-1]["frames"] / answers[-1]["wall"])
    return [name, f"{frames:,}", *(f"{speed:,.0f}" for speed in speeds)]


def large_net(device: torch.device, steps: int) -> float:
    """Frames per second of learning from a rollout of W4, without collecting it."""
    spec = resolve(load_spec(WORKS["W4"].path), REGISTRY)
    session = Session.build(spec, PONG, Keys(0)).to(device)
    session.configure_optimizers()
    shape = steps, PONG.num_envs
    images = torch.randint(0, 256, (*shape, *PONG.obs_shape), dtype=torch.uint8, device=device)
    never = torch.zeros(shape, dtype=torch.bool, device=device)
    batch = Batch(
        obs=images,
        action=torch.randint(0, 6, shape, device=device),
        reward=torch.randn(shape, device=device),
        next_obs=images,
        terminated=never,
        truncated=never,
        version=0,
    )
    seconds = best_seconds(lambda: session.agent.learn(batch, session.optimize), device, repeats=3)
    return steps * PONG.num_envs / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--num-envs", type=count, nargs="+", default=[1024, 4096, 16384, 65536])
    parser.add_argument("--rounds", type=count, default=150, help="Of each training that is timed.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true", help="Write docs/performance.md.")
    arguments = parser.parse_args()
    device, quick = torch.device(arguments.device), arguments.quick
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here; --device cpu --quick shows that the script works")
    quiet()
    torch.set_num_threads(1)
    ceilings = measure_ceilings(device, 512 if quick else 8192)
    single, half = (ceilings.matrix[dtype] / TERA for dtype in (torch.float32, torch.bfloat16))
    parts = [
        f"Memory {ceilings.bandwidth / GB:,.0f} GB/s; products of matrices {single:,.2f} TFLOP/s in "
        f"float32, {half:,.2f} in bfloat16."
    ]
    print(parts[0], flush=True)
    sizes = [64, 128] if quick else arguments.num_envs
    rounds = WARM_ROUNDS + 3 if quick else arguments.rounds
    head = ["sub-environments", "frames/s", f"time to {TARGET:.0f}", "frames", "memory", "matrix units"]
    parts.append(table(head, [on_device(size, rounds, device, ceilings) for size in sizes]))
    print(parts[-1], flush=True)
    rows = []
    for name, frames in QUICK.items():
        rows.append(cpu_environments(name, frames if quick else WORKS[name].frames, device))
    parts.append(table(["work", "frames", f"frames/s, {device.type}", "frames/s, CPU"], rows))
    print(parts[-1], flush=True)
    fast, slow = (large_net(where, 32 if quick else 128) for where in (device, torch.device("cpu")))
    parts.append(
        f"Learning of W4: {fast:,.0f} frames/s on {device.type}, {slow:,.0f} on one core: "
        f"**{fast / slow:.1f}** times as fast."
    )
    print(parts[-1], flush=True)
    if arguments.write:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
        write("gpu", "\n\n".join([f"`{command()}`, on {name} and {machine()}", *parts]))


if __name__ == "__main__":
    main()
