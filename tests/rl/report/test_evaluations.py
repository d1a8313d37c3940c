"""Test the page of an evaluation in a real headless chromium: arms, a sweep, pass@k, deception by type."""

from pathlib import Path

import pytest
from reference.chromium import FOUND, REQUIRED, errors, prefer, requests, scroll_through, visit
from reference.runs import HOSTILE
from reference.scripted import scripted
from reference.wordless import wordless
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from rl.evaluation.answers import Answer
from rl.evaluation.arms import Arm
from rl.evaluation.deception import Deception, Share
from rl.evaluation.evaluation import Evaluation, Found
from rl.evaluation.page import render
from rl.evaluation.results import results_of
from rl.evaluation.trend import trends_of
from rl.intervals import rate_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (REQUIRED or FOUND), reason="needs chromium and chromedriver"),
]
SHARED = {"samples": 4, "max_tokens": 64, "temperature": 1.0, "seed": 0, "batch": 16, "engine": "transformers"}
EFFORTS = (0.4, 0.7, 1.0)


def answers(line: int, place: int) -> list[Answer]:
    """Answers that grow longer with the effort, and oftener right, to twelve tasks."""
    return [
        wordless(
            task,
            (task * 7 + sample * 5) % 10 < 3 + 2 * place + line,
            20 + 10 * place + task % 5,
            {HOSTILE[0]: 0.5},
            cut=False,
        )
        for task in range(12)
        for sample in range(4)
    ]


def deceived(place: int) -> Deception:
    flags = [float((task + place) % 3 == 0) for task in range(12)]
    types = {HOSTILE[0]: flags[:6], "sycophancy": flags[6:]}
    by = {name: Share(rate_of(own, range(6)), 6, 1, 0) for name, own in types.items()}
    return Deception("DTR", Share(rate_of(flags, range(12)), 12, 2, 0), {"type": by})


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    policy = scripted([])
    arms = [
        Arm(f"{line}-effort-{asked}", line, policy, asked, None) for line in ("base", "trained") for asked in EFFORTS
    ]
    rows = {arm.name: answers(number // 3, number % 3) for number, arm in enumerate(arms)}
    own = {"model": HOSTILE[1], "system": None, "effort": 1.0, "again": {"what": "question"}, "weights": "a" * 64}
    found = [
        Found(arm, tmp_path, own, results_of(rows[arm.name], 0), deceived(number)) for number, arm in enumerate(arms)
    ]
    return Evaluation(HOSTILE[0], {**SHARED, "tasks": "b" * 64}, "judge", found, trends_of(arms, rows))


def test_an_evaluation_is_drawn_in_both_themes_and_tells_values_on_hover(
    browser: webdriver.Chrome, tmp_path: Path, evaluation: Evaluation
) -> None:
    page = tmp_path / "results.html"
    page.write_text(render(evaluation), encoding="utf-8")
    inks = []
    for theme in ("light", "dark"):
        prefer(browser, theme)
        visit(browser, page)
        scroll_through(browser)
        plots = browser.find_elements(By.CSS_SELECTOR, ".plot")
        assert len(plots) == 5 and all(plot.find_elements(By.CSS_SELECTOR, ".main-svg") for plot in plots)
        inks.append(browser.execute_script("return document.querySelector('.plot').layout.font.color"))
    assert inks[0] != inks[1]
    titles = [title.text for title in browser.find_elements(By.CSS_SELECTOR, "figcaption b")]
    assert titles == ["Right", "pass@k", "Length", "Deception by type", "Accuracy against tokens"]
    assert browser.find_element(By.TAG_NAME, "h1").text == f"Evaluation on {HOSTILE[0]}"
    assert len(browser.find_elements(By.CSS_SELECTOR, "#results tbody tr")) == 6
    assert len(browser.find_elements(By.CSS_SELECTOR, "#monotone tbody tr")) == 4
    sweep = plots[-1]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", sweep)
    points = sweep.find_elements(By.CSS_SELECTOR, ".point")
    assert (
        len(points) == 6
        and [text.text for text in sweep.find_elements(By.CSS_SELECTOR, ".textpoint")]
        == [
            "0.4",
            "0.7",
            "1",
        ]
        * 2
    )
    ActionChains(browser).move_to_element(points[1]).perform()
    told = sweep.find_element(By.CSS_SELECTOR, ".hoverlayer").text
    assert "asked for 0.7: 0.500" in told and "at 31.8" in told and "tokens" in told
    assert errors(browser) == [] and requests(browser) == {page.as_uri()}
    assert browser.execute_script("return window.pwned") is None


def test_a_narrow_window_scrolls_tables_alone(
    browser: webdriver.Chrome, tmp_path: Path, evaluation: Evaluation
) -> None:
    page = tmp_path / "results.html"
    page.write_text(render(evaluation), encoding="utf-8")
    browser.set_window_size(420, 900)
    visit(browser, page)
    wide = browser.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide == 0
