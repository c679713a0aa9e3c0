"""Sets of other projects: every layout gives the same images; what is wrong or unclear is said."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import write_splits
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from trustdd.data.distilled_set import DistilledSet, load_distilled
from trustdd.data.foreign.containers import read_container
from trustdd.data.foreign.importing import Imported, Reading, import_set
from trustdd.data.foreign.labels import nearest_mean_agreement, reordered, to_labels
from trustdd.data.foreign.pixels import find_range, known_statistics, undone
from trustdd.data.inliers import InlierData, load_inliers
from trustdd.data.inputs import whitens
from trustdd.settings.experiment import Experiment

TOOL = Path(__file__).parents[2] / "tools" / "foreign_layouts.py"


def _tool():
    spec = importlib.util.spec_from_file_location("foreign_layouts", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["foreign_layouts"] = module
    spec.loader.exec_module(module)
    return module


layouts = _tool()


@pytest.fixture(scope="module")
def digits() -> InlierData:
    return load_inliers(Experiment())


@pytest.fixture(scope="module")
def chosen(digits: InlierData) -> tuple[Tensor, Tensor]:
    return layouts.chosen(digits)


def imported(path: Path, labels: Path | None = None, **reading: object) -> Imported:
    return import_set(path, labels, dataset="digits", reading=Reading(**reading))


def reading_of(options: tuple[str, ...], folder: Path) -> dict[str, object]:
    """What a layout's options of the command mean."""
    words = dict(zip(options[::2], options[1::2], strict=True))
    found: dict[str, object] = {}
    if "--student-lr" in words:
        found["student_lr"] = float(torch.load(folder / words["--student-lr"], weights_only=True))
    if "--first-label" in words:
        found["first_label"] = int(words["--first-label"])
    for option, name in (("--label-kind", "label_kind"), ("--range", "range_")):
        if option in words:
            found[name] = words[option]
    return found


@pytest.mark.parametrize("name", list(layouts.LAYOUTS))
def test_every_layout_gives_the_same_set(
    name: str, tmp_path: Path, digits: InlierData, chosen: tuple[Tensor, Tensor]
) -> None:
    layout = layouts.write_layout(name, tmp_path)
    paths = [tmp_path / file for file in layout.files]
    read = imported(
        paths[0], paths[1] if len(paths) > 1 else None, **reading_of(layout.options, tmp_path)
    )
    pixels, labels = chosen
    distilled = read.distilled
    order = distilled.hard_labels.argsort(stable=True)
    assert distilled.hard_labels[order].tolist() == labels.tolist()
    shown = (distilled.pictures()[order] * 255).round()
    assert float((shown - pixels.float()).abs().max()) <= 1
    assert (distilled.experiment.selection, distilled.experiment.ipc) == ("given", layouts.IPC)
    assert whitens(distilled.experiment) == (name == "whitened")
    soft = name in ("soft", "safetensors")
    assert distilled.labels.ndim == (2 if soft else 1)
    assert distilled.student_lr == pytest.approx(0.02) or name not in ("trajectory", "soft")
    stored = load_distilled(distilled.save(tmp_path / "read.safetensors"))
    assert torch.equal(stored.images, distilled.images)
    assert stored.origin == distilled.origin
    assert set(stored.origin["files"]) == {f + "/" if f == "syn_data" else f for f in layout.files}
    reasons = stored.origin["read"]
    assert {"images", "channels", "range", "labels", "order", "student_lr"} <= set(reasons)


def test_images_that_come_as_networks_are_fed_them_stay_to_the_bit(
    tmp_path: Path, digits: InlierData, chosen: tuple[Tensor, Tensor]
) -> None:
    layouts.write_layout("trajectory", tmp_path)
    read = imported(tmp_path / "images_best.pt", tmp_path / "labels_best.pt")
    assert torch.equal(read.distilled.images, digits.normalise(chosen[0]))


# -- what cannot be read, one line each ---------------------------------------------------------


class _Code:
    def __reduce__(self):
        return (os.system, ("touch /tmp/foreign-set-was-run",))


def _save(path: Path, content: object) -> None:
    torch.save(content, path)


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"images": _Code()}))


def _spoiled(images: Tensor) -> Tensor:
    images = images.clone()
    images[2, 0, 0, 0] = float("nan")
    return images


