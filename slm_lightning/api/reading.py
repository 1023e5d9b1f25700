"""The verbs that use what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from slm_lightning.api.planning import Say
from slm_lightning.lab.running.local_engine import warm_up


def load(run: str, checkpoint: Literal["best", "last"] = "best"):
    """The trained policy of a run (id, prefix or name of a session or trial, a folder from anywhere
    that ``export`` wrote, or ``hf://USER/NAME``) as a :class:`slm_lightning.lab.replay.Policy`:
    ``load(run_id).act(obs)``.

    Raises RefusedError for what is from elsewhere and holds, or names, anything that could run.
    """
    from slm_lightning.lab.replay import Policy, find_policy
    from slm_lightning.tracking import Record

    if run.startswith("hf://"):
        from slm_lightning.lab.publish.bringing import bundle_from

        run = str(bundle_from(run))
    return Policy(find_policy(run, Record(), checkpoint))


def export(run: str, folder: str | Path, checkpoint: Literal["best", "last"] = "best") -> Path:
    """Writes the trained policy of a run into a new ``folder`` that can be handed on: tensors and JSON,
    which anybody can open by ``load`` without running code of ours. Returns it.

    Raises UsageError where there is no such policy or there is such a folder, RefusedError where the
    policy needs an environment of one's own.
    """
    from slm_lightning.lab.export import export_policy
    from slm_lightning.tracking import Record

    return export_policy(run, Path(folder), Record(), checkpoint)


def compare(*runs: str, metric: str = "score"):
    """Trials, experiments or sessions side by side, and what their seeds show: a
    :class:`slm_lightning.lab.compare.comparison.Comparison`."""
    from slm_lightning.lab.compare.comparison import compare as compare_runs
    from slm_lightning.tracking import Record

    return compare_runs(runs, Record(), metric)


def report(run: str, base: str | Path | None = None):
    """Writes the text of a result pull request for a trial or a search, from the record alone, and
    stores it with the run; a search is analysed again before, and its page stored too. ``base`` is the
    spec file that a trial's settings are compared with, default that of its command.

    Returns a :class:`slm_lightning.lab.report.reported.Reported`.
    """
    from slm_lightning.lab.report.reported import write
    from slm_lightning.tracking import Record

    return write(Record(), run, None if base is None else Path(base))


def reproduce(
    run: str,
    *,
    commit: str | None = None,
    here: bool = False,
    device: str = "auto",
    say: Say = print,
):
    """Runs a recorded trial or experiment again, with the code and the packages of then (or, with
    ``here``, those of now), and compares it bit for bit. With ``commit``, ``run`` is a spec file, which
    is run with the code of that commit, recorded, and compared with an earlier run of both.

    ``hf://USER/NAME`` is pulled first, and stays in the record; a file of a compact record
    (``docs/benchmarks/record/…/PPO.json``) is that row of the result pages. Returns a
    :class:`slm_lightning.lab.reproduce.reproduction.Reproduction`; None where there is no earlier run.
    """
    from slm_lightning.errors import UsageError
    from slm_lightning.lab.benchmark.repetition import is_row_file, reproduce_row
    from slm_lightning.lab.reproduce.reproduction import reproduce as make_again
    from slm_lightning.lab.reproduce.reproduction import reproduce_spec
    from slm_lightning.tracking import Record

    is_row = is_row_file(Path(run))
    if is_row and commit is not None:
        raise UsageError(f"{run} is a row, which names its commit itself", "leave out --commit")
    if is_row:
        return reproduce_row(Path(run), here, device, say)
    if commit is not None:
        return reproduce_spec(Record(), Path(run), commit, device, say)
    if run.startswith("hf://"):
        run = pull(run, say=say)[0].run_id
    return make_again(Record(), run, here, device, say)


def verify(run: str, *, block: int | None = None, session: int = 0, device: str = "auto"):
    """Computes a recorded session again up to ``block`` (default: the last), with the code that is
    here, and compares every row: a :class:`slm_lightning.lab.reproduce.verify.Verified`."""
    warm_up()
    from slm_lightning.lab.reproduce.verify import verify as compute_again
    from slm_lightning.tracking import Record

    return compute_again(Record(), run, block, session, device)


def pull(pattern: str, *, say: Say = print):
    """Takes published runs into the record: those of ``USER/NAME``, in which ``*`` stands for anything.
    What is there already, also from an earlier commit, is not taken again. Returns the
    :class:`slm_lightning.tracking.RunInfo` of each.

    Raises RefusedError where a repository holds, or names, anything that could run, IntegrityError
    where its files are not those that were published; then nothing of it is recorded.
    """
    from slm_lightning.lab.publish.bringing import pull as take
    from slm_lightning.tracking import Record

    return take(Record(), pattern, say)


def publish(
    run: str,
    repo: str | None = None,
    *,
    branch: str | None = None,
    private: bool = False,
    dry_run: str | Path | None = None,
    episodes: int = 10,
):
    """Uploads a session, a trial or an experiment to the HuggingFace Hub, with all that one needs to
    judge, replay and repeat it: a :class:`slm_lightning.lab.publish.sending.Published`.

    Args:
        repo: ``USER/NAME``; default the environment's ``SLM_HUB_REPO``.
        branch: of the repository; made where there is none.
        private: where it is made now, only for oneself; one that is public is refused.
        dry_run: a new folder, into which all is written instead.
        episodes: greedy ones, by which the policy is evaluated.

    Raises MissingError before anything is prepared where there is no token, no right or no network,
    RefusedError where a secret would go out, StorageError where the Hub does not take it.
    """
    from slm_lightning.lab.publish.sending import publish as send
    from slm_lightning.tracking import Record

    record = Record()
    folder = None if dry_run is None else Path(dry_run)
    return send(record, record.find(run), repo, branch, private, folder, episodes)
