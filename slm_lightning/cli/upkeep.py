"""Commands that look after the lab itself."""

from __future__ import annotations

import click

from slm_lightning import output


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
