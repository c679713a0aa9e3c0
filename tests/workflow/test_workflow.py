"""The graph: it re-runs what a change touches and nothing else, and outlives being killed."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from trustdd.notebooks import book_source
from trustdd.pipeline import completion
from trustdd.settings.errors import Explained
from trustdd.settings.experiment import Experiment
from trustdd.store.profiles import load_profile
from trustdd.store.published import published_runs
from trustdd.store.run import Run
from trustdd.store.stages import MAIN_STAGES, STAGES
from trustdd.store.verification import verify

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

import costs  # noqa: E402
import plan  # noqa: E402
import progress_line  # noqa: E402

# -- which source a notebook runs ---------------------------------------------------------------


def test_a_notebooks_imports_are_mapped_to_modules() -> None:
    source = (
        "from trustdd import complete, figures\nfrom trustdd.data.inliers import load_inliers\n"
        "from trustdd.networks import convnet\nimport os\n"
    )
    assert plan.imported_modules(source) == [
        "trustdd.data.inliers", "trustdd.networks.convnet", "trustdd.pipeline.completion",
        "trustdd.report.figures",
    ]  # fmt: skip
    assert plan.imported_modules("import trustdd") == ["trustdd"]
    for path in (ROOT / "notebooks").glob("[0-9]*.md"):
        assert len(plan.notebook_source(path)) == 16


# -- stages -----------------------------------------------------------------------------------


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A pipeline that writes which source made a stage; returns the stages it ran."""
    ran: list[str] = []

    def run_stage(
        stage: str, run: Run, progress: bool, student: int | None = None, images_of: object = None
    ) -> None:
        ran.append(stage)
        folder = run if student is None else run.part(stage, student)
        name = STAGES[stage].files[0]
        folder.directory.mkdir(parents=True, exist_ok=True)
        (folder.directory / name).write_text(f"by {completion.stage_source(stage, run.experiment)}")
        run.record(stage, [name], 0.0, student=student or 0)

    monkeypatch.setattr("trustdd.pipeline.work.run_stage", run_stage)
    return ran


def test_a_stage_is_made_again_when_its_source_has_changed(
    tmp_path: Path, pipeline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"distill": "one", "evaluate": "one"}
    monkeypatch.setattr(completion, "stage_source", lambda stage, _: source[stage])
    run = Run.of(Experiment(), "quick", tmp_path)

    def ran() -> list[str]:
        pipeline.clear()
        for stage in MAIN_STAGES:
            completion.bring_up_to_date(run, stage, progress=False)
        return list(pipeline)

    assert ran() == ["distill", "evaluate"]
    assert ran() == []
    source["evaluate"] = "two"
    assert ran() == ["evaluate"]
    source["distill"] = "two"
    assert ran() == ["distill", "evaluate"], "a student of another set is no longer one of this"
    run.path("distilled.safetensors").unlink()
    assert ran() == ["distill"], "the same set again: its student stays"
    run.path("report.csv").unlink()
    assert ran() == ["evaluate"]
    # tested on another suite: the same run by its key, yet to be evaluated anew
    run = Run.of(Experiment(ood=("mnist",)), "quick", tmp_path)
    assert ran() == ["evaluate"]
    # by more students: only those that there are not
    run = Run.of(Experiment(students=3), "quick", tmp_path)
    assert ran() == ["evaluate", "evaluate"]
    assert ran() == []
    assert verify(run.directory).complaints == []


def test_a_checkpoint_of_other_source_is_dropped(
    tmp_path: Path, pipeline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "stage_source", lambda *_: "now")
    seen = []
    for index, writer in enumerate(("now", "before", None)):
        run = Run.of(Experiment(seed=index), "quick", tmp_path)
        run.directory.mkdir(parents=True)
        run.path(completion.CHECKPOINT).write_text("state")
        if writer:
            run.path(completion.CHECKPOINT_SOURCE).write_text(writer + "\n")
        completion.bring_up_to_date(run, "distill")
        seen.append(run.has(completion.CHECKPOINT))
        assert not run.has(completion.CHECKPOINT_SOURCE)
    assert seen == [True, False, True]


