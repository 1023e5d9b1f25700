"""A search in MLflow's UI, as a stranger reaches it from the links that the lab prints."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from slm_lightning import api
from slm_lightning.lab.report.findings import Findings, findings
from slm_lightning.tracking import Record, RunInfo
from slm_lightning.tracking.pages import HEADLINES, TRAINING, links
from slm_lightning.tracking.ui import server
from tests.browser import Page, browse
from tests.lab.searching import LAM, LR, WIDTHS, search_spec
from tests.support import FRAMES
from tests.tracking.support import free_port, points

CURVE = "total_reward_ma"
ROWS = """(() => {
  const cells = {};
  for (const cell of document.querySelectorAll(".ag-row [col-id]")) {
    const row = cells[cell.closest(".ag-row").getAttribute("row-index")] ??= {};
    row[cell.getAttribute("col-id")] = (cell.querySelector("a") ?? cell).innerText.trim();
  }
  return Object.keys(cells).map(Number).sort((a, b) => a - b).map(index => cells[index]);
})()"""
"""The rows of the table of runs from above, each with its texts by column."""
NAMES = f"{ROWS}.map(row => row['attributes.`Run Name`'])"
DRAWN = """(() => {
  const plot = document.querySelector(".js-plotly-plot");
  const shown = plot && [...plot.querySelectorAll(".point")].filter(e => e.getBBox().width > 0);
  return shown?.length && document.querySelector("main, body").innerText;
})()"""
"""The text of a page whose first graph has visible points."""
LINES = """[...document.querySelectorAll(".js-plotly-plot")]
  .flatMap(plot => plot._fullData ?? [])
  .filter(line => line.type === "scatter" && line.x?.length > 1)
  .map(line => [[...line.x], [...line.y]])"""
"""The curves on the page, by frames and values."""


@pytest.fixture
def found(record: Record, no_pictures: None) -> Findings:
    """What a search of three trials with two sessions found."""
    spec = search_spec(trials=3, sessions=2, batch=2)
    return findings(record, api.search(spec, say=lambda text: None).run_id)


def listed(names: list[str]) -> str:
    """Whether the table has rows with these names, in this order, and nothing else."""
    return f"JSON.stringify({NAMES}) === {json.dumps(json.dumps(names, separators=(',', ':')))}"


async def expand(page: Page, name: str) -> None:
    """Unfolds what is below the run called ``name``."""
    run = f'e.closest("[col-id]")?.querySelector("a")?.innerText === "{name}"'
    await page.click(".ag-row [col-id='attributes.`Run Name`'] button", run)


async def assert_trials(page: Page, record: Record, found: Findings, address: str) -> None:
    """The best trial is the first row, beside its setting, its headlines, and how it ended."""
    await page.open(links(record, found.run_id, address)["trials"])
    await page.until(listed([trial.name for trial in found.best]))
    first = (await page.evaluate(ROWS))[0]
    params = record.get(found.best[0].run_id).params
    for path in (LR, LAM, WIDTHS):
        assert first[f"params.`{path}`"] == params[path]
    for name in HEADLINES[:2]:
        assert float(first[f"metrics.`{name}`"]) == found.best[0].metric(name)
    titles = "[...document.querySelectorAll('.ag-header-cell')].map(e => e.getAttribute('col-id'))"
    shown = await page.evaluate(titles)
    assert [f"metrics.`{name}`" in shown for name in HEADLINES] == [True] * len(HEADLINES)
    text = await page.evaluate("document.body.innerText")
    assert f"trials of {found.run_id[:8]}" in text, "the view has a name"


async def assert_nested(page: Page, run: RunInfo, address: str) -> None:
    """The table of all runs has the search, the trials below it, and the sessions below them."""
    await page.open(f"{address}/#/experiments/{run.experiment_id}/runs?{TRAINING}")
    await page.until(listed(["tiny"]))
    await expand(page, "tiny")
    trials = [f"tiny_t{number}" for number in (2, 1, 0)]  # the newest first
    await page.until(listed(["tiny", *trials]))
    await expand(page, "tiny_t1")
    sessions = ["tiny_t1_s1", "tiny_t1_s0"]
    await page.until(listed(["tiny", *trials[:2], *sessions, trials[2]]))


async def assert_filtered(page: Page, run: RunInfo, address: str) -> None:
    """The tags of the lab find the sessions of a trial; MLflow shows them below it."""
    sessions = "tags.`slm.kind` = 'session'"
    rows = f"tags.`slm.study` = '{run.run_id}' AND tags.`slm.trial` = '1' AND {sessions}"
    table = f"{address}/#/experiments/{run.experiment_id}/runs?{TRAINING}"
    await page.open(f"{table}&searchFilter={quote(rows)}")
    await page.until(listed(["tiny_t1", "tiny_t1_s1", "tiny_t1_s0"]))


async def assert_page(page: Page, record: Record, found: Findings, address: str) -> None:
    """The page of the search opens in MLflow's viewer, and draws."""
    await page.open(links(record, found.run_id, address)["page"])
    inside = await page.frame(f"blob:{address}/")
    text = await inside.until(DRAWN)
    assert "In the search the best setting" in text
    assert f"trial {found.best[0].number}" in text


async def assert_curve(page: Page, record: Record, found: Findings, address: str) -> None:
    """A trial shows its mean curve over frames."""
    trial = found.best[0].run_id
    link, query = links(record, trial, address)["run"].split("?")
    await page.open(f"{link}/model-metrics?{query}")
    await page.click("input[placeholder='Search metric charts']")
    await page.send("Input.insertText", text=CURVE)
    frames, values = (await page.until(LINES))[0]
    assert frames == FRAMES
    assert list(zip(frames, values)) == points(record, trial, CURVE)


def test_a_search_in_mlflow(record: Record, found: Findings) -> None:
    async def visit(page: Page) -> None:
        address, run = running.address, record.get(found.run_id)
        await page.open(f"{address}/#/experiments")
        await page.click("[data-component-id='mlflow.assistant.chat_panel.close']")
        await assert_trials(page, record, found, address)
        await assert_nested(page, run, address)
        await assert_filtered(page, run, address)
        await assert_page(page, record, found, address)
        await assert_curve(page, record, found, address)

    with server(record, free_port()) as running:
        browse(visit)
