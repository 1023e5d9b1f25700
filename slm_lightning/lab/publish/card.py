"""The model card, or dataset card, of a publication: what a reader of the Hub wants to know first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from slm_lightning.hub import BEGIN, END, LIBRARY, Address, Score, front_matter
from slm_lightning.lab.pages import TEMPLATES
from slm_lightning.lab.publish.played import Played
from slm_lightning.lab.publish.runs import COMMIT, REMOTE
from slm_lightning.lab.report.findings import Findings
from slm_lightning.lab.report.verdict import Verdict
from slm_lightning.lab.wording import bracketed, count, interval, number, setting, spec_value
from slm_lightning.provenance import NONE
from slm_lightning.spec.families import default_backend
from slm_lightning.tracking import RESOLVED, RunInfo

MUJOCO = re.compile(
    "(Ant|HalfCheetah|Hopper|Humanoid(Standup)?|Inverted(Double)?Pendulum|Pusher|Reacher|Swimmer|Walker2d)-.*"
)
PUBLIC_REMOTE = re.compile(r"(?:https?://|ssh://|git@)\S+")
"""Where others can clone from."""


@dataclass(frozen=True)
class Facts:
    """What a card says."""

    run: RunInfo
    """What is published."""
    trial: RunInfo
    """That of the policy."""
    session: RunInfo
    """That of the policy."""
    sessions: Sequence[RunInfo]
    """Those of the trial, or the one that is published."""
    about: Mapping[str, Any]
    """What the bundle says of the policy."""
    played: Played
    settings: Mapping[str, Any]
    """The keys that were written or drawn, by dotted path, with the values of the policy's trial."""
    machine: Mapping[str, Any]
    frames: int
    """Those of the longest session, which ends by whole rounds and may have less than its budget."""
    graphs: Sequence[str]
    files: Sequence[tuple[str, str]]
    """Name and contents of each file, as one may ask for them."""
    address: Address
    found: Findings | None = None
    """Of an experiment."""
    said: Verdict | None = None
    searched: Sequence[str] = ()
    """A table of what was searched, line by line."""

    @property
    def algorithm(self) -> str:
        return self.trial.tags["slm.algorithm"]

    @property
    def environment(self) -> str:
        return self.trial.tags["slm.env"]

    @property
    def tags(self) -> list[str]:
        """By which the repository is found, besides those that every one of the lab's has."""
        return [self.environment, self.algorithm.lower(), "deep-reinforcement-learning"]

    @property
    def remote(self) -> str:
        """Where the code can be cloned from; empty where nobody else can."""
        remote = self.run.tags.get(REMOTE, "")
        return remote if PUBLIC_REMOTE.fullmatch(remote) else ""

    @property
    def home(self) -> str:
        """The address as commands take it, with its branch where that is not the default."""
        return str(self.address)

    @property
    def project(self) -> str:
        """What made it, as Markdown."""
        return f"SLM Lightning {as_text(self.run.tags.get('slm.version', ''))}".strip()

    @property
    def install(self) -> str:
        """The command that installs the lab with what the environment needs."""
        backend = default_backend(self.environment)
        extra = "mujoco" if MUJOCO.fullmatch(self.environment) else backend
        return f'pip install "{LIBRARY}[{extra}]"' if extra != "gymnasium" else f"pip install {LIBRARY}"

    @property
    def clone(self) -> str:
        """The command that brings the code of then."""
        commit = self.run.tags.get(COMMIT, NONE)
        if self.remote:
            return f"git clone {self.remote} {LIBRARY} && cd {LIBRARY}"
        return f"cd {LIBRARY}  # a clone that has commit {commit[:12]}"

    @property
    def dirty(self) -> bool:
        return any(name == "provenance/git.diff" for name, _ in self.files)

    @property
    def resolved(self) -> str:
        """The file with the complete spec of the policy's trial."""
        return next(name for name, _ in self.files if name.endswith(RESOLVED))

    @property
    def where(self) -> str:
        """The machine, as far as it decides numbers."""
        gpus = [gpu["name"] for gpu in self.machine.get("gpus", [])]
        parts = [self.machine.get("cpu"), *gpus, f"Python {self.machine.get('python', '?')}"]
        return ", ".join(str(part) for part in parts if part)

    def score(self, run: RunInfo, name: str) -> str:
        """A metric with the interval over sessions, where there is one."""
        low, high = (run.metrics.get(f"{name}_ci_{end}", float("nan")) for end in ("low", "high"))
        return number(run.metrics.get(name)) + bracketed(low, high)


def card(facts: Facts) -> str:
    """The card in Markdown, with its metadata."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown: every name of a record goes through a filter of its own
    )
    environment.filters |= {"text": as_text, "code": as_code, "number": number, "value": spec_value}
    environment.globals |= {"count": count, "interval": interval, "setting": setting}
    template = environment.get_template(f"card_{facts.address.kind}.md.j2")
    body = template.render(facts=facts, commit=facts.run.tags.get(COMMIT, NONE))
    return f"---\n{_metadata(facts)}\n---\n{BEGIN}\n{body.strip()}\n{END}\n"


def as_text(value: Any) -> str:
    """A name or a message as Markdown shows it: on one line, and none of it a mark."""
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>#|!~])", r"\\\1", line)


def as_code(value: Any) -> str:
    """A name or a value in the type of code, also in a table."""
    line = " ".join(str(value).split()).replace("`", "'").replace("|", "\\|")
    return f"`{line}`" if line else ""


def _metadata(facts: Facts) -> str:
    name = f"{facts.algorithm} on {facts.environment}"
    if facts.found:
        data = [{"config_name": "default", "data_files": "metrics.csv"}]
        return front_matter("dataset", f"{facts.run.name}: {name}", facts.tags, [], configs=data)
    played = facts.played
    mean = f"{played.mean:.2f} +/- {played.std:.2f}"  # as leaderboards read it
    scores = [Score(facts.environment, "mean_reward", "mean_reward", mean)]
    if "score" in facts.run.metrics:
        training = f"total_reward_ma in training, mean of {count(len(facts.sessions), 'session')}"
        scores.append(Score(facts.environment, "total_reward_ma", training, facts.run.metrics["score"]))
    return front_matter("model", facts.algorithm, facts.tags, scores)
