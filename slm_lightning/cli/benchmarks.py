"""Commands that run sets of specs and write the result pages."""

from __future__ import annotations

import shlex
from pathlib import Path

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


@benchmark.command()
@click.argument("sets", metavar="[SET]...", nargs=-1, type=click.Path())
@click.option("--folder", type=click.Path(path_type=Path), default="docs/benchmarks",
              show_default=True, help="Where the pages lie.")  # fmt: skip
@click.option("--check", is_flag=True, help="Write nothing; exit with 7 where they are not right.")
def page(sets, folder, check) -> None:
    """Write the result pages from the record.

    By default those of all sets in benchmarks/sets. What this machine has recorded of their rows goes
    into a compact record beside the pages, of which alone they are made.
    """
    from slm_lightning import api
    from slm_lightning.errors import IntegrityError
    from slm_lightning.lab.wording import count

    if check:
        again = ["slm-lightning", "benchmark", "page", *sets, "--folder", str(folder)]
        if found := api.check_benchmark_pages(sets, folder):
            raise IntegrityError(
                "\n".join([f"pages and record disagree in {count(len(found), 'place')}", *found]),
                f"to write the pages anew: {shlex.join(again)}",
            )
        click.echo(f"the pages in {folder} say what the record holds")
        return
    brought, written, drawn = api.write_benchmark_pages(sets, folder)
    for row in brought:
        click.echo(f"{row}: its result is in {folder / 'record'}")
    click.echo(f"{folder}: {count(len(written), 'page')} changed")
    if not drawn:
        click.echo(output.NO_BROWSER, err=True)


def _say(text: str) -> None:
    click.echo(redact(text), err=True)
