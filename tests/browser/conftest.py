"""A real server process, Debian's Chromium, and a page that fails its test when the browser complains."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.support import Complaints, DemandServer
from tests.support import require

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DemandServer]:
    """A running server with a database of its own."""
    with DemandServer(tmp_path / "towow.db") as process:
        yield process


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, which reads the pages' modules without a browser."""
    return require("node", "no node: apt-get install nodejs")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium.

    It ends with the module, because Playwright's event loop would be in the way of async tests elsewhere."""
    executable = require("chromium", "no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Fails the test when the browser complained about something unexpected."""
    complaints = Complaints()
    yield complaints
    assert complaints.texts == []


@contextlib.contextmanager
def profile(chromium: Browser, **options: Any) -> Iterator[BrowserContext]:
    """A fresh profile, 1280 px wide and English unless the options of `new_context` say otherwise."""
    context = chromium.new_context(**{"locale": "en-US", "viewport": {"width": 1280, "height": 800}, **options})
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def context(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """A fresh profile; options of `new_context` are the fixture's parameter."""
    with profile(chromium, **getattr(request, "param", {})) as context:
        yield context


@pytest.fixture
def other(chromium: Browser) -> Iterator[BrowserContext]:
    """A second person's browser."""
    with profile(chromium) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext, server: DemandServer, complaints: Complaints) -> Page:
    """The page, connected."""
    page = context.new_page()
    complaints.watch(page)
    page.goto(server.url)
    page.wait_for_selector('#connection[data-state="connected"]')
    return page
