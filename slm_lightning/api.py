"""The lab's verbs in Python; the command line calls the same functions."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slm_lightning.lab.launch import warm_up
from slm_lightning.spec.load import RawSpec, load_spec

Mode = Literal["train", "dev"]
DEV_ROUNDS = 10


def run(
    spec: str | Path | Mapping[str, Any],
    name: str | None = None,
    *,
    mode: Mode = "train",
    variables: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
    sessions: int | None = None,
    device: str = "auto",
    say: Callable[[str], None] = print,
):
    """Runs a spec as a Trial and records it. Returns its :class:`slm_lightning.lab.trial.Result`.

    Args:
        spec: path of a spec file, or a spec as a dict (itself, or name -> spec).
        name: which spec of several.
        mode: ``train``; ``dev`` is one short session of a few rounds, rendered where there is a
            display, with anomaly detection.
        variables: values of ``${name}`` in the file.
        overrides: dotted path -> value.
        seed, sessions: short for overrides of ``meta.seed`` and ``meta.max_session``.
        device: ``auto``, ``cpu`` or ``cuda``.
        say: takes what there is to say on the way, a line at a time.

    Raises SpecError, MissingError or StorageError before anything is created. A session that fails is
    in the result: see ``Result.error()``.
    """
    warm_up()
    import_from_here()
    plan = prepare(spec, name, mode, variables, overrides, seed, sessions)
    for note in plan.notes:
        say(f"note: {note}")

    from slm_lightning.lab.preflight import device_of
    from slm_lightning.lab.trial import Trial
    from slm_lightning.tracking import Record

    device_of(plan.spec, 0, device)  # raises where it is not there
    record = Record()
    return _run(Trial.create(plan.raw, plan.spec, record, mode), device, say)


def resume(run: str, *, device: str = "auto", say: Callable[[str], None] = print):
    """Goes on with a trial that was stopped, killed or failed, from the last checkpoints of its
    sessions, to the same numbers as if it had never stopped. Arguments and result as :func:`run`.

    Raises UsageError where there is nothing to resume.
    """
    warm_up()
    import_from_here()
    from slm_lightning.lab.trial import Trial
    from slm_lightning.tracking import Record

    record = Record()
    info = record.find(run)
    if info.parent is not None:
        info = record.get(info.parent)
    trial = Trial.reopen(info, record)
    if changed := trial.changed(info):
        say(f"warning: {changed}; the numbers need not be those of an unbroken run")
    return _run(trial, device, say)


def _run(trial: Any, device: str, say: Callable[[str], None]):
    from slm_lightning.lab.progress import ProgressBars

    say(f"{trial.name}: run {trial.run_id[:8]} in {trial.record.uri}")
    names = [f"{trial.name}_s{s}" for s in range(len(trial.session_ids))]
    bars = ProgressBars(names, trial.spec.env.max_frame)
    try:
        return trial.run(bars.update, device)
    finally:
        bars.close()


def load(run: str, checkpoint: Literal["best", "last"] = "best"):
    """The trained policy of a run (id, prefix or name of a session or trial, or a folder) as a
    :class:`slm_lightning.lab.replay.Policy`: ``load(run_id).act(obs)``."""
    import_from_here()
    from slm_lightning.lab.replay import Policy, find_policy
    from slm_lightning.tracking import Record

    return Policy(find_policy(run, Record(), checkpoint))


@dataclass(frozen=True)
class Plan:
    """A spec that has passed every check that can be made before running it."""

    raw: RawSpec
    spec: Any
    notes: list[str]


def prepare(
    spec: str | Path | Mapping[str, Any],
    name: str | None = None,
    mode: Mode = "train",
    variables: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
    sessions: int | None = None,
) -> Plan:
    """Reads, resolves and checks a spec; arguments and errors as :func:`run`."""
    from slm_lightning.lab.preflight import check, shortened, with_one_round
    from slm_lightning.registry import REGISTRY
    from slm_lightning.spec.notes import notes
    from slm_lightning.spec.resolve import resolve

    asked = {"meta.seed": seed, "meta.max_session": 1 if mode == "dev" else sessions}
    overrides = {**(overrides or {}), **{k: v for k, v in asked.items() if v is not None}}
    raw = load_spec(spec, name, variables, overrides)
    resolved = resolve(raw, REGISTRY)
    if not raw.native:
        resolved = with_one_round(resolved)
    if mode == "dev":
        resolved = shortened(resolved, DEV_ROUNDS)
    check(resolved)
    return Plan(raw, resolved, notes(raw, resolved))


def import_from_here() -> None:
    """Environments of one's own are found from the working directory, as with ``python -m``."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
