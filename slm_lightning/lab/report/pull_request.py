"""The text of a result pull request: what a trial or a search was to show, what it showed, and the
commands by which a reader repeats it."""

from __future__ import annotations

import json
import math
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from slm_lightning.errors import LabError, SpecError, UsageError
from slm_lightning.lab.changes import COMPUTING, Recorded
from slm_lightning.lab.markdown import block, mean, plain, table
from slm_lightning.lab.report.findings import Findings, TrialFinding, findings
from slm_lightning.lab.report.known_scores import algorithm_of, environment_of, known_scores
from slm_lightning.lab.report.published import address_of, web_file, web_page
from slm_lightning.lab.report.verdict import verdict
from slm_lightning.lab.reproduce.original import DOUBTS
from slm_lightning.lab.wording import count, number, setting, spec_value
from slm_lightning.provenance import NONE
from slm_lightning.registry import REGISTRY
from slm_lightning.spec.load import load_spec, parse_assignments, read_specs, variables_in
from slm_lightning.spec.parse import SUFFIXES
from slm_lightning.spec.resolve import resolve
from slm_lightning.spec.space import Space
from slm_lightning.tracking import ORIGIN, RESOLVED, Record, RunInfo, flatten

FILE = "pull_request.md"
"""The artifact, beside the graphs that it shows."""
UNSAID = "*Not stated: a spec says it in `meta.hypothesis`.*"
DIFF = "provenance/git.diff"
BESIDES = ("name", "meta.hypothesis")
"""Keys that are no settings."""
SESSION = ("score", "eval_score", "strength", "sample_efficiency", "stability")


def pull_request(record: Record, run: RunInfo, base: Path | None = None) -> str:
    """The text for a trial or an experiment in Markdown. ``base`` is the spec file that its settings
    are compared with; by default the one that the recorded command names, where that is still there.

    Raises UsageError for a run that was not recorded far enough, SpecError where ``base`` is faulty.
    """
    files = record.artifacts(run.run_id)
    if RESOLVED not in files:
        raise UsageError(f"{run.name} was not recorded far enough to be reported: no {RESOLVED}")
    spec = _resolved(record.download(run.run_id, RESOLVED))
    environment, algorithm = spec["env"]["name"], spec["agent"]["algorithm"]["name"]
    if run.kind == "experiment":
        found = findings(record, run.run_id)
        results, settings = _search_results(found), searched(found, spec)
    else:
        results, settings = _trial_results(record, run, spec), _settings(run, spec, base)
    lines = [f"# {plain(run.name)}: {plain(algorithm)} in {plain(environment)}", "", *results[0]]
    lines += ["", "## Hypothesis", "", plain(spec["meta"].get("hypothesis", "")) or UNSAID]
    lines += ["", "## Settings", "", *settings]
    lines += ["", "## Results", "", *results[1], *_graphs(run, files)]
    lines += ["", "## To repeat it", "", *_commands(record, run, files)]
    return "\n".join([*lines, "", "## Data", "", _data(run)]) + "\n"


def write_pull_request(record: Record, run: RunInfo, base: Path | None = None) -> Path:
    """Stores the text with the run. Returns a local path of it."""
    with tempfile.TemporaryDirectory(prefix="slm-lightning-") as folder:
        file = Path(folder, FILE)
        file.write_text(pull_request(record, run, base), encoding="utf-8")
        record.log_artifacts(run.run_id, file)
    return record.download(run.run_id, FILE)


