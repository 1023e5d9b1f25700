"""A comparison as text for the terminal, 80 columns wide, and as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from slm_lightning.lab.compare.comparison import Comparison, Difference, budget, signed
from slm_lightning.lab.compare.environments import Overall
from slm_lightning.lab.compare.inference import Description
from slm_lightning.lab.compare.runs import Contender
from slm_lightning.lab.wording import WIDTH, interval, number, shortened, wrapped

NAME, SHORT = 20, 15
"""Columns of a run's name."""
LEGEND = (
    "p: permutation test{adjusted}. P(higher): probability that a seed of the run scores higher "
    "than one of the reference. detects: the smallest difference these seeds show in 80 % of "
    "repetitions."
)


def text(comparison: Comparison) -> str:
    """The verdicts, then a table for each environment, then every difference."""
    blocks = ["\n".join(wrapped(sentence) for sentence in comparison.sentences)]
    for environment, group in comparison.environments.items():
        rows = [(c.label, comparison.descriptions[c], len(c.missing)) for c in group]
        title = f"{comparison.metric} in {environment} after {budget(group)}"
        seeds = [wrapped(f"{c.label}: {_values(c)}", "      ") for c in group]
        blocks.append("\n".join([title, _table(rows), "every seed:", *("  " + line for line in seeds)]))
        if differences := [d for d in comparison.differences if d.reference is group[0]]:
            blocks.append(_differences(differences))
    if comparison.differences:
        several = max(d.comparisons for d in comparison.differences)
        adjusted = f", Holm-adjusted for {several} comparisons" if several > 1 else ""
        blocks.append(wrapped(LEGEND.format(adjusted=adjusted), ""))
    if comparison.overall:
        blocks.append(_overall(comparison.overall))
    if comparison.notes:
        blocks.append("\n".join(wrapped(f"note: {note}") for note in comparison.notes))
    return "\n\n".join(blocks)


def _table(rows: Sequence[tuple[str, Description, int]]) -> str:
    width = min(NAME, max(len(label) for label, _, _ in rows))
    head = f"{'seeds':>5}  {'mean':>8}  {'95 % interval':<19}  {'IQM':>8}  {'lowest':>8}"
    lines = [f"  {'':{width}}  {head}"]
    for label, sample, missing in rows:
        seeds = f"{sample.n}/{sample.n + missing}" if missing else str(sample.n)
        bounds = interval(sample.ci_low, sample.ci_high) or "n/a"
        lines.append(
            f"  {shortened(label, width):{width}}  {seeds:>5}  {number(sample.mean):>8}  {bounds:<19}"
            f"  {number(sample.iqm):>8}  {number(sample.worst):>8}"
        )
    return "\n".join(line.rstrip() for line in lines)


def _values(contender: Contender) -> str:
    return "  ".join(
        (seed.status if seed.is_missing else number(seed.value)) for seed in contender.seeds
    )


def _differences(found: Sequence[Difference]) -> str:
    """Differences from one reference."""
    head = f"{'difference':>10}  {'95 % interval':<18}  {'p':>6}  {'P(higher)':>9}  {'detects':>8}"
    lines = [f"against {shortened(found[0].reference.label, WIDTH - 8)}", f"  {'':{SHORT}}  {head}"]
    for d in found:
        p = number(d.p if math.isnan(d.p_adjusted) else d.p_adjusted, 2)
        bounds = interval(d.ci_low, d.ci_high) or "n/a"
        lines.append(
            f"  {shortened(d.contender.label, SHORT):{SHORT}}  {signed(d.difference):>10}  {bounds:<18}"
            f"  {p:>6}  {number(d.improvement.probability, 2):>9}  {number(d.detectable, 3):>8}"
        )
    return "\n".join(lines)


def _overall(found: Overall) -> str:
    if found.reason:
        return wrapped(f"No score over all environments: {found.reason}.")
    title = "over all environments, 0 = random policy, 1 = best mean of these runs"
    lines = [f"  {'':{NAME}}  {'IQM':>6}  {'95 % interval':<17}  beats {found.methods[0].name}"]
    for i, method in enumerate(found.methods):
        bounds = interval(round(method.iqm_low, 3), round(method.iqm_high, 3)) or "n/a"
        beats = number(method.improvement, 2) if i else ""
        name = shortened(method.name, NAME)
        lines.append(f"  {name:{NAME}}  {number(method.iqm, 3):>6}  {bounds:<17}  {beats}")
    return "\n".join([title, *(line.rstrip() for line in lines)])


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Everything, with every pair and every seed. A number that is not known is NaN."""
    return {
        "metric": comparison.metric,
        "verdicts": comparison.sentences,
        "refusals": comparison.refusals,
        "notes": comparison.notes,
        "runs": [_run_dict(c, comparison.descriptions[c]) for c in comparison.contenders],
        "differences": [_difference_dict(d) for d in comparison.differences],
        "pairs": [_difference_dict(d) for d in comparison.pairs],
        "overall": _overall_dict(comparison.overall) if comparison.overall else None,
    }


def _run_dict(contender: Contender, sample: Description) -> dict[str, Any]:
    return {
        "run_id": contender.run_id,
        "trial_id": contender.trial_id,
        "kind": contender.kind,
        "label": contender.label,
        "method": contender.method,
        "environment": contender.environment,
        "max_frame": contender.max_frame,
        "chosen_among": contender.chosen_among,
        "missing": len(contender.missing),
        **sample._asdict(),
        "seeds": [
            {"run_id": s.run_id, "session": s.session, "status": s.status}
            | {"value": s.value, "reason": s.reason}
            for s in contender.seeds
        ],
    }


def _difference_dict(found: Difference) -> dict[str, Any]:
    return {
        "reference": found.reference.label,
        "run": found.contender.label,
        "environment": found.contender.environment,
        "verdict": found.verdict,
        "reason": found.reason,
        "difference": found.difference,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "p": found.p,
        "p_adjusted": found.p_adjusted,
        "comparisons": found.comparisons,
        "improvement": found.improvement._asdict(),
        "detectable": found.detectable,
        "seeds_needed": found.seeds_needed,
    }


def _overall_dict(found: Overall) -> dict[str, Any]:
    return {
        "reason": found.reason,
        "scales": {env: {"zero": zero, "one": one} for env, (zero, one) in found.scales.items()},
        "methods": [
            {
                "name": method.name,
                "iqm": method.iqm,
                "iqm_low": method.iqm_low,
                "iqm_high": method.iqm_high,
                "improvement": method.improvement,
                "scores": {env: scores.tolist() for env, scores in method.scores.items()},
            }
            for method in found.methods
        ],
    }
