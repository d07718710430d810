import os
import shutil

import pytest


@pytest.fixture(scope="session")
def chrome():
    """A headless Chromium, one for all tests."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary, driver = (next(filter(None, map(shutil.which, names)), None) for names in
                      (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)))
    if not (binary and driver):
        pytest.skip("no chromium with its chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--disable-gpu", "--window-size=1300,1000", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    if os.geteuid() == 0:  # chromium's sandbox does not run as root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture
def load(chrome, tmp_path):
    """load(data) opens a page of it; at the end nothing stands in the browser's log."""
    from unifeat.explorer import page

    def opened(found, address=""):
        path = tmp_path / "explorer.html"
        path.write_bytes(page.render(found))
        chrome.get("about:blank")
        chrome.get(path.as_uri() + address)
        chrome.execute_async_script("setTimeout(arguments[0], 60)")
        return chrome

    chrome.get("about:blank")
    chrome.get_log("browser")
    yield opened
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chrome.execute_script("try { localStorage.clear() } catch {}")
    assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []
