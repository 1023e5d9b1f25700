"""Commands that run something."""

from __future__ import annotations

import os
import sys
from functools import partial

import click

from slm_lightning import output
from slm_lightning.redact import redact


def _together(*options):
    """A decorator that gives a command all of these arguments and options, in this order."""

    def decorate(command):
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_spec_options = _together(
    click.argument("spec", type=click.Path()),
    click.argument("name", required=False),
    click.option("-s", "--var", "variables", multiple=True, metavar="KEY=VALUE", help="Fill ${KEY}."),
    click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE",
                 help="Override a key of the spec."),
    click.option("--seed", type=click.IntRange(min=0), help="Root of all random draws (meta.seed)."),
    click.option("--sessions", type=click.IntRange(min=1), help="Number of seeds (meta.max_session)."),
)  # fmt: skip
"""What every command takes that runs a spec."""

_search_options = _together(
    click.option("--confirm", type=click.IntRange(min=2), metavar="SESSIONS",
                 help="Repeat the winner with so many fresh seeds."),
    click.option("--storage", metavar="URL",
                 help="Database of the study (or $SLM_STORAGE); default a file beside the record."),
    click.option("--engine", type=click.Choice(["local", "ray"]), default="local",
                 show_default=True, help="Run sessions on this machine or on a Ray cluster."),
    click.option("--address", help="Of the Ray cluster; default $RAY_ADDRESS."),
    click.option("--parallel", type=click.IntRange(min=1), metavar="CORES",
                 help="Most cores in use at once; default all there are."),
)  # fmt: skip
"""How a search is run, and where."""

_common_options = _together(
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
                 show_default=True),
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
)  # fmt: skip
"""What every command takes that runs something."""


@click.command()
@_spec_options
@click.option("--mode", type=click.Choice(["train", "dev", "search"]), default="train",
              show_default=True, help="dev is one short session, rendered where there is a display; "
              "search is the command of that name.")  # fmt: skip
@_common_options
def run(spec, name, mode, variables, overrides, seed, sessions, device, as_json) -> None:
    """Run a spec file as a trial: one setting, several seeds.

    SPEC is the file; NAME says which of its specs, where it holds several.
    """
    from slm_lightning import api
    from slm_lightning.spec.load import parse_assignments

    start = api.search if mode == "search" else partial(api.run, mode=mode)
    result = start(
        spec,
        name,
        variables=parse_assignments(variables, "-s"),
        overrides=parse_assignments(overrides, "--set"),
        seed=seed,
        sessions=sessions,
        device=device,
        say=_say,
    )
    _finish(result, as_json)


@click.command()
@_spec_options
@click.option("--trials", type=click.IntRange(min=1), help="Settings to try (meta.max_trial).")
@_search_options
@_common_options
def search(
    spec, name, variables, overrides, seed, sessions, trials, confirm, storage, engine, address,
    parallel, device, as_json,
) -> None:  # fmt: skip
    """Run a spec file as an experiment: a search for the best setting.

    Its section "search" says what is tried. SPEC is the file; NAME says which of its specs, where it
    holds several.
    """
    from slm_lightning import api
    from slm_lightning.spec.load import parse_assignments

    result = api.search(
        spec,
        name,
        variables=parse_assignments(variables, "-s"),
        overrides=parse_assignments(overrides, "--set"),
        seed=seed,
        sessions=sessions,
        trials=trials,
        confirm=confirm or 0,
        storage=storage,
        where=api.Where(engine, parallel, address),
        device=device,
        say=_say,
    )
    _finish(result, as_json)


@click.command()
@click.argument("run", metavar="RUN_ID")
@click.option(
    "--extend",
    "extend",
    multiple=True,
    metavar="max_frame=N",
    help="Go on with a trial, done or not, up to so many frames.",
)
@click.option(
    "--require-exact",
    is_flag=True,
    help="Refuse where code, libraries or machine have changed since it began.",
)
@_search_options
@_common_options
def resume(
    run, extend, require_exact, confirm, storage, engine, address, parallel, device, as_json,
) -> None:  # fmt: skip
    """Go on with an interrupted trial or search.

    One that was stopped, killed or failed comes to the same numbers as if it never was.
    """
    from slm_lightning import api
    from slm_lightning.spec.load import parse_assignments

    result = api.resume(
        run,
        extend=parse_assignments(extend, "--extend"),
        require_exact=require_exact,
        confirm=confirm,
        storage=storage,
        where=api.Where(engine, parallel, address),
        device=device,
        say=_say,
    )
    _finish(result, as_json)


def _say(text: str) -> None:
    _print(redact(text), err=True)


def _print(text: str, err: bool = False) -> None:
    """Prints where somebody still reads; one who has gone ends no training."""
    try:
        click.echo(text, err=err)
    except OSError:
        stream = sys.stderr if err else sys.stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # for what is still to be flushed


def _finish(result, as_json: bool) -> None:
    """Prints what a run came to, and exits as it ended."""
    _print(output.to_json(output.summary(result)) if as_json else output.report(result))
    error = result.error()
    if (result.stopped_by and result.status != "done") or (result.status == "stopped" and not error):
        by = f" by {result.stopped_by}" if result.stopped_by else ""
        _say(f"stopped{by}; to go on: slm-lightning resume {result.run_id[:8]}")
        raise SystemExit(130 if result.stopped_by == "SIGINT" else 75)
    if error:
        raise error
