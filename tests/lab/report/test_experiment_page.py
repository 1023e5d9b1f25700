"""The page of a search says what the record says, to anybody, anywhere, and every time the same."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from choreographer.browsers.chromium import Chromium

from slm_lightning.errors import UsageError
from slm_lightning.lab import graphs, wording
from slm_lightning.lab.report.experiment_page import Report, page, thinned, write_report
from slm_lightning.lab.report.findings import findings
from slm_lightning.lab.report.importance import importances
from slm_lightning.spec.load import load_spec
from slm_lightning.tracking import Record
from tests.conftest import isolate
from tests.lab.search_record import GAMMA, LAYERS, LR, RecordedSearch, curve, recorded

NO_BROWSER = "no Chrome or Chromium on this machine: apt-get install chromium, or kaleido_get_chrome"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
LIMIT = 10_000_000
"""Bytes of a page."""


@pytest.fixture(scope="module")
def reported(empty_record, tmp_path_factory) -> tuple[Record, Report]:
    """A search of 16 trials whose best is confirmed, and its report, without a picture."""
    root = tmp_path_factory.mktemp("reported") / "mlruns"
    shutil.copytree(empty_record, root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, root)
        monkeypatch.setattr(graphs, "write_png", lambda figs: False)
        record = Record()
        search = recorded(record, confirm=4)
        search.add(16, confirms=search.best, sessions=4)
        return record, write_report(record, search.finish())


def text_of(report: Report) -> str:
    """The page's HTML without its scripts and styles."""
    whole = report.files["experiment.html"].read_text(encoding="utf-8")
    return re.sub(r"<(script|style).*?</\1>", "", whole, flags=re.DOTALL)


def cells(row: str) -> list[str]:
    found = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
    return [html.unescape(re.sub("<[^>]*>", "", cell)).strip() for cell in found]


def test_the_verdict_is_at_the_top(reported):
    _, report = reported
    text = text_of(report)
    again = report.findings.confirmation
    assert report.verdict.sentence in html.unescape(text)
    assert text.index("verdict") < text.index("What mattered") < text.index("Trial")
    assert f"score {again.metric('score'):.1f} (95 % interval" in report.verdict.sentence
    assert report.text.startswith(report.verdict.sentence)


def test_every_trial_is_in_the_table(reported):
    _, report = reported
    (body,) = re.findall(r"<tbody>(.*?)</tbody>", text_of(report), re.DOTALL)
    rows = [cells(row) for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL)]
    shown = [*report.findings.trials, *report.findings.confirmations]
    assert [row[0] for row in rows] == [str(t.number) for t in shown]
    assert [row[1].split()[0] for row in rows] == [t.status for t in shown]
    assert rows[3][2] == "ValueError: the environment broke"
    assert rows[-1][1] == f"done (confirms {report.findings.best[0].number})"
    assert all(t.run_id[:8] == row[-1] for t, row in zip(shown, rows))


def test_the_three_best_can_be_run_again(reported, tmp_path):
    record, report = reported
    texts = [
        html.unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", text_of(report), re.DOTALL)
    ]
    for trial in report.findings.top:
        assert any(f"slm-lightning enjoy {trial.run_id[:8]}" in text for text in texts)
        stored = record.download(trial.run_id, "spec.json").read_text()
        assert stored in texts
        raw = load_spec(record.download(trial.run_id, "spec.json"))
        assert raw.data["agent"]["net"]["optim_spec"]["lr"] == trial.drawn[LR]
        assert "search" not in raw.data


def test_search_and_confirmation_stand_side_by_side(reported):
    _, report = reported
    found = report.findings
    text = text_of(report)
    row = re.search(r"<tr><th>score</th>(.*?)</tr>", text[text.index("<h2>Confirmation") :], re.DOTALL)
    shown = cells(row[1])
    assert shown[0] == f"{found.best[0].metric('score'):.1f}"
    assert shown[2] == f"{found.confirmation.metric('score'):.1f}"
    assert shown[3] == " to ".join(f"{end:.1f}" for end in found.confirmation.interval("score"))