Write = Callable[[Path, Tensor, Tensor], None]
REFUSED: dict[str, tuple[Write, dict[str, object], str]] = {
    "code in a pickle": (
        lambda p, x, y: _save(p, {"images": _Code()}), {}, r"holds a \w+\.system, which is more than"
    ),
    "a bare pickle of code": (lambda p, x, y: _pickled(p), {}, "more than tensors|cannot be read"),
    "a module": (lambda p, x, y: _save(p, torch.nn.Linear(2, 2)), {}, "more than tensors"),
    "arrays in a .pt": (lambda p, x, y: _save(p, {"x": x.numpy()}), {}, "holds a numpy"),
    "no archive": (lambda p, x, y: p.write_bytes(b"words"), {}, "cannot be read"),
    "nothing": (lambda p, x, y: p.write_bytes(b""), {}, "cannot be read"),
    "no tensor": (lambda p, x, y: _save(p, {"accs": "none"}), {}, "holds no tensor"),
    "no images": (lambda p, x, y: _save(p, {"labels": y}), {}, "no tensor of images"),
    "several sets": (
        lambda p, x, y: _save(p, {"data": [[x, y], [x, y]]}), {},
        r"2 tensors could be the images: 'data.0.0' \[20, 1, 16, 16\].*--entry data.0",
    ),
    "an entry that is not there": (
        lambda p, x, y: _save(p, {"data": [[x, y]]}), {"entry": "data.3"}, "no 'data.3'; expected"
    ),
    "a label too few": (lambda p, x, y: _save(p, {"images": x, "labels": y[:-1]}), {},
                        r"'labels' \[19\] for 20 images"),
    "labels from 1": (lambda p, x, y: _save(p, [x, y + 1]), {}, "start at 1.*--first-label 1"),
    "a label beyond": (lambda p, x, y: _save(p, [x, y + 4]), {}, "labels from 4 to 13; expected 0"),
    "below the first": (lambda p, x, y: _save(p, [x, y]), {"first_label": 1}, "expected 1 to 10"),
    "a class missing": (lambda p, x, y: _save(p, [x, y.clamp(max=8)]), {}, "no image of class 9"),
    "broken classes": (lambda p, x, y: _save(p, [x, y + 0.5]), {}, "not whole"),
    "logits": (lambda p, x, y: _save(p, [x, 9.0 * torch.eye(10)[y]]), {}, "--label-kind logits"),
    "no distributions": (lambda p, x, y: _save(p, [x, 9.0 * torch.eye(10)[y]]),
                         {"label_kind": "distribution"}, "expected rows that sum to 1"),
    "nine columns": (lambda p, x, y: _save(p, [x, torch.ones(20, 9)]), {}, r"\[20, 10\] numbers"),
    "NaN labels": (lambda p, x, y: _save(p, [x, torch.full((20, 10), float("nan"))]), {},
                   "labels hold NaN"),
    "no labels": (lambda p, x, y: _save(p, x), {}, "no labels; give a file.*--sorted-by-class"),
    "not sorted so": (lambda p, x, y: _save(p, x[:13]), {"sorted_by_class": True}, "a multiple of"),
    "labels and sorted": (lambda p, x, y: _save(p, [x, y]), {"sorted_by_class": True},
                          "expected one of them"),
    "too few images": (lambda p, x, y: _save(p, [x[:4], y[:4]]), {}, "4 images; expected at least"),
    "another size": (lambda p, x, y: _save(p, [x[..., :8, :8], y]), {}, "8 x 8 px.*--image-size 8"),
    "not square": (lambda p, x, y: _save(p, [x[..., :12], y]), {}, "12 x 16 px; expected 16 x 16"),
    "colour": (lambda p, x, y: _save(p, [x.expand(-1, 3, -1, -1), y]), {}, "expected 1 channels"),
    "the wrong way": (lambda p, x, y: _save(p, [x, y]), {"channels": "last"}, "in the last dim"),
    "NaN": (lambda p, x, y: _save(p, [_spoiled(x), y]), {}, "1 of 20 images hold NaN"),
    "one grey": (lambda p, x, y: _save(p, [torch.zeros_like(x), y]), {}, "every value is 0"),
    "large numbers": (lambda p, x, y: _save(p, [(x * 5).long() + 300, y]), {}, "expected 0 to 255"),
    "distilled": (lambda p, x, y: _save(p, [2 * x - 0.3, y]), {},
                  "normalised, but by what.*--statistics dataset.*--mean.*--range"),
    "not that range": (lambda p, x, y: _save(p, [x * 3, y]), {"range_": "unit"}, "expected.*0, 1"),
    "unknown statistics": (lambda p, x, y: _save(p, [x, y]), {"statistics": "mtt"},
                           "statistics 'mtt'; expected one of dataset"),
    "three means": (lambda p, x, y: _save(p, [x, y]), {"statistics": ((0.5,) * 3, (0.5,) * 3)},
                    "a mean of 3.*expected 1 of each"),
    "two answers": (lambda p, x, y: _save(p, [x, y]),
                    {"range_": "unit", "statistics": "dataset"}, "expected --range normalised"),
    "a class unknown": (lambda p, x, y: _save(p, [x, y]), {"classes": list("abcdefghij")},
                        "expected each of 0, 1, 2"),
    "outliers of what": (lambda p, x, y: _save(p, {"images": x, "labels": y, "outliers": x}), {},
                         "--outliers oe .* or poe"),
    "no outliers": (lambda p, x, y: _save(p, [x, y]), {"outliers": "oe"}, "file that holds outl"),
    "rate 0": (lambda p, x, y: _save(p, {"images": x, "labels": y, "lr": torch.zeros(())}), {},
               "student_lr 0.0"),
}  # fmt: skip