def test_a_run_is_made_by_one_process_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "stage_source", lambda *_: "now")
    inside, release, ran = threading.Event(), threading.Event(), []

    def run_stage(
        stage: str, run: Run, progress: bool, student: int | None = None, images_of: object = None
    ) -> None:
        ran.append(stage)
        inside.set()
        assert release.wait(10)
        run.record(stage, [], 0.0)

    monkeypatch.setattr("trustdd.pipeline.work.run_stage", run_stage)
    run = Run.of(Experiment(), "quick", tmp_path)
    both = [
        threading.Thread(target=completion.bring_up_to_date, args=(run, "distill")) for _ in "ab"
    ]
    both[0].start()
    assert inside.wait(10)
    both[1].start()
    both[1].join(0.3)
    assert both[1].is_alive(), "it waits for the first"
    release.set()
    for thread in both:
        thread.join(10)
    assert ran == ["distill"], "and then finds the work done"


# -- the plan ---------------------------------------------------------------------------------


def test_jobs_hold_the_runs_of_a_group(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "groups:\n  main: {outliers: [none, poe], seed: [0, 1, 2]}\n"
        "  ablation_ipc: {outliers: none, ipc: [1, 2], seed: [0, 1, 2]}\n"
        "  course: {outliers: poe, seed: 0}\n"
    )
    profile = load_profile(path)
    together = plan.group_settings(profile, True)
    # a run of two groups is done once
    assert {name: len(experiments) for name, experiments in together.items()} == {
        "main": 6, "ablation_ipc": 3,
    }  # fmt: skip
    assert costs.work(together["main"]) > costs.work(together["main"][:3]) > 0
    further = plan.further_jobs(profile, True)
    assert {job: (stage, len(e)) for job, (stage, e) in further.items()} == {
        "course": ("course", 1)
    }
    assert list(plan.group_settings(profile, False)) == [e.key for e in profile.experiments()]
    runs = [Run.of(e, "mine", tmp_path) for e in profile.experiments()]
    none: frozenset[Path] = frozenset()
    one = plan.stage_params("distill", runs[:1], none)
    assert plan.stage_params("distill", runs[1:2], none) != one
    for run in runs[:2]:
        run.record("distill", [], 0.0)
    published = frozenset([runs[0].directory])
    assert plan.stage_params("distill", runs[:1], published)[-1] == "published"
    assert plan.stage_params("distill", runs[1:2], published)[-1] == one[-1]


def test_variants_of_notebooks_are_commands(tmp_path: Path) -> None:
    path = tmp_path / "variants.yaml"
    path.write_text("one:\n  oe: {outliers: oe, compared_with: []}\n  few: {seeds: [0, 1]}\n")
    found = plan.notebook_variants(path, {"one": "notebooks/one.md"})
    assert found == {
        "one-oe": ("notebooks/one.md", "-p outliers=oe -p 'compared_with=[]'"),
        "one-few": ("notebooks/one.md", "-p 'seeds=[0, 1]'"),
    }
    with pytest.raises(ValueError, match="'one'; expected one of two"):
        plan.notebook_variants(path, {"two": "notebooks/two.md"})


def test_runs_in_git_are_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    path = tmp_path / "mine.yaml"
    path.write_text("groups:\n  main: {seed: [0, 1]}\n")
    profile = load_profile(path)
    assert published_runs(profile.name) == set()
    first, second = (Run.of(e, "mine") for e in profile.experiments())
    for run in (first, second):
        run.record("distill", [], 0.0)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    manifest = str(first.path("manifest.json"))
    subprocess.run(["git", "-C", str(tmp_path), "add", "--force", manifest], check=True)
    assert published_runs(profile.name) == {first.experiment.key}


# -- the line on the terminal -----------------------------------------------------------------


