"""A real browser for tests: Debian's chromium without a window, driven over WebDriver."""

from __future__ import annotations

import json
import shutil
from typing import Any, Callable, TypeVar

from tests.waiting import wait_until

T = TypeVar("T")

# Where Debian and others put them.
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_DRIVER = ("chromedriver", "chromium.chromedriver")

# Nothing of the browser's own leaves the machine. A container gives it neither a sandbox nor much of /dev/shm.
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1280,800",
)
_WIDE = (1280, 800)


def missing() -> str | None:
    """What has to be installed before there is a browser, or None."""
    try:
        import selenium  # noqa: F401  # whether it is there
    except ImportError:
        return "selenium is not installed: pip install 'gevent-dispatcher[browser]'"
    if _found(_CHROMIUM) is None or _found(_DRIVER) is None:
        return "chromium or its driver is not installed: apt-get install chromium chromium-driver"
    return None


def _found(names: tuple[str, ...]) -> str | None:
    return next((path for path in map(shutil.which, names) if path), None)


class Browser:
    """One browser with one tab: `with Browser() as browser: browser.open(url)`."""

    def __enter__(self) -> Browser:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(_found(_CHROMIUM))
        for each in _OPTIONS:
            options.add_argument(each)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self._driver = webdriver.Chrome(options=options, service=Service(executable_path=_found(_DRIVER)))
        self._driver.set_script_timeout(20)
        self._driver.set_page_load_timeout(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.quit()

    # -- what it shows -----------------------------------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Load a page, as a wide screen in the light shows it."""
        self.resize(*_WIDE)
        self.prefer()
        self._driver.get(url)

    def leave(self) -> None:
        """Load an empty page."""
        self._driver.get("about:blank")

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Take another size, in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str = "light", motion: str = "no-preference") -> None:
        """Have the preferences of a user: `dark` or `light`, `reduce` or not."""
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        listed = [{"name": name, "value": value} for name, value in features.items()]
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})

    def script(self, code: str, *arguments: object) -> Any:
        """What a piece of JavaScript returns."""
        return self._driver.execute_script(code, *arguments)

    def text(self, selector: str) -> str:
        """What is written in the first element of those that are visible; an empty string when there is none."""
        return next(iter(self.texts(selector)), "")

    def texts(self, selector: str) -> list[str]:
        """What is written in each visible element, in the order of the document."""
        code = """
            return [...document.querySelectorAll(arguments[0])].filter((each) => each.checkVisibility())
                .map((each) => each.innerText.replace(/\\s+/g, " ").trim());
        """
        found: list[str] = self.script(code, selector)
        return found

    def count(self, selector: str) -> int:
        """How many visible elements there are."""
        return len(self.texts(selector))

    # -- what a user does --------------------------------------------------------------------------------------------

    def click(self, selector: str, containing: str = "") -> None:
        """Click, with the mouse, on the first visible element that has such a text, once there is one."""
        self._wait(lambda: self._element(selector, containing), f"no {selector} with {containing!r}").click()

    def press(self, *keys: str) -> None:
        """Press keys, one after the other: names such as `ENTER`, or text."""
        from selenium.webdriver import ActionChains, Keys

        for key in keys:
            ActionChains(self._driver, duration=0).send_keys(getattr(Keys, key, key)).perform()

    def copied(self) -> str:
        """What is in the clipboard."""
        permissions = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        self._driver.execute_cdp_cmd("Browser.grantPermissions", permissions)
        return str(self.script("return navigator.clipboard.readText()"))

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select."""
        from selenium.webdriver.support.ui import Select

        Select(self._element(selector, "")).select_by_value(value)

    def type(self, selector: str, text: str) -> None:
        """Write into a field, in place of what is in it."""
        field = self._element(selector, "")
        field.clear()
        field.send_keys(text)

    def _element(self, selector: str, containing: str) -> Any:
        code = """
            return [...document.querySelectorAll(arguments[0])]
                .find((each) => each.checkVisibility() && each.innerText.includes(arguments[1])) ?? null;
        """
        return self.script(code, selector, containing)

    def _wait(self, condition: Callable[[], T], message: str) -> T:
        try:
            return wait_until(condition)
        except AssertionError:
            raise AssertionError(f"{message}; the page says: {self.text('body')[:2000]}") from None

    # -- what it did -------------------------------------------------------------------------------------------------

    def complaints(self) -> list[str]:
        """What the console heard since it was last asked: errors, warnings, broken policies."""
        return [entry["message"] for entry in self._driver.get_log("browser") if entry["level"] != "INFO"]

    def requests(self) -> list[str]:
        """The urls that were requested since it was last asked, those of this file's own empty page aside."""
        messages = [json.loads(entry["message"])["message"] for entry in self._driver.get_log("performance")]
        sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in sent]
