"""Commands on distilled sets: an account of what is read, one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from trustdd.cli import main
from trustdd.data.distilled_set import load_distilled
from trustdd.data.inliers import load_inliers
from trustdd.settings.experiment import Experiment


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(leaving.value.code or 0), out, err


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two real images of every digit in it, as public projects write them."""
    data = load_inliers(Experiment())
    labels = data.train.labels
    places = torch.cat([(labels == c).nonzero().flatten()[:2] for c in range(10)])
    torch.save(data.normalise(data.train.images[places]), tmp_path / "images.pt")
    torch.save(labels[places], tmp_path / "labels.pt")
    torch.save(torch.tensor(0.03), tmp_path / "lr.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


IMPORT = ("import", "images.pt", "labels.pt", "--dataset", "digits", "-o", "set.safetensors")


def test_import_says_what_it_decided_and_why(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = call(
        capsys, *IMPORT, "--student-lr", "lr.pt", "--augmentation", "none", "--name", "Ours",
        "-p", "training_epochs=30", "--terms", "CC BY 4.0",
    )  # fmt: skip
    assert status == 0
    said = {line.split()[0]: line for line in out.splitlines()}
    assert "normalised by dataset" in said["range"] and "by no other" in said["range"]
    assert "hard, 2 a class" in said["labels"]
    assert said["set"].split()[1] == "set.safetensors"
    read = load_distilled("set.safetensors")
    assert read.student_lr == pytest.approx(0.03)
    assert (read.experiment.augmentation, read.experiment.training_epochs) == (None, 30)
    assert (read.origin["name"], read.origin["terms"]) == ("Ours", "CC BY 4.0")
    with Image.open("set.png") as preview:
        assert preview.width > 1000
    first = Path("set.png").read_bytes(), Path("set.safetensors").read_bytes()
    call(capsys, *IMPORT, "--student-lr", "lr.pt", "--augmentation", "none", "--name", "Ours",
         "-p", "training_epochs=30", "--terms", "CC BY 4.0")  # fmt: skip
    assert first == (Path("set.png").read_bytes(), Path("set.safetensors").read_bytes())


@pytest.mark.parametrize(
    "words, message",
    [
        (("--range", "half"), "--range half; expected one of unit"),
        (("--mean", "0.5"), "expected a name, or both of the numbers"),
        (("--mean", "0.5", "--std", "0"), "--std above 0"),
        (("--mean", "grey", "--std", "0.5"), "expected numbers, one a channel"),
        (("--label-kind", "soft"), "--label-kind soft; expected one of hard"),
        (("--channels", "2"), "--channels 2; expected one of first, last"),
        (("--student-lr", "labels.pt"), "expected a number, or a file that holds one"),
        (("-p", "trainin_epochs=3"), "nearest: training_epochs"),
        (("-o", "set.pt"), "expected a name that ends in .safetensors"),
        (("--classes", "a,b"), "expected each of 0, 1"),
        (("--dataset", "cifar11"), "cifar11"),
        (("--augmentation", "wobble"), "augmentation part 'wobble'"),
    ],
)
def test_import_refuses_in_one_line_and_writes_nothing(
    words: tuple[str, ...], message: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(p.name for p in files.iterdir())
    status, out, err = call(capsys, *IMPORT, *words)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("trustdd: ") and err.count("\n") == 1
    assert sorted(p.name for p in files.iterdir()) == before


def test_import_never_writes_over_what_it_reads(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import save_file

    tensors = {n: torch.load(f"{n}.pt", weights_only=True) for n in ("images", "labels")}
    save_file(tensors, "theirs.safetensors")
    before = Path("theirs.safetensors").read_bytes()
    status, _, err = call(
        capsys, "import", "theirs.safetensors", "--dataset", "digits", "-o", "theirs.safetensors"
    )
    assert (status, "is what is read" in err) == (2, True)
    assert Path("theirs.safetensors").read_bytes() == before


# -- evaluate, distill, export ------------------------------------------------------------------

TINY = (
    "-p", "training_epochs=2", "-p", "width=8", "-p", "ood=[gaussian, textures]", "-p",
    "ood_limit=40", "--no-progress",
)  # fmt: skip


@pytest.fixture
def stored(files: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert call(capsys, *IMPORT, "--name", "Theirs")[0] == 0
    return files / "set.safetensors"


def test_evaluate_prints_what_the_set_gains_and_writes_the_report(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = call(
        capsys, "evaluate", stored.name, *TINY, "-p", "students=2", "--real-epochs", 1
    )
    assert status == 0, err
    for said in ("Theirs, random outliers (POE)", "random images", "LRS", "over random images"):
        assert said in out
    written = {path.name for path in Path("set_report").iterdir()}
    assert {"card.md", "set.png", "fig02.pdf", "gains.tex", "measures.json"} <= written


@pytest.mark.parametrize(
    "words, message",
    [
        (("nothing.safetensors",), "nothing.safetensors: no such file"),
        (("set.safetensors", "-p", "ipc=5"), "ipc for a set that is given"),
        (("set.safetensors", "-p", "outliers=all"), "outliers 'all'; expected one of none, oe"),
        (("set.safetensors", "-p", "students=0"), "students 0; expected an integer ≥ 1"),
        (("set.safetensors", "-p", "ood=[nowhere]"), "nowhere"),
        (("set.safetensors", "--real-epochs", "0"), "--real-epochs"),
        (("images.pt",), "images.pt: not a readable .safetensors"),
    ],
)
def test_evaluate_refuses_in_one_line(
    words: tuple[str, ...], message: str, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(p.name for p in Path().iterdir())
    status, out, err = call(capsys, "evaluate", *words)
    assert (status, out) == (2, "")
    assert message in err and err.count("\n") == 1
    assert sorted(p.name for p in Path().iterdir()) == before


AROUND = (
    *TINY, "-p", "iterations=1", "-p", "outer_loops=1", "-p", "real_batch=8",
)  # fmt: skip


def test_distill_around_a_set_leaves_its_images_and_compares(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = call(
        capsys, "distill", "--around", stored.name, *AROUND, "-p", "outliers=poe", "-p",
        "seed=[0, 1]",
    )  # fmt: skip
    assert status == 0, err
    before = load_distilled(stored)
    for seed in (0, 1):
        after = load_distilled(f"set-poe-seed{seed}.safetensors")
        assert torch.equal(after.images, before.images)
        assert after.outliers.shape == (20, 1, 16, 16)
        assert after.origin == before.origin
    assert "Theirs, its outliers (POE)" in out
    assert "its outliers, over random ones beside the same images" in out


@pytest.mark.parametrize(
    "words, message",
    [
        (("--around", "no.safetensors", "-p", "outliers=poe"), "no such file"),
        (("--around", "set.safetensors"), "expected -p outliers=poe or -p outliers=oe"),
        (("--around", "set.safetensors", "-p", "outliers=poe", "-p", "seed=[]"), "seed []"),
        (("--around", "set.safetensors", "-p", "outliers=poe", "-p", "seed=[1, 1]"), "different"),
        (
            ("--around", "set.safetensors", "-p", "outliers=poe", "-p", "selection=full"),
            "selection",
        ),
        (("--around", "set.safetensors", "-p", "outliers=poe", "-o", "set.safetensors"), "itself"),
        (("--around", "set.safetensors", "-p", "outliers=poe", "-o", "set.pt"), ".safetensors"),
        (("--around", "images.pt", "-p", "outliers=poe"), "no distilled set"),
        (("--around", "set.safetensors", "-p", "outliers=poe", "-p", "zca=true"), "not whitened"),
    ],
)
def test_distill_refuses_in_one_line(
    words: tuple[str, ...], message: str, stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = call(capsys, "distill", *words)
    assert (status, out) == (2, "")
    assert message in err and err.count("\n") == 1


def test_what_is_exported_is_imported_again(
    stored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for to, name in (("pt", "set.pt"), ("npz", "set.npz"), ("png", "set")):
        status, out, _ = call(capsys, "export", stored.name, "--to", to)
        assert (status, out.strip()) == (0, name)
        status, _, err = call(
            capsys, "import", name, "--dataset", "digits", "-o", f"again-{to}.safetensors"
        )
        assert status == 0, err
        own, again = load_distilled(stored), load_distilled(f"again-{to}.safetensors")
        assert float((own.pictures() - again.pictures()).abs().max()) < 0.003
        assert torch.equal(own.labels, again.labels)
    assert (
        "--to svg; expected one of pt, npz, png"
        in call(capsys, "export", stored.name, "--to", "svg")[2]
    )
