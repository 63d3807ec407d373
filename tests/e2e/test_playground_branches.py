"""The strip and its branches in a real browser: colours, keys, letters in parts, the tree, a reload half way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.test_playground import (
    EN,
    VI,
    choose_strategy,
    open_playground,
    run_button,
    set_number,
    stop_button,
    wait_for_run,
)
from tests.support.browser import choose_option

STORY = "Write a very long story about a ship."
COLOUR_SCRIPT = "(node) => getComputedStyle(node).backgroundColor"

# The scroll position and the frames in which the page had no strip, from now until `WATCHED`.
WATCH_SCRIPT = """() => {
  const main = document.querySelector('[data-testid="stMain"]');
  const answer = document.querySelectorAll('.st-key-playground-answer *');
  const strip = [...answer].find((node) => node.shadowRoot).shadowRoot;
  const first = strip.querySelector('[role=option]');
  const w = window.watched = { frames: 0, jumps: 0, lost: 0 };
  const scroll = main.scrollTop;
  const look = () => {
    w.frames += 1;
    if (main.scrollTop !== scroll) w.jumps += 1;
    if (!first.isConnected) w.lost += 1;
    window.watching = requestAnimationFrame(look);
  };
  look();
}"""
WATCH_RESULT_SCRIPT = "() => { cancelAnimationFrame(window.watching); return window.watched; }"


def run_prompt(page: Page, prompt: str, length: int = 16, strategy: str = "greedy") -> None:
    choose_strategy(page, strategy)
    set_number(page, "max_output_tokens", str(length))
    page.get_by_label(EN["playground.prompt"], exact=True).fill(prompt)
    run_button(page).click()


def answer_tokens(page: Page):
    """Return the strip of the answer that is shown."""
    return page.locator(".st-key-playground-answer").get_by_role("option")


def tree_lines(page: Page):
    return page.get_by_role("treeitem")


def find_button(page: Page, key: str):
    return page.get_by_role("button", name=EN[key], exact=True)


def continue_with_another_token(page: Page, step: int) -> None:
    answer_tokens(page).nth(step).click()
    find_button(page, "branches.take").click()
    expect(page.get_by_text(EN["branches.title"])).to_be_visible()
    wait_for_run(page)


@pytest.mark.thorough
def test_four_colours_whose_choice_outlives_the_next_run_and_details_on_hover(page: Page, server):
    open_playground(page, server)
    run_prompt(page, "Say hello.", 10)
    wait_for_run(page)
    before = answer_tokens(page).nth(4).evaluate(COLOUR_SCRIPT)
    page.get_by_role("radio", name=EN["strip.modes.surprisal"], exact=True).click()
    expect(page.get_by_text(EN["strip.at_least_bits"].format(value=10))).to_be_visible()
    assert answer_tokens(page).nth(4).evaluate(COLOUR_SCRIPT) != before
    answer_tokens(page).nth(4).hover()
    tip = page.locator(".st-key-playground-answer .tip")
    expect(tip).to_contain_text("Token 5:")
    for key in ("strip.modes.probability", "strip.after", "strip.modes.rank", "strip.entropy", "strip.surprisal"):
        expect(tip).to_contain_text(EN[key])
    run_prompt(page, "Say goodbye.", 12)
    expect(answer_tokens(page).nth(11)).to_be_visible()
    expect(page.get_by_role("radio", name=EN["strip.modes.surprisal"], exact=True)).to_be_checked()
    wait_for_run(page)
    with page.expect_download() as download:
        page.get_by_role("button", name=EN["strip.image"], exact=True).click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_a_letter_split_over_tokens_is_whole_and_each_part_can_be_chosen(page: Page, server):
    open_playground(page, server)
    run_prompt(page, "Say hello.", 4)
    wait_for_run(page)
    answer_tokens(page).nth(1).click()
    page.get_by_text(EN["branches.type"]).click()
    page.get_by_label(EN["branches.text"], exact=True).fill(" tiếng Việt")
    find_button(page, "branches.take_text").click()
    expect(tree_lines(page)).to_have_count(2)
    wait_for_run(page)
    letters = page.locator(".st-key-playground-answer .letter")
    expect(letters.first.locator(".whole")).to_have_text("ế")
    parts = letters.first.get_by_role("option")
    assert parts.count() > 1
    expect(page.locator(".st-key-playground-answer").get_by_role("listbox")).to_contain_text(
        re.compile("ti.*ng.*Vi.*t")
    )
    parts.last.click()
    expect(parts.last).to_have_attribute("aria-selected", "true")
    expect(parts.first).to_have_attribute("aria-selected", "false")
    page.keyboard.press("ArrowLeft")
    expect(parts.nth(parts.count() - 2)).to_have_attribute("aria-selected", "true")
    expect(parts.nth(parts.count() - 2)).to_have_attribute("aria-label", re.compile(EN["strip.part"]))


def test_continuing_with_another_token_and_going_through_the_tree_with_keys(page: Page, server):
    open_playground(page, server)
    run_prompt(page, "Describe the sea.", 12)
    wait_for_run(page)
    whole = answer_tokens(page).all_text_contents()
    continue_with_another_token(page, 5)
    branch = answer_tokens(page).all_text_contents()
    assert branch[:5] == whole[:5]
    assert branch[5] != whole[5]
    expect(answer_tokens(page).nth(5)).to_have_class(re.compile("fork.*given"))
    expect(tree_lines(page)).to_have_count(2)
    expect(tree_lines(page).nth(1)).to_have_attribute("aria-selected", "true")
    tree_lines(page).nth(1).focus()
    page.keyboard.press("ArrowUp")
    expect(tree_lines(page).nth(0)).to_have_attribute("aria-selected", "true")
    expect(page.locator(".st-key-playground-answer .fork")).to_have_count(0)
    assert answer_tokens(page).all_text_contents() == whole
    page.keyboard.press("ArrowDown")
    expect(page.locator(".st-key-playground-answer .fork")).to_have_count(1)
    assert answer_tokens(page).all_text_contents() == branch

    place = EN["step.place"].format(step=len(branch), count=len(branch))
    expect(page.get_by_text(place)).to_be_visible()  # drawn after the list of branches
    page.get_by_label(EN["branches.compare"], exact=True).press("ArrowDown")
    choose_option(page.get_by_role("option", name="Answer 1", exact=True))
    expect(page.locator(".st-key-playground-compared_left").get_by_role("option").first).to_have_text(branch[5])
    expect(page.locator(".st-key-playground-compared_right").get_by_role("option").first).to_have_text(whole[5])


def test_a_reload_half_way_follows_the_same_run_and_finds_the_tree(page: Page, server):
    open_playground(page, server)
    run_prompt(page, STORY, 8)
    wait_for_run(page)
    continue_with_another_token(page, 3)
    name = page.get_by_label(EN["branches.name"], exact=True)
    name.fill("by another wind")
    name.press("Enter")
    expect(tree_lines(page).nth(1)).to_contain_text("by another wind")
    set_number(page, "max_output_tokens", "300")
    answer_tokens(page).nth(4).click()
    find_button(page, "branches.again").click()
    expect(tree_lines(page)).to_have_count(3)
    expect(answer_tokens(page).nth(12)).to_be_visible()
    begun = answer_tokens(page).all_text_contents()
    page.reload()
    expect(tree_lines(page)).to_have_count(3)
    expect(tree_lines(page).nth(1)).to_contain_text("by another wind")
    expect(stop_button(page)).to_be_enabled()  # it is still being written, and followed
    expect(page.get_by_label(EN["playground.prompt"], exact=True)).to_have_value(STORY)
    now = answer_tokens(page).all_text_contents()
    assert now[: len(begun)] == begun
    expect(answer_tokens(page).nth(len(now) + 8)).to_be_attached()
    stop_button(page).click()
    wait_for_run(page)


@pytest.mark.thorough
def test_two_tabs_with_one_address_do_not_change_each_other(page: Page, server):
    open_playground(page, server)
    run_prompt(page, "Describe the sea.", 6)
    wait_for_run(page)
    continue_with_another_token(page, 2)
    address = page.url
    assert re.search(r"[?&]w=[0-9a-f]{32}", address)
    other = page.context.new_page()
    other.goto(address)
    expect(tree_lines(other)).to_have_count(2)
    tree_lines(other).nth(1).click()
    find_button(other, "branches.prune").click()
    expect(tree_lines(other)).to_have_count(1)
    expect(tree_lines(page)).to_have_count(2)
    tree_lines(page).nth(0).click()
    expect(page).not_to_have_url(address)
    expect(tree_lines(page)).to_have_count(2)
    expect(other).to_have_url(address)


@pytest.mark.thorough
def test_a_pinned_step_stays_while_a_long_answer_grows_and_nothing_jumps(page: Page, server):
    open_playground(page, server)
    run_prompt(page, STORY, 500, "random")
    expect(answer_tokens(page).nth(6)).to_be_visible()
    plot = page.locator(".nucleus-plot")
    plot.evaluate("(node) => { node.mine = true; }")
    answer_tokens(page).nth(3).click()
    expect(page.get_by_text(re.compile("Token 4 of"))).to_be_visible()
    assert plot.evaluate("(node) => node.mine")  # the panel above it came without a new plot
    page.evaluate(WATCH_SCRIPT)
    expect(answer_tokens(page).nth(60)).to_be_attached(timeout=60_000)
    seen = page.evaluate(WATCH_RESULT_SCRIPT)
    assert seen["frames"] > 10
    assert (seen["jumps"], seen["lost"]) == (0, 0)
    expect(answer_tokens(page).nth(3)).to_have_attribute("aria-selected", "true")
    stop_button(page).click()
    wait_for_run(page)


@pytest.mark.thorough
@pytest.mark.parametrize(("language", "words"), [("en", EN), ("vi", VI)])
def test_a_phone_shows_the_tree_without_sideways_scrolling(browser, server, language, words):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    open_playground(page, server, language)
    page.get_by_role("button", name=words["playground.run"], exact=True).click()
    expect(page.get_by_text(words["run.as_text"])).to_be_visible()
    answer_tokens(page).nth(3).click()
    page.get_by_role("button", name=words["branches.take"], exact=True).click()
    expect(tree_lines(page)).to_have_count(2)
    expect(page.get_by_text(words["run.as_text"])).to_be_visible()
    main = page.get_by_test_id("stMain")
    assert main.evaluate("(node) => node.scrollWidth") <= 390
    widths = tree_lines(page).evaluate_all("(nodes) => nodes.map((node) => node.scrollWidth - node.clientWidth)")
    assert max(widths) <= 1
    context.close()


@pytest.mark.thorough
def test_beam_search_grows_a_tree_in_which_a_hypothesis_can_be_followed(page: Page, server):
    open_playground(page, server)
    page.locator("summary").filter(has_text=EN["beam.title"]).click()
    page.wait_for_timeout(1000)  # the panel is unfolding
    find_button(page, "beam.start").click()
    nodes = page.locator(".st-key-playground-beam_tree").get_by_role("treeitem")
    expect(nodes.first).to_be_attached()
    expect(page.get_by_text(EN["beam.best"])).to_be_visible(timeout=120_000)
    expect(find_button(page, "beam.stop")).to_be_disabled()
    pruned = page.locator(".st-key-playground-beam_tree .node.pruned")
    assert nodes.count() > pruned.count() > 12
    told = page.locator(".st-key-playground-beam_tree .told")
    expect(told).to_contain_text(EN["beam.finished"])
    nodes.nth(1).click()
    expect(told).to_contain_text(EN["beam.kept"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(told).to_contain_text(EN["beam.pruned"])
    expect(page.locator(".st-key-playground-beam_tree .node.way")).to_have_count(1)
    with page.expect_download() as download:
        page.locator(".st-key-playground-beam_tree .save").click()
    drawing = Path(download.value.path()).read_text(encoding="utf-8")
    assert drawing.startswith("<svg")
    assert drawing.count('class="node') == nodes.count()
