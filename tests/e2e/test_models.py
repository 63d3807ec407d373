"""The form for hosted models, as people use it: address, key, list, capabilities, a run; and where the key is not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from llm_core.paths import cache_directory
from pages.ui.shell.i18n import load_texts
from tests.e2e.test_playground import run_button, set_number, strip_tokens, wait_for_run
from tests.support.browser import ROOT, choose_option, run_server
from tests.support.fake_openai import OpenAIServer

EN = load_texts("en")
KEY = "sk-planted-e2e-5b1d77aa"


@pytest.fixture
def model_server() -> Iterator[OpenAIServer]:
    with OpenAIServer("vllm", KEY) as running:
        yield running


def open_form(page: Page, url: str, address: str, key: str) -> None:
    page.goto(f"{url}/models?lang=en")
    page.get_by_role("radio", name=EN["hosted.providers.server"], exact=True).click()
    field = page.get_by_label(EN["hosted.url"], exact=True)
    expect(field).to_be_visible()
    fill_field(page, EN["hosted.url"], address)
    fill_field(page, EN["hosted.key"], key)


def fill_field(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Enter")
    page.wait_for_timeout(500)


def fetch_list(page: Page) -> None:
    page.get_by_role("button", name=EN["hosted.list"]).click()


def go_to_page(page: Page, title: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_text(EN[title], exact=True).click()
    expect(page.get_by_role("heading", name=EN[title], exact=True)).to_be_visible()


def test_from_an_address_to_an_answer_and_the_key_is_nowhere_else(page: Page, builtin, model_server, tmp_path):
    began = time.time()
    log, scratch = tmp_path / "server.log", tmp_path / "scratch"
    scratch.mkdir()
    with log.open("wb") as output, run_server(output, TMPDIR=str(scratch)) as url:
        open_form(page, url, f"{model_server.address}/v1", KEY)
        fetch_list(page)
        choice = page.get_by_role("combobox", name=EN["hosted.model"])
        choice.click()
        choose_option(page.get_by_role("option", name="sea", exact=True))
        page.get_by_role("button", name=EN["hosted.use"], exact=True).click()
        expect(page.get_by_text(f"openai:sea@{model_server.address}/v1")).to_be_visible()
        page.get_by_text(EN["hosted.capabilities"], exact=True).click()
        expect(page.get_by_text(EN["hosted.capabilities_help"])).to_be_visible()
        go_to_page(page, "playground.title")
        set_number(page, "max_output_tokens", "12")
        run_button(page).click()
        expect(strip_tokens(page).nth(3)).to_be_visible()
        wait_for_run(page)
        strip_tokens(page).nth(2).click()
        expect(page.get_by_text("Token 3 of")).to_be_visible()
        page.get_by_text(EN["hosted.show_request"], exact=True).click()
        expect(page.get_by_text('"max_tokens"')).to_be_visible()
        seen = [page.content(), page.url, *read_storage(page)]
        go_to_page(page, "models.title")
        page.get_by_text(EN["hosted.capabilities"], exact=True).click()
        expect(page.locator("[data-testid='stDataFrame']")).to_be_visible()
        key_field = page.get_by_label(EN["hosted.key"], exact=True)
        assert key_field.input_value() == ""  # it is remembered for runs, and never sent back to the browser
        seen += [page.content(), page.url, *read_storage(page)]
        seen += [read_environment(find_server_process(url))]
        page.goto("about:blank")
    seen.append(log.read_text(errors="replace"))
    assert KEY not in "\n".join(seen)
    written = [
        file
        for folder in (ROOT, scratch, cache_directory())
        for file in folder.rglob("*")
        if file.is_file() and ".git" not in file.parts and file.stat().st_mtime >= began and file.stat().st_size < 2e7
    ]
    # compiled tests hold it themselves
    assert not [file for file in written if KEY.encode() in file.read_bytes() and file.suffix != ".pyc"]
    assert any(KEY in request.headers.get("authorization", "") for request in model_server.requests)
    assert all(KEY not in request.path + str(request.body) for request in model_server.requests)


def read_storage(page: Page) -> list[str]:
    """Return what the browser stores: local and session storage, and cookies."""
    kept = page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    return [kept, str(page.context.cookies())]


def find_server_process(url: str) -> int:
    """Return the id of the server process at this URL, or of this process if none is found."""
    port = url.rpartition(":")[2]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if port in command and "streamlit" in command:
            return int(folder.name)
    return os.getpid()


def read_environment(process: int) -> str:
    file = Path(f"/proc/{process}/environ")
    return file.read_text(errors="replace") if file.exists() else ""


@pytest.mark.thorough
def test_wrong_keys_and_addresses_are_explained(page: Page, server, model_server):
    address = f"{model_server.address}/v1"
    alert = page.get_by_role("alert")
    open_form(page, server, address, "sk-wrong")
    fetch_list(page)
    expect(alert).to_contain_text(EN["errors.provider_key_refused"][:30])
    fill_field(page, EN["hosted.url"], address + "?key=sk-wrong")
    fetch_list(page)
    expect(alert).to_contain_text(f"Use “{address}”")  # what is left of it, and no link
    expect(alert.get_by_role("link")).to_have_count(0)
    fill_field(page, EN["hosted.url"], "not an address")
    fetch_list(page)
    expect(alert).to_contain_text("not an address")
    fill_field(page, EN["hosted.url"], "http://127.0.0.1:9/v1")
    fetch_list(page)
    expect(alert).to_contain_text("127.0.0.1")
    fill_field(page, EN["hosted.url"], address)
    fill_field(page, EN["hosted.key"], KEY)
    fetch_list(page)
    expect(alert).to_have_count(0)
    page.get_by_role("combobox", name=EN["hosted.model"]).click()
    expect(page.get_by_role("option", name="sea", exact=True)).to_be_visible()
