"""Test the pages of analyses and comparisons in a real headless chromium."""

from pathlib import Path

import pytest
from reference.chromium import FOUND, REQUIRED, errors, prefer, requests, scroll_through, visit
from reference.runs import HOSTILE, make_run
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from rl.analysis.echo import Found, Measured
from rl.analysis.page import render
from rl.analysis.summary import summarize
from rl.comparison.compare import compare
from rl.report.sheet import Passage, Section, render_sheet

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (REQUIRED or FOUND), reason="needs chromium and chromedriver"),
]


def test_a_comparison_is_drawn_in_both_themes_and_tells_values_on_hover(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    runs = [make_run(tmp_path / f"r{seed}", samples=4, seed=seed) for seed in (1, 2, 3)]
    (runs[2] / "recipe.json").write_text((runs[2] / "recipe.json").read_text().replace("gsm8k-rhythm", HOSTILE[0]))
    compare(runs, tmp_path / "out")
    page = tmp_path / "out" / "comparison.html"
    inks = []
    for theme in ("light", "dark"):
        prefer(browser, theme)
        visit(browser, page)
        scroll_through(browser)
        plots = browser.find_elements(By.CSS_SELECTOR, ".plot")
        assert len(plots) == 4 and all(plot.find_elements(By.CSS_SELECTOR, ".main-svg") for plot in plots)
        inks.append(browser.execute_script("return document.querySelector('.plot').layout.font.color"))
    assert inks[0] != inks[1]
    titles = [title.text for title in browser.find_elements(By.CSS_SELECTOR, "figcaption b")]
    assert titles == ["Loss", "Reward", "Length", "Turnover of heads"]
    reward = plots[1]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", reward)
    ActionChains(browser).move_to_element(reward.find_element(By.CSS_SELECTOR, ".nsewdrag")).perform()
    told = reward.find_element(By.CSS_SELECTOR, ".hoverlayer").text
    assert "step" in told and "gsm8k-rhythm" in told and HOSTILE[0] in told
    assert errors(browser) == [] and requests(browser) == {page.as_uri()}


def test_an_analysis_is_drawn_in_both_themes_and_shows_names_as_they_are(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    """The page of an echo analysis: its tables, its four plots, and hostile names as text."""

    def mass(level: float) -> dict[int, tuple[float, float]]:
        return {layer: (level + layer / 50, 0.2) for layer in range(4)}

    rows = [
        Measured("here", f"question {n // 2}", n % 3 > 0, 60, 20, -1.0, n / 20, n / 30, mass(0.3), mass(0.2))
        for n in range(40)
    ]
    summary = summarize(Found(rows, 0))
    path = tmp_path / "echo.html"
    path.write_text(render(HOSTILE[0], [("data", HOSTILE[1])], summary, rows), encoding="utf-8")
    for theme in ("light", "dark"):
        prefer(browser, theme)
        visit(browser, path)
        scroll_through(browser)
        plots = browser.find_elements(By.CSS_SELECTOR, ".plot")
        assert len(plots) == 4 and all(plot.find_elements(By.CSS_SELECTOR, ".main-svg") for plot in plots)
        assert browser.find_element(By.TAG_NAME, "h1").text == HOSTILE[0] == browser.title
        assert len(browser.find_elements(By.CSS_SELECTOR, "#gaps tbody tr")) == 5
        assert browser.find_element(By.ID, "theme-name").text == theme.capitalize()
    assert errors(browser) == [] and requests(browser) == {path.as_uri()}
    browser.set_window_size(420, 900)
    visit(browser, path)
    wide = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0


def test_a_passage_says_what_is_told_of_it(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """By pointer and by keyboard; what is told is text, and those it points to are marked."""
    passages = [
        Passage(f"Sentence {HOSTILE[0]}.", 1.0, "first\n<b>told</b>", (1, 2)),
        Passage("Two.", 0.0, "second", (2,)),
    ]
    page = tmp_path / "page.html"
    text = Section("text", "Text", "A note.", passages=[*passages, Passage("Three.", 0.5, "third")])
    page.write_text(render_sheet("Passages", [], [text]), encoding="utf-8")
    visit(browser, page)
    one, two, three = browser.find_elements(By.CSS_SELECTOR, ".passage")
    browser.execute_script("arguments[0].focus()", one)
    assert browser.find_element(By.CSS_SELECTOR, ".told").text == "first\n<b>told</b>"
    assert [passage.get_attribute("class") for passage in (one, two, three)] == [
        "passage on",
        "passage linked",
        "passage linked",
    ]
    one.send_keys(Keys.TAB)
    assert browser.find_element(By.CSS_SELECTOR, ".told").text == "second"
    assert [passage.get_attribute("class") for passage in (one, two)] == ["passage", "passage on"]
    colours = [passage.value_of_css_property("background-color") for passage in (one, two, three)]
    assert len(set(colours)) == 3 and errors(browser) == [] and browser.execute_script("return window.pwned") is None
