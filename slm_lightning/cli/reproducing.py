"""Commands that make recorded numbers again."""

from __future__ import annotations

import click

from slm_lightning import output


@click.command()
@click.argument("run", metavar="RUN_ID")
@click.option("--commit", help="RUN_ID is a spec file, to be run with the code of this commit.")
@click.option("--here", is_flag=True, help="With the code and the packages of now, not of then.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def reproduce(run, commit, here, device, as_json) -> None:
    """Run a recorded run again and compare it, bit for bit.

    Its commit is checked out beside, with its uncommitted changes, and packages that differ are taken
    in their recorded versions. RUN_ID is a trial, a search, or a session, which stands for its trial;
    hf://USER/NAME for one that is published; a row of the result pages by its file, as
    docs/benchmarks/record/CartPole-v1/PPO.json; or, with --commit, a spec file. Exits with 7 where a
    number differs.
    """
    from slm_lightning import api
    from slm_lightning.lab.reproduce.text import text

    if commit and here:
        raise click.UsageError("--here is the code of here, and --commit that of another commit")
    found = api.reproduce(run, commit=commit, here=here, device=device, say=_say)
    if found is None:
        click.echo("the record has no other run of this spec and commit to compare it with")
        return
    click.echo(output.to_json(found.to_dict()) if as_json else text(found))
    if not found.identical:
        raise SystemExit(7)


@click.command()
@click.argument("run", metavar="RUN_ID")
@click.option("--block", type=click.IntRange(min=1), help="Which round; default the last.")
@click.option("--session", type=click.IntRange(min=0), default=0, help="Which of a trial.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(run, block, session, device, as_json) -> None:
    """Compute a recorded session again, up to one block.

    With the code and packages that are here; compares every row on the way. Exits with 7 where a number
    differs.
    """
    from slm_lightning import api
    from slm_lightning.lab.reproduce.text import verified

    found = api.verify(run, block=block, session=session, device=device)
    click.echo(output.to_json(found.to_dict()) if as_json else verified(found))
    if not found.comparison.identical:
        raise SystemExit(7)


def _say(text: str) -> None:
    click.echo(text, err=True)
