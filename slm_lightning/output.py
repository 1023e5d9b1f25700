"""How results and runs are printed: as text for people, as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slm_lightning.lab.result import Result
    from slm_lightning.lab.search.experiment_result import SearchResult
    from slm_lightning.tracking import RunInfo

NO_BROWSER = "no picture: that needs Chrome or Chromium (kaleido_get_chrome installs one)"


def report(result: Result | SearchResult) -> str:
    """What a run came to, and what to type next."""
    from slm_lightning.lab.result import Result

    return report_trial(result) if isinstance(result, Result) else result.text


def summary(result: Result | SearchResult) -> dict[str, Any]:
    """The same for programs."""
    from slm_lightning.lab.result import Result

    return trial_summary(result) if isinstance(result, Result) else result.to_dict()


def report_trial(result: Result) -> str:
    """What a trial came to, and what to type next."""
    scalars, run = result.scalars, result.run_id[:8]
    done = sum(session.outcome.status == "done" for session in result.sessions)
    score = interval(scalars["score"], scalars["score_ci_low"], scalars["score_ci_high"])
    evaluation = interval(
        scalars["eval_score"], scalars["eval_score_ci_low"], scalars["eval_score_ci_high"]
    )
    lines = [
        f"{result.name}: {done} of {len(result.sessions)} sessions done",
        f"  total_reward_ma   {score}   training returns, as SLM Lab reports",
        f"  greedy evaluation {evaluation}   of the final policies, episodes of their own",
    ]
    lines += [
        f"  {name:<17} {number(scalars[name])}"
        for name in ("strength", "sample_efficiency", "stability", "consistency")
    ]
    if done:
        lines.append(f"see it     slm-lightning enjoy {run}")
    lines += [f"details    slm-lightning show {run}", "compare    slm-lightning ui"]
    return "\n".join(lines)


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
    """How a run ended, in the lab's words."""
    return "running" if run.status == "RUNNING" else run.tags.get("slm.status", run.status.lower())


def to_json(data: Any) -> str:
    """NaN has no place in JSON; it becomes null."""
    return json.dumps(_finite(data), indent=2)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float | None) -> str:
    """Four digits; n/a where there is none."""
    return "n/a" if value is None or math.isnan(value) else f"{value:.4g}"


def interval(mean: float, low: float, high: float) -> str:
    """A mean and the bounds of its 95 % interval, where it has one."""
    bounds = "" if math.isnan(low) else f" (95 % interval {number(low)} to {number(high)})"
    return number(mean) + bounds


def columns(rows: Sequence[Sequence[str]]) -> str:
    """A table, flush left."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
