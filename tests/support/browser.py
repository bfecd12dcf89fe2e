"""A headless Chromium of the machine, driven through its own driver: nothing is downloaded."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

LOADS_WITHIN_SECONDS = 60
MISSING = "there is no Chromium here: apt-get install chromium chromium-driver"


def found() -> tuple[str, str] | None:
    """Paths of the browser and of its driver, where both are installed."""
    browser, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def chromium(profile: Path) -> Iterator["Visitor"]:
    """A browser that reaches this machine only, with an empty profile in `profile`."""
    paths = found()
    assert paths is not None, MISSING
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--window-size=900,1100",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=paths[1]))
    driver.set_page_load_timeout(LOADS_WITHIN_SECONDS)
    try:
        yield Visitor(driver)
    finally:
        driver.quit()


class Visitor:
    """What a person does on a page: reads it, fills fields by their labels, presses buttons and links."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver

    def open(self, url: str) -> None:
        self._driver.get(url)

    @property
    def url(self) -> str:
        return self._driver.current_url

    @property
    def text(self) -> str:
        return self._driver.find_element(By.TAG_NAME, "body").text

    @property
    def alert(self) -> str:
        return self._driver.find_element(By.CSS_SELECTOR, "[role=alert]").text

    def fill(self, label: str, value: str) -> None:
        box = self._driver.find_element(By.XPATH, f"//label[contains(normalize-space(.), '{label}')]//input")
        box.clear()
        box.send_keys(value)

    def press(self, words: str) -> None:
        """Presses a button or link and waits for the page after it."""
        path = f"//button[contains(normalize-space(.), '{words}')] | //a[contains(normalize-space(.), '{words}')]"
        button = self._driver.find_element(By.XPATH, path)
        button.click()
        WebDriverWait(self._driver, LOADS_WITHIN_SECONDS).until(lambda _: _is_gone(button))

    def pay_with(self, number: str, words: str) -> None:
        """Fills the card form and presses its button."""
        for label, value in (
            ("Card number", number),
            ("Expiry month", "12"),
            ("Expiry year", "2045"),
            ("Security code", "123"),
        ):
            self.fill(label, value)
        self.press(words)

    def picture(self, name: str) -> None:
        """A screenshot for whoever wants to look, where BROWSER_PICTURES names a folder."""
        folder = os.environ.get("BROWSER_PICTURES")
        if folder:
            self._driver.save_screenshot(str(Path(folder) / f"{name}.png"))


def _is_gone(element: WebElement) -> bool:
    try:
        element.is_enabled()
    except Exception:  # noqa: BLE001 - stale, detached, no such window: each says that the page is another one
        return True
    return False
