"""Commands that hand something on."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", metavar="RUN_ID")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
def export(run, folder, checkpoint) -> None:
    """Write a trained policy into a folder to hand on.

    FOLDER is new. It holds tensors and JSON and nothing that can run; anybody replays it by
    "slm-lightning enjoy FOLDER".
    """
    from slm_lightning import api

    api.export(run, folder, checkpoint)
    click.echo(f"{folder}: replay it by slm-lightning enjoy {folder}")
