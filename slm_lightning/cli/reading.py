"""Commands that look at what is recorded."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from slm_lightning import output


@click.command()
@click.argument("run", metavar="RUN_ID")
@click.option("--episodes", type=click.IntRange(1, 10_000), default=10, show_default=True)
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option("--explore", is_flag=True, help="Sample actions instead of taking the best one.")
@click.option("--seed", type=click.IntRange(min=0), help="Play other episodes than the default ones.")
@click.option(
    "--render",
    type=click.Choice(["human", "none"]),
    help="A window, or none; default: a window where there is a display.",
)
@click.option("--video", type=click.Path(path_type=Path), help="Write an .mp4 or .gif file.")
@click.option("--json", "as_json", is_flag=True, help="Print the returns as JSON.")
def enjoy(run, episodes, checkpoint, explore, seed, render, video, as_json) -> None:
    """Replay a trained policy.

    RUN_ID is the id of a session, trial or search, the beginning of one, a name, a folder, or
    hf://USER/NAME for one that is published.
    """
    from slm_lightning import api
    from slm_lightning.errors import MissingError
    from slm_lightning.lab.preflight import has_display
    from slm_lightning.lab.replay import VIDEO
    from slm_lightning.lab.stats import summarize
    from slm_lightning.lab.wording import bracketed, number

    if render == "human" and video is not None:
        raise click.UsageError("--video takes the place of a window: leave out --render human")
    if render == "human" and not has_display():
        raise MissingError("no display here to open a window on", VIDEO)
    policy = api.load(run, checkpoint)
    asked = render == "human" or (render is None and not as_json)
    window = asked and has_display() and video is None
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
    mean = number(score.mean) + bracketed(score.ci_low, score.ci_high)
    click.echo(f"mean return {mean}, episodes: {episodes}")
    if video:
        click.echo(f"video: {video}")
    elif asked and not window:
        click.echo("no display here; to see it: --video replay.mp4")


@click.command(name="list")
@click.option(
    "--kind",
    type=click.Choice(["experiment", "trial", "session", "all"]),
    help="Default: experiments, and trials that are not part of one.",
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--remote", is_flag=True, help="What is published on the HuggingFace Hub instead.")
@click.option("--json", "as_json", is_flag=True)
@click.argument("pattern", required=False)
def list_(kind, limit, remote, as_json, pattern) -> None:
    """List the runs of the record, newest first.

    With --remote, those on the HuggingFace Hub whose USER/NAME fits PATTERN, by default one's own.
    """
    if remote:
        _list_remote(pattern, limit, as_json)
        return
    if pattern:
        raise click.UsageError("PATTERN goes with --remote")
    from slm_lightning.lab.wording import duration, number
    from slm_lightning.tracking import Record

    record = Record()
    _say_what_waits(record)
    runs = record.runs(kind=None if kind == "all" else kind, limit=limit) if kind else record.top(limit)
    if as_json:
        click.echo(output.to_json([output.brief(run) for run in runs]))
        return
    if not runs:
        click.echo("nothing recorded yet; start with: slm-lightning run specs/ppo/cartpole.json")
        return
    now = datetime.now(UTC)
    rows = [["run", "kind", "name", "status", "score", "eval", "environment", "age"]]
    for run in runs:
        rows.append(
            [
                run.run_id[:8],
                run.kind,
                run.name,
                output.status(run),
                number(run.metrics.get("score")),
                number(run.metrics.get("eval_score")),
                run.tags.get("slm.env", ""),
                " ".join(duration((now - run.start).total_seconds()).split()[:2]),
            ]
        )
    click.echo(output.columns(rows, elastic=(2, 6)))


def _list_remote(pattern: str | None, limit: int, as_json: bool) -> None:
    from slm_lightning.hub import Hub

    hub = Hub()
    found = hub.entries(pattern or f"{hub.user()}/*")[:limit]
    if as_json:
        click.echo(output.to_json([entry.to_dict() for entry in found]))
        return
    if not found:
        click.echo(f"nothing found at {hub}; to publish: slm-lightning publish RUN_ID")
        return
    rows = [["repository", "mean reward", "tags", "changed"]]
    for entry in found:
        day = entry.changed.strftime("%Y-%m-%d") if entry.changed else ""
        tags = ", ".join(entry.own_tags) + (", private" if entry.private else "")
        rows.append([str(entry.address), entry.score, tags, day])
    click.echo(output.columns(rows, elastic=(0, 2)))
    click.echo("replay one  slm-lightning enjoy hf://USER/NAME")
    click.echo("take it     slm-lightning pull USER/NAME")


@click.command()
@click.argument("run", metavar="RUN_ID")
@click.option("--json", "as_json", is_flag=True)
def show(run, as_json) -> None:
    """Show one run in full.

    How it ended, what it came to, what is below it, and what to type next.
    """
    from slm_lightning.tracking import Record

    record = Record()
    _say_what_waits(record)
    info = record.find(run)
    if not as_json:
        from slm_lightning.cli.showing import show as text

        click.echo(text(record, info))
        return
    detail = {
        **output.brief(info),
        "metrics": info.metrics,
        "tags": info.tags,
        "artifacts": record.artifacts(info.run_id),
        "children": [output.brief(child) for child in record.children(info.run_id)],
    }
    click.echo(output.to_json(detail))


@click.command()
@click.argument("run", metavar="[RUN_ID]", required=False)
@click.option("--port", type=click.IntRange(1, 65535), help="Default: the first free one from 5000.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def ui(run, port, no_browser) -> None:
    """Start the MLflow UI on this record.

    It opens at RUN_ID, default the newest run.
    """
    from slm_lightning.tracking import Record
    from slm_lightning.tracking.ui import serve

    record = Record()
    run_id = record.find(run).run_id if run else None
    serve(record, port, open_browser=not no_browser, run_id=run_id)


@click.command()
@click.argument("runs", metavar="RUN_ID...", nargs=-1, required=True)
@click.option("--metric", default="score", show_default=True, help="Any metric of a session.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the page into this file.")
@click.option(
    "--png", type=click.Path(path_type=Path), help="Write the learning curves into this file."
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
def compare(runs, metric, html, png, as_json) -> None:
    """Compare trials, searches or sessions.

    Says what their seeds show and what they do not. Exits with 4 where runs cannot be compared.
    """
    from slm_lightning import api
    from slm_lightning.lab.compare.curves import write_png
    from slm_lightning.lab.compare.page import write_page
    from slm_lightning.lab.compare.text import text, to_dict

    found = api.compare(*runs, metric=metric)
    click.echo(output.to_json(to_dict(found)) if as_json else text(found))
    if html:
        write_page(found, html)
    if png and not write_png(found, png):
        click.echo(output.NO_BROWSER, err=True)
    if found.refusals:
        raise SystemExit(4)


@click.command()
@click.argument("run", metavar="RUN_ID")
@click.option("--base", type=click.Path(path_type=Path), metavar="SPEC",
              help="The spec that a trial is compared with; default that of its command.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def report(run, base, as_json) -> None:
    """Write the text of a result pull request; of a search also its page.

    All from the record alone: what was to be shown, settings, scores with intervals, graphs, and the
    commands that repeat it. Both are stored with the run.
    """
    from slm_lightning import api

    written = api.report(run, base)
    click.echo(output.to_json(written.to_dict()) if as_json else output.paragraphs(written.text))


def _say_what_waits(record) -> None:
    """Beside what is shown, what is not in the record yet."""
    if waiting := record.waiting():
        count, runs = sum(waiting.values()), len(waiting)
        click.echo(
            f"{count} values wait, of {runs} runs; to deliver them: slm-lightning sync", err=True
        )
