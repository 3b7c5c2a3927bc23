"""The site as a browser sees it, in headless Chromium where there is one: nothing fails, nothing
comes from elsewhere, and a telephone can read it.
"""

import functools
import http.server
import json
import shutil
import threading
import time
import zlib

import pytest
from test_site import site  # noqa: F401  (built once)

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with its driver on this machine"
)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
MEASURES = """return {
    headings: [...document.querySelectorAll("main h1, main h2, main h3, main h4, main h5")]
        .map(h => +h.tagName[1]),
    flat: [...document.querySelectorAll("math")]
        .filter(m => m.getClientRects().length && m.getBoundingClientRect().height < 4).length,
    formulas: document.querySelectorAll("math").length,
    diagrams: document.querySelectorAll("pre.mermaid, div.mermaid").length,
    drawn: document.querySelectorAll(".mermaid svg").length,
    without_alt: [...document.images].filter(i => !i.alt).length,
    broken: [...document.images].filter(i => i.complete && !i.naturalWidth).length,
    too_wide: document.documentElement.scrollWidth - window.innerWidth}"""


@pytest.fixture(scope="module")
def address(site):  # noqa: F811
    """The site on a port of this machine."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Silent, directory=str(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        *QUIET,
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
        "--window-size=1280,900",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.get("about:blank")
    time.sleep(2)  # what the browser's own first page asked for is over
    yield driver
    driver.quit()


def visit(browser, url: str) -> dict:
    """What a page measures, and every request that it made: ``{"measures", "requests": {url:
    status}, "complaints"}``.
    """
    from selenium.webdriver.support.ui import WebDriverWait

    # what is there is of the page before
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(url)
    WebDriverWait(browser, 30).until(
        lambda driver: driver.execute_script("return document.readyState") == "complete"
    )
    WebDriverWait(browser, 30).until(
        lambda driver: (
            driver.execute_script(MEASURES)["drawn"] >= driver.execute_script(MEASURES)["diagrams"]
        )
    )
    status = {}
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        details = message["params"]
        if message["method"] == "Network.responseReceived":
            status[details["requestId"]] = (
                details["response"]["url"],
                details["response"]["status"],
            )
        elif message["method"] == "Network.loadingFailed" and not details.get("canceled"):
            status[details["requestId"]] = (str(details), 599)
    complaints = [
        entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"
    ]
    return {
        "measures": browser.execute_script(MEASURES),
        "requests": dict(status.values()),
        "complaints": complaints,
    }


@functools.cache
def packed(site, path: str) -> int:  # noqa: F811
    """Bytes of a file as a host sends it, compressed."""
    file = site / path.lstrip("/").partition("?")[0].partition("#")[0]
    return len(zlib.compress(file.read_bytes())) if file.is_file() else 0


def pages(site) -> list[str]:  # noqa: F811
    return sorted(
        str(path.relative_to(site))
        for path in site.rglob("*.html")
        if not {"_static", "_modules"} & set(path.parts)
    )


def test_every_page_loads_and_is_drawn(site, address, browser):  # noqa: F811
    n_formulas = n_diagrams = 0
    for page in pages(site):
        seen = visit(browser, f"{address}/{page}")
        measures = seen["measures"]
        assert not seen["complaints"], (page, seen["complaints"])
        assert all(
            url.startswith((address, "data:", "blob:", "chrome:")) and code < 400
            for url, code in seen["requests"].items()
        ), (page, seen["requests"])
        assert (
            weight := sum(
                packed(site, url.removeprefix(address))
                for url in seen["requests"]
                if url.startswith(address)
            )
        ) <= 3e6, (page, weight)
        assert measures["without_alt"] == measures["broken"] == measures["flat"] == 0, (
            page,
            measures,
        )
        levels = measures["headings"]
        assert all(
            later <= earlier + 1 for earlier, later in zip(levels, levels[1:], strict=False)
        ), (page, levels)
        n_formulas, n_diagrams = n_formulas + measures["formulas"], n_diagrams + measures["drawn"]
    assert n_formulas > 20 and n_diagrams > 5


def test_search_finds_the_recommender(address, browser):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(f"{address}/search.html?q=TransferRecommender")
    hits = WebDriverWait(browser, 20).until(
        lambda driver: driver.execute_script(
            "return [...document.querySelectorAll('#search-results li a')].map(a => a.href)"
        )
    )
    assert any("transfer" in hit for hit in hits)


def test_a_narrow_screen_scrolls_down_only(site, address, browser):  # noqa: F811
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        wide = {
            page: excess
            for page in pages(site)
            if (excess := visit(browser, f"{address}/{page}")["measures"]["too_wide"]) > 2
        }
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert not wide, wide
