"""The command line. Each command imports what it needs when it runs, so that --help is instant."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import click

from slm_lightning.cli import benchmarks, reading, reproducing, running, sharing, specs, upkeep
from slm_lightning.errors import LabError, MissingError
from slm_lightning.lab.running.signals import Preempted, preemptible
from slm_lightning.limits import as_limit
from slm_lightning.redact import redact

# At the end the garbage collector would look at every object of every library: a second and more.
atexit.register(gc.freeze)
COLLECTED_AFTER = 50_000
"""Objects after which garbage is looked for. With Python's 700 what a command imports, all of which
stays, is looked through again and again: a tenth of the time it takes to start."""
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
    benchmarks.benchmark,
    *(specs.validate, specs.schema, sharing.export, sharing.publish, sharing.pull),
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
        _tell(error, error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show(text := io.StringIO())
        click.echo(redact(text.getvalue()), err=True, nl=False)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        cause = error.__cause__ or error.__context__ or error  # click raises an Abort of its own
        preempted = isinstance(cause, Preempted)
        _say(f"stopped by {cause if preempted else 'SIGINT'}")
        _tell_notes(cause)
        sys.exit(75 if preempted else 130)
    except Exception as error:
        if debug:
            raise
        if known := _not_python(error) or as_limit(error):
            _tell(known, error)
            sys.exit(known.exit_code)
        _say(f"error: {type(error).__name__}: {error}")
        click.echo("this was not foreseen; add --debug to see where it happened", err=True)
        _tell_notes(error)
        sys.exit(1)


def _not_python(error: Exception) -> LabError | None:
    """What there is to say of code that Python cannot read: the lab's, or the user's."""
    if not isinstance(error, SyntaxError) or not error.filename:
        return None
    return MissingError(
        f"{error.filename}, line {error.lineno}, is not valid Python: {error.msg}",
        "mend it; reproduce without --here takes the code that a run was made with",
    )


def _tell(known: LabError, error: BaseException) -> None:
    _say(f"error: {known}")
    if known.hint:
        _say(known.hint)
    _tell_notes(error)


def _tell_notes(error: BaseException) -> None:
    """What is known of an error where it passed by: which run it broke off."""
    for note in getattr(error, "__notes__", ()):
        _say(note)


def _say(text: str) -> None:
    click.echo(redact(text), err=True)


def _show_traceback(*error: Any) -> None:
    """What ``--debug`` shows."""
    click.echo(redact("".join(traceback.format_exception(*error))), err=True, nl=False)


def main() -> None:
    """Entry point of ``slm-lightning``."""
    gc.set_threshold(COLLECTED_AFTER)
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    if debug:
        sys.excepthook = _show_traceback
    with _in_one_sentence(debug), preemptible():
        sys.exit(cli(arguments, standalone_mode=False))