def _trial_results(record: Record, run: RunInfo, spec: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The result in a sentence, and the table of the sessions."""
    sessions = record.children(run.run_id)
    scalars, planned = run.metrics, int(run.metrics.get("sessions_planned", len(sessions)))
    done = sum(session.tags.get("slm.status") == "done" for session in sessions)
    said = [
        f"total_reward_ma {mean(scalars, 'score', '**')} in training, greedy evaluation"
        f" {mean(scalars, 'eval_score')}: means over {done} of {count(planned, 'session')} with their"
        " 95 % t-interval."
    ]
    said += [
        f"Session {i} {session.tags.get('slm.status', 'stopped')}: {plain(session.tags['slm.reason'])}."
        for i, session in enumerate(sessions)
        if session.tags.get("slm.status") != "done" and session.tags.get("slm.reason")
    ]
    if known := known_scores().get(environment_of(spec), {}).get(algorithm_of(spec)):
        said.append(
            f"SLM Lab's {known.algorithm} scored {number(known.score)} there after"
            f" {number(known.frames, 12)} frames; here a session has spent"
            f" {number(scalars.get('frames', math.nan) / max(len(sessions), 1), 12)}."
        )
    rows = [
        [str(i), *(number(session.metrics.get(name)) for name in SESSION)]
        for i, session in enumerate(sessions)
    ]
    means = ["**mean**", mean(scalars, "score"), mean(scalars, "eval_score")]
    means += [number(scalars.get(name)) for name in SESSION[2:]]
    head = ["session", "total_reward_ma", "greedy evaluation", *SESSION[2:]]
    lines = table(head, [*rows, means])
    return said, [*lines, "", f"Consistency of the sessions: {number(scalars.get('consistency'))}."]


def _search_results(found: Findings) -> tuple[list[str], list[str]]:
    """The verdict, and the table of the best settings."""
    said = verdict(found)
    again = found.confirmation
    shown = [*found.top, *([again] if again and again.is_ranked else [])]
    rows = [
        [_called(trial), *_scores(trial), f"`{trial.run_id[:8]}`", _drawn(trial, found)]
        for trial in shown
    ]
    head = ["trial", "total_reward_ma", "greedy evaluation", "sessions", "run", "setting"]
    ended = ", ".join(f"{number} {status}" for status, number in found.counts.items())
    lines = table(head, rows) if rows else ["No trial has finished."]
    return [said.sentence, *said.caveats], [*lines, "", f"Trials: {ended}."]


def _called(trial: TrialFinding) -> str:
    return str(trial.number) if trial.confirms is None else f"{trial.confirms}, with fresh seeds"


def _scores(trial: TrialFinding) -> list[str]:
    scalars = trial.scalars
    return [mean(scalars, "score"), mean(scalars, "eval_score"), str(trial.sessions)]


def _drawn(trial: TrialFinding, found: Findings) -> str:
    return plain(setting(trial.drawn, found.labels))


def searched(found: Findings, spec: Mapping[str, Any]) -> list[str]:
    """What a search tried, as a table in Markdown; ``spec`` is its resolved one."""
    space = Space.of(spec["search"])
    rows = []
    for dimension in space.dimensions:
        if dimension.kind == "choice":
            tried = ", ".join(map(spec_value, dimension.choices))
        else:
            scale = ", on a logarithmic scale" if dimension.log else ""
            tried = f"{number(dimension.low)} to {number(dimension.high)}{scale}"
        best = (spec_value(trial.drawn.get(dimension.path)) for trial in found.top)
        rows.append([f"`{dimension.path}`", plain(tried), plain(", ".join(best))])
    return table(["searched", "values", "in the best trials"], rows)


def _settings(run: RunInfo, spec: dict[str, Any], base: Path | None) -> list[str]:
    """The keys of which the base has another value."""
    if "slm.drawn" in run.tags:
        drawn = json.loads(run.tags["slm.drawn"])
        rows = [[f"`{path}`", plain(spec_value(value))] for path, value in drawn.items()]
        return table(["drawn by its search", "value"], rows)
    try:
        named, then = _base(run, base)
    except (LabError, OSError):
        if base is not None:
            raise
        return ["The spec file of the recorded command is not here: `--base SPEC` names one."]
    mine, its = flatten(spec), flatten(then)
    keys = [key for key in {**its, **mine} if key not in BESIDES and mine.get(key) != its.get(key)]
    rows = [[f"`{key}`", *(plain(spec_value(each.get(key))) for each in (its, mine))] for key in keys]
    if not rows:
        return [f"All as in `{named}`."]
    return table(["key", f"`{named}`", "here"], rows)


def _resolved(file: Path) -> dict[str, Any]:
    """A recorded spec with the keys that are known now, where this version understands it."""
    try:
        return resolve(load_spec(file), REGISTRY).to_dict()
    except SpecError:
        return json.loads(file.read_text(encoding="utf-8"))


def _base(run: RunInfo, base: Path | None) -> tuple[str, dict[str, Any]]:
    """The spec to compare with: what it is called, and it. Raises LabError where there is none."""
    command = "" if ORIGIN in run.tags else run.tags.get("mlflow.source.name", "")
    words = shlex.split(command)  # that of somebody else says nothing of the files here
    files = [Path(word) for word in words if Path(word).suffix.lower() in SUFFIXES]
    if base is None and not files:
        raise UsageError(f"the command of {run.name} names no spec file")
    file = base or files[0]
    values = [value for option, value in pairwise(words) if option in ("-s", "--var")]
    given, asked = parse_assignments(values, "-s"), variables_in(file)
    variables = {key: value for key, value in given.items() if key in asked}
    several = len(read_specs(file, variables)) > 1
    raw = load_spec(file, run.experiment if several else None, variables)
    return file.as_posix(), resolve(raw, REGISTRY).to_dict()


def _graphs(run: RunInfo, files: Sequence[str]) -> list[str]:
    """The graphs of the run, from the Hub where it is published, else from beside this file."""
    address = address_of(run.tags)
    shown = [name for name in files if name.startswith("graphs/") and name.endswith(".png")]
    places = [web_file(address, name) if address else name for name in shown]
    return [
        line for name, place in zip(shown, places) for line in ("", f"![{Path(name).stem}]({place})")
    ]


def _commands(record: Record, run: RunInfo, files: Sequence[str]) -> list[str]:
    """How to run it again, with the code of then."""
    tags, command = run.tags, run.tags.get("mlflow.source.name", NONE)
    commit, remote = (tags.get(f"mlflow.source.git.{key}", NONE) for key in ("commit", "repoURL"))
    steps = [f"git clone {shlex.quote(remote)} code && cd code"] if remote != NONE else []
    steps += [f"git checkout {commit}"] if commit != NONE else []
    kept = [name for name in ("spec.json", DIFF) if name in files]
    if address := address_of(tags):
        steps += [f"curl --create-dirs -Lo {name} {web_file(address, name)}" for name in kept]
    if DIFF in files:
        steps.append(f"git apply {DIFF}  # what was not committed")
    confirm = int(tags.get("slm.confirm", 0))
    verb = "search" if run.kind == "experiment" else "run"
    steps.append(f"slm-lightning {verb} spec.json" + (f" --confirm {confirm}" if confirm else ""))
    doubt = DOUBTS.get(tags.get("slm.exact", ""))
    return [
        *block(steps),
        "",
        f"It was started by `{command}`. {_among(kept)} the files of run `{run.run_id[:8]}`, not of the"
        " commit. Who has its record repeats it, and compares it bit for bit, by",
        "",
        *block([f"slm-lightning reproduce {address or run.run_id}"]),
        "",
        _surroundings(Recorded.of(run, record)),
        *([f"Its numbers need not come again: {doubt}."] if doubt else []),
    ]


def _among(names: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in names) + (
        " is among" if len(names) == 1 else " are among"
    )


def _surroundings(recorded: Recorded) -> str:
    packages = sorted(recorded.packages.items())
    made = [f"{name} {version}" for name, version in packages if name.lower() in COMPUTING]
    cpu, python = (recorded.machine.get(key, "unknown") for key in ("cpu", "python"))
    return f"Made with {', '.join([f'Python {python}', *made])}, on {plain(cpu)}."


def _data(run: RunInfo) -> str:
    address = address_of(run.tags)
    if not address:
        return f"Not published yet: `slm-lightning publish {run.run_id[:8]} --repo USER/NAME`."
    return f"[{address}]({web_page(address)}), replayed by `slm-lightning enjoy {address}`."
