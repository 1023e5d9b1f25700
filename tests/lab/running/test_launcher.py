"""The launcher: which job runs when, on an engine whose sessions end when the test says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from typing import Any

from slm_lightning.lab.running.job import Job, Outcome, Reached
from slm_lightning.lab.running.launch import RESTARTS, Killed, Launcher


def job(session: int, trial: int = 0) -> Job:
    return Job({}, trial, session, folder=f"t{trial}_s{session}", devices=("cpu",))


class Session:
    def __init__(self, job: Job):
        self.job = job
        self.how: Outcome | Killed | None = None
        self.asked = False

    def end(self) -> Outcome | Killed | None:
        return self.how

    def ask_to_stop(self) -> None:
        self.asked = True
        self.how = Outcome("stopped", "asked to stop")

    def kill(self) -> None:
        self.how = Killed("SIGKILL")


class Script:
    """An engine with two seats. ``ends`` are the ends of its sessions in turn, by folder; without one a
    session is done when the engine is waited for."""

    def __init__(self, **ends: list[Outcome | Killed | None]):
        self.ends = ends
        self.started: list[str] = []
        self.most = 0

    def fits(self, job: Job, running: Sequence[Any]) -> bool:
        return len(running) < 2

    def start(self, job: Job) -> Session:
        self.started.append(job.folder)
        return Session(job)

    def wait(self, running: Sequence[Any]) -> Iterator[tuple[Any, Reached]]:
        self.most = max(self.most, len(running))
        for session in running:
            yield session, Reached(100, 1.0)
            turns = self.ends.get(session.job.folder)
            session.how = session.how or (turns.pop(0) if turns else Outcome("done"))

    def close(self) -> None: ...


def launch(engine: Script, jobs: list[Job], **calls: Any) -> tuple[Launcher, dict[str, Outcome]]:
    ended: dict[str, Outcome] = {}

    def on_end(job: Job, outcome: Outcome) -> None:
        ended[job.folder] = outcome
        calls.get("on_end", lambda launcher, job: None)(launcher, job)

    launcher = Launcher(engine, calls.get("on_progress", lambda job, reached: None), on_end)
    launcher.add(jobs)
    launcher.run()
    return launcher, ended


def test_jobs_run_in_order_and_no_more_than_fit() -> None:
    engine = Script()
    _, ended = launch(engine, [job(s) for s in range(5)])
    assert engine.started == [f"t0_s{s}" for s in range(5)]
    assert engine.most == 2
    assert set(ended.values()) == {Outcome("done")}


def test_what_is_killed_starts_again_before_others_and_not_for_ever() -> None:
    engine = Script(t0_s0=[Killed("SIGKILL")], t0_s1=[Killed("SIGSEGV")] * (RESTARTS + 1))
    _, ended = launch(engine, [job(s) for s in range(4)])
    assert engine.started.count("t0_s0") == 2
    assert engine.started.count("t0_s1") == RESTARTS + 1
    assert engine.started.index("t0_s2") > 2
    assert ended["t0_s0"] == Outcome("done")
    assert ended["t0_s1"] == Outcome("failed", "its process died 4 times, at last by SIGSEGV")


def test_an_end_may_bring_further_jobs() -> None:
    def on_end(launcher: Launcher, ended: Job) -> None:
        if ended.trial < 3:
            launcher.add([job(0, ended.trial + 1)])

    _, ended = launch(Script(), [job(0)], on_end=on_end)
    assert list(ended) == [f"t{trial}_s0" for trial in range(4)]


def test_nothing_more_is_heard_of_what_is_cancelled() -> None:
    jobs = [job(s) for s in range(4)]

    def on_end(launcher: Launcher, ended: Job) -> None:
        launcher.cancel(jobs[1])  # which runs beside it, and has just ended too
        launcher.cancel(jobs[3])  # which waits

    engine = Script()
    _, ended = launch(engine, jobs, on_end=on_end)
    assert list(ended) == ["t0_s0", "t0_s2"]
    assert engine.started == ["t0_s0", "t0_s1", "t0_s2"]


def test_a_signal_ends_what_runs_in_good_order_and_starts_nothing_more() -> None:
    def on_progress(job: Job, reached: Reached) -> None:
        if job.session == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    engine = Script(t0_s0=[None] * 9, t0_s1=[None] * 9)
    launcher, ended = launch(engine, [job(s) for s in range(3)], on_progress=on_progress)
    assert launcher.stop.received is signal.SIGTERM
    assert engine.started == ["t0_s0", "t0_s1"]
    assert ended == {
        "t0_s0": Outcome("stopped", "asked to stop"),
        "t0_s1": Outcome("stopped", "asked to stop"),
        "t0_s2": Outcome("stopped", "not started"),
    }


def test_what_is_killed_while_stopping_has_stopped() -> None:
    def on_progress(job: Job, reached: Reached) -> None:
        for _ in range(2):  # the second signal kills
            os.kill(os.getpid(), signal.SIGINT)

    engine = Script(t0_s0=[None] * 9)
    launcher, ended = launch(engine, [job(0)], on_progress=on_progress)
    assert launcher.stop.received is signal.SIGINT
    assert ended["t0_s0"] == Outcome("stopped", "killed while stopping")
