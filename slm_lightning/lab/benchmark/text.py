"""The text of the result pages, computed from the compact record and nothing else."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from slm_lightning.lab.benchmark.results import RowResult, slug
from slm_lightning.lab.benchmark.searches import SUFFIX, KeptSearch
from slm_lightning.lab.benchmark.sets import BenchmarkSet, Row
from slm_lightning.lab.benchmark.standing import Entry, Environment
from slm_lightning.lab.markdown import block, mean, plain, table
from slm_lightning.lab.report.published import web_page
from slm_lightning.lab.reproduce.original import DOUBTS
from slm_lightning.lab.wording import count, duration, number
from slm_lightning.provenance import NONE
from slm_lightning.tracking import flatten

WRITTEN = "Written by `slm-lightning benchmark page`; no number on this page was typed by hand."
BESIDE = (
    "Scores are means over the sessions with their 95 % t-interval. **Bold**: at least SLM Lab's score"
    " of the same algorithm after as many frames. Beside that, *above* and *below* are said of the"
    " whole interval, *higher* and *lower* of the mean alone."
)
MAIN = ["algorithm", "total_reward_ma", "greedy evaluation", "SLM Lab", "target", "frames", "sessions"]
MAIN += ["time of a session", "commit", "run"]
STEADINESS = ["strength", "sample_efficiency", "stability", "consistency", "score_iqm"]
SEARCHED = (
    "Searches of this lab, whose sessions had other seeds than those of the results. A row has the best"
    " setting of its search, unless a note says otherwise."
)
SEARCHES = ["algorithm", "search", "what was drawn", "settings", "frames", "the best came to"]
RECORD = "record"
"""The folder of the compact record, beside the pages."""


def environment_page(environment: Environment, folder: Path) -> str:
    """The page of one environment, which is to lie in ``folder``."""
    lines = [f"# {plain(environment.name)}", "", WRITTEN, *_about(environment), BESIDE, ""]
    lines += table(MAIN, [_main_row(entry, folder) for entry in environment.entries])
    shown = {entry: entry.result for entry in environment.entries if entry.result}
    if shown:
        lines += ["", f"![Mean total_reward_ma of every algorithm]({picture(environment.name)})"]
        lines += ["", "## How fast, how steady", "", *_steadiness(shown)]
        lines += ["", "## To run a row again", "", *_commands(shown)]
    if searches := [_search(e.row, e.search) for e in environment.entries if e.search]:
        lines += ["", "## How settings were searched", "", SEARCHED, "", *table(SEARCHES, searches)]
    if notes := [note for entry in environment.entries for note in _notes(entry)]:
        lines += ["", "## Notes", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def overview(sets: Sequence[BenchmarkSet], environments: Mapping[str, Environment]) -> str:
    """The first page: every algorithm in every environment."""
    entries = {e.row.id: e for environment in environments.values() for e in environment.entries}
    lines = ["# Benchmarks", "", WRITTEN, *_time([e.result for e in entries.values() if e.result]), ""]
    lines.append(
        "A number is the mean total_reward_ma of the sessions: training returns, as SLM Lab reports"
        " them. **Bold**: at least SLM Lab's score of the same algorithm after as many frames. ✓ the"
        " target is reached, ✗ it is not; – not run; an empty cell is no row of the benchmark. The"
        " pages of the environments have intervals, evaluations, curves, and what is needed to run a"
        " row again."
    )
    for each in sets:
        columns = list(dict.fromkeys(row.environment for row in each.rows))
        labels = list(dict.fromkeys(row.label for row in each.rows))
        head = ["algorithm", *(f"[{plain(name)}]({slug(name)}.md)" for name in columns)]
        cells = [
            [plain(label), *(_cell(entries.get(f"{name}/{label}")) for name in columns)]
            for label in labels
        ]
        summary = _summary([entries[row.id] for row in each.rows])
        lines += ["", f"## {plain(each.title)}", "", *([each.note, ""] if each.note else [])]
        lines += [summary, "", *table(head, cells)]
        lines += ["", *block([f"slm-lightning benchmark run {each.path.as_posix()}"])]
    return "\n".join(lines) + "\n"


def picture(environment: str) -> str:
    """Where the graph of an environment lies, from the pages."""
    return f"images/{slug(environment)}.png"


def commit(result: RowResult) -> str:
    """The code of a result, in short."""
    short = result.commit if result.commit == NONE else result.commit[:10]
    return f"`{short}`{' + changes' if result.dirty else ''}"


def _about(environment: Environment) -> list[str]:
    """What is asked for, and what a random policy scores."""
    said = []
    if environment.target is not None:
        said.append(f"{environment.asks} a mean return of {number(environment.target)}")
    random = next((e.kept.random for e in environment.entries if e.kept and e.kept.random), None)
    if random:
        said.append(f"a random policy comes to {number(random['mean'])}")
    sentence = "; ".join(said)
    return [f"{sentence[:1].upper()}{sentence[1:]}."] if sentence else []


def _main_row(entry: Entry, folder: Path) -> list[str]:
    result, row, known = entry.result, entry.row, entry.published
    spec = Path(os.path.relpath(row.params.spec, folder)).as_posix()
    frames = number(row.spec.env.max_frame, 12)
    slm_lab = number(known.score) if known else ""
    if known and known.frames != row.spec.env.max_frame:
        slm_lab += f" after {number(known.frames, 12)} frames"
    begin = [f"[{plain(row.label)}]({spec})"]
    if result is None:
        return [*begin, "not run", "", slm_lab, "", frames, *[""] * 4]
    done = sum(session.status == "done" for session in result.sessions)
    scalars, whole = result.scalars, result.is_whole
    kept = f"{RECORD}/{slug(row.environment)}/{slug(row.label)}.json"
    published = f", [Hub]({web_page(result.published)})" if result.published else ""
    return [
        *begin,
        mean(scalars, "score", "**" if entry.comes_up else "") if whole else result.status,
        mean(scalars, "eval_score") if whole else "",
        f"{slm_lab}, {entry.beside}" if entry.beside else slm_lab,
        {True: "reached", False: "not reached", None: ""}[entry.reached],
        _frames(result, row),
        str(done) if whole else f"{done}/{len(result.sessions)}",
        duration(result.seconds / max(len(result.sessions), 1)),
        commit(result),
        f"[`{result.run_id[:8]}`]({kept}){published}",
    ]


def _frames(result: RowResult, row: Row) -> str:
    """The frames of a session, beside those that it was given where these are no whole rounds."""
    trained, given = (number(frames, 12) for frames in (result.frames, row.spec.env.max_frame))
    return trained if trained == given else f"{trained} of {given}"


def _steadiness(shown: Mapping[Entry, RowResult]) -> list[str]:
    """The lab's other metrics, and the score of every session."""
    rows = []
    for entry, result in shown.items():
        scores = ", ".join(map(number, result.scores))
        values = (number(result.scalars[name]) for name in STEADINESS)
        rows.append([plain(entry.row.label), *values, scores])
    head = [*STEADINESS[:-1], "interquartile mean", "every session"]
    return table(["algorithm", *head], rows)


