"""Pages that answer back, in a browser: a threshold, a scrubber, a table; on made-up runs."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsing import STATIC, opened_browser, page_of
from fabricated_runs import fabricate, write_profile

from trustdd.report.page_data import confidences, course, explorer, students
from trustdd.report.page_data.packing import script
from trustdd.report.results import Results, arrays, reports
from trustdd.store.profiles import load_profile


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from opened_browser()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("runs")
    profile = load_profile(write_profile(folder))
    for run in fabricate(profile, folder, ["main", "equal_budget"]):
        tensors = {k: v for k, v in run.read_tensors("distilled.safetensors").items()
                   if k in ("images", "outliers")}  # fmt: skip
        steps = {f"snapshot.{i}.{k}": v * i / 20 for i in (0, 5) for k, v in tensors.items()}
        run.write_tensors("snapshots.safetensors", steps)
    return Results(profile, folder)


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens a place with its script and the values of some data; what goes wrong fails the test."""
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    def opening(place: str, **values: Any) -> Any:
        data = [script(name, value) for name, value in values.items()]
        scripts = [STATIC / "interactive.js", STATIC / f"{place}.js"]
        page.goto(page_of(tmp_path, place, scripts, data).as_uri())
        return page

    yield opening
    page.close()
    assert errors == []


def choose(page: Any, name: str, value: str | int) -> None:
    page.locator(f"input[name={name}][value='{value}']").check(force=True)


def test_the_threshold_counts_as_the_report_does(opened: Any, stored: Results) -> None:
    page = opened("threshold", confidences=confidences.confidences_of(stored))
    for number, run in enumerate(students.shown_runs(stored).values()):
        choose(page, "threshold-student", number)
        for _, row in run.read_frame("report.csv").iterrows():
            choose(page, "threshold-score", row["score"])
            choose(page, "threshold-set", row["ood"])
            # it stands where 95% of the digits are kept
            passed = round(row["fpr95_in"] * row["n_out"])
            said = page.locator(".said").inner_text()
            assert f"({passed} of {row['n_out']})" in said
            assert f"{100 * row['fpr95_in']:.1f}%" in said
            assert "lets" in page.locator("input[type=range]").get_attribute("aria-valuetext")


def test_the_threshold_moves_by_keys_and_all_follows(opened: Any, stored: Results) -> None:
    page = opened("threshold", confidences=confidences.confidences_of(stored))
    choose(page, "threshold-score", "energy")
    choose(page, "threshold-set", "textures")
    slider, dot = page.locator("input[type=range]"), page.locator("circle.point")
    logits = arrays(students.shown_runs(stored)["none"], "logits.safetensors")

    def energies(name: str) -> np.ndarray:
        return np.log(np.exp(logits[name].astype(float)).sum(axis=1))

    before = float(dot.get_attribute("cx"))
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    threshold = float(slider.input_value())
    kept, passed = ((energies(n) >= threshold).sum() for n in ("in", "ood.textures"))
    said = page.locator(".said").inner_text()
    assert f"({kept} of {len(logits['in'])})" in said
    assert f"({passed} of {len(logits['ood.textures'])})" in said
    assert float(dot.get_attribute("cx")) > before
    line = page.locator("line.threshold")
    assert line.get_attribute("x1") == line.get_attribute("x2")
    page.get_by_role("button", name="keep 80%").click()
    assert 0.8 <= (energies("in") >= float(slider.input_value()) - 1e-6).mean() <= 0.805


def test_images_next_to_the_threshold_are_nearest_first(opened: Any, stored: Results) -> None:
    page = opened("threshold", confidences=confidences.confidences_of(stored))
    strips = page.locator(".strip")
    assert strips.count() == 4
    threshold = float(page.locator(".said b").first.inner_text())
    for number in range(4):
        labels = [
            canvas.get_attribute("title") for canvas in strips.nth(number).locator("canvas").all()
        ]
        values = [float(label) for label in labels]
        if number % 2 == 0:
            assert values == sorted(values)
            assert all(v >= threshold - 0.006 for v in values)
        else:
            assert values == sorted(values, reverse=True)
            assert all(v <= threshold + 0.006 for v in values)
    assert sum(strips.nth(n).locator("canvas").count() for n in range(4)) > 8


