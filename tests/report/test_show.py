"""What notebook cells show, from runs whose effects are built in."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fabricated_runs import fabricate, write_profile
from PIL import Image

from trustdd.report import show
from trustdd.report.numbers import in_words, numbers, write_numbers
from trustdd.report.results import Results, summary
from trustdd.report.show.image_rows import as_pictures, draw_rows
from trustdd.settings.experiment import Experiment
from trustdd.store.profiles import Profile, load_profile
from trustdd.store.run import Run

GROUPS = ("main", "random_images", "equal_budget", "random_outliers")


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return load_profile(write_profile(tmp_path_factory.mktemp("shown")))


@pytest.fixture(scope="module")
def runs(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Run]]:
    root = tmp_path_factory.mktemp("runs")
    fabricate(profile, root, GROUPS)
    return {g: [Run.of(e, profile.name, root) for e in profile.group(g)] for g in GROUPS}


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Everything that is displayed, as mime bundles."""
    bundles: list[dict[str, Any]] = []

    def keep(*objects: Any, raw: bool = False, **options: Any) -> None:
        bundles.extend(o if raw else {"text/markdown": o.data} for o in objects)

    monkeypatch.setattr("IPython.display.display", keep)
    return bundles


def entry(bundle: dict[str, Any]) -> dict[str, Any]:
    (mime,) = [m for m in bundle if m.startswith("application/vnd.trustdd")]
    return json.loads(json.dumps(bundle[mime]))


def means(runs: list[Run], mode: str, measure: str) -> float:
    frame = summary(runs)
    return float(frame[frame["outliers"] == mode][measure].mean())


def test_the_detection_finding_quotes_the_means_of_the_reports(
    runs: dict[str, list[Run]],
) -> None:
    said = show.detection_finding(runs["main"])
    for mode in ("none", "oe", "poe"):
        for measure in ("auroc", "accuracy"):
            assert f"{100 * means(runs['main'], mode, measure):.1f} %" in said
    # the effect built into the runs is far larger than its spread
    assert said.startswith("Outliers raise")
    assert "3 seeds" in said


def test_the_detection_finding_speaks_of_one_mode_alone(runs: dict[str, list[Run]]) -> None:
    alone = [r for r in runs["main"] if r.experiment.outliers == "poe"]
    said = show.detection_finding(alone)
    assert "POE" in said
    assert "raise" not in said
    assert f"{100 * means(alone, 'poe', 'auroc'):.1f} %" in said


def test_the_rationale_does_not_claim_what_seeds_cannot_tell(
    runs: dict[str, list[Run]],
) -> None:
    main, doubled = runs["main"], runs["equal_budget"]
    same = [r for r in main if r.experiment.outliers != "none"]
    said = show.rationale_finding(main, doubled, same)
    # compared with itself: no difference, and said so
    assert said.count("not clearly different") == 2
    assert "+0.0 points" in said
    assert "Of 4 synthetic images a class" in said


def test_the_report_shows_every_mode_and_measure(
    runs: dict[str, list[Run]], displayed: list[dict[str, Any]]
) -> None:
    show.detection(runs["main"])
    table = entry(displayed[0])
    assert table["kind"] == "frame"
    assert len(table["columns"]) == 7
    assert [row[0] for row in table["rows"]] == ["ordinary DD", "OE", "POE"]
    shown = float(table["rows"][1][2].partition(" ")[0])
    assert shown == pytest.approx(100 * means(runs["main"], "oe", "auroc"), abs=0.05)


def test_random_sets_stand_beside_distilled_ones(
    runs: dict[str, list[Run]], displayed: list[dict[str, Any]]
) -> None:
    show.against_random(runs["main"], runs["random_images"])
    table = entry(displayed[0])
    accuracy = next(r for r in table["rows"] if r[0] == "POE" and "accuracy" in r[1])
    drawn, distilled, gained = (float(re.split(r" [±\[]", c)[0]) for c in accuracy[2:])
    assert gained == pytest.approx(distilled - drawn, abs=0.11)
    assert drawn == pytest.approx(100 * means(runs["random_images"], "poe", "accuracy"), abs=0.05)

    show.by_set(runs["main"], runs["random_images"])
    table = entry(displayed[1])
    suite = runs["main"][0].experiment.ood
    assert [row[0] for row in table["rows"]] == [f"`{name}`" for name in suite]
    assert table["columns"][1:3] == ["ordinary DD · distilled", "ordinary DD · random"]


def test_the_distillation_finding_reads_the_curves(runs: dict[str, list[Run]]) -> None:
    run = next(r for r in runs["main"] if r.experiment.outliers == "oe")
    losses = run.read_frame("curves.csv")["loss_in"]
    fall = 1 - losses.iloc[-2:].mean() / losses.iloc[:2].mean()
    assert f"falls by {fall:.0%}" in show.distillation_finding(run)


def test_settings_tell_the_shrunk_from_the_published(displayed: list[dict[str, Any]]) -> None:
    show.settings(Experiment(outliers="oe", iterations=20))
    rows = {row[0].strip("`"): row[2:] for row in entry(displayed[0])["rows"]}
    assert rows["iterations"] == ["20", "1000"]
    assert rows["lr_images"] == ["0.1", "the same"]


def test_pictures_keep_their_pixels_and_need_words(displayed: list[dict[str, Any]]) -> None:
    dark, bright = torch.zeros(3, 1, 8, 8), torch.ones(3, 3, 8, 8)
    show.images({"dark": dark, "bright": bright}, alt="Two rows of squares, black and white.")
    picture = entry(displayed[0])
    assert picture["alt"].startswith("Two rows")
    assert picture["svg"].count("data:image/png") == 6
    image = Image.open(io.BytesIO(base64.b64decode(displayed[0]["image/png"]))).convert("L")
    pixels = np.asarray(image)
    middle = image.width // 2
    assert pixels[image.height // 4, middle] == 0
    assert pixels[3 * image.height // 4, middle] == 255
    with pytest.raises(ValueError, match="alt is empty"):
        show.picture(draw_rows({"dark": dark}), alt=" ")


def test_images_of_either_layout_are_the_same_pictures() -> None:
    tensor = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    array = tensor.permute(0, 2, 3, 1).numpy()
    assert np.array_equal(as_pictures(tensor), as_pictures(array))
    assert as_pictures(tensor).max() <= 1
    with pytest.raises(ValueError, match=r"shape \(2, 5, 4, 4\); expected"):
        as_pictures(torch.zeros(2, 5, 4, 4))


def test_a_table_rounds_numbers_and_keeps_text(displayed: list[dict[str, Any]]) -> None:
    frame = pd.DataFrame({"name": ["a|b"], "value": [0.12345], "gone": [float("nan")]})
    show.table(frame, names={"value": "a value"}, digits=2)
    table = entry(displayed[0])
    assert table["columns"] == ["name", "a value", "gone"]
    assert table["rows"] == [["a\\|b", "0.12", "–"]]


def test_numbers_are_those_of_the_reports(
    runs: dict[str, list[Run]], profile: Profile, tmp_path: Path
) -> None:
    results = Results(profile, runs["main"][0].directory.parents[2])
    found = numbers(results)
    assert found["main.poe.auroc"] == pytest.approx(means(runs["main"], "poe", "auroc"))
    gain = 100 * (means(runs["main"], "poe", "auroc") - means(runs["main"], "none", "auroc"))
    assert str(found["main.poe.auroc_gain"]).startswith(f"{gain:+.1f} points, 95% CI ")
    assert found["main.seeds"] == "3 seeds"


def test_numbers_are_written_where_the_book_reads_them(
    profile: Profile, results_root: Path
) -> None:
    fabricate(profile, results_root, ["main"])
    path = write_numbers(profile)
    assert path == results_root / profile.name / "numbers.json"
    before = path.read_bytes()
    assert json.loads(before)["main.ipc"] == 2
    write_numbers(profile)
    assert path.read_bytes() == before


def test_one_seed_has_no_interval(runs: dict[str, list[Run]]) -> None:
    from trustdd.report.comparison import paired_difference

    frame = summary(runs["main"])
    frame = frame[frame["seed"] == 0]
    oe, none = (frame[frame["outliers"] == mode] for mode in ("oe", "none"))
    assert "CI" not in in_words(paired_difference(oe, none, "auroc"))


def test_data_that_is_not_here_is_said_and_not_shown(displayed: list[dict[str, Any]]) -> None:
    from trustdd.data.inliers import load_inliers
    from trustdd.data.ood import load_ood_suite

    away = Experiment(dataset="cifar10", data_root="nowhere", ood=("gaussian",))
    data = show.if_present(load_inliers, away)
    assert data is None
    (said,) = displayed
    assert "needed for 'cifar10'" in said["text/markdown"]
    assert "left out here" in said["text/markdown"]
    displayed.clear()
    show.inliers(data)
    show.ood_suite(away, None)
    show.drawn_outliers(away, data)
    show.expert_confidence([], data, {})
    assert displayed == []
    assert "images of **1 other kind**" in show.data_finding(away, None, None)

    digits = Experiment(outliers="poe")
    found = show.if_present(load_inliers, digits)
    assert found is not None
    show.drawn_outliers(digits, found)
    show.ood_suite(digits, load_ood_suite(digits))
    assert [entry(shown)["kind"] for shown in displayed] == ["picture", "picture", "frame"]
