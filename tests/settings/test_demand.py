"""Memory that an experiment needs at least, and what a machine has not."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from trustdd.networks.architectures import build
from trustdd.settings import demand
from trustdd.settings.demand import check_memory, in_units, memory_parts, network_weights
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream
from trustdd.store.profiles import list_profiles, load_profile

GIGABYTE = 10**9


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image_size": 100_000}, "image_size 100000"),
        ({"image_size": 10**9}, "image_size 1000000000"),
        ({"width": 100_000_000}, "width 100000000"),
        ({"width": 2**62}, "width"),
        ({"outliers": "poe", "outlier_ipc": 100_000_000}, "outlier_ipc 100000000"),
        ({"ipc": 100_000_000}, "ipc 100000000"),
        ({"method": "mtt", "student_steps": 10**8}, "student_steps"),
        ({"method": "mtt", "max_start_epoch": 10**8}, "an expert of"),
        ({"dataset": "mine", "data_root": "data", "width": 10**8}, "width 100000000"),
    ],
)
def test_what_no_machine_holds_is_refused_by_what_takes_it(fields: dict, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        check_memory(Experiment(**fields), 1000 * GIGABYTE)
    assert words in str(caught.value)
    assert "this machine has 1 TB" in str(caught.value)


def test_published_settings_pass_on_a_small_machine() -> None:
    for name in list_profiles():
        for experiment in load_profile(name).experiments():
            check_memory(experiment, 8 * GIGABYTE)


@pytest.mark.parametrize("size", [16, 28, 32])
def test_weights_are_those_of_the_network(size: int) -> None:
    for dataset in ("digits", "cifar100"):
        experiment = Experiment(dataset=dataset, image_size=size, width=24, depth=2)
        channels, classes = (1, 10) if dataset == "digits" else (3, 100)
        network = build("convnet", channels, classes, size, 24, 2, stream(0, "n"))
        assert network_weights(experiment) == sum(p.numel() for p in network.parameters())


def test_no_more_is_asked_for_than_is_there() -> None:
    """The synthetic images' part is what a set of images, gradients and momenta takes."""
    import numpy as np

    experiment = Experiment(ipc=20)
    part = memory_parts(experiment)["synthetic images of ipc 20"]
    tracemalloc.start()
    kept = [np.ones((200, 1, 16, 16), np.float32) for _ in range(3)]
    assert part <= tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(kept) == 3


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(demand, "CONTAINER_LIMITS", (tmp_path / "none", limit))
    whole = demand.machine_memory()
    assert whole > 10**8
    limit.write_text("max\n")
    assert demand.machine_memory() == whole
    limit.write_text("10000\n")
    assert demand.machine_memory() == 10_000
    with pytest.raises(BadInput, match="this machine has 10 kB"):
        check_memory(Experiment())


def test_sizes_in_words() -> None:
    assert [in_units(n) for n in (0, 999, 1000, 1_234_567, 5 * 10**18, 10**24)] == [
        "0 bytes", "999 bytes", "1 kB", "1.23 MB", "5 EB", "1,000,000 EB",
    ]  # fmt: skip