def _commands(shown: Mapping[Entry, RowResult]) -> list[str]:
    rows = [
        [plain(entry.row.label), commit(result), f"`{entry.row.command}`"]
        for entry, result in shown.items()
    ]
    return [
        "`slm-lightning reproduce FILE`, where FILE is what the run of a row links to, runs it with the"
        " code of its commit and compares every score, and the last state of every session; on the same"
        " kind of machine they are the same, bit for bit, unless a note says otherwise. By hand:"
        " `git checkout COMMIT`, and then the command.",
        "",
        *table(["algorithm", "commit", "command"], rows),
    ]


def _search(row: Row, search: KeptSearch) -> list[str]:
    """What a search for the setting of a row drew, took and found."""
    kept = f"{RECORD}/{slug(row.environment)}/{slug(row.label)}{SUFFIX}"
    best = search.winner
    return [
        plain(row.label),
        f"[`{search.run_id[:8]}`]({kept})",
        ", ".join(f"`{path}`" for path in search.paths),
        str(len(search.trials)),
        number(search.frames, 12),
        ", ".join(map(number, best.values)) if best else "",
    ]


def _notes(entry: Entry) -> list[str]:
    """What a reader should know of a row before trusting it."""
    label, kept, result = plain(entry.row.label), entry.kept, entry.result
    params = entry.row.params
    said = [f"{label}: {params.note}"] if params.note else []
    if params.search and not entry.search:
        said.append(f"{label}: nothing is kept of its search `{params.search[:8]}`")
    if kept and not result:
        changed = _changed(kept, entry)
        return [*said, f"{label}: its setting has changed since run `{kept.run_id[:8]}`{changed}"]
    if not result:
        return said
    found = said + [
        f"{label}: session {i} {session.status}: {plain(session.reason)}"
        for i, session in enumerate(result.sessions)
        if session.status != "done"
    ]
    if result.dirty:
        found.append(f"{label}: with changes that were not committed")
    if result.exact:
        found.append(f"{label}: its numbers need not come again: {DOUBTS[result.exact]}")
    return found


def _changed(kept: RowResult, entry: Entry) -> str:
    """Which keys of the spec have another value now."""
    then, now = flatten(kept.spec), flatten(entry.row.spec.to_dict())
    paths = [f"`{path}`" for path in now if path in then and then[path] != now[path] and path != "name"]
    return f" ({', '.join(paths)})" if paths else ""


def _summary(entries: Sequence[Entry]) -> str:
    """How the rows of a set stand."""
    results = [entry.result for entry in entries if entry.result]
    said = [f"{len(results)} of {count(len(entries), 'row')} are run"]
    beside = [entry.beside for entry in entries if entry.beside]
    if beside:
        least = sum(entry.comes_up for entry in entries)
        said.append(f"{least} of the {len(beside)} that SLM Lab published too come to its score")
    reached = [entry.reached for entry in entries if entry.reached is not None]
    if reached:
        said.append(f"{sum(reached)} of {len(reached)} reach the target")
    return f"{'; '.join(said)}."


def _time(results: Sequence[RowResult]) -> list[str]:
    """What all results together took."""
    if not results:
        return []
    spent = Counter[str]()
    for result in results:
        spent[str(result.machine.get("cpu", "unknown processor"))] += round(result.seconds)
    hours = ", ".join(f"{duration(seconds)} on {plain(cpu)}" for cpu, seconds in spent.items())
    return [f"Time of training, of all sessions one after the other: {hours}."]


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return ""
    if entry.result is None:
        return "–"
    if not entry.result.is_whole:
        return entry.result.status
    score = number(entry.score)
    score = f"**{score}**" if entry.comes_up else score
    mark = {True: " ✓", False: " ✗", None: ""}[entry.reached]
    return score + mark
