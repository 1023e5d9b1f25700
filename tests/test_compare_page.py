"""MLflow's pages that compare two specs, as a user reaches them: with a mouse, in Chromium."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable, Coroutine
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from choreographer import Browser
from choreographer.browsers.chromium import Chromium
from choreographer.errors import ChromeNotFoundError

from slm_lightning import run
from slm_lightning.lab.trial import Result
from slm_lightning.tracking import Record
from slm_lightning.tracking.ui import server
from tests.support import FRAMES, PATIENCE, tiny
from tests.tracking.support import free_port

NO_BROWSER = "no Chrome or Chromium on this machine: apt-get install chromium, or kaleido_get_chrome"
WIDTH, HEIGHT = 1400, 900
METRIC = "total_reward_ma"
LOCATE = """(() => {
  const found = [...document.querySelectorAll(%s)].find(e => %s);
  if (!found) return null;
  found.scrollIntoView({block: "nearest"});
  const box = found.getBoundingClientRect();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const hit = document.elementFromPoint(x, y);
  return found.contains(hit) ? [x, y] : null;
})()"""
"""Where the centre of an element is, or null where another element covers it."""
METRIC_ROW = f"""
[...document.querySelectorAll("tr, [role=row]")]
  .map(row => [...row.querySelectorAll("th, td, [role=cell], [role=gridcell]")].map(e => e.innerText.trim()))
  .find(cells => cells[0] === "{METRIC}")"""
CURVES = """(document.querySelector(".js-plotly-plot")?._fullData ?? [])
  .map(curve => ({name: curve.name, color: curve.line.color, x: [...curve.x], y: [...curve.y]}))"""
PLOT = """(() => {
  const box = document.querySelector(".js-plotly-plot .nsewdrag").getBoundingClientRect();
  return [box.top, box.bottom, box.left, box.right].map(Math.round);
})()"""


class Page:
    """A page in Chromium, steered over its DevTools protocol."""

    def __init__(self, tab: Any):
        self.tab = tab

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        answer = await self.tab.send_command(method, params)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        answer = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str) -> Any:
        """What an expression comes to once that is true, and not an empty list."""
        try:
            async with asyncio.timeout(PATIENCE):
                while (value := await self.evaluate(expression)) in (None, False, "", []):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            text = await self.evaluate("location.href + '\\n' + document.body.innerText")
            pytest.fail(f"in vain waited until {expression}\non the page {text}")
        return value

    async def click(self, selector: str, which: str = "true") -> None:
        """Clicks the first visible element ``e`` of ``selector`` for which ``which`` is true."""
        x, y = await self.until(LOCATE % (json.dumps(selector), which))
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            await self.send(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    async def tick(self, box: str, name: str) -> None:
        """Ticks the box of the row that has a link called ``name``."""
        row = f'[...e.closest("[role=row]").querySelectorAll("a")].some(a => a.innerText === "{name}")'
        await self.click(box, row)
        await self.until(f'[...document.querySelectorAll("{box}")].some(e => {row} && e.checked)')

    async def press(self, button: str) -> None:
        await self.click("button", f'e.innerText.trim() === "{button}" && !e.disabled')

    async def screenshot(self) -> bytes:
        return base64.b64decode((await self.send("Page.captureScreenshot", format="png"))["data"])


def browse(visit: Callable[[Page], Coroutine[Any, Any, None]]) -> None:
    """Visits pages in a new Chromium; skips the test where there is none, but not in CI."""
    try:
        browser = Browser()
    except ChromeNotFoundError:
        if os.environ.get("CI") == "true":
            pytest.fail(NO_BROWSER)
        pytest.skip(NO_BROWSER)

    async def visit_in_browser() -> None:
        async with browser:
            page = Page(await browser.create_tab("about:blank"))
            await page.send(
                "Emulation.setDeviceMetricsOverride",
                width=WIDTH,
                height=HEIGHT,
                deviceScaleFactor=1,
                mobile=False,
            )
            await visit(page)

    asyncio.run(visit_in_browser())


async def compare(page: Page, address: str, results: list[Result]) -> None:
    """From the list of experiments to the Compare page of the trials."""
    await page.send("Page.navigate", url=f"{address}/#/experiments")
    await page.click("[data-component-id='mlflow.assistant.chat_panel.close']")
    for result in results:
        await page.tick("[data-testid=experiment-list-item-check-box]", result.spec.name)
    await page.press("Compare")
    for result in results:
        await page.tick(".ag-selection-checkbox input", result.run.name)
    await page.press("Compare")
    await page.until(METRIC_ROW)
