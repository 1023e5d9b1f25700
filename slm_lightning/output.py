"""How results and runs are printed: as text for people, as JSON for programs."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from slm_lightning.lab.wording import bracketed, number, shortened, wrapped

if TYPE_CHECKING:
    from slm_lightning.lab.report.findings import Findings
    from slm_lightning.lab.result import Result
    from slm_lightning.lab.search.experiment_result import SearchResult
    from slm_lightning.tracking import RunInfo

NO_BROWSER = "no picture: that needs Chrome or Chromium (kaleido_get_chrome installs one)"

NARROWEST = 10
"""Characters that a cell keeps where a table does not fit."""
CONFIRM = 5
"""Sessions that are proposed for a confirmation."""


def report(result: Result | SearchResult) -> str:
    """What a run came to, and what to type next."""
    from slm_lightning.lab.result import Result

    return report_trial(result) if isinstance(result, Result) else report_search(result)


def summary(result: Result | SearchResult) -> dict[str, Any]:
    """The same for programs."""
    from slm_lightning.lab.result import Result

    return trial_summary(result) if isinstance(result, Result) else result.to_dict()


def report_trial(result: Result) -> str:
    """What a trial came to, and what to type next."""
    scalars, run = result.scalars, result.run_id[:8]
    done = sum(session.outcome.status == "done" for session in result.sessions)
    score, evaluation = (
        number(scalars[name]) + bracketed(scalars[f"{name}_ci_low"], scalars[f"{name}_ci_high"])
        for name in ("score", "eval_score")
    )
    lines = [
        f"{result.name}: {done} of {len(result.sessions)} sessions done",
        f"  total_reward_ma   {score}   in training",
        f"  greedy evaluation {evaluation}   of the final policies",
    ]
    lines += [
        f"  {name:<17} {number(scalars[name])}"
        for name in ("strength", "sample_efficiency", "stability", "consistency")
    ]
    if done:
        lines.append(f"see it     slm-lightning enjoy {run}")
    lines += [f"details    slm-lightning show {run}", f"in MLflow  slm-lightning ui {run}"]
    return "\n".join(lines)


def report_search(result: SearchResult) -> str:
    """What a search came to, and what to type next."""
    found, run = result.findings, result.run_id[:8]
    if found is None:
        return paragraphs(result.text)
    lines = [f"{result.name}: {counted(found)}", paragraphs(result.text)]
    if found.best:
        lines.append(f"see it     slm-lightning enjoy {found.best[0].run_id[:8]}")
    if found.best and result.status == "done" and found.confirmation is None:
        lines.append(f"confirm    slm-lightning resume {run} --confirm {CONFIRM}")
    lines += [f"details    slm-lightning show {run}", f"in MLflow  slm-lightning ui {run}"]
    return "\n".join(lines)


def counted(found: Findings) -> str:
    """``14 of 16 trials done, 2 failed``."""
    counts = {"done": 0, **found.counts}
    of = f"of {found.planned or len(found.trials)} trials"
    done, *others = (f"{count} {status}" for status, count in counts.items())
    return ", ".join([done.replace(" ", f" {of} "), *others])


def trial_summary(result: Result) -> dict[str, Any]:
    """A trial and its sessions."""
    return {
        "run_id": result.run_id,
        "name": result.name,
        "status": result.status,
        "metrics": result.scalars,
        "sessions": [
            {
                "run_id": s.run_id,
                "status": s.outcome.status,
                "reason": s.outcome.message,
                "metrics": s.scalars,
            }
            for s in result.sessions
        ],
    }


def brief(run: RunInfo) -> dict[str, Any]:
    """One run among many."""
    return {
        "run_id": run.run_id,
        "name": run.name,
        "kind": run.kind,
        "status": status(run),
        "score": run.metrics.get("score"),
        "eval_score": run.metrics.get("eval_score"),
        "started": run.start.isoformat(),
    }


def status(run: RunInfo) -> str:
    """How a run stands, in the lab's words. What a process said that was killed later holds no more."""
    said = run.tags.get("slm.status", run.status.lower())
    if run.status == "RUNNING" or (run.status == "KILLED" and said == "done"):
        return run.status.lower()
    return said


def to_json(data: Any) -> str:
    """NaN has no place in JSON; it becomes null."""
    return json.dumps(_finite(data), indent=2)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def columns(rows: Sequence[Sequence[str]], elastic: Sequence[int] = ()) -> str:
    """A table, flush left. Where a terminal is too narrow for it, the cells of the ``elastic`` columns
    lose their middle."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    most = shutil.get_terminal_size().columns if sys.stdout.isatty() else math.inf
    while sum(widths) + 2 * (len(widths) - 1) > most:
        widest = max(elastic, key=widths.__getitem__, default=0)
        if not elastic or widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    lines = (
        "  ".join(shortened(cell, width).ljust(width) for cell, width in zip(row, widths))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def paragraphs(text: str) -> str:
    """Each line wrapped. One that is indented goes on below indented more; a path stays on the line of
    the word before it."""
    return "\n".join(
        line if line.count(" ") < 2 else wrapped(line, "    " * line.startswith(" "))
        for line in text.splitlines()
    )