def test_frames_are_counted_for_as_long_as_each_trial_was_to_run(reported):
    record, report = reported
    found = report.findings
    ended = [trial for trial in found.trials if trial.status in ("done", "pruned")]
    spent = sum(trial.frames for trial in ended)
    for times in (1, 2):
        drawn = {"env.max_frame": times * found.max_frame} if times > 1 else {}
        trials = [dataclasses.replace(t, drawn={**t.drawn, **drawn}) for t in found.trials]
        text = page(dataclasses.replace(found, trials=tuple(trials)), {}, record)
        planned = times * found.max_frame * sum(t.scalars["sessions_planned"] for t in ended)
        assert f"{round(100 * (1 - spent / planned))} % saved by pruning" in text
        longest = re.search(r"at most</dt><dd>(.*?)</dd>", text)
        assert longest and longest[1] == wording.number(times * found.max_frame, 15)


def test_the_same_record_gives_the_same_page(reported):
    record, report = reported
    first = report.files["experiment.html"].read_bytes()
    found = findings(record, report.run_id)
    assert page(found, importances(found), Record(record.root)).encode() == first


def test_the_table_of_all_trials(reported):
    _, report = reported
    table = pd.read_csv(report.files["tables/trials.csv"])
    assert table["trial"].tolist() == list(range(17))
    assert table[LR].tolist() == [t.drawn[LR] for t in report.findings.trials] + [
        report.findings.confirmation.drawn[LR]
    ]
    assert json.loads(table[LAYERS][0]) == report.findings.trials[0].drawn[LAYERS]
    assert table["objective/score"][7] == report.findings.trials[7].values[0]
    assert math.isnan(table["objective/score"][3])
    assert {GAMMA, "stability", "frames", "reason"} <= set(table)


def test_files_are_artifacts_of_the_search(reported):
    record, report = reported
    assert {"experiment.html", "tables/trials.csv"} <= set(record.artifacts(report.run_id))
    assert "graphs/experiment.png" not in report.files


def test_a_program_reads_the_report(reported):
    _, report = reported
    data = json.loads(json.dumps(report.to_dict()))
    assert data["best"][0]["trial"] == report.findings.best[0].number
    assert data["confirmation"]["metrics"]["score"] == report.findings.confirmation.metric("score")
    assert data["trials"] == {"done": 12, "pruned": 2, "failed": 1, "diverged": 1}
    assert [goal["name"] for goal in data["goals"]] == ["target", "best known score"]


def test_a_picture_where_there_is_a_browser(reported):
    record, report = reported
    files = write_report(record, report.run_id).files
    if "graphs/experiment.png" not in files:
        no_browser()
    assert files["graphs/experiment.png"].read_bytes().startswith(b"\x89PNG")


def test_whatever_a_record_holds_is_text(record, no_pictures):
    search = RecordedSearch(record, env=HOSTILE, search={f"{LAYERS}__choice": [HOSTILE, "b"]})
    search.add(0, drawn={LAYERS: HOSTILE, LR: 0.01, GAMMA: 0.99})
    search.add(1, "failed", HOSTILE, drawn={LAYERS: "b", LR: 0.01, GAMMA: 0.99})
    report = write_report(record, search.finish())
    whole = report.files["experiment.html"].read_text(encoding="utf-8")
    assert HOSTILE not in whole
    assert "<img" not in text_of(report)
    assert html.escape(HOSTILE) in whole


def test_all_failed(record, no_pictures):
    search = RecordedSearch(record)
    for number in range(3):
        search.add(number, "failed", "out of memory")
    report = write_report(record, search.finish("failed"))
    assert "all of 3 trials failed" in text_of(report)
    assert "out of memory (3 trials)" in text_of(report)
    assert "best setting" not in text_of(report)
    assert report.to_dict()["best"] == []


def test_a_search_at_work(record, no_pictures):
    search = RecordedSearch(record, confirm=4)
    report = write_report(record, search.run_id)
    assert "No trial has been run yet." in text_of(report)
    search.add(0)
    search.add(1, "running")
    text = text_of(write_report(record, search.run_id))
    assert "1 of 16 trials have ended" in text
    assert "A confirmation with 4 sessions was asked for and is not there yet." in text


def test_two_objectives(record, no_pictures):
    search = RecordedSearch(record, objective={"score": "maximize", "sample_efficiency": "minimize"})
    for number in range(3):
        search.add(number)
    text = text_of(write_report(record, search.finish()))
    assert "Pareto front" in text
    assert "on the Pareto front" in text


