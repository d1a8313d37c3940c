"""Test the run report in a real headless chromium."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from reference.chromium import (
    CLICK_TIME,
    CONTRAST,
    DEPTHS,
    FOUND,
    REQUIRED,
    SETTLE,
    choose_option,
    errors,
    prefer,
    press,
    requests,
    scroll_through,
    shade_by,
    shades,
    visit,
)
from reference.runs import HOSTILE, make_run
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from rl.report import write_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (REQUIRED or FOUND), reason="needs chromium and chromedriver"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(make_run(tmp_path_factory.mktemp("run") / "demo", samples=90))


def test_page_draws_everything_without_errors_or_network(browser: webdriver.Chrome, page: Path) -> None:
    visit(browser, page)
    scroll_through(browser)
    plots = browser.find_elements(By.CSS_SELECTOR, ".plot")
    assert len(plots) == 14
    assert all(plot.find_elements(By.CSS_SELECTOR, ".main-svg") for plot in plots)
    assert errors(browser) == []
    assert requests(browser) == {page.as_uri()}


def test_switch_changes_the_shading(browser: webdriver.Chrome, page: Path) -> None:
    visit(browser, page)
    seen = []
    for score in ("waad", "fai", "weight"):
        shade_by(browser, score)
        assert browser.find_element(By.ID, f"shade-{score}").is_selected()
        assert browser.find_element(By.ID, "scale-low").text.startswith("min ")
        values, depths = browser.execute_script(DEPTHS, score)
        ranked = [depth for _, depth in sorted(zip(values, depths, strict=True))]
        assert ranked == sorted(depths) and (ranked[0], ranked[-1]) == (0, 1)
        seen.append(shades(browser))
    assert seen[0] != seen[1] != seen[2] != seen[0]
    assert all(len(set(shading)) > 1 for shading in seen)


def test_every_shade_leaves_the_text_readable(browser: webdriver.Chrome, page: Path) -> None:
    visit(browser, page)
    for theme in ("light", "dark"):
        prefer(browser, theme)
        for score in ("waad", "fai", "weight"):
            shade_by(browser, score)
            assert browser.execute_script(CONTRAST) >= 4.5, (theme, score)


def test_what_a_critic_told_can_shade_the_tokens_too(browser: webdriver.Chrome, page: Path, tmp_path: Path) -> None:
    visit(browser, page)
    labels = (
        "return [...document.querySelectorAll('.segmented label')].filter((one) => one.offsetWidth)"
        ".map((one) => one.textContent)"
    )
    assert browser.execute_script(labels) == ["WAAD", "FAI", "Weight"]
    run = make_run(tmp_path / "critic", samples=4)
    rows = [json.loads(line) for line in (run / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [{**row, "token_advantage": [place - 3.0 for place in range(len(row["tokens"]))]} for row in rows]
    told = [{**row, "value": [place / 10 for place in range(len(row["tokens"]))]} for row in told]
    (run / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")
    visit(browser, write_report(run))
    assert browser.execute_script(labels) == ["WAAD", "FAI", "Weight", "Advantage", "Value"]
    for score, least in (("token_advantage", "min -3"), ("value", "min 0")):
        shade_by(browser, score)
        assert browser.find_element(By.ID, "scale-low").text == least
        assert len(set(shades(browser))) > 2
        assert browser.execute_script(CONTRAST) >= 4.5
    assert errors(browser) == []


def test_uniform_credit_disables_the_switch_and_says_why(browser: webdriver.Chrome, page: Path) -> None:
    visit(browser, page)
    for _ in range(8):
        press(browser, Keys.ARROW_DOWN)
    assert not browser.find_element(By.ID, "shade-waad").is_enabled()
    assert "uniform" in browser.find_element(By.CSS_SELECTOR, "label[for=shade-waad]").get_attribute("title")
    assert browser.find_element(By.ID, "unscored").is_displayed()
    assert browser.find_elements(By.CSS_SELECTOR, ".tok")


def test_marks_can_be_switched_off(browser: webdriver.Chrome, page: Path) -> None:
    visit(browser, page)
    script = "return getComputedStyle(document.querySelector('.tok.anchor')).borderBottomColor"
    marked = browser.execute_script(script)
    browser.execute_script("document.getElementById('mark-anchor').click()")
    assert browser.execute_script(script) != marked


def test_arrows_move_through_the_samples(browser: webdriver.Chrome, page: Path) -> None:
    visit(browser, page)
    assert browser.find_element(By.ID, "place").text == "1 of 90"
    assert press(browser, Keys.ARROW_DOWN) == "2 of 90"
    assert press(browser, Keys.ARROW_UP) == "1 of 90"
    assert press(browser, Keys.ARROW_UP) == "1 of 90"
    assert press(browser, Keys.END) == "90 of 90"
    row = browser.find_element(By.CSS_SELECTOR, ".row[aria-selected=true]")
    assert row.get_attribute("aria-posinset") == "90"
    assert row.get_attribute("id") == browser.find_element(By.ID, "list").get_attribute("aria-activedescendant")
    browser.find_element(By.ID, "previous").click()
    assert browser.find_element(By.ID, "place").text == "89 of 90"


def test_filters_and_sorting_narrow_the_list(browser: webdriver.Chrome, page: Path) -> None:
    visit(browser, page)
    choose_option(browser, "pick-verdict", "right")
    right = int(browser.find_element(By.ID, "count").text.split()[0])
    choose_option(browser, "pick-verdict", "wrong")
    assert right + int(browser.find_element(By.ID, "count").text.split()[0]) == 90
    choose_option(browser, "pick-verdict", "")
    choose_option(browser, "sort", "-reward")
    browser.execute_async_script(SETTLE)
    totals = browser.execute_script(
        "return [...document.querySelectorAll('.row .total')].map((cell) => +cell.textContent)"
    )
    assert len(totals) > 5 and totals == sorted(totals, reverse=True)
    browser.find_element(By.ID, "find").send_keys("problem 7:")
    assert browser.find_element(By.ID, "count").text == "4 of 90 samples"
    browser.find_element(By.ID, "find").send_keys("no such words")
    assert browser.find_element(By.ID, "count").text == "0 of 90 samples"
    browser.execute_async_script(SETTLE)
    assert browser.find_elements(By.CSS_SELECTOR, ".row") == []
    assert errors(browser) == []


def test_arrows_in_the_completion_read_its_tokens(browser: webdriver.Chrome, page: Path) -> None:
    visit(browser, page)
    panel, tip = browser.find_element(By.ID, "tokens"), browser.find_element(By.ID, "tip")
    panel.send_keys(Keys.ARROW_RIGHT)
    panel.send_keys(Keys.ARROW_RIGHT)
    WebDriverWait(browser, 5).until(lambda _: tip.is_displayed())
    assert all(word in tip.text for word in ("2 of", "WAAD", "FAI", "Weight"))
    panel.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


def test_theme_follows_the_system_until_toggled(browser: webdriver.Chrome, page: Path) -> None:
    visit(browser, page)
    script = """return [getComputedStyle(document.body).backgroundColor,
      document.querySelector('.plot .xtitle')?.style.fill, getComputedStyle(document.querySelector('.tok')).color]"""
    scroll_through(browser)
    light = browser.execute_script(script)
    prefer(browser, "dark")
    browser.execute_async_script(SETTLE)
    dark = browser.execute_script(script)
    assert all(before != after for before, after in zip(light, dark, strict=True))
    browser.execute_script("document.getElementById('theme').click()")
    assert browser.execute_script(script) == light
    prefer(browser, "light")
    browser.execute_script("document.getElementById('theme').click()")
    assert browser.execute_script(script) == dark


MAPS = "return ['score-map', 'kind-map'].map((id) => JSON.stringify(document.getElementById(id).data[0].z))"
HISTORY = "return document.getElementById('head-history').data.map((line) => line.y)"


def test_slider_and_choices_move_the_maps_of_heads(browser: webdriver.Chrome, page: Path) -> None:
    visit(browser, page)
    scroll_through(browser)
    last = browser.execute_script(MAPS)
    browser.find_element(By.ID, "snapshot").send_keys(Keys.HOME)
    first = browser.execute_script(MAPS)
    assert all(one != other for one, other in zip(first, last, strict=True))
    assert browser.find_element(By.ID, "snapshot-name").text == "grpo step 0"
    choose_option(browser, "score", "sink")
    assert browser.execute_script(MAPS)[0] != first[0] and browser.execute_script(MAPS)[1] == first[1]
    assert browser.find_element(By.ID, "score-title").text == "Sink"
    choose_option(browser, "source", "rollouts")
    assert browser.find_element(By.ID, "snapshot-name").text == "grpo step 240"
    counts = browser.execute_script(
        "return [...document.querySelectorAll('#kinds [data-kind]')].map((e) => e.textContent)"
    )
    assert [int(count) for count in counts][:2] == [100, 100]
    assert errors(browser) == []


def test_a_large_model_is_drawn_over_all_its_snapshots(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """A map of 36 layers of 32 heads at 120 snapshots, on the scale of all of them."""
    run = make_run(tmp_path / "large", samples=2)
    rows = [
        {"stage": "grpo", "step": step, "source": "probe", "score": "sink", "layer": layer, "values": [step / 120] * 32}
        for step in range(120)
        for layer in range(36)
    ]
    (run / "heads.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    visit(browser, write_report(run))
    scroll_through(browser)
    ends = browser.execute_script(
        "const map = document.getElementById('score-map').data[0]; return [map.zmin, map.zmax]"
    )
    assert ends == pytest.approx([0, 119 / 120], abs=1e-3)
    assert browser.find_element(By.CSS_SELECTOR, '[data-kind="sink"]').text == "1152"
    assert errors(browser) == []


def test_a_cell_opens_its_head(browser: webdriver.Chrome, page: Path) -> None:
    """Its history is the chosen score's at each snapshot, and its text says where it looks."""
    visit(browser, page)
    scroll_through(browser)
    browser.execute_script("document.getElementById('score-map').emit('plotly_click', {points: [{x: 3, y: 5}]})")
    assert browser.find_element(By.ID, "head-title").text == "Head 5.3, mean backward distance"
    rows = [json.loads(line) for line in (page.parent / "heads.jsonl").read_text().splitlines()]
    own = [row for row in rows if (row["score"], row["layer"]) == ("distance", 5)]
    told = browser.execute_script(HISTORY)
    for line, source in zip(told, ("probe", "rollouts"), strict=True):
        assert line == pytest.approx([row["values"][3] for row in own if row["source"] == source], rel=1e-3)
    gaze = json.loads((page.parent / "gaze.json").read_text())
    spans = browser.find_elements(By.CSS_SELECTOR, "#gaze-text span")
    assert [span.get_property("textContent") for span in spans] == gaze["tokens"]
    spans[30].click()
    key, share = gaze["peaks"]["5"][3][20], gaze["tops"]["5"][3][20]
    assert "seen" in spans[key].get_attribute("class") and "from" in spans[30].get_attribute("class")
    note = browser.find_element(By.ID, "gaze-note").text
    assert f"{30 - key} tokens back" in note and f"{100 * share:.0f} % of its attention" in note
    assert errors(browser) == []