def test_the_scrubber_shows_each_step(opened: Any, stored: Results) -> None:
    page = opened("course", course=course.course_of(stored))
    choose(page, "course-set", 0)
    assert page.locator("figure").count() == 1
    choose(page, "course-set", 2)
    assert page.locator("figure").count() == 2
    first = """() => [...document.querySelector("canvas").getContext("2d")
        .getImageData(0, 0, 16, 16).data]"""
    seen = []
    for step in range(3):
        page.locator("input[type=range]").fill(str(step))
        assert page.locator(".said").inner_text().startswith(f"Iteration {(0, 5, 20)[step]} of 20")
        seen.append(page.evaluate(first))
    assert seen[0] != seen[1] != seen[2]
    report = students.shown_runs(stored)["poe"].read_frame("report.csv")
    assert f"accuracy {100 * report['accuracy'].iloc[0]:.1f}%" in page.locator(".said").inner_text()
    choose(page, "course-moved", "moved")
    page.locator("input[type=range]").fill("0")
    assert set(page.evaluate(first)) == {128, 255}
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("trustdd.scrubber.state.at === 2")
    page.wait_for_selector("text=Play")


@pytest.fixture
def table(opened: Any, stored: Results, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(explorer, "list_profiles", list)
    key = stored.planned("main")[0].experiment.key
    return opened("explorer", explorer=explorer.explorer_of(stored), sets={"fabricated": [key]})


def cells(page: Any, column: str) -> list[str]:
    heads = [h.strip(" ↕↑↓") for h in page.locator("thead th").all_inner_texts()]
    place = heads.index(column) + 1
    return page.locator(f"tbody tr:not(.details) > :nth-child({place})").all_inner_texts()


def test_the_table_sorts_and_filters(table: Any, stored: Results) -> None:
    page = table
    frame = reports(stored.runs("main", "equal_budget"))
    settings = len(frame.groupby(["outliers", "ipc"]))
    assert len(cells(page, "AUROC (%)")) == settings
    means = [float(text.split()[0]) for text in cells(page, "AUROC (%)")]
    assert means == sorted(means, reverse=True)
    page.get_by_role("button", name="AUROC (%)").click()
    means = [float(text.split()[0]) for text in cells(page, "AUROC (%)")]
    assert means == sorted(means)
    head = page.locator("thead th", has_text="AUROC")
    assert head.get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="outliers").click()
    assert cells(page, "outliers") == sorted(cells(page, "outliers"), key=str.lower)
    page.select_option("#explorer-outliers", "POE")
    page.select_option("#explorer-set", "textures")
    page.select_option("#explorer-score", "energy")
    (shown,) = cells(page, "AUROC (%)")
    rows = frame.query("outliers == 'poe' and ood == 'textures' and score == 'energy'")
    assert float(shown.split()[0]) == pytest.approx(100 * rows["auroc"].mean(), abs=0.051)
    # what is chosen is not said again in every row
    assert page.locator("thead th", has_text="outliers").is_hidden()
    assert page.locator(".tally").inner_text().startswith("1 of ")
    page.select_option("#explorer-set", "")
    assert len(cells(page, "OOD set")) == 3 + 3


def test_a_row_unfolds_its_command_settings_and_set(table: Any, stored: Results) -> None:
    page = table
    page.select_option("#explorer-outliers", "no outliers")
    page.select_option("#explorer-ipc", "2")
    row = page.locator("tbody th button")
    assert row.get_attribute("aria-expanded") == "false"
    row.focus()
    page.keyboard.press("Enter")
    assert row.get_attribute("aria-expanded") == "true"
    said = page.locator(".details").inner_text()
    keys = [r.experiment.key for r in stored.planned("main") if r.experiment.outliers == "none"]
    assert f"trustdd stage distill,evaluate {' '.join(keys)} --profile fabricated" in said
    assert "iterations: 20" in said
    link = page.locator(".details a")
    assert link.get_attribute("href") == f"sets/fabricated/{keys[0]}.safetensors"


def test_the_rows_that_are_shown_are_taken_as_csv(table: Any, tmp_path: Path) -> None:
    page = table
    page.select_option("#explorer-set", "gaussian")
    with page.expect_download() as taken:
        page.get_by_role("button", name="These as CSV").click()
    taken.value.save_as(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["set"] for row in rows} == {"gaussian"}
    assert len(rows) == len(cells(page, "AUROC (%)"))
    assert pd.Series([float(row["auroc"]) for row in rows]).is_monotonic_decreasing
