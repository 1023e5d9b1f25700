"""A comparison as an HTML page that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slm_lightning.lab.compare import curves as compare_graphs
from slm_lightning.lab.compare.comparison import Comparison, budget
from slm_lightning.lab.pages import render

TONES = {"better": "good", "higher": "good", "worse": "bad", "lower": "bad"}
"""How the verdict of a single difference is marked."""


def page(comparison: Comparison) -> str:
    """The page: the verdict, the curves, the seeds and every number. The same comparison gives the same
    bytes."""
    styles = compare_graphs.line_styles(comparison)
    overall = comparison.overall
    return render(
        "compare.html.j2",
        comparison=comparison,
        tones=TONES,
        adjusted=max((d.comparisons for d in comparison.differences), default=1),
        curves=compare_graphs.learning_curves(comparison),
        groups=[_group(comparison, environment) for environment in comparison.environments],
        profile=compare_graphs.profile(overall, styles) if overall and overall.methods else None,
    )


def write_page(comparison: Comparison, path: Path) -> None:
    """Writes the page, about 5 MB, most of it the library that draws."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(comparison), encoding="utf-8")


def _group(comparison: Comparison, environment: str) -> dict[str, Any]:
    """What the page says of one environment."""
    runs = comparison.environments[environment]
    return {
        "environment": environment,
        "budget": budget(runs),
        "runs": [(c, comparison.descriptions[c]) for c in runs],
        "differences": [d for d in comparison.differences if d.reference is runs[0]],
        "seeds": compare_graphs.seed_scores(runs, comparison.descriptions, comparison.metric),
    }