def test_a_trial_has_no_page_of_a_search(record):
    search = RecordedSearch(record)
    with pytest.raises(UsageError):
        write_report(record, search.add(0))


def test_a_thousand_trials_fit_on_a_page(reported):
    record, report = reported
    found = report.findings
    trials = [
        dataclasses.replace(found.trials[i % 16], number=i, reason="x" * 200) for i in range(16, 1000)
    ]
    many = dataclasses.replace(found, trials=(*found.trials, *trials))
    whole = page(many, importances(many), record)
    assert len(whole.encode()) < LIMIT
    assert whole.count("confirms") >= 1 and ">999<" in whole


def test_long_records_are_thinned_alike():
    long, short = curve(300, 0), curve(300, 1, frames=3000)
    few = thinned([long, short, pd.DataFrame()], points=10)
    assert [len(table) for table in few] == [10, 3, 0]
    assert few[0]["frame"].tolist() == list(range(1000, 10_001, 1000))
    assert few[1]["frame"].tolist() == [1000, 2000, 3000]
    at = long.set_index("frame")["total_reward"]
    assert few[0]["total_reward"].tolist() == at.loc[few[0]["frame"]].tolist()
    (same,) = thinned([long], points=50)
    pd.testing.assert_frame_equal(same, long)


def test_a_value_between_two_points_is_not_lost():
    table = curve(300, 0).assign(**{"eval/return": math.nan})
    table.loc[table.index[7], "eval/return"] = 123.0
    (few,) = thinned([table], points=10)
    assert few["eval/return"].dropna().tolist() == [123.0]


PROBE = """
<script>
addEventListener("load", async () => {
  const closed = document.querySelectorAll("details .main-svg").length;
  for (const details of document.querySelectorAll("details")) details.open = true;
  document.querySelector(".code button").click();
  const heads = [...document.querySelectorAll("table.sortable th")];
  const head = heads.find(th => th.textContent === "score");
  const column = () => [...document.querySelector("table.sortable tbody").rows]
    .map(row => row.cells[head.cellIndex].textContent);
  head.click();
  const down = column();
  head.click();
  const up = column();
  await new Promise(done => setTimeout(done, 500));
  parent.postMessage({
    places: document.querySelectorAll(".plot").length,
    drawn: [...document.querySelectorAll(".plot")].filter(p => p.querySelector(".main-svg")).length,
    closed, down, up, button: document.querySelector(".code button").textContent,
    undrawn: document.querySelectorAll(".plot script").length,
  }, "*");
});
</script>
"""
"""Looks around on the page and tells what it saw."""
FRAME = """<!DOCTYPE html><body><script>
addEventListener("message", event => { document.body.textContent = JSON.stringify(event.data); });
</script><iframe sandbox="allow-scripts" src="page.html" width="1200" height="800"></iframe></body>"""
"""How MLflow shows an artifact."""


def no_browser() -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(NO_BROWSER)
    pytest.skip(NO_BROWSER)


def test_the_page_works_in_a_sandboxed_frame(reported, tmp_path: Path):
    browser = Chromium.find_browser(skip_local=False)
    if not browser:
        no_browser()
    _, report = reported
    whole = report.files["experiment.html"].read_text(encoding="utf-8")
    before, _, after = whole.rpartition("</body>")
    (tmp_path / "page.html").write_text(f"{before}{PROBE}</body>{after}", encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME, encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    command += [
        "--disable-features=IsolateSandboxedIframes"
    ]  # one process, or virtual time stands still
    command += [
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        f"file://{tmp_path}/frame.html",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    seen = json.loads(html.unescape(re.search(r"<body>(.*)</body>", answer.stdout, re.DOTALL)[1]))
    assert seen["places"] == seen["drawn"] > 10
    assert (seen["closed"], seen["undrawn"]) == (0, 0)
    scores = [float(text) for text in seen["down"] if text != "n/a"]
    assert scores == sorted(scores, reverse=True)
    assert seen["up"][:15] == seen["down"][:15][::-1]
    assert seen["down"][15:] == seen["up"][15:] == ["n/a", "n/a"]
    assert seen["button"] in ("Copied", "Selected: press Ctrl+C")
