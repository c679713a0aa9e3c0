"""Writes one small set of digits in the layouts that public projects publish theirs in.

    python tools/foreign_layouts.py FOLDER

Each comes with the command that reads it; all of them give the same images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from trustdd.data.inliers import InlierData, load_inliers
from trustdd.data.inputs import whitened_data
from trustdd.settings.experiment import Experiment

IPC = 2


@dataclass(frozen=True)
class Layout:
    """How a project stores a set.

    Attributes:
        files: what is read, relative to the folder: images, and labels where they lie apart.
        options: what the command has to be told.
        like: who stores sets so.
        write: (folder, pixels ``uint8 [n, c, h, w]``, labels ``int64 [n]``, data) → nothing.
    """

    files: tuple[str, ...]
    options: tuple[str, ...]
    like: str
    write: Callable[[Path, Tensor, Tensor, InlierData], None]

    def command(self, output: str) -> list[str]:
        """The words behind ``trustdd``."""
        return ["import", *self.files, "--dataset", "digits", *self.options, "-o", output]


def _trajectory(folder: Path, pixels: Tensor, labels: Tensor, data: InlierData) -> None:
    torch.save(data.normalise(pixels), folder / "images_best.pt")
    torch.save(labels, folder / "labels_best.pt")
    torch.save(torch.tensor(0.02), folder / "lr_best.pt")


def _condensation(folder: Path, pixels: Tensor, labels: Tensor, data: InlierData) -> None:
    content = {"data": [[data.normalise(pixels), labels]], "accs_all_exps": {"ConvNet": [0.9]}}
    torch.save(content, folder / "res_DSA_digits_ConvNet_2ipc.pt")


def _pair(folder: Path, pixels: Tensor, labels: Tensor, data: InlierData) -> None:
    torch.save([pixels.float() / 255, labels], folder / "data.pt")


def _soft(folder: Path, pixels: Tensor, labels: Tensor, data: InlierData) -> None:
    logits = 6 * torch.nn.functional.one_hot(labels, 10).float() - 1
    content = {"images": data.normalise(pixels), "labels": logits, "syn_lr": torch.tensor(0.02)}
    torch.save(content, folder / "soft.pt")


def _whitened(folder: Path, pixels: Tensor, labels: Tensor, data: InlierData) -> None:
    images = whitened_data(data).normalise(pixels)
    torch.save({"image_syn": images, "label_syn": labels}, folder / "zca.pt")


def _arrays(folder: Path, pixels: Tensor, labels: Tensor, data: InlierData) -> None:
    last = pixels.permute(0, 2, 3, 1).numpy()
    np.savez(folder / "set.npz", image=last, label=np.eye(10, dtype=np.float32)[labels.numpy()])


def _two_arrays(folder: Path, pixels: Tensor, labels: Tensor, data: InlierData) -> None:
    np.save(folder / "x.npy", pixels.numpy().astype(np.float64) / 127.5 - 1)
    np.save(folder / "y.npy", labels.numpy().astype(np.int32) + 1)


def _safetensors(folder: Path, pixels: Tensor, labels: Tensor, data: InlierData) -> None:
    soft = 0.9 * torch.nn.functional.one_hot(labels, 10).float() + 0.01
    save_file({"images": pixels.float() / 255, "soft_labels": soft}, folder / "soft.safetensors")


def _folders(folder: Path, pixels: Tensor, labels: Tensor, data: InlierData) -> None:
    for place, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        path = folder / "syn_data" / f"new{label:03d}" / f"class{label:03d}_id{place:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(path)


LAYOUTS: dict[str, Layout] = {
    "trajectory": Layout(
        ("images_best.pt", "labels_best.pt"), ("--student-lr", "lr_best.pt"),
        "MTT and what goes back to it: a tensor of images, one of labels, the learning rate",
        _trajectory,
    ),
    "condensation": Layout(
        ("res_DSA_digits_ConvNet_2ipc.pt",), (),
        "DC, DSA, DM: a dictionary with a list of pairs, one an experiment", _condensation,
    ),
    "pair": Layout(("data.pt",), (), "IDC: images in [0, 1] and labels, in a list", _pair),
    "soft": Layout(
        ("soft.pt",), ("--label-kind", "logits"),
        "DATM: learned soft labels as logits, and a learning rate", _soft,
    ),
    "whitened": Layout(("zca.pt",), (), "MTT on CIFAR: images that are ZCA-whitened", _whitened),
    "arrays": Layout(
        ("set.npz",), (), "projects in JAX: arrays, channels last, labels one-hot", _arrays
    ),
    "two arrays": Layout(
        ("x.npy", "y.npy"), ("--range", "symmetric", "--first-label", "1"),
        "arrays in [−1, 1], labels counted from 1", _two_arrays,
    ),
    "safetensors": Layout(
        ("soft.safetensors",), (), "soft labels as distributions, in .safetensors", _safetensors
    ),
    "folders": Layout(
        ("syn_data",), (), "SRe2L, RDED: a folder of pictures a class, numbered", _folders
    ),
}  # fmt: skip


def chosen(data: InlierData) -> tuple[Tensor, Tensor]:
    """The set: `IPC` training images of every digit, ``uint8``, and their labels."""
    labels = data.train.labels
    assert labels is not None
    places = torch.cat([(labels == c).nonzero().flatten()[:IPC] for c in range(10)])
    return data.train.images[places], labels[places]


def write_layout(name: str, folder: Path) -> Layout:
    """Write the set in one layout into a folder, and return the layout."""
    data = load_inliers(Experiment())
    folder.mkdir(parents=True, exist_ok=True)
    LAYOUTS[name].write(folder, *chosen(data), data)
    return LAYOUTS[name]


def main() -> None:
    """Write all of them, and print the commands that read them."""
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/foreign_layouts.py FOLDER")
    folder = Path(sys.argv[1])
    print(f"cd {folder}")
    for name, layout in LAYOUTS.items():
        write_layout(name, folder)
        print(f"# {layout.like}")
        print("trustdd", *layout.command(f"read_{name.replace(' ', '_')}.safetensors"))


if __name__ == "__main__":
    main()
