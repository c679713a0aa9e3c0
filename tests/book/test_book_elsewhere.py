"""What a book shows beside its own profile's results: other profiles, benchmarks, its own cost."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from small_book import RECORD, SVG, Book

from trustdd.notebooks.book_source import job_costs
from trustdd.report.analysis.status import expected_hours, status
from trustdd.store.profiles import load_profile
from trustdd.store.run import Run

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))
import plan

LEDGER = ["claim", "comparison", "measure", "difference", "low", "high", "seeds", "verdict"]
SPEED = {
    "settings": {
        "cifar10": {
            "parts": [
                {"part": "matching step, InD images", "seconds": {"plain": 8.0, "ours": 4.0}},
                {"part": "matching step, outliers", "seconds": {"plain": 8.0, "ours": 4.0}},
                {"part": "inner loop, 1 epochs", "seconds": {"plain": 0.4, "ours": 0.2}},
                {"part": "student, 2 epochs", "seconds": {"plain": 0.8, "ours": 0.4}},
                {"part": "detection, 1,024 images", "seconds": {"plain": 2.0, "ours": 0.256}},
                {"part": "expert, 1,024 images", "seconds": {"plain": 2.0, "ours": 1.024}},
                {"part": "trajectory step, 3 student steps",
                 "seconds": {"plain": 6.0, "ours": 3.0}},
            ]
        }
    }
}  # fmt: skip


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_an_entry_of_another_profile_has_no_number_and_says_whose_it_is(book: Book) -> None:
    other = {**RECORD, "profile": "cifar10", "caption": "More help. On photographs."}
    book.write("results/cifar10/figures/fig12.json", json.dumps(other))
    book.write("results/cifar10/figures/fig12.svg", SVG)
    book.write("results/cifar10/numbers.json", json.dumps({"main.ipc": 10}))
    book.write(
        "index.md",
        "# Page\n\n```{catalogue} fig12\n```\n\n```{catalogue} fig12\n:profile: cifar10\n```\n\n"
        "IPC {result}`cifar10:main.ipc`, {result}`paper:main.ipc`.\n\n"
        "```{catalogue} fig02\n:profile: paper\n```\n",
    )
    assert book.build() == ""
    said = plain(book.html())
    assert said.count("Figure 12 ") == 2
    assert "Figure 12 of the profile cifar10 . More help. On photographs." in said
    assert "Profile cifar10 · seeds 0, 1, 2" in said
    assert "IPC 10 , not run ." in said
    assert "Figure 2, “Confidence on InD and OOD images”: nothing of the profile paper" in said


def test_ledgers_stand_side_by_side(book: Book) -> None:
    rows = {
        "quick": [["It helps", "OE", "near", "0.061", "0.05", "0.07", "3", "reproduced"],
                  ["It carries over", "", "far", "", "", "", "", "not run"]],
        "cifar10": [["It helps", "OE", "near", "-0.01", "-0.02", "-0.001", "3", "contradicted"]],
    }  # fmt: skip
    for name, ledger in rows.items():
        path = book.source / "results" / name / "tables" / "tab15.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([LEDGER, *ledger])
    book.write("index.md", "# Page\n\n```{verdicts}\n```\n")
    assert book.build() == ""
    said = plain(book.html())
    assert "claim quick cifar10" in said
    assert "It helps, near OOD reproduced contradicted" in said
    assert "– OE +6.1 (+5.0 to +7.0) −1.0 (−2.0 to −0.1)" in said
    assert "It carries over, far OOD not run not run" in said


def test_benchmarks_and_costs_are_shown(book: Book) -> None:
    part = {
        "part": "matching step, InD images", "seconds": {"plain": 8.0, "ours": 4.0, "bf16": 2.0},
        "ratio": {"ours": [2.0, 1.9, 2.1], "bf16": [4.0, 3.9, 4.1]},
        "relative_error": [2.6e-6, 2.6e-4],
        "cosine": 0.9991, "peak_mib": {"plain": 1200, "ours": 300, "bf16": 200},
        "against_float64": {"plain": 3.2e-4, "ours": 1.1e-4},
        "split": {"plain": {"convolution": 0.5, "all else": 0.5},
                  "ours": {"convolution": 0.7, "all else": 0.3}},
    }  # fmt: skip
    machine = {"device": "a CPU", "torch": "2.11", "date": "2024-02-29", "repeats": 3}
    setting = {"parts": [part], "outer_step_ours": 2.0, "outer_step_bf16": 4.0}
    report = {"machine": machine, "starting": {"trustdd --help": 0.2},
              "settings": {"digits": setting}}  # fmt: skip
    book.write("benchmarks/speed-cpu.json", json.dumps(report))
    axis = {"values": [1, 50], "seconds": [0.1, 1.0], "intercept": 0.1, "slope": 0.02, "r2": 0.999}
    scale = {"machine": machine, "repeats": 3, "alt": "A line.", "axes": {"ipc": axis},
             "memory": [{"ipc": 50, "before_mib": 700, "peak_mib": 1275}]}  # fmt: skip
    book.write("benchmarks/scale-cpu.json", json.dumps(scale))
    book.write("benchmarks/scale-cpu.svg", SVG)
    header = "s\th:m:s\tmax_rss\tcpu_time\n"
    for job, seconds in (("distill-main", "80.5"), ("notebook-01_data", "9"), ("tables", "0.0")):
        book.write(f"costs/{job}.tsv", f"{header}{seconds}\t0:01:20\t750.1\t{seconds}\n")
    book.write("costs.json", json.dumps(job_costs(book.source / "costs")))
    book.write(
        "index.md",
        "# Page\n\n```{benchmark} speed-cpu\n```\n\n```{scale} scale-cpu\n```\n\n"
        "```{build-costs}\n```\n",
    )
    assert book.build() == ""
    said = plain(book.html())
    assert "8.000 4.000 2.000 2.0 (1.9–2.1) 4.0 (3.9–4.1)" in said
    assert "InD images 3e-06 3e-04 0.9991 1,200 300" in said
    assert "2.0 times as fast, in bf16 4.0 times" in said
    assert "relative error is 3e-04 the plain way and 1e-04 here" in said
    assert "matching step, InD images 50 70 50 30" in said
    assert "trustdd --help 0.20" in said
    assert "images per class 1 to 50 0.100 to 1.000 0.999" in said
    assert "IPC 50 700 1,275" in said
    assert "distil and evaluate 1 80 80" in said
    assert "together 2 90 90" in said
    assert "notebook-01_data 9 9 750" in said


def test_entries_of_other_profiles_are_found_in_the_pages(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```{catalogue} tab03\n:profile: cifar10\n```\n\n```{catalogue} fig02\n```\n\n"
        "```{catalogue} fig05\n:profile: cifar10\n```\n"
    )
    found = plan.entries_elsewhere([page, tmp_path / "picture.svg"])
    assert found == {"cifar10": {"figures": ["fig05"], "tables": ["tab15", "tab03"]}}


def test_expected_hours_count_what_passes_through_the_network() -> None:
    paper = load_profile("paper")
    hours = {
        outliers: expected_hours(
            paper.experiment(dataset="cifar10", ipc=10, outliers=outliers), SPEED["settings"]
        )
        for outliers in ("none", "poe")
    }
    # 1000 iterations of 10 matching steps, 9 times 50 epochs between, five students of 1000 epochs
    assert hours["poe"] == pytest.approx((1000 * (10 * 8 + 9 * 50 * 0.2) + 5000 * 0.2) / 3600)
    assert hours["none"] == pytest.approx((1000 * (10 * 4 + 9 * 50 * 0.1) + 5000 * 0.1) / 3600)
    trajectory = paper.experiment(dataset="cifar10", method="mtt", ipc=10, outliers="poe")
    # 5000 iterations of 30 student steps; 100 experts of 21 epochs, twice as long with outliers
    expected = 5000 * 30 * 1.0 + 100 * 21 * 50 * 2 + 5000 * 0.2
    assert expected_hours(trajectory, SPEED["settings"]) == pytest.approx(expected / 3600)
    distribution = paper.experiment(dataset="cifar10", method="dm", ipc=10, outliers="poe")
    # 20,000 iterations of ten classes and ten slots, each 256 real images and the gradients of 10
    expected = 20_000 * 20 * (256 + 7 * 10) * 0.256 / 1024 + 5000 * 0.2
    assert expected_hours(distribution, SPEED["settings"]) == pytest.approx(expected / 3600)
    assert expected_hours(load_profile("quick").experiment(), SPEED["settings"]) is None


def test_an_experiment_of_two_groups_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    profile = load_profile("imagenette")
    assert len(profile.group("mtt")) == len(profile.group("main"))
    found = status(profile)
    assert sum(s["planned"] for s in found["settings"]) == len(profile.experiments())
    assert found["benchmarks"] == []


def test_a_status_counts_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    (tmp_path / "speed-cpu.json").write_text(json.dumps(SPEED))
    profile = load_profile("paper")
    found = status(profile, tmp_path)
    assert found["benchmarks"] == ["cpu"]
    first = found["settings"][0]
    assert first["name"] == "cifar10, DSA, IPC 1, no outliers"
    assert (first["planned"], first["done"], first["accuracy"]) == (5, 0, [])
    assert first["expected"]["cpu"] > 0

    run = Run.of(profile.group("main")[0], profile.name)
    run.directory.mkdir(parents=True)
    run.record("distill", [], 3600.0)
    frame = pd.DataFrame(
        {"ood": "mnist", "score": ["msp", "energy"], "auroc": [0.9, 0.1], "accuracy": 0.5}
    )
    for student in range(5):
        assert status(profile, tmp_path)["settings"][0]["done"] == 0, "five students are asked for"
        run.part("evaluate", student).write_frame("report.csv", frame)
        run.record("evaluate", ["report.csv"], 360.0, student=student)
    first = status(profile, tmp_path)["settings"][0]
    assert (first["done"], first["accuracy"], first["auroc"]) == (1, [0.5], [0.9])
    assert first["hours"] == pytest.approx(1.5)
