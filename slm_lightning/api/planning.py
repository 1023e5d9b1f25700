"""From a spec to a plan: everything that can be said no to before anything is created."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slm_lightning.errors import SpecError
from slm_lightning.lab.running.local_engine import warm_up
from slm_lightning.redact import conceal
from slm_lightning.spec.load import RawSpec, load_spec

Mode = Literal["train", "dev"]
Say = Callable[[str], None]
DEV_ROUNDS = 10


@dataclass(frozen=True)
class Plan:
    """A spec that has passed every check that can be made before running it."""

    raw: RawSpec
    spec: Any
    notes: list[str]


def prepare(
    spec: str | Path | Mapping[str, Any],
    name: str | None = None,
    mode: Mode | Literal["search"] = "train",
    variables: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
    sessions: int | None = None,
) -> Plan:
    """Reads, resolves and checks a spec; arguments and errors as :func:`run`."""
    from slm_lightning.lab.preflight import check, doubts, shortened, with_one_round
    from slm_lightning.registry import REGISTRY
    from slm_lightning.spec.blanks import refuse_blanks, unrecorded
    from slm_lightning.spec.notes import notes
    from slm_lightning.spec.resolve import resolve
    from slm_lightning.spec.search import check_search, searched
    from slm_lightning.spec.search_values import check_values
    from slm_lightning.updates import regrets

    asked = {"meta.seed": seed, "meta.max_session": 1 if mode == "dev" else sessions}
    overrides = {**(overrides or {}), **{k: v for k, v in asked.items() if v is not None}}
    conceal([variables, overrides])
    raw = load_spec(spec, name, variables, overrides)
    conceal(raw.data)
    resolved = resolve(raw, REGISTRY)
    if not raw.native:
        resolved = with_one_round(resolved)
    if mode == "dev":
        resolved = shortened(resolved, DEV_ROUNDS)
    refuse_blanks(resolved.to_dict())
    said = notes(raw, resolved) + unrecorded(resolved.to_dict())
    if mode == "search":
        resolved, more = searched(raw, resolved)
        said += more
        check_search(resolved)
        if problems := check_values(raw, resolved, REGISTRY):
            raise SpecError(problems)
    said += doubts(check(resolved)) + regrets(resolved)
    return Plan(raw, resolved, said)


def planned(spec, name, mode, variables, overrides, seed, sessions, device, say) -> Plan:
    """A spec that is ready to run, with what there is to say of it."""
    warm_up()
    plan = prepare(spec, name, mode, variables, overrides, seed, sessions)
    for note in plan.notes:
        say(f"note: {note}")
    from slm_lightning.lab.preflight import device_of

    device_of(plan.spec, 0, device)  # raises where it is not there
    return plan
