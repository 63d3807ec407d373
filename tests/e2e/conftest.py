"""Provide the real server and an installed browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.support.browser import BROWSER_FLAGS, find_browser, run_server

expect.set_options(timeout=45_000)  # long enough for a slow machine


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items) -> None:
    """Mark browser tests, and retry a failed one once, because a busy machine can time out; the summary reports it."""
    for item in items:
        if Path(__file__).parent in Path(item.path).parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.xdist_group("browser"))  # one server and one browser for all of them
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = find_browser()
    if executable is None:
        pytest.skip("no Chromium, Chrome or Edge on this machine: install one to run the browser tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(builtin) -> Iterator[str]:
    with run_server() as url:
        yield url


@pytest.fixture
def page(browser) -> Iterator[Page]:
    """Return a page in a new browser profile at desktop size; a script error fails the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, locale="en-US")
    context.set_default_timeout(30_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(_format_message(message)) if _is_ours(message) else None)
    yield page
    context.close()
    assert not problems


def _is_ours(message: ConsoleMessage) -> bool:
    """Return whether a message is an error of the app, not Streamlit's probe for its server below a deep link."""
    return message.type == "error" and "/_stcore/" not in _format_message(message)


def _format_message(message: ConsoleMessage) -> str:
    return f"{message.text} {message.location['url']}"
