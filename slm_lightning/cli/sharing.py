"""Commands that hand something on."""

from __future__ import annotations

from pathlib import Path

import click

from slm_lightning import output


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


@click.command()
@click.argument("pattern", metavar="PATTERN")
@click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
def pull(pattern, as_json) -> None:
    """Take published runs into the record.

    PATTERN is USER/NAME on the HuggingFace Hub, in which * stands for anything, or
    USER/NAME@REVISION for a branch or a commit. The runs are then listed, shown, compared, replayed and
    reproduced like any other; nothing that could run is taken.
    """
    from slm_lightning import api

    runs = api.pull(pattern, say=lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(output.to_json([output.brief(run) for run in runs]))
        return
    for run in runs:
        click.echo(f"{run.name}: slm-lightning show {run.run_id[:8]}")


@click.command()
@click.argument("run", metavar="RUN_ID")
@click.option("--repo", metavar="USER/NAME", help="Default: that of $SLM_HUB_REPO.")
@click.option("--branch", help="Of the repository; default main.")
@click.option("--private", is_flag=True, help="Make the repository one that only you see.")
@click.option(
    "--dry-run",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write what would be uploaded into a new folder, and ask nobody.",
)
@click.option(
    "--episodes",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="By which the policy is evaluated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was published as JSON.")
def publish(run, repo, branch, private, dry_run, episodes, as_json) -> None:
    """Upload a run to the HuggingFace Hub.

    A session or a trial becomes a model repository, a search a dataset repository: weights, spec,
    commit, versions, every recorded number, graphs, a recording, and a card that says how to replay
    and repeat it. Needs a token (hf auth login, or $HF_TOKEN). Exits with 3 without one.
    """
    from slm_lightning import api

    done = api.publish(run, repo, branch=branch, private=private, dry_run=dry_run, episodes=episodes)
    for note in done.publication.notes:
        click.echo(f"note: {note}", err=True)
    if as_json:
        click.echo(output.to_json(done.to_dict()))
    elif done.address is None:
        click.echo(f"{dry_run}: {len(done.publication.files)} files, and nothing was sent")
    else:
        click.echo(f"published: {done.url}")
        click.echo(f"replay it  slm-lightning enjoy {done.publication.address}")
