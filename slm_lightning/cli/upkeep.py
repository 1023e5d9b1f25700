"""Commands that look after the lab itself."""

from __future__ import annotations

import textwrap
from collections import Counter

import click

from slm_lightning import output
from slm_lightning.lab.wording import WIDTH

MARKS = {"ok": " ", "warning": "!", "problem": "✗"}
"""How the states of findings are shown."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print what was delivered as JSON.")
def sync(as_json) -> None:
    """Deliver what waits for the record.

    Runs that a store could not take keep their values and files in the folder mlruns/runs. Exits with
    6 while the store does not answer.
    """
    from slm_lightning.errors import StorageError
    from slm_lightning.tracking import Record, sync

    record = Record()
    done = sync(record)
    waiting = sum(each.waiting for each in done)
    if as_json:
        click.echo(output.to_json([each._asdict() for each in done]))
    elif not done:
        click.echo(f"nothing waits for the record at {record}")
    else:
        rows = [["run", "delivered", "waiting"]]
        rows += [[run[:8], *map(str, counts)] for run, *counts in done]
        click.echo(output.columns(rows))
    if waiting:
        raise StorageError(
            f"{waiting} values and files still wait in {record.root / 'runs'}: the record at {record}"
            " does not take them",
            "try again: slm-lightning sync; what is wrong: slm-lightning doctor",
        )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json) -> None:
    """Say how the lab, its machine and its stores are.

    What a report of a fault should hold: versions, devices, stores and their health, without secrets.
    Exits with 6 where a store is broken, with 3 where a library is missing.
    """
    from slm_lightning.lab.doctor import examine, exit_code

    findings = examine()
    if as_json:
        click.echo(output.to_json([vars(finding) for finding in findings]))
    else:
        click.echo(_listing(findings))
    raise SystemExit(exit_code(findings))


def _listing(findings) -> str:
    """A line for each finding, below its part; libraries that are as tested share a few."""
    lines: list[str] = []
    for part in dict.fromkeys(finding.part for finding in findings):
        mine = [finding for finding in findings if finding.part == part]
        lines += ["", part] if lines else [part]
        if part == "libraries":
            fine = ", ".join(f"{each.name} {each.value}" for each in mine if each.state == "ok")
            filled = textwrap.wrap(fine, WIDTH, break_on_hyphens=False)
            lines += [f"    {line}" for line in filled]
            mine = [each for each in mine if each.state != "ok"]
        width = max((len(each.name) for each in mine), default=0)
        for each in mine:
            lines.append(f"  {MARKS[each.state]} {each.name:<{width}}  {each.value}")
            if each.advice:
                lines.append(f"    {'':<{width}}  {each.advice}")
    counts = Counter(finding.state for finding in findings)
    found = ", ".join(
        f"{count} {state}{'s' * (count > 1)}"
        for state in ("problem", "warning")
        if (count := counts[state])
    )
    return "\n".join([*lines, "", found or "all is well"])
