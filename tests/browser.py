"""Chromium, steered by a test as by a user."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from choreographer import Browser
from choreographer.errors import ChromeNotFoundError
from choreographer.protocol.devtools_async import Target

from tests.support import PATIENCE

NO_BROWSER = "no Chrome or Chromium on this machine: apt-get install chromium, or kaleido_get_chrome"
WIDTH, HEIGHT = 1400, 900
CLICKS = 20
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


class Page:
    """A page in Chromium, steered over its DevTools protocol."""

    def __init__(self, tab: Any):
        self.tab = tab

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        answer = await self.tab.send_command(method, params)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        """What an expression comes to in the page; None while the browser changes the document."""
        parameters = {"expression": expression, "returnByValue": True}
        answer = await self.tab.send_command("Runtime.evaluate", parameters)
        if "context" in answer.get("error", {}).get("message", ""):
            return None
        assert "error" not in answer, answer["error"]
        assert "exceptionDetails" not in answer["result"], answer["result"]["exceptionDetails"]
        return answer["result"]["result"].get("value")

    async def until(self, expression: str) -> Any:
        """What an expression comes to once that is true, and not an empty list."""
        try:
            async with asyncio.timeout(PATIENCE):
                while (value := await self.evaluate(expression)) in (None, False, 0, []):
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
        """Ticks the box of the row that has a link called ``name``. The table moves when a toolbar
        comes, so that a click may miss the box; it is then made again."""
        row = f'[...e.closest("[role=row]").querySelectorAll("a")].some(a => a.innerText === "{name}")'
        ticked = f"[...document.querySelectorAll({json.dumps(box)})].some(e => {row} && e.checked)"
        for _ in range(CLICKS):
            await self.click(box, row)
            deadline = time.monotonic() + PATIENCE / CLICKS
            while time.monotonic() < deadline:
                if await self.evaluate(ticked):
                    return
                await asyncio.sleep(0.05)
        pytest.fail(f"cannot tick {name}")

    async def press(self, button: str) -> None:
        await self.click("button", f'e.innerText.trim() === "{button}" && !e.disabled')

    async def open(self, url: str) -> None:
        """Loads a page anew, also where its address differs only behind the #."""
        for address in ("about:blank", url):
            await self.send("Page.navigate", url=address)

    async def frame(self, beginning: str) -> Page:
        """The page within a frame whose address begins so, and which the browser keeps apart."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for target in (await self.send("Target.getTargets"))["targetInfos"]:
                if target["type"] == "iframe" and target["url"].startswith(beginning):
                    inner = Target(target["targetId"], self.tab._broker)
                    await inner.create_session()
                    return Page(inner)
            await asyncio.sleep(0.05)
        pytest.fail(f"in vain waited for a frame {beginning}")

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

    async def within_time() -> None:
        async with asyncio.timeout(2 * PATIENCE):  # a browser that dies answers nothing
            await visit_in_browser()

    asyncio.run(within_time())
