"""What the tests in a browser do with a page."""


def find(tab, selector):
    from selenium.webdriver.common.by import By

    return tab.find_elements(By.CSS_SELECTOR, selector)


def text(tab, selector):
    return tab.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def texts(tab, selector):
    return tab.execute_script("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)


def keys(tab):
    """Features in the list, "model/number"."""
    return tab.execute_script("return [...document.querySelectorAll('#list [data-key]')].map(e => e.dataset.key)")


def choose(tab, control, value):
    tab.execute_script("const s = document.getElementById(arguments[0]); s.value = arguments[1];"
                       "s.dispatchEvent(new Event('change'))", control, value)


def fates(tab):
    return tab.execute_script("return [...document.getElementById('fate').options].map(o => o.value)")


def settle(tab):
    """Waits for what a changed address or size brings about: it is handled by the next event."""
    tab.execute_async_script("setTimeout(arguments[0], 60)")


def follow(tab, address):
    tab.execute_script("location.hash = arguments[0]", address)
    settle(tab)


def resize(tab, width, height=900):
    tab.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", dict(width=width, height=height, deviceScaleFactor=1,
                                                                   mobile=width < 600))
    settle(tab)
