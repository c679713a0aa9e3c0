"""What jobs ask a cluster for, and the graph among other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from trustdd.pipeline.shared_experts import all_experts, needs_experts, train_for
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.store.profiles import list_profiles, load_profile
from trustdd.store.run import Run

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

import cluster  # noqa: E402
import costs  # noqa: E402
import plan  # noqa: E402

PROFILES = ROOT / "workflow" / "profiles"
CIFAR = Experiment(dataset="cifar10", data_root="data", outliers="poe", ipc=10)


def asks(stage: str, experiment: Experiment, **options: object) -> costs.Needs:
    return costs.needs([(stage, experiment)], **{"gpus": True, "hours": 24, **options})


# -- what a job asks for ------------------------------------------------------------------------


def test_digits_ask_for_no_gpu_and_published_settings_do() -> None:
    for name in list_profiles():
        for experiment in load_profile(name).experiments():
            if experiment.dataset == "digits":
                assert not costs.wants_gpu(experiment), experiment.key
            if name == "paper":
                assert costs.wants_gpu(experiment), experiment.key
    for method in ("dc", "dsa", "mtt"):
        for ipc in (1, 10, 50):
            assert not costs.wants_gpu(Experiment(method=method, outliers="oe", ipc=ipc))
            assert costs.wants_gpu(CIFAR.but(method=method, ipc=ipc))


def test_a_gpu_is_asked_for_by_work_and_size_and_where_there_are_any() -> None:
    assert asks("distill", CIFAR).gpu == asks("evaluate", CIFAR).gpu == 1
    assert asks("distill", CIFAR, gpus=False).gpu == 0
    # work that is over in seconds, and a network that fills no GPU
    short = {"iterations": 1, "inner_loops": 0, "training_epochs": 1}
    assert not costs.wants_gpu(CIFAR.but(**short, real_batch=1, ood=["gaussian"], ipc=1, width=32))
    assert not costs.wants_gpu(CIFAR.but(width=8))
    # what the experiment says itself goes before it
    assert not costs.wants_gpu(CIFAR.but(device="cpu"))
    assert costs.wants_gpu(Experiment(device="cuda:1"))
    # a job of several experiments does as the largest of them
    assert costs.needs([("distill", Experiment()), ("distill", CIFAR)], gpus=True, hours=9).gpu == 1


def test_time_and_memory_follow_the_experiment() -> None:
    assert costs.START_MINUTES <= asks("distill", Experiment()).runtime < 24 * 60
    assert asks("distill", CIFAR).runtime > asks("distill", CIFAR.but(outliers="none")).runtime
    assert asks("distill", CIFAR.but(ipc=50)).runtime == 24 * 60, "no more than the longest"
    assert asks("distill", CIFAR.but(ipc=50), hours=2).runtime == 120
    assert asks("distill", CIFAR).runtime < asks("distill", CIFAR, gpus=False, hours=999).runtime
    assert asks("distill", CIFAR.but(selection="random", outlier_selection="random")).runtime == 30
    assert asks("distill", CIFAR.but(image_size=64)).mem_mb > asks("distill", CIFAR).mem_mb
    assert asks("distill", CIFAR, gpus=False).mem_mb < asks("distill", CIFAR).mem_mb
    twice = costs.needs([("distill", CIFAR)] * 2, gpus=True, hours=999).runtime
    assert twice > asks("distill", CIFAR, hours=999).runtime
    # what has been measured on one thread of a CPU fits in: FIELD's hours a run, with a margin
    for changes, hours in (({"ipc": 1, "outliers": "none"}, 0.6), ({"ipc": 10}, 21)):
        allowed = asks("distill", CIFAR.but(**changes), gpus=False, hours=999).runtime / 60
        assert hours * 1.5 < allowed < hours * 40, changes


def test_operations_count_the_convolutions() -> None:
    torch = pytest.importorskip("torch")
    from trustdd.networks.convnet import ConvNet

    for experiment in (Experiment(), CIFAR, CIFAR.but(image_size=64, width=16)):
        channels = 1 if experiment.dataset == "digits" else 3
        network = ConvNet(channels, 10, experiment.image_size, experiment.width, experiment.depth)
        counted = []

        def count(module: object, _: object, out: object, counted: list[int] = counted) -> None:
            counted.append(2 * out.numel() * module.weight[0].numel())

        convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
        assert len(convolutions) == experiment.depth
        for module in convolutions:
            module.register_forward_hook(count)
        with torch.no_grad():
            network(torch.zeros(1, channels, experiment.image_size, experiment.image_size))
        assert costs.network_operations(experiment) == sum(counted)


# -- experts that jobs share --------------------------------------------------------------------


def test_experts_of_several_jobs_have_a_job_of_their_own() -> None:
    mtt = [
        Experiment(method="mtt", ipc=ipc, outliers=mode)
        for ipc in (1, 10)
        for mode in ("oe", "poe")
    ]
    alone = Experiment(method="mtt", seed=7)
    jobs = {e.key: (e,) for e in (*mtt, alone, Experiment())}
    shared = plan.shared_experts(jobs)
    assert sorted(len(members) for members in shared.values()) == [2, 2]
    # in one process there is nobody to wait for
    assert plan.shared_experts({"mtt": (*mtt, alone)}) == {}
    done = plan.tasks(["distill"], (alone,), shared)
    assert [(stage, e.seed) for stage, e in done] == [("distill", 7), ("experts", 7)]
    assert [stage for stage, _ in plan.tasks(["distill"], (mtt[0],), shared)] == ["distill"]


def test_who_needs_experts() -> None:
    mtt = Experiment(method="mtt", outliers="poe")
    drawn = {"selection": "random", "outlier_selection": "random"}
    assert needs_experts(mtt)
    assert needs_experts(mtt.but(selection="random"))
    assert not needs_experts(mtt.but(**drawn))
    assert not needs_experts(mtt.but(outliers="none", selection="random"))
    assert not needs_experts(mtt.but(selection="full"))
    assert not needs_experts(Experiment(method="dsa"))


def test_shared_experts_are_as_many_and_as_long_as_any_run_asks_for() -> None:
    few = Experiment(method="mtt", experts=2, max_start_epoch=9, expert_epochs=2)
    many = Experiment(method="mtt", experts=5, max_start_epoch=1, expert_epochs=3)
    wanted = all_experts([few, many])
    assert (wanted.experts, wanted.max_start_epoch, wanted.expert_epochs) == (5, 9, 2)
    with pytest.raises(BadInput, match="expected runs that share their experts"):
        all_experts([few, few.but(seed=1)])


def test_experts_are_trained_while_a_run_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []
    monkeypatch.setattr(
        "trustdd.distillation.experts.train_experts", lambda e, *_: trained.append(e.experts)
    )
    monkeypatch.setattr("trustdd.pipeline.shared_experts.stage_source", lambda *_: "now")
    runs = [Run.of(Experiment(method="mtt", ipc=i, experts=i), "quick", tmp_path) for i in (1, 2)]
    folder = train_for(runs, progress=False)
    assert trained == [2]
    assert folder is not None
    assert folder.parent == tmp_path / "quick" / "experts"
    runs[1].record("distill", [], 0.0, source="now")
    train_for(runs, progress=False)
    assert trained == [2, 1], "only for the run that is left"
    runs[0].record("distill", [], 0.0, source="before")
    assert train_for(runs, progress=False) is not None, "other source made it"
    assert train_for([Run.of(Experiment(), "quick", tmp_path)], progress=False) is None


# -- the profiles of clusters -------------------------------------------------------------------


def test_jobs_fit_every_profile() -> None:
    for name in ("slurm", "slurm-cpu"):
        settings = yaml.safe_load((PROFILES / name / "config.yaml").read_text())
        assert settings["executor"] == "slurm"
        largest = max(len(load_profile(p).experiments()) for p in list_profiles())
        assert settings["jobs"] >= max(54, largest)
        files = settings["configfile"]
        for path in [files] if isinstance(files, str) else files:
            assert set(yaml.safe_load((ROOT / path).read_text())) <= {
                "account", "partition", "gpu_partition", "slurm_extra", "hours", "together", "gpus",
            }  # fmt: skip


def test_account_and_partition_are_told_in_one_place() -> None:
    earlier = {"rule_distill_wildcards_a_b": ["12", "13"]}
    site = cluster.Site(
        {"account": "mine", "partition": "p", "gpu_partition": "g"}, lambda: earlier
    )
    assert (site.account(), site.partition(0), site.partition(1)) == ("mine", "p", "g")
    assert site.extra("distill", ["a/b"]) == "--dependency=afterany:12:13"
    assert site.extra("evaluate", ["a/b"]) is None
    bare = cluster.Site(
        {"account": None, "partition": "", "slurm_extra": "--nice=5"}, lambda: earlier
    )
    assert (bare.account(), bare.partition(1)) == (None, None)
    assert bare.extra("distill", ["a", "b"]) == "--nice=5 --dependency=afterany:12:13"
    assert cluster.Site({"partition": 7}, dict).partition(1) == "7"


@pytest.mark.slow
def test_every_job_has_memory_time_and_threads(tmp_path: Path) -> None:
    """As Snakemake reads them, from the profile as it is on disk, whatever this machine has."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--dry-run",
        "--config", "profile=paper", "account=mine", "gpu_partition=fast", "--workflow-profile",
    ]  # fmt: skip
    results = {**os.environ, "TRUSTDD_RESULTS": str(tmp_path)}
    for name, gpus in (("slurm", {"0", "1"}), ("slurm-cpu", {"0"})):
        done = subprocess.run(
            [*command, f"workflow/profiles/{name}"],
            cwd=ROOT, env=results, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        jobs = [
            block
            for block in done.stdout.split("\nrule ")[1:]
            if not block.startswith(("all:", "runs:"))
        ]
        rules = {block.split(":")[0] for block in jobs}
        assert rules >= {"experts", "distill", "evaluate", "notebook", "variant", "export"}
        asked = set()
        for block in jobs:
            (line,) = [line for line in block.splitlines() if "resources:" in line]
            facts = dict(pair.strip().split("=", 1) for pair in line.split(":", 1)[1].split(","))
            assert int(facts["mem_mb"]) >= 4000, block
            assert 30 <= int(facts["runtime"]) <= 24 * 60, block
            assert facts["slurm_account"] == "mine"
            assert facts.get("slurm_partition") == ("fast" if facts["gpu"] == "1" else None), block
            rule = block.split(":")[0]
            if rule in ("experts", "distill", "evaluate"):
                assert facts["gpu"] == max(gpus), block
            asked.add(facts["gpu"])
        assert asked == gpus


# -- one Snakemake at a time --------------------------------------------------------------------

HOLD = """
import sys, time
sys.path.insert(0, {workflow!r})
from pathlib import Path
import cluster
lock = cluster.hold(Path({path!r}), "profile 'quick' here")
print("held", flush=True)
time.sleep(60)
"""


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".lock"
    code = HOLD.format(workflow=str(ROOT / "workflow"), path=str(path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(
            BlockingIOError, match=rf"^process {holder.pid} on .* is at profile 'quick'"
        ):
            cluster.hold(path, "profile 'quick' here")
        holder.kill()
    cluster.hold(path, "profile 'quick' here").close()
    cluster.hold(path, "profile 'quick' here").close()


def test_jobs_that_outlived_their_snakemake_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "squeue"
    here, link = tmp_path / "clone", tmp_path / "link"
    here.mkdir()
    link.symlink_to(here)
    jobs = ((7, here), (8, tmp_path), (9, link))
    lines = [f"echo '{job}|{place}|rule_distill_wildcards_a|b'\n" for job, place in jobs]
    squeue.write_text("#!/bin/sh\n" + "".join(lines))
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert cluster.outliving_jobs(here) == {cluster.comment("distill", ["a|b"]): ["7", "9"]}
    squeue.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    with pytest.raises(OSError, match="squeue: Unable to contact"):
        cluster.outliving_jobs(here)
