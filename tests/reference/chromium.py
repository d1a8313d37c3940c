"""Drive a headless chromium for the tests of the report."""

import json
import os
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FOUND = bool(CHROMIUM and DRIVER)
REQUIRED = "RHYTHM_REQUIRE_BROWSER" in os.environ  # then a browser that is missing fails the tests, which else skip
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",
]
SETTLE = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));"
CLICK_TIME = """
const [index, done] = [arguments[0], arguments[1]];
const row = document.querySelectorAll('#rows .row')[index];
const before = document.getElementById('place').textContent;
const start = performance.now();
row.click();
document.getElementById('tokens').getBoundingClientRect();
requestAnimationFrame(() => {
  const channel = new MessageChannel();
  channel.port1.onmessage = () =>
    done([performance.now() - start, before !== document.getElementById('place').textContent]);
  channel.port2.postMessage(0);
});
"""
DEPTHS = """
const sample = JSON.parse(document.getElementById('data-samples').textContent)[0];
const tokens = [...document.querySelectorAll('.tok')];
return [sample[arguments[0]], tokens.map((token) => Number(token.style.getPropertyValue('--t')))];
"""
CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const light = (colour) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
return Math.min(...[...document.querySelectorAll('.tok')].map((token) => {
  const style = getComputedStyle(token);
  const [a, b] = [light(style.color), light(style.backgroundColor)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}));
"""


def start(profile: Path) -> webdriver.Chrome:
    """Start a headless chromium that records its console and its requests."""
    options = webdriver.ChromeOptions()
    assert CHROMIUM and DRIVER, "the browser tests need chromium and chromedriver on the PATH"
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1440,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, Service(DRIVER))


def prefer(driver: webdriver.Chrome, theme: str) -> None:
    """Make the system prefer a theme."""
    features = [{"name": "prefers-color-scheme", "value": theme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def visit(driver: webdriver.Chrome, page: Path) -> None:
    """Open a page and wait until it is painted."""
    driver.get(page.as_uri())
    driver.execute_async_script(SETTLE)


def scroll_through(driver: webdriver.Chrome) -> None:
    """Bring every plot into view, which draws it."""
    for plot in driver.find_elements(By.CSS_SELECTOR, ".plot"):
        driver.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", plot)
        driver.execute_async_script(SETTLE)


def errors(driver: webdriver.Chrome) -> list[str]:
    """Return what the console complained of."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def requests(driver: webdriver.Chrome) -> set[str]:
    """Return what was asked for other than inline data."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    return {url for url in urls if not url.startswith(("data:", "blob:", "chrome:"))}


def shades(driver: webdriver.Chrome) -> list[str]:
    """Return the background of every token."""
    script = "return [...document.querySelectorAll('.tok')].map((token) => getComputedStyle(token).backgroundColor)"
    return driver.execute_script(script)


def press(driver: webdriver.Chrome, key: str) -> str:
    """Press a key in the list and return the place shown."""
    driver.find_element(By.ID, "list").send_keys(key)
    return driver.find_element(By.ID, "place").text


def shade_by(driver: webdriver.Chrome, score: str) -> None:
    """Choose a score to shade by."""
    driver.execute_script(f"document.querySelector('label[for=shade-{score}]').click()")


def choose_option(driver: webdriver.Chrome, name: str, value: str) -> None:
    """Choose an option of a select."""
    select = Select(driver.find_element(By.ID, name))
    select.select_by_value(value)
