"""A browser for all tests of a file, as if it were new to each."""

from collections.abc import Iterator

import pytest
from reference.chromium import errors, prefer, requests, start
from selenium import webdriver


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = start(tmp_path_factory.mktemp("browser") / "profile")
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver: webdriver.Chrome) -> webdriver.Chrome:
    """The browser without what an earlier test left in it."""
    driver.get("about:blank")
    driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "file://", "storageTypes": "all"})
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.set_window_size(1440, 1000)
    prefer(driver, "light")
    errors(driver), requests(driver)
    return driver