def record(event: str, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", logging.INFO, "", 0, "message", (), None)
    made.__dict__.update(event=event, **facts)
    return made


def test_the_line_counts_and_estimates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(monotonic=lambda: now.time, time=100.0)
    monkeypatch.setattr(progress_line, "time", now)
    stream = io.StringIO()
    line = progress_line.ProgressLine(tmp_path / "times.json", 2, stream)
    log = tmp_path / "job.log"
    log.write_text("x\rdigits: 25%|██  | 5/20\rdigits: 50%|██  | 10/20")
    line.emit(record("run_info", stats={"distill": 4, "book": 1, "total": 5}))
    assert line.seconds_left(now.time) is None, "nothing is known yet"
    for jobid in (1, 2):
        facts = {"rule_name": "distill", "wildcards": {"setting": f"s{jobid}"}}
        line.emit(record("job_info", jobid=jobid, log=[str(log)], **facts))
    now.time += 10
    line.emit(record("job_finished", job_id=1))
    # two distillations to start at 10 s each, one that is just due, and a book of unknown cost
    assert line.seconds_left(now.time) == pytest.approx((20 + 0 + 10) / 2)
    assert line.text().startswith("1/5 jobs, 0:10 gone, about 0:15 left: distill s2 50%")
    log.write_text("progress\nValueError: no such data\n\n")
    line.emit(record("job_error", jobid=2))
    line.emit(record("job_error", jobid=2))
    line.close()
    shown = stream.getvalue()
    assert shown.count("failed: distill s2") == 1
    assert "ValueError: no such data" in shown
    assert "1 of 5 jobs done, 1 failed in 0:10" in shown
    assert json.loads((tmp_path / "times.json").read_text()) == {"distill": 10.0}
    again = progress_line.ProgressLine(tmp_path / "times.json", 2, io.StringIO())
    assert again.expected == {"distill": 10.0}


def test_clock() -> None:
    assert [progress_line.clock(s) for s in (0, 61, 3725)] == ["0:00", "1:01", "1:02:05"]


# -- the book's source ------------------------------------------------------------------------


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    origin, target = tmp_path / "a.md", tmp_path / "target"
    origin.write_text("one")
    wanted: dict[str, Path | bytes] = {"book/a.md": origin, "b.json": b"{}", "c/d/e.md": b"e"}
    assert book_source.mirror(wanted, target).written == ("b.json", "book/a.md", "c/d/e.md")
    before = (target / "b.json").stat().st_mtime_ns
    origin.write_text("two")
    del wanted["c/d/e.md"]
    changes = book_source.mirror(wanted, target)
    assert changes == book_source.Changes(("book/a.md",), ("c/d/e.md",))
    assert (target / "b.json").stat().st_mtime_ns == before
    assert (target / "book" / "a.md").read_text() == "two"
    assert not (target / "c").exists()


def test_the_source_holds_prose_notebooks_and_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(book_source, "SHOWN_BESIDE", ("smoke", "gone"))
    for name, text in {
        "benchmarks/results/speed-cpu.json": '{"settings": {}}', "results/smoke/numbers.json": "{}",
        "results/smoke/runs/k/report.csv": "", "costs/job.tsv": "s\tmax_rss\tcpu_time\n2\t-\tNA\n",
        "_config.yml": "title: T", "_toc.yml": "root: book/index\n- file: notebooks/01_a\n",
        "book/index.md": "# T", "book/_ext/e.py": "", "book/_ext/__pycache__/e.pyc": "",
        "book/.hidden": "",
        "mine.yaml": "title: Mine\ndescription: shrunk\ngroups: {main: {seed: [1, 2]}}\n",
        "done/01_a.ipynb": '{"path": "results/mine/variants/0a1b/fig02.json"}',
        "done/02_b.failed.ipynb": "{}", "done/variants/01_a-oe.ipynb": "{}",
        "results/mine/figures/fig02.svg": "<svg/>", "results/mine/figures/.partial-x.svg": "",
        "results/mine/numbers.json": "{}", "results/mine/runs/k/report.csv": "",
        "results/mine/variants/0a1b/fig02.json": "{}", "results/mine/variants/ffff/fig02.json": "",
        "results/other/figures/fig02.svg": "",
    }.items():  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    profile = load_profile(tmp_path / "mine.yaml")
    runs = [Run.of(e, "mine") for e in profile.group("main")]
    for run in runs:
        run.directory.mkdir(parents=True)
        run.path("distilled.safetensors").write_text("set")
        run.record("distill", ["distilled.safetensors"], 0.0)
    source, note = tmp_path / "source", tmp_path / "source.json"
    costs = tmp_path / "costs"
    book_source.stage(tmp_path, profile, tmp_path / "done", source, note, costs)
    staged = sorted(json.loads(note.read_text()))
    assert staged == [
        "_config.yml", "_toc.yml", "benchmarks/speed-cpu.json", "book/_ext/e.py", "book/index.md",
        "costs.json", "notebooks/01_a.ipynb", "notebooks/variants/01_a-oe.ipynb", "profile.json",
        f"results/mine/distilled/{runs[0].experiment.key}.safetensors",
        "results/mine/distilled/list.json", "results/mine/figures/fig02.svg",
        "results/mine/numbers.json", "results/mine/variants/0a1b/fig02.json",
        "results/smoke/distilled/list.json", "results/smoke/numbers.json",
        "results/smoke/status.json",
    ]  # fmt: skip
    assert json.loads((source / "profile.json").read_text())["description"] == "shrunk"
    (tmp_path / "done" / "01_a.ipynb").unlink()
    with pytest.raises(ValueError, match="'notebooks/01_a' has not been executed"):
        book_source.stage(tmp_path, profile, tmp_path / "done", source, note)


def test_sphinx_starts_anew_where_going_on_is_not_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note, folder = tmp_path / "source.json", tmp_path / "book"
    status = [0]

    def run(command: list[str], **_: object) -> SimpleNamespace:
        assert {"-W", "-n", "--keep-going"} <= set(command)
        (folder / "_build" / "html").mkdir(parents=True, exist_ok=True)
        (folder / "state").touch()
        return SimpleNamespace(returncode=status[0])

    monkeypatch.setattr(book_source.subprocess, "run", run)

    def goes_on(**files: str) -> bool:
        """Build from these sources; tell whether Sphinx's state was still there."""
        note.write_text(json.dumps({name.replace("_", "/", 1): h for name, h in files.items()}))
        mark = folder / "mark"
        if folder.is_dir():
            mark.touch()
        book_source.build(tmp_path, note, folder)
        return mark.is_file()

    page = {"book_index.md": "1", "book_x.ipynb": "1", "book_": "0"}
    assert not goes_on(**page)
    assert goes_on(**page)
    assert goes_on(**{**page, "book_index.md": "2"})
    assert goes_on(**{**page, "book_new.md": "1"})
    assert not goes_on(**page), "a page has gone"
    assert not goes_on(**{**page, "book__ext/e.py": "1"}), "an extension is new"
    status[0] = 1
    with pytest.raises(Explained, match="failed or warned"):
        goes_on(**{**page, "book__ext/e.py": "1"})
    status[0] = 0
    assert not goes_on(**{**page, "book__ext/e.py": "1"}), "the last build warned"


def test_publishing_removes_only_its_own_files(tmp_path: Path) -> None:
    html, out = tmp_path / "html", tmp_path / "out"
    (html / "sub").mkdir(parents=True)
    (html / "index.html").write_text("one")
    (html / "sub" / "old.html").write_text("old")
    out.mkdir()
    (out / "mine.txt").write_text("somebody's")
    book_source.publish(html, out)
    (html / "sub" / "old.html").unlink()
    (html / "new.html").write_text("new")
    changes = book_source.publish(html, out)
    assert changes == book_source.Changes(("new.html",), ("sub/old.html",))
    assert sorted(p.name for p in out.iterdir()) == [
        ".published.json", "index.html", "mine.txt", "new.html",
    ]  # fmt: skip


# -- Snakemake itself -------------------------------------------------------------------------

PROFILE = """\
settings:
  digits: {iterations: 1, outer_loops: 1, inner_loops: 0, real_batch: 4, width: 4, depth: 1,
           training_epochs: %d, ood: [gaussian], ood_limit: 20}
groups:
  main: {dataset: digits, ipc: 1, outliers: poe, selection: random, outlier_selection: random}
"""


@pytest.mark.slow
def test_the_graph_re_runs_what_a_change_touches(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "profiles").mkdir()
    profile = tmp_path / "profiles" / "tiny.yaml"
    profile.write_text(PROFILE % 1)
    environment = {k: v for k, v in os.environ.items() if k != "TRUSTDD_RESULTS"}

    def snakemake(*options: str) -> str:
        command = [sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile"]
        command += ["--cores", "2", "--config", "profile=tiny", *options, "--", "runs"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout + done.stderr

    def would_run() -> list[str]:
        shown = snakemake("--dry-run")
        return sorted({line.split()[1] for line in shown.splitlines() if line.startswith("rule ")})

    assert "3 of 3 jobs done" in snakemake()
    runs = tmp_path / "results" / "tiny" / "runs"
    artefacts = {p: p.read_bytes() for p in runs.rglob("*.*") if p.name != "manifest.json"}
    assert {p.name for p in artefacts} >= {"distilled.safetensors", "report.csv"}

    # touching re-runs nothing; a stage whose artefact has gone is made again
    for path in (*artefacts, profile, *tmp_path.glob("_build/tiny/stages/*")):
        os.utime(path)
    next(p for p in artefacts if p.name == "report.csv").unlink()
    assert would_run() == ["evaluate:", "runs:"]

    # without its stamps, as on a machine that results were brought to: what is there stays
    shutil.rmtree(tmp_path / "_build")
    (distilled,) = runs.glob("*/distilled.safetensors")
    made = distilled.stat().st_mtime_ns
    snakemake()
    assert distilled.stat().st_mtime_ns == made
    assert all(p.read_bytes() == content for p, content in artefacts.items()), "same bytes again"

    # other settings are other runs
    profile.write_text(PROFILE % 2)
    assert would_run() == ["distill:", "evaluate:", "runs:"]
