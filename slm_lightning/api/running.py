"""The verbs that train."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slm_lightning.api.planning import Mode, Say, planned
from slm_lightning.errors import IntegrityError, UsageError
from slm_lightning.lab.running.local_engine import warm_up
from slm_lightning.lab.running.signals import deaf_to_hangup


def run(
    spec: str | Path | Mapping[str, Any],
    name: str | None = None,
    *,
    mode: Mode = "train",
    variables: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
    sessions: int | None = None,
    device: str = "auto",
    say: Say = print,
):
    """Runs a spec as a Trial and records it. Returns its :class:`slm_lightning.lab.result.Result`.

    Args:
        spec: path of a spec file, or a spec as a dict (itself, or name -> spec).
        name: which spec of several.
        mode: ``train``; ``dev`` is one short session of a few rounds, rendered where there is a
            display, with anomaly detection.
        variables: values of ``${name}`` in the file.
        overrides: dotted path -> value.
        seed, sessions: short for overrides of ``meta.seed`` and ``meta.max_session``.
        device: ``auto``, ``cpu`` or ``cuda``.
        say: takes what there is to say on the way, a line at a time.

    Raises SpecError, MissingError or StorageError before anything is created. A session that fails is
    in the result: see ``Result.error()``.
    """
    plan = planned(spec, name, mode, variables, overrides, seed, sessions, device, say)
    from slm_lightning.lab.disk import check_disk
    from slm_lightning.lab.trial import Trial
    from slm_lightning.tracking import Record

    record = Record()
    check_disk(plan.spec, record.root)
    return _run(Trial.create(plan.raw, plan.spec, record, mode), device, say)


def search(
    spec: str | Path | Mapping[str, Any],
    name: str | None = None,
    *,
    variables: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    seed: int | None = None,
    sessions: int | None = None,
    trials: int | None = None,
    confirm: int = 0,
    storage: str | None = None,
    where: Where | None = None,
    device: str = "auto",
    say: Say = print,
):
    """Runs the search of a spec as an Experiment. Returns a :class:`SearchResult`.

    Args, beside those of :func:`run`:
        trials: short for an override of ``meta.max_trial``.
        confirm: sessions that repeat the winner at the end, with seeds that the search has not seen.
        storage: URL of the database that keeps the study; default ``SLM_STORAGE``, else a SQLite file
            beside the record.
        where: what runs the sessions; default this machine.

    Raises as :func:`run` does. A trial that fails does not end the search.
    """
    more = {} if trials is None else {"meta.max_trial": trials}
    overrides = {**(overrides or {}), **more}
    plan = planned(spec, name, "search", variables, overrides, seed, sessions, device, say)
    from slm_lightning.lab.disk import check_disk
    from slm_lightning.lab.search.experiment import Experiment
    from slm_lightning.lab.search.storage import open_storage
    from slm_lightning.tracking import Record

    record = Record()
    check_disk(plan.spec, record.root)
    with closing((where or Where()).engine()) as engine:
        study = open_storage(storage, record.root)
        experiment = Experiment.create(plan.raw, plan.spec, record, study, confirm)
        return _search(experiment, engine, device, say)


def resume(
    run: str,
    *,
    extend: Mapping[str, Any] | None = None,
    require_exact: bool = False,
    confirm: int | None = None,
    storage: str | None = None,
    where: Where | None = None,
    device: str = "auto",
    say: Say = print,
):
    """Goes on with a trial or an experiment that was stopped, killed or failed, from the last
    checkpoints of its sessions, to the same numbers as if it had never stopped; what is done is
    returned as recorded. Arguments and result as :func:`run` and :func:`search`; with ``confirm``, a
    finished experiment goes on with that.

    Args:
        extend: a greater ``max_frame``, up to which the trial goes on, done or not.
        require_exact: raise IntegrityError where code, libraries or machine have changed since it
            began, instead of a warning and the tag ``slm.exact``.
    """
    warm_up()
    from slm_lightning.lab.search.experiment import Experiment
    from slm_lightning.lab.search.experiment_result import recorded
    from slm_lightning.lab.search.storage import open_storage
    from slm_lightning.lab.trial import CHANGED, Trial
    from slm_lightning.tracking import ORIGIN, Record

    record = Record()
    record.sweep()
    info = record.find(run)
    while info.parent is not None:
        info = record.get(info.parent)
    is_trial = info.kind == "trial"
    if origin := info.tags.get(ORIGIN):
        raise UsageError(
            f"{info.name} was pulled from {origin}, without what a run goes on from",
            f"run it yourself: slm-lightning reproduce {run}",
        )
    if info.status == "FINISHED" and not extend and not (confirm and not is_trial):
        say(f"{info.name} is done: nothing to do")
        return Trial.recorded(info, record).result() if is_trial else recorded(info, record)
    changed = _told(info, record, require_exact, say)
    if extend:
        _extend(info, record, extend, say)
    if is_trial:
        trial = Trial.reopen(record.get(info.run_id), record)
        if changed:
            Trial.doubt(info, record, CHANGED)
        return _run(trial, device, say)
    with closing((where or Where()).engine()) as engine:
        study = open_storage(storage, record.root)
        experiment = Experiment.reopen(info, record, study, confirm)
        if changed:
            Trial.doubt(info, record, CHANGED)
        return _search(experiment, engine, device, say)


def _told(info: Any, record: Any, require_exact: bool, say: Say) -> bool:
    """Says what keeps a run from going on exactly; returns whether something has changed since it
    began. Raises UsageError where it never did, IntegrityError where only an exact one will do."""
    from slm_lightning.lab.changes import changes
    from slm_lightning.lab.trial import APPROXIMATE, EXACT, Trial

    if info.kind == "trial" and not Trial.is_whole(info, record):
        command = info.tags.get("mlflow.source.name", "slm-lightning run")
        raise UsageError(f"{info.name} ended before it was begun", f"start it again: {command}")
    if info.tags.get(EXACT) == APPROXIMATE:
        say(
            "warning: its environment does not repeat itself; new episodes begin, and the numbers are"
            " approximate"
        )
    listing = "".join(f"\n  {change}" for change in changes(info, record))
    if listing and require_exact:
        raise IntegrityError(
            f"not as it was when {info.name} began:{listing}",
            "go on without --require-exact, or bring back what it began with",
        )
    if listing:
        say(
            "warning: the numbers need not be those of an unbroken run; changed since it began:"
            f"{listing}"
        )
    return bool(listing)


def _extend(info: Any, record: Any, asked: Mapping[str, Any], say: Say) -> None:
    from slm_lightning.lab.extension import extend

    for doubt in extend(info, record, asked):
        say(f"note: other numbers than with this budget from the start: {doubt}")


@dataclass(frozen=True)
class Where:
    """What runs sessions: ``local``, this machine, at most ``parallel`` cores of it; or ``ray``, the
    cluster at ``address``."""

    kind: Literal["local", "ray"] = "local"
    parallel: int | None = None
    address: str | None = None

    def engine(self):
        """Ready to run sessions. Raises MissingError, UsageError."""
        if self.kind == "ray":
            from slm_lightning.lab.running.ray_engine import RayEngine

            return RayEngine(self.address, self.parallel)
        from slm_lightning.lab.running.admission import Machine
        from slm_lightning.lab.running.local_engine import LocalEngine

        return LocalEngine(Machine.here(self.parallel))


def _run(trial: Any, device: str, say: Say):
    from slm_lightning.lab.progress import ProgressBars

    say(f"{trial.name}: run {trial.run_id[:8]} in {trial.record}")
    if trial.compiled:
        say(f"updates compiled: {trial.compiled}")
    names = [f"{trial.name}_s{s}" for s in range(len(trial.session_ids))]
    bars = ProgressBars(names, trial.spec.env.max_frame)
    with deaf_to_hangup():
        try:
            for session, outcome in trial.outcomes.items():
                bars.ended(session, outcome)
            result = trial.run(Where().engine(), bars.update, device, bars.ended)
        except BaseException as error:
            _note(error, trial.run_id)
            raise
        finally:
            bars.close()
            _say_what_waits(trial.record, say)
    if result.status == "done" and trial.mode == "train":
        _publish(trial.record, trial.run_id, say)
    return result


def _search(experiment: Any, engine: Any, device: str, say: Say):
    from slm_lightning.lab.progress import SearchProgress
    from slm_lightning.lab.search.experiment_result import close

    say(f"{experiment.name}: run {experiment.run_id[:8]} in {experiment.record}")
    watcher = SearchProgress(experiment.spec, experiment.study, say)
    with deaf_to_hangup():
        try:
            stopped_by = experiment.run(engine, watcher, device)
        except BaseException as error:
            experiment.give_up("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
            _note(error, experiment.run_id)
            raise
        finally:
            watcher.close()
        result = close(experiment, stopped_by)
    _say_what_waits(experiment.record, say)
    if result.status == "done":
        _publish(experiment.record, experiment.run_id, say)
    return result


def _publish(record: Any, run_id: str, say: Say) -> None:
    """Where the environment says so, a run that is done goes to the Hub."""
    from slm_lightning.lab.publish.sending import publish_by_itself

    publish_by_itself(record, run_id, say)


def _note(error: BaseException, run_id: str) -> None:
    """What is kept when the lab itself breaks off."""
    error.add_note(f"what was done is kept; to go on: slm-lightning resume {run_id[:8]}")


def _say_what_waits(record: Any, say: Say) -> None:
    if waiting := sum(record.waiting().values()):
        say(f"mlflow: {waiting} pending; to deliver them: slm-lightning sync")
