"""The page of `cbalign serve`, in a real browser; left out where there is no Chromium with its driver."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from .conftest import png
from .test_process import Start, end, start

__all__ = ["start"]

DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(DRIVER is None, reason="no chromedriver")


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for switch in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1000,900"):
        options.add_argument(f"--{switch}")
    for service in ("background-networking", "component-update", "sync", "quic"):  # nothing leaves this machine
        options.add_argument(f"--disable-{service}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def said(browser: webdriver.Chrome, note: str) -> str:
    """What a form's note says when the answer is there."""
    element = browser.find_element(By.ID, note)
    WebDriverWait(browser, 30).until(lambda _: element.text not in ("", "…"))
    return element.text


def field(browser: webdriver.Chrome, name: str) -> WebElement:
    return browser.find_element(By.ID, name)


def submit(browser: webdriver.Chrome, form: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f"#{form} button").click()


@pytest.fixture
def page(browser: webdriver.Chrome, start: Start, photos: Path, cache: Path) -> Iterator[webdriver.Chrome]:
    process, address = start("--images", photos, "--cache", cache)
    browser.get(address)
    WebDriverWait(browser, 30).until(lambda b: "9 pictures" in field(b, "about").text)
    yield browser
    end(process)


def test_pictures_are_found_by_words_and_by_example(page: webdriver.Chrome, tmp_path: Path) -> None:
    field(page, "query").send_keys("red cars")
    submit(page, "search")
    assert said(page, "search-note").split()[1].startswith("ms")
    first = page.find_element(By.CSS_SELECTOR, "#found figure")
    assert first.text.startswith("red/")
    shown = first.find_element(By.TAG_NAME, "img")
    WebDriverWait(page, 30).until(lambda _: int(shown.get_property("naturalWidth")) > 0)
    example = tmp_path / "example.png"
    example.write_bytes(png("blue"))
    field(page, "example").send_keys(str(example))
    submit(page, "search")
    WebDriverWait(page, 30, ignored_exceptions=[StaleElementReferenceException]).until(
        lambda b: b.find_element(By.CSS_SELECTOR, "#found figure").text.startswith("blue/")
    )


def test_the_words_that_fit_a_picture_come_first(page: webdriver.Chrome, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(png("red"))
    field(page, "picture").send_keys(str(picture))
    assert field(page, "preview").is_displayed()
    texts = field(page, "texts")
    texts.clear()
    texts.send_keys("a blue car\na red car")
    submit(page, "match")
    said(page, "match-note")
    rows = page.find_elements(By.CSS_SELECTOR, "#scores tr")[1:]
    scores = [float(row.find_elements(By.TAG_NAME, "td")[1].text) for row in rows]
    assert len(rows) == 2
    assert scores == sorted(scores, reverse=True)


def test_a_file_that_is_no_picture_is_told_on_the_page(page: webdriver.Chrome, tmp_path: Path) -> None:
    page.get_log("browser")
    wrong = tmp_path / "notes.png"
    wrong.write_text("no picture")
    field(page, "picture").send_keys(str(wrong))
    submit(page, "match")
    assert "not an image" in said(page, "match-note")
    assert "error" in field(page, "match-note").get_attribute("class")
    severe = [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]
    assert all("422" in message for message in severe), severe