def test_a_thousand_samples_stay_quick(browser: webdriver.Chrome, tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "big", samples=1000))
    visit(browser, page)
    timing = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    assert browser.execute_script(timing) < 15_000  # far above the 2 s it takes: a machine may be busy
    times = []
    for index in (1, 3, 5, 7):
        took, moved = browser.execute_async_script(CLICK_TIME, index)
        assert moved
        times.append(took)
    assert sorted(times)[len(times) // 2] < 500, times
    assert len(browser.find_elements(By.CSS_SELECTOR, ".row")) < 60
    assert browser.execute_script("return document.querySelectorAll('*').length") < 6000
    press(browser, Keys.END)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".row")) < 60


def test_hostile_text_is_shown_and_never_run(browser: webdriver.Chrome, tmp_path: Path) -> None:
    run = make_run(tmp_path / "<img src=x onerror='window.pwned=1'>", samples=20, hostile=True)
    recipe = {"name": HOSTILE[0], "model": HOSTILE[1], "deep": {HOSTILE[0]: [HOSTILE, {"a": "".join(HOSTILE)}]}}
    (run / "recipe.json").write_text(json.dumps(recipe))
    metrics = [
        {
            "stage": HOSTILE[1],
            "step": step,
            "reward/total/mean": 0.5,
            f"reward/{HOSTILE[1]}/mean": step,
            HOSTILE[0]: 10**400,
        }
        for step in (1, 2)
    ]
    with (run / "metrics.jsonl").open("w") as out:
        out.writelines(json.dumps(row) + "\n" for row in metrics)
    (run / "heads.jsonl").write_text(
        json.dumps(
            {"stage": HOSTILE[1], "step": 1, "source": "probe", "layer": 0, "score": "distance", "values": [3.0, None]}
        )
        + "\n"
    )
    page = write_report(run)
    visit(browser, page)
    scroll_through(browser)
    assert browser.execute_script("return window.pwned === undefined")
    texts = "return [...document.querySelectorAll('.tok')].map((token) => token.textContent.toWellFormed())"
    tokens = browser.execute_script(texts)
    assert len(tokens) == len(HOSTILE)
    assert {HOSTILE[0], HOSTILE[1], '"', "{{ 7*7 }}", "<!--", "&lt;b&gt;", "javascript:alert(1)"} <= set(tokens)
    prompt = browser.execute_script("return document.getElementById('prompt').textContent.toWellFormed()")
    assert HOSTILE[0] in prompt and HOSTILE[1] in prompt
    assert browser.find_elements(By.CSS_SELECTOR, "main img, .plot img") == []
    marks = browser.execute_script("return [...document.querySelectorAll('#tokens .mark')].map((m) => m.dataset.mark)")
    assert {"U+0000", "U+2028", "U+202E"} <= set(marks)
    assert errors(browser) == []
    assert len(requests(browser)) == 1


@pytest.mark.parametrize("gone", [("samples",), ("heads",), ("metrics",), ("metrics", "samples", "heads")])
@pytest.mark.parametrize("empty", [True, False])
def test_what_a_stopped_run_lacks_is_said_plainly(
    browser: webdriver.Chrome, page: Path, tmp_path: Path, gone: tuple[str, ...], empty: bool
) -> None:
    run = tmp_path / "stopped"
    shutil.copytree(page.parent, run)
    for name in gone:
        (run / f"{name}.jsonl").unlink()
        if empty:
            (run / f"{name}.jsonl").touch()
    visit(browser, write_report(run))
    for name in gone:
        section = {"metrics": "curves"}.get(name, name)
        note = browser.find_element(By.CSS_SELECTOR, f"#{section} .plain").text
        assert f"{name}.jsonl is {'empty' if empty else 'missing'}: the run was stopped" in note
    scroll_through(browser)
    assert errors(browser) == []


def test_narrow_page_does_not_scroll_sideways(browser: webdriver.Chrome, page: Path) -> None:
    size: dict[str, Any] = {"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    visit(browser, page)
    scroll_through(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 420
