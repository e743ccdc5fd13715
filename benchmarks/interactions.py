"""Measure Interaction to Next Paint (INP) in a cart of 200 lines: `python -m benchmarks.interactions`.

Chromium runs at a quarter of the processor's speed, at the widths of a phone and of a desktop. INP is the
longest of these interactions (https://web.dev/articles/inp: with fewer than 50, the slowest one counts).
Then, at full speed and a latency of 400 ms, the time from the last of five presses to the confirmed cart.
"""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from playwright.async_api import Browser, Page

from tests.browser.chromium import launch, visitor
from tests.support.shop_server import Shop, running_shop

LINES = 200
SLOWDOWN = 4
WIDTHS = {390: 844, 1280: 800}
REST = 1.0
"""Seconds after each interaction, in which the response arrives and the page is drawn."""

LATENCY = 400
"""Milliseconds of a response from the server."""
ROUNDS = 3

_OBSERVE = """
window.seen = []
new PerformanceObserver((list) => window.seen.push(...list.getEntries()
    .filter((entry) => entry.interactionId)
    .map(({ duration, startTime, processingStart, processingEnd }) =>
        [duration, processingStart - startTime, processingEnd - processingStart])))
    .observe({ type: "event", durationThreshold: 16, buffered: true })
"""


async def main() -> None:
    """Print each interaction and the longest one."""
    with TemporaryDirectory() as folder, running_shop(Path(folder), {}, workers=1) as shop:
        async with launch() as browser:
            longest = [await measure(browser, shop, width) for width in WIDTHS]
            settled = [await press_five_times(browser, shop) for _ in range(ROUNDS)]
    sys.stdout.write(f"INP: {max(longest):.0f} ms\n")
    times = ", ".join(f"{milliseconds:.0f}" for milliseconds in settled)
    sys.stdout.write(f"five presses at a latency of {LATENCY} ms settle after: {times} ms\n")


async def measure(browser: Browser, shop: Shop, width: int) -> float:
    """Return the longest interaction at a width, in milliseconds."""
    size = {"width": width, "height": WIDTHS[width]}
    async with visitor(browser, shop.url, viewport=size) as person:
        page = await person.tab()
        await fill(page, LINES)
        tools = await page.context.new_cdp_session(page)
        await tools.send("Emulation.setCPUThrottlingRate", {"rate": SLOWDOWN})
        await page.evaluate(_OBSERVE)
        await asyncio.sleep(REST)
        return max([await interact(page, width, name, selector) for name, selector in INTERACTIONS])


async def fill(page: Page, lines: int) -> None:
    """Put lines into the cart and open it."""
    for number in range(1, lines + 1):
        item = {"product_id": 1000 + number, "name": f"Item {number}", "price": 1, "quantity": 2}
        assert (await page.request.post("/api/cart/add", data=item)).ok
    await page.goto("/cart")


async def press_five_times(browser: Browser, shop: Shop) -> float:
    """Return the milliseconds from the fifth press until no change is under way and the badge shows them."""
    async with visitor(browser, shop.url) as person:
        page = await person.tab()
        await fill(page, 1)
        tools = await page.context.new_cdp_session(page)
        slow = {"offline": False, "latency": LATENCY, "downloadThroughput": -1, "uploadThroughput": -1}
        await tools.send("Network.enable")
        await tools.send("Network.emulateNetworkConditions", slow)
        for _ in range(5):
            await page.locator("#more-1001").click()
        pressed = perf_counter()
        await page.locator(".badge", has_text="7 items").wait_for()
        await page.locator(".line:not([aria-busy=true])").wait_for()
        return (perf_counter() - pressed) * 1000


INTERACTIONS = (
    ("increase, first line", "#more-1001"),
    ("increase again", "#more-1001"),
    ("decrease", "#less-1001"),
    ("focus a quantity", "#quantity-1002"),
    ("type a quantity", "7"),
    ("increase, middle", "#more-1100"),
    ("increase, last line", "#more-1200"),
    ("remove", "#remove-1150"),
    ("remove the first", "#remove-1001"),
    ("undo", "form[action$='/cart/restore'] button"),
    ("open the order", "[popovertarget=order]"),
    ("close the order", "#order button"),
)


async def interact(page: Page, width: int, name: str, selector: str) -> float:
    """Click, or press a key; return the longest duration in milliseconds."""
    await page.evaluate("window.seen.length = 0")
    if selector.isdigit():
        await page.keyboard.press(selector)
    else:
        target = page.locator(selector).first
        await target.scroll_into_view_if_needed()
        await asyncio.sleep(REST / 2)
        await target.click()
    await asyncio.sleep(REST)
    seen: list[list[float]] = await page.evaluate("window.seen")
    duration, delay, processing = max(seen, default=[0, 0, 0])
    sys.stdout.write(
        f"{width:5} {name:22} {duration:4.0f} ms: {delay:3.0f} before, {processing:3.0f} in handlers\n"
    )
    return duration


if __name__ == "__main__":
    asyncio.run(main())
