"""MLflow's pages that compare two specs, as a user reaches them: with a mouse, in Chromium."""

from __future__ import annotations

import asyncio
import json
import time

import imageio.v3 as imageio
import numpy as np
import pytest
from PIL import ImageColor

from slm_lightning import run
from slm_lightning.tracking import Record, RunInfo
from slm_lightning.tracking.ui import server
from tests.browser import Page, browse
from tests.support import FRAMES, PATIENCE, tiny
from tests.tracking.support import free_port, points

METRIC = "total_reward_ma"
TO_METRIC = f"""(() => {{
  const grids = [...document.querySelectorAll(".ReactVirtualized__Grid")];
  const found = grids.flatMap(grid => [...grid.querySelectorAll("a")])
    .find(e => e.innerText.trim() === "{METRIC}");
  if (found) found.click(); else grids.forEach(grid => grid.scrollTop += 40);
  return location.hash.startsWith("#/metric");
}})()"""
"""Scrolls the metrics of the Compare page, which has only the visible rows in its DOM, to the link."""
CURVES = """[...document.querySelectorAll(".js-plotly-plot")]
  .flatMap(plot => plot._fullData ?? [])
  .filter(curve => curve.type === "scatter" && curve.x?.length && curve.line.color.length === 7)
  .map(curve => ({name: curve.name, color: curve.line.color, x: [...curve.x], y: [...curve.y]}))"""
"""The curves on the page, without the faint copies that MLflow lays beneath them."""
DRAWN = """document.querySelectorAll(".js-plotly-plot").length === 1
  && document.querySelectorAll(".js-plotly-plot .scatterlayer path.js-line").length >= 2"""
PLOT = """(() => {
  const box = document.querySelector(".js-plotly-plot .nsewdrag")?.getBoundingClientRect();
  return box && [box.top, box.bottom, box.left, box.right].map(Math.round);
})()"""
"""Edges of the area of the first chart, in pixels."""


async def compare(page: Page, address: str, trials: list[RunInfo]) -> None:
    """From the list of experiments to the Compare page of the trials."""
    await page.send("Page.navigate", url=f"{address}/#/experiments")
    await page.click("[data-component-id='mlflow.assistant.chat_panel.close']")
    for trial in trials:
        await page.tick("[data-testid=experiment-list-item-check-box]", trial.experiment)
    await page.press("Compare")
    for trial in trials:
        await page.tick(".ag-selection-checkbox input", trial.name)
    await page.press("Compare")
    await page.until('document.querySelectorAll(".ReactVirtualized__Grid a").length')


async def chart(page: Page, address: str, trials: list[RunInfo], metric: str) -> None:
    """The charts of the experiments of the trials, those called like ``metric``."""
    experiments = json.dumps([trial.experiment_id for trial in trials])
    url = f"{address}/#/compare-experiments/s?experiments={experiments}&compareRunsMode=CHART"
    await page.send("Page.navigate", url=url)
    await page.click("input[placeholder='Search metric charts']")
    await page.send("Input.insertText", text=metric)


async def assert_curves(page: Page, record: Record, trials: list[RunInfo]) -> None:
    """The page draws the recorded curve of each trial over frames, under its name. Their colours are
    MLflow's, a hash of the run's id, and sometimes the same."""
    await page.until(DRAWN)
    await page.until(f"{CURVES}.filter(({{x}}) => x.length === {len(FRAMES)}).length === {len(trials)}")
    curves = {curve["name"]: curve for curve in await page.evaluate(CURVES)}
    assert curves.keys() == {trial.name for trial in trials}
    for trial in trials:
        curve = curves[trial.name]
        assert list(zip(curve["x"], curve["y"])) == points(record, trial.run_id, METRIC)
        assert curve["x"] == FRAMES
    colors = [curve["color"] for curve in curves.values()]
    deadline = time.monotonic() + PATIENCE
    while not await shows(page, colors):
        assert time.monotonic() < deadline, "the curves are hardly drawn"
        await asyncio.sleep(0.05)


async def shows(page: Page, colors: list[str]) -> bool:
    """Whether lines in each of these colours run through the area of the chart."""
    top, bottom, left, right = await page.until(PLOT)
    picture = imageio.imread(await page.screenshot())[top:bottom, left:right, :3].astype(int)
    near = [np.abs(picture - ImageColor.getrgb(color)).max(axis=2) < 24 for color in colors]
    return all(pixels.any(axis=0).mean() > 0.1 for pixels in near)


@pytest.fixture
def trials(record: Record, no_pictures: None) -> list[RunInfo]:
    """Trials of two specs that learn at different speed."""
    for name, lr in (("slow", 1e-4), ("fast", 1e-2)):
        net = {"optim_spec": {"name": "Adam", "lr": lr}}
        run(tiny(name, net=net), sessions=1, say=lambda text: None)
    return record.runs(kind="trial")


def test_two_specs_compared(record: Record, trials: list[RunInfo]) -> None:
    async def visit(page: Page) -> None:
        await compare(page, running.address, trials)
        text = await page.evaluate("document.body.innerText")
        assert "Comparing 2 Runs from 2 Experiments" in text
        assert all(trial.name in text and trial.experiment in text for trial in trials)
        assert "0.0001" in text and "0.01" in text  # the learning rates, where the specs differ
        await page.until(TO_METRIC)
        await assert_curves(page, record, trials)
        await chart(page, running.address, trials, METRIC)
        await assert_curves(page, record, trials)

    with server(record, free_port()) as running:
        browse(visit)
