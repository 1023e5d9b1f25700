"""The command line. Each command imports what it needs when it runs, so that --help is instant."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from slm_lightning import output
from slm_lightning.errors import LabError

FOLDER_HELP = "The record lies in ./mlruns (or $SLM_MLRUNS), or on the server of $MLFLOW_TRACKING_URI."


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=FOLDER_HELP)
@click.version_option(package_name="slm-lightning")
@click.option(
    "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error; goes anywhere."
)
def cli() -> None:
    """SLM Lightning: deep reinforcement learning as experimental science."""


@cli.command()
@click.argument("spec", type=click.Path())
@click.argument("name", required=False)
@click.option("--mode", type=click.Choice(["train", "dev"]), default="train", show_default=True,
              help="dev is one short session, rendered where there is a display.")  # fmt: skip
@click.option("-s", "--var", "variables", multiple=True, metavar="KEY=VALUE", help="Fill ${KEY}.")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Override a key of the spec."
)
@click.option("--seed", type=click.IntRange(min=0), help="Root of all random draws (meta.seed).")
@click.option("--sessions", type=click.IntRange(min=1), help="Number of seeds (meta.max_session).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def run(spec, name, mode, variables, overrides, seed, sessions, device, as_json) -> None:
    """Run the experiment of a spec file.

    SPEC is the file; NAME says which of its specs, where it holds several.
    """
    from slm_lightning import api
    from slm_lightning.spec.load import parse_assignments

    result = api.run(
        spec,
        name,
        mode=mode,
        variables=parse_assignments(variables, "-s"),
        overrides=parse_assignments(overrides, "--set"),
        seed=seed,
        sessions=sessions,
        device=device,
        say=_say,
    )
    _finish(result, as_json)


@cli.command()
@click.argument("run", metavar="RUN_ID")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def resume(run, device, as_json) -> None:
    """Go on with an interrupted trial.

    One that was stopped, killed or failed comes to the same numbers as if it never was.
    """
    from slm_lightning import api

    _finish(api.resume(run, device=device, say=_say), as_json)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _finish(result, as_json: bool) -> None:
    """Prints what a trial came to, and exits as it ended."""
    click.echo(output.to_json(output.summary(result)) if as_json else output.report(result))
    if result.status == "stopped" or (result.stopped_by and result.status != "done"):
        by = f" by {result.stopped_by}" if result.stopped_by else ""
        _say(f"stopped{by}; to go on: slm-lightning resume {result.run_id[:8]}")
        raise SystemExit(130 if result.stopped_by == "SIGINT" else 75)
    if error := result.error():
        raise error


@cli.command()
@click.argument("run", metavar="RUN_ID")
@click.option("--episodes", type=click.IntRange(1, 10_000), default=10, show_default=True)
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option("--explore", is_flag=True, help="Sample actions instead of taking the best one.")
@click.option("--seed", type=click.IntRange(min=0), help="Play other episodes than the default ones.")
@click.option("--video", type=click.Path(path_type=Path), help="Write an .mp4 or .gif file.")
@click.option("--json", "as_json", is_flag=True, help="Print the returns as JSON.")
def enjoy(run, episodes, checkpoint, explore, seed, video, as_json) -> None:
    """Replay a trained policy.

    RUN_ID is the id of a session or trial, the beginning of one, a name or a folder.
    """
    from slm_lightning import api
    from slm_lightning.lab.preflight import has_display
    from slm_lightning.lab.stats import summarize

    policy = api.load(run, checkpoint)
    window = has_display() and video is None and not as_json
    returns = policy.play(episodes, explore, seed, video, window)
    score = summarize(returns)
    if as_json:
        click.echo(
            output.to_json({"name": policy.name, "returns": returns.tolist(), **score._asdict()})
        )
        return
    click.echo(
        f"{policy.name} on {policy.info.name}, ckpt-{checkpoint}, {'sampling' if explore else 'greedy'}"
    )
    for i, value in enumerate(returns):
        click.echo(f"  episode {i}: {value:.4g}")
    click.echo(
        f"mean return {output.interval(score.mean, score.ci_low, score.ci_high)}, episodes: {episodes}"
    )
    if video:
        click.echo(f"video: {video}")
    elif not window:
        click.echo("no display here; to see it: --video replay.mp4")


@cli.command(name="list")
@click.option(
    "--kind", type=click.Choice(["trial", "session", "all"]), default="trial", show_default=True
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def list_(kind, limit, as_json) -> None:
    """List the runs of the record, newest first."""
    from slm_lightning.tracking import Record

    runs = Record().runs(kind=None if kind == "all" else kind, limit=limit)
    if as_json:
        click.echo(output.to_json([output.brief(run) for run in runs]))
        return
    if not runs:
        click.echo("nothing recorded yet; start with: slm-lightning run specs/ppo/cartpole.json")
        return
    rows = [["run", "name", "status", "score", "eval", "environment", "started"]]
    for run in runs:
        rows.append(
            [
                run.run_id[:8],
                run.name,
                output.status(run),
                output.number(run.metrics.get("score")),
                output.number(run.metrics.get("eval_score")),
                run.tags.get("slm.env", ""),
                run.start.astimezone().strftime("%Y-%m-%d %H:%M"),
            ]
        )
    click.echo(output.columns(rows))


@cli.command()
@click.argument("run", metavar="RUN_ID")
@click.option("--json", "as_json", is_flag=True)
def show(run, as_json) -> None:
    """Show one run in full.

    How it ended, its metrics, sessions and artifacts.
    """
    from slm_lightning.tracking import Record

    record = Record()
    info = record.find(run)
    sessions = record.children(info.run_id)
    artifacts = record.artifacts(info.run_id)
    if as_json:
        detail = {
            **output.brief(info),
            "metrics": info.metrics,
            "tags": info.tags,
            "artifacts": artifacts,
        }
        click.echo(output.to_json({**detail, "sessions": [output.brief(s) for s in sessions]}))
        return
    commit = info.tags.get("mlflow.source.git.commit", "none")[:12]
    dirty = " + uncommitted changes" if info.tags.get("slm.git.dirty") == "true" else ""
    click.echo(f"{info.name}  {info.kind}  {output.status(info)}  {info.run_id}")
    click.echo(
        f"commit {commit}{dirty}  seed {info.params.get('meta.seed', '?')}  {record.link(info.run_id)}"
    )
    if reason := info.tags.get("slm.reason"):
        click.echo(f"reason: {reason}")
    click.echo(output.columns([[k, output.number(v)] for k, v in sorted(info.metrics.items())]))
    for session in sessions:
        score = output.number(session.metrics.get("score"))
        click.echo(f"{session.run_id[:8]}  {session.name}  {output.status(session)}  score {score}")
    click.echo("artifacts: " + ", ".join(artifacts))


@cli.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("-s", "--var", "variables", multiple=True, metavar="KEY=VALUE", help="Fill ${KEY}.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def validate(paths, variables, as_json) -> None:
    """Check specs without running them.

    PATHS are files or folders; without any, all below ./specs. Exits with 0 where every spec runs, with
    2 where one is faulty, with 3 where all that hinders is not installed or no longer exists.
    """
    from slm_lightning.api import import_from_here
    from slm_lightning.lab.validation import check_paths, exit_code, summary
    from slm_lightning.spec.load import parse_assignments

    import_from_here()
    findings = check_paths(list(paths) or [Path("specs")], parse_assignments(variables, "-s"))
    if as_json:
        click.echo(output.to_json([vars(finding) for finding in findings]))
    else:
        click.echo("\n".join([*map(str, findings), summary(findings)]))
    raise SystemExit(exit_code(findings))


@cli.command()
def schema() -> None:
    """Print the JSON Schema of spec files, for editors."""
    from slm_lightning.registry import REGISTRY
    from slm_lightning.spec.schema import json_schema

    click.echo(output.to_json(json_schema(REGISTRY)))


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Default: the first free one from 5000.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def ui(port, no_browser) -> None:
    """Start the MLflow UI on this record."""
    from slm_lightning.tracking import Record
    from slm_lightning.tracking.ui import serve

    serve(Record(), port, open_browser=not no_browser)


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
