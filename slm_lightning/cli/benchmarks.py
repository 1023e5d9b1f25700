"""Commands that run sets of specs and write the result pages."""

from __future__ import annotations

import click

from slm_lightning import output
from slm_lightning.redact import redact


@click.group()
def benchmark() -> None:
    """Run sets of specs, and write the pages of their results."""


@benchmark.command()
@click.argument("wanted", metavar="SET", type=click.Path())
@click.option("--only", multiple=True, metavar="PATTERN", help='Of these rows, as "CartPole-v1/*".')
@click.option("--again", is_flag=True, help="Run also what has a result; the newest counts.")
@click.option("--parallel", type=click.IntRange(min=1), metavar="CORES",
              help="Most cores in use at once; default all there are.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print what became of the rows as JSON.")
def run(wanted, only, again, parallel, device, as_json) -> None:
    """Run what is missing of a set.

    SET is a file that lists specs, or a folder of specs. A row whose setting has a result is not
    repeated, one that was interrupted goes on, and one that fails does not stop the others.
    """
    from slm_lightning import api
    from slm_lightning.lab.benchmark.progress import describe
    from slm_lightning.lab.wording import count

    found = api.run_benchmark(
        wanted, only=only, again=again, parallel=parallel, device=device, say=_say
    )
    if as_json:
        click.echo(output.to_json(found.to_dict()))
    else:
        rows = [[o.row.id, o.run_id[:8], describe(o)] for o in found.outcomes]
        click.echo(redact(output.columns([["row", "run", "result"], *rows], elastic=(2,))))
    if found.left:
        _say(f"{count(len(found.left), 'row')} not begun")
    if found.stopped_by:
        _say(f"stopped by {found.stopped_by}; to go on: slm-lightning benchmark run {wanted}")
        raise SystemExit(130 if found.stopped_by == "SIGINT" else 75)
    raise SystemExit(found.exit_code)


def _say(text: str) -> None:
    click.echo(redact(text), err=True)
