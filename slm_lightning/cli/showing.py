"""One run in full, as text."""

from __future__ import annotations

import json
from collections.abc import Sequence

from slm_lightning import output
from slm_lightning.hub.address import SCHEME
from slm_lightning.lab.crash import CRASH
from slm_lightning.lab.report.findings import Findings, findings
from slm_lightning.lab.report.verdict import verdict
from slm_lightning.lab.wording import count, duration, interval, number, setting, spec_value, wrapped
from slm_lightning.tracking import COMPILED, ORIGIN, PUBLISHED, RESOLVED, Record, RunInfo

TOP = 10
"""Trials of a search that are listed; all are on its page."""


def show(record: Record, run: RunInfo) -> str:
    """How a run ended, what it came to, what is below it, and what to type next."""
    artifacts = record.artifacts(run.run_id)
    lines = [f"{run.name}  {run.kind}  {output.status(run)}  {run.run_id}", _origin(run)]
    lines += [*_elsewhere(run), *_place(record, run)]
    if compiled := run.tags.get(COMPILED):
        lines.append(f"updates compiled: {compiled}")
    if reason := run.tags.get("slm.reason"):
        lines.append(f"reason: {reason}")
    if run.kind == "experiment" and RESOLVED in artifacts:
        lines += _search(findings(record, run.run_id))
    else:
        lines.append(output.columns([[k, number(v)] for k, v in sorted(run.metrics.items())]))
        lines += [_child(child) for child in record.children(run.run_id)]
    lines.append("artifacts: " + ", ".join(artifacts))
    return "\n".join(line for line in [*lines, *_next(record, run, artifacts)] if line)


def _origin(run: RunInfo) -> str:
    commit = run.tags.get("mlflow.source.git.commit", "none")[:12]
    dirty = " + uncommitted changes" if run.tags.get("slm.git.dirty") == "true" else ""
    start = run.start.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    took = f", took {duration((run.end - run.start).total_seconds())}" if run.end else ""
    return f"commit {commit}{dirty}  seed {run.params.get('meta.seed', '?')}  started {start}{took}"


def _elsewhere(run: RunInfo) -> list[str]:
    """Where else the run is, or was to be."""
    origin, published = run.tags.get(ORIGIN), run.tags.get(PUBLISHED)
    lines = [f"pulled from {origin}"] if origin else []
    if published:
        lines.append(f"published at {published}" if published.startswith(SCHEME) else published)
    return lines


def _place(record: Record, run: RunInfo) -> list[str]:
    """Which search a trial or session is of, and what that drew for it."""
    study = run.tags.get("slm.study")
    if study is None or run.kind == "experiment":
        return []
    confirms = run.tags.get("slm.confirms")
    what = (
        f"trial {confirms} again, with fresh seeds," if confirms else f"trial {run.tags['slm.trial']}"
    )
    search = f"search {record.get(study).name} ({study[:8]})"
    drawn = json.loads(run.tags.get("slm.drawn", "{}"))
    return [
        f"{what} of {search}; drawn for it:",
        *(f"  {path}  {spec_value(value)}" for path, value in drawn.items()),
    ]


def _search(found: Findings) -> list[str]:
    """What a search found: the verdict, the best settings, and why others failed."""
    said = verdict(found)
    lines = [output.counted(found), *(wrapped(s, "") for s in (said.sentence, *said.caveats))]
    again = found.confirmation
    shown = [*found.best[:TOP], *([again] if again and again.is_ranked else [])]
    if shown:
        names = list(dict.fromkeys([*found.objectives, "score", "eval_score"]))
        rows = [["run", "trial", *names, "95 % interval of score", "setting"]]
        for trial in shown:
            named = f"t{trial.number}" if trial.confirms is None else f"t{trial.confirms} again"
            values = [number(found.value(trial, name)) for name in names]
            bounds = interval(*trial.interval("score"))
            rows.append([trial.run_id[:8], named, *values, bounds, setting(trial.drawn, found.labels)])
        lines.append(output.columns(rows))
    if len(found.best) > TOP:
        lines.append(
            f"the best {TOP} of {len(found.best)}; all: slm-lightning show {found.run_id[:8]} --json"
        )
    return lines + [f"failed, {count(times, 'time')}: {reason}" for reason, times in found.reasons]


def _child(run: RunInfo) -> str:
    score = number(run.metrics.get("score"))
    return f"{run.run_id[:8]}  {run.name}  {output.status(run)}  score {score}"


def _next(record: Record, run: RunInfo, artifacts: Sequence[str]) -> list[str]:
    """What can be done with the run."""
    short = run.run_id[:8]
    lines = [f"in MLflow  slm-lightning ui {short}"]
    if run.parent is None and output.status(run) in ("stopped", "killed", "failed"):
        lines.append(f"go on      slm-lightning resume {short}")
    if run.kind == "trial" and not record.is_server and "spec.json" in artifacts:
        lines.append(f"repeat     slm-lightning run {record.download(run.run_id, 'spec.json')}")
    if CRASH in artifacts and not record.is_server:
        file = record.download(run.run_id, CRASH)
        lines.append(f"the crash  python -m slm_lightning.lab.crash {file}")
    return lines
