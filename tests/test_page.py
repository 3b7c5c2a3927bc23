"""The page of the service as a browser sees it: every control, both languages, no error, nothing
from elsewhere, on a telephone and in the dark.
"""

import contextlib
import shutil
import threading
import time

import pytest
import uvicorn

from llmrec.service import Service
from llmrec.serving import bounded_protocol, create_app

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium with its driver on this machine"
)


@pytest.fixture(scope="module")
def address(fitted, films, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    fitted.save_pretrained(folder / "models" / "first")
    service = Service(folder / "models" / "first", folder / "store", films.sample_users(60, seed=0))
    service.load()
    app = create_app(service)
    options = {"log_level": "error", "access_log": False, "http": bounded_protocol()}
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@contextlib.contextmanager
def opened(address, *, width=1200, dark=False):
    """The page in a browser that notes what it asks for and complains of."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service as Driver
    from test_browser import QUIET

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*QUIET, f"--window-size={max(width, 500)},1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Driver(DRIVER))
    try:
        if width < 500:  # a window cannot be as narrow as a telephone
            metrics = {"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": True}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        if dark:
            media = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get(address)
        wait(lambda: texts(browser, "#ours .title"))
        settled(browser)
        yield browser
        asked = [one for one in browser.get_log("performance") if "requestWillBeSent" in str(one)]
        assert asked
        urls = {part for one in asked for part in one["message"].split('"') if "://" in part}
        assert all(part.startswith((address, "chrome", "data:")) for part in urls), urls
        assert not browser.get_log("browser")
    finally:
        browser.quit()


def texts(browser, selector):
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
    return browser.execute_script(script, selector)


def wait(true, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        if value := true():
            return value
        time.sleep(0.05)
    raise AssertionError("nothing came of it")


def settled(browser):
    """Waits until everything that was asked of the service has come and is shown."""
    script = "return document.querySelector('main').getAttribute('aria-busy') === 'false'"
    wait(lambda: browser.execute_script(script))


def click(browser, selector, number=0):
    browser.find_elements("css selector", selector)[number].click()
    settled(browser)


def test_every_control(address):
    from selenium.webdriver.common.keys import Keys

    with opened(address) as browser:
        assert "1,682 items" in texts(browser, "#about")[0]
        popular = texts(browser, "#ours .title")
        assert len(popular) == 10 and popular == texts(browser, "#other .title")

        field = browser.find_element("id", "search")
        field.send_keys("star wars")
        wait(lambda: any("Star Wars" in one for one in texts(browser, "#found li")))
        field.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.ENTER)
        settled(browser)
        assert "Star Wars" in texts(browser, "#chosen span")[0]
        assert texts(browser, "#ours .title") != popular
        field.send_keys("toy story")
        wait(lambda: any("Toy Story" in one for one in texts(browser, "#found li")))
        click(browser, "#found li")
        assert len(texts(browser, "#chosen span")) == 2
        assert any(texts(browser, "#ours .moved"))

        third = texts(browser, "#ours .title")[2]
        click(browser, "#ours button", 2)
        assert texts(browser, "#events .label") and texts(browser, "#words .label")
        assert third.split(" (")[0] in texts(browser, "#sentence")[0]
        field.send_keys("zzzz", Keys.ESCAPE)
        assert not browser.find_element("id", "found").is_displayed()
        field.clear()

        click(browser, "#chosen button")
        assert len(texts(browser, "#chosen span")) == 1
        browser.find_element("id", "text").send_keys("Toy Story Four (1999), Animation Comedy")
        click(browser, "#add button[type=submit]")
        assert "number" in texts(browser, "#landed")[0]
        assert "1,683 items" in texts(browser, "#about")[0]
        click(browser, "#remove")
        assert "1,682 items" in texts(browser, "#about")[0]

        click(browser, ".language", 1)
        assert "推荐" in texts(browser, "#lists-title")[0]
        assert browser.find_element("tag name", "html").get_attribute("lang") == "zh"
        click(browser, "#ours button", 0)
        assert "排在第" in texts(browser, "#sentence")[0]
        click(browser, "#surprise")
        assert len(texts(browser, "#chosen span")) == 3
        click(browser, "#clear")
        assert not texts(browser, "#chosen span")
        assert texts(browser, "#ours .title") == popular


def test_another_system_stands_beside(address):
    with opened(address) as browser:
        names = texts(browser, "#system option")
        assert names[-1] == "the most popular"
        assert browser.find_element("id", "system").get_attribute("value") == "popular"


def test_an_error_is_shown_in_words(address):
    with opened(address) as browser:
        browser.execute_script("window.fetch = () => Promise.reject(new TypeError('gone'))")
        click(browser, "#surprise")
        assert "does not answer" in texts(browser, "#error")[0]


CONTRAST = """
const light = color => { const [r, g, b] = color.match(/[0-9.]+/g).map(Number)
    .map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = e => { for (; e; e = e.parentElement) {
    const color = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$/.test(color)) return color; } return "rgb(255, 255, 255)"; };
return Math.min(...[...document.querySelectorAll("p, h2, h3, span, button, label")]
    .filter(e => e.getClientRects().length && e.textContent.trim())
    .map(e => { const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }));"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_it_can_be_read(address, width, dark):
    with opened(address, width=width, dark=dark) as browser:
        popular = texts(browser, "#ours .title")
        click(browser, "#surprise")
        assert texts(browser, "#ours .title") != popular
        click(browser, "#ours button")
        assert texts(browser, "#words .label")
        script = (
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert browser.execute_script(script) <= 0
        assert browser.execute_script(CONTRAST) >= 4.5
        sizes = browser.execute_script(
            "return [...document.querySelectorAll('p, button, span, input')]"
            ".filter(e => e.getClientRects().length)"
            ".map(e => parseFloat(getComputedStyle(e).fontSize))"
        )
        assert min(sizes) >= 14
        is_dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (is_dark == "rgb(255, 255, 255)") == (not dark)
