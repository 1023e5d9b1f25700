"""What a vector step of our own environments takes, as it is and as one compiled graph.

    python -m benchmarks.rollouts [--num-envs 16 256 4096] [--device cpu] [--write]

PPO with two tanh layers of 64 collects rollouts of CartPole. To make the graph takes the more CPU time
cold, with an empty cache, and the less warm, when the cache that was filled by that is there. Steps are
the best of twenty rollouts, by their CPU time, on a GPU by the wall clock: what else the machine does
can only slow them down. Both ways are measured in turns, in both processes.
"""

from __future__ import annotations

import argparse
import tempfile

from benchmarks.measure.arguments import count
from benchmarks.measure.page import command, machine, table, write
from benchmarks.measure.programs import CACHE, run_python

HEAD = ["sub-environments", "step, µs", "as a graph", "ratio", "ready, cold", "warm", "pays from"]


def row(num_envs: int, device: str) -> list[str]:
    """A row of the table."""
    arguments = ["-m", "benchmarks.measure.rollout", str(num_envs), device]
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = (run_python(arguments, {CACHE: cache}).answer for _ in range(2))
    eager, graph = (min(cold[how], warm[how]) for how in ("eager", "graph"))
    gain = (eager - graph) / 1e6
    pays = [f"{answer['ready'] / gain:,.0f}" if gain > 0 else "never" for answer in (cold, warm)]
    return [
        f"{num_envs:,}",
        f"{eager:,.0f}",
        f"{graph:,.0f}",
        f"**{eager / graph:.1f}**",
        f"{cold['ready']:.1f} s",
        f"{warm['ready']:.1f} s",
        " and ".join(pays),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-envs", type=count, nargs="+", default=[16, 256, 4096])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="Write docs/performance.md.")
    arguments = parser.parse_args()
    rows = table(HEAD, [row(num_envs, arguments.device) for num_envs in arguments.num_envs])
    print(rows)
    if arguments.write:
        write("rollouts", f"`{command()}`, on {machine()}\n\n{rows}")


if __name__ == "__main__":
    main()
