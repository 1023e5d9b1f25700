"""The command line. Each command imports what it needs when it runs, so that --help is instant."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

from slm_lightning.cli import reading, reproducing, running, sharing, specs, upkeep
from slm_lightning.errors import LabError

FOLDER_HELP = "The record lies in ./mlruns (or $SLM_MLRUNS), or on the server of $MLFLOW_TRACKING_URI."


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=FOLDER_HELP)
@click.version_option(package_name="slm-lightning")
@click.option(
    "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error; goes anywhere."
)
def cli() -> None:
    """SLM Lightning: deep reinforcement learning as experimental science."""


for command in (
    *(running.run, running.search, running.resume),
    *(reading.enjoy, reading.list_, reading.show, reading.compare, reading.report, reading.ui),
    *(reproducing.reproduce, reproducing.verify),
    *(specs.validate, specs.schema, sharing.export),
    *(upkeep.sync, upkeep.doctor),
):
    cli.add_command(command)


@contextlib.contextmanager
def _in_one_sentence(debug: bool) -> Iterator[None]:
    """Errors of the lab are told, not traced, and set the exit code."""
    try:
        yield
    except LabError as error:
        if debug:
            raise
        click.echo(f"error: {error}", err=True)
        if error.hint:
            click.echo(error.hint, err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        click.echo(f"error: {type(error).__name__}: {error}", err=True)
        click.echo("this was not foreseen; add --debug to see where it happened", err=True)
        sys.exit(1)


def main() -> None:
    """Entry point of ``slm-lightning``."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    with _in_one_sentence(debug=len(arguments) < len(sys.argv) - 1):
        sys.exit(cli(arguments, standalone_mode=False))