@pytest.mark.parametrize("write, reading, message", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_or_unclear_is_one_line(
    write: Write, reading: dict[str, object], message: str, tmp_path: Path,
    chosen: tuple[Tensor, Tensor],
) -> None:  # fmt: skip
    path = tmp_path / "set.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(path, chosen[0].float() / 255, chosen[1])
        with pytest.raises(ValueError, match=message) as error:
            imported(path, **reading)
    assert "\n" not in str(error.value)
    assert not Path("/tmp/foreign-set-was-run").exists()


def test_files_of_other_kinds_are_refused(tmp_path: Path, chosen: tuple[Tensor, Tensor]) -> None:
    np.savez(tmp_path / "objects.npz", images=np.array([{}], dtype=object))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 64)
    (tmp_path / "set.zip").write_bytes(b"PK")
    for name, message in (
        ("objects.npz", "holds Python objects"), ("broken.npz", "cannot be read"),
        ("broken.safetensors", "not a readable .safetensors"), ("set.zip", "ends in '.zip'"),
        ("nothing.pt", "no such file"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            read_container(tmp_path / name)
    layouts.write_layout("pair", tmp_path)
    own = imported(tmp_path / "data.pt").distilled.save(tmp_path / "own.safetensors")
    with pytest.raises(ValueError, match="read in already"):
        imported(own)


# -- ranges -------------------------------------------------------------------------------------


def test_statistics_are_told_apart_where_pixels_fill_their_range(tmp_path: Path) -> None:
    write_splits(tmp_path, "cifar10", {f"c{i}": 3 for i in range(10)})
    data = load_inliers(Experiment(dataset="cifar10", data_root=str(tmp_path)))
    pixels = data.train.images.float() / 255
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    known = known_statistics(data)
    assert set(known) == {"dataset", "trajectory", "imagenet"}
    for name, (mean, std) in known.items():
        stored = (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
        found, decision = find_range(stored, data)
        assert found == known[name]
        assert decision.value.startswith(f"normalised by {name} ")
        assert torch.allclose(undone(stored, found), pixels, atol=1e-5)
    found, _ = find_range(2 * pixels - 1, data)
    assert torch.allclose(undone(2 * pixels - 1, found), pixels, atol=1e-6)
    found, _ = find_range(pixels * 255, data)
    assert torch.allclose(undone(pixels * 255, found), pixels, atol=1e-6)


def test_what_is_asked_for_is_taken_though_pixels_leave_their_range(
    tmp_path: Path, digits: InlierData, chosen: tuple[Tensor, Tensor]
) -> None:
    images = digits.normalise(chosen[0]) + 0.3 * torch.randn(
        20, 1, 16, 16, generator=torch.Generator().manual_seed(0)
    )
    torch.save([images, chosen[1]], tmp_path / "set.pt")
    read = imported(tmp_path / "set.pt", statistics="dataset")
    assert torch.equal(read.distilled.images, images)
    given = imported(tmp_path / "set.pt", statistics=((0.5,), (0.25,)))
    expected = (images * 0.25 + 0.5 - 0.3088) / 0.3487
    assert torch.allclose(given.distilled.images, expected, atol=1e-5)
    whitened = imported(tmp_path / "set.pt", range_="zca")
    assert torch.equal(whitened.distilled.images, images)
    assert whitens(whitened.distilled.experiment)
    assert whitened.distilled.whitened is not None


# -- labels -------------------------------------------------------------------------------------


def test_softmaxed_logits_and_the_likeliest_class() -> None:
    logits = torch.randn(30, 3, generator=torch.Generator().manual_seed(1))
    names = ("a", "b", "c")
    soft, _ = to_labels(logits, 30, names, kind="logits")
    assert torch.allclose(soft, logits.softmax(1), atol=1e-6)
    hard, _ = to_labels(logits, 30, names, kind="hard")
    assert torch.equal(hard, logits.argmax(1))
    again, decision = to_labels(torch.eye(3)[[0, 1, 2, 2]], 4, names)
    assert again.tolist() == [0, 1, 2, 2] and decision.value == "hard"


def test_another_order_of_classes_is_brought_to_the_data_sets() -> None:
    labels = torch.tensor([0, 1, 2])
    moved, _ = reordered(labels, ["ship", "cat", "dog"], ("cat", "dog", "ship"))
    assert moved.tolist() == [2, 0, 1]
    soft, _ = reordered(torch.tensor([[0.7, 0.2, 0.1]]), ["ship", "cat", "dog"],
                        ("cat", "dog", "ship"))  # fmt: skip
    assert torch.allclose(soft, torch.tensor([[0.2, 0.1, 0.7]]))


def test_agreement_sees_labels_in_the_wrong_order(
    digits: InlierData, chosen: tuple[Tensor, Tensor]
) -> None:
    pixels, labels = chosen[0].float() / 255, chosen[1]
    of = (digits.train.images, digits.train.labels)
    assert nearest_mean_agreement(pixels, labels, *of) > 0.8
    assert nearest_mean_agreement(pixels, (labels + 3) % 10, *of) < 0.2


# -- folders ------------------------------------------------------------------------------------


def _pictures(folder: Path, names: list[str], size: tuple[int, int] = (16, 16)) -> Path:
    for i, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.full((size[1], size[0]), 20 * i, np.uint8)).save(folder / name / "a.png")
    return folder


@pytest.mark.parametrize(
    "names, reading, message",
    [
        ([str(i) for i in range(10)], {}, None),
        ([f"new{i:03d}" for i in range(10)], {}, None),
        ([f"{i:02d}" for i in range(1, 11)], {"first_label": 1}, None),
        (list("abcdefghij"), {"classes": [str(i) for i in range(10)]}, None),
        ([f"{i:02d}" for i in range(1, 11)], {}, "numbered from 1; expected 0, or give"),
        (list("abcdefghij"), {}, "by name or numbered 0 to 9; or give --classes"),
        ([str(i) for i in range(9)], {}, "expected one for each of 0, 1"),
    ],
)
def test_folders_are_classes_by_name_or_number(
    names: list[str], reading: dict[str, object], message: str | None, tmp_path: Path
) -> None:
    folder = _pictures(tmp_path / "set", names)
    if message is None:
        read = imported(folder, **reading)
        shown = (read.distilled.pictures() * 255).round()[:, 0, 0, 0]
        assert shown[read.distilled.labels.argsort()].tolist() == [20 * i for i in range(10)]
    else:
        with pytest.raises(ValueError, match=message):
            imported(folder, **reading)


def test_pictures_of_another_size_are_fitted_only_when_asked(tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "set", [str(i) for i in range(10)], size=(40, 30))
    with pytest.raises(ValueError, match="40 x 30 px; expected 16 x 16.*--resize"):
        imported(folder)
    read = imported(folder, resize=True)
    assert read.distilled.images.shape == (10, 1, 16, 16)
    sizes = next(d for d in read.decisions if d.what == "size")
    assert "40 x 30" in sizes.why and "centre" in sizes.why
    (folder / "3" / "b.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="b.png: cannot be read"):
        imported(folder, resize=True)


def test_pictures_side_by_side_take_labels_from_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(10):
        Image.fromarray(np.full((16, 16), 20 * i, np.uint8)).save(folder / f"{i}.png")
    with pytest.raises(ValueError, match="no labels; give a file"):
        imported(folder)
    torch.save(torch.arange(9, -1, -1), tmp_path / "labels.pt")
    read = imported(folder, tmp_path / "labels.pt")
    assert read.distilled.labels.tolist() == list(range(9, -1, -1))
    (folder / "0").mkdir()
    (folder / "9.png").rename(folder / "0" / "9.png")
    with pytest.raises(ValueError, match="9 images beside 1 class folders"):
        imported(folder)


# -- outliers, and what is written --------------------------------------------------------------


def test_outliers_of_a_file_come_along(tmp_path: Path, chosen: tuple[Tensor, Tensor]) -> None:
    pixels, labels = chosen
    save_file(
        {"images": pixels, "labels": labels, "outliers": 255 - pixels[:10]},
        tmp_path / "set.safetensors",
    )
    read = imported(tmp_path / "set.safetensors", outliers="poe")
    distilled: DistilledSet = read.distilled
    assert distilled.experiment.outliers == "poe"
    assert torch.allclose(
        distilled.outlier_pictures(), 1 - distilled.pictures()[:10], atol=1e-6
    )
    assert json.loads(json.dumps(distilled.origin)) == distilled.origin
