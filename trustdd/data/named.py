"""Named datasets on disk: where each may lie under a `data_root`, and how to get it.

An image folder ``data_root/NAME`` comes first, then the layout that torchvision or
pytorch-ood leaves behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trustdd.data.array_files import ArrayFiles, CifarFiles, MnistFiles, SvhnFiles, TinyFiles
from trustdd.data.folders import ImageFolder, has_images, image_folder, split_folder
from trustdd.settings.errors import MissingData
from trustdd.settings.errors import BadInput

#: how the command that downloads is called; `{name}` and `{root}` are filled in
DOWNLOAD_COMMAND = "trustdd data --download {name} --data-root {root}"

#: what ImageNette's folders show
IMAGENETTE_CLASSES = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player",
    "n03000684": "chain saw", "n03028079": "church", "n03394916": "French horn",
    "n03417042": "garbage truck", "n03425413": "gas pump", "n03445777": "golf ball",
    "n03888257": "parachute",
}  # fmt: skip


@dataclass(frozen=True)
class NamedDataset:
    """A dataset that is known by name.

    Attributes:
        name: as in ``Experiment(dataset=…)``, ``ood`` or ``outlier_pool``.
        roles: what it can be: ``"InD"``, ``"OOD"``, ``"pool"``.
        folders: places of an image folder under `data_root`.
        reader: the class that reads its files of arrays, if it comes as such.
        places: folders under `data_root` that may hold those files.
        origin: where it comes from, for a person to fetch.
        loader: ``torchvision`` or ``pytorch_ood``: which library downloads it; empty if none.
    """

    name: str
    roles: tuple[str, ...]
    folders: tuple[str, ...]
    reader: type[ArrayFiles] | None = None
    places: tuple[str, ...] = ()
    origin: str = ""
    loader: str = ""

    def looked_for(self) -> str:
        """Say, in a few words, where under `data_root` it is looked for."""
        inside = "/<split>/<class>/<image>" if "InD" in self.roles else "/…/<image>"
        spots = [self.folders[0] + inside, *self.folders[1:]]
        if self.reader is not None:
            spots += [
                str(Path(place) / self.reader(self.name, Path(), "test").files()[0].name)
                for place in self.places
            ]
        return ", ".join(spots)

    def how_to_get(self, data_root: str | Path) -> str:
        """Say how to get it."""
        if self.loader:
            command = DOWNLOAD_COMMAND.format(name=self.name, root=data_root)
            return f"`{command}`, or by hand from {self.origin}"
        return f"by hand from {self.origin}, unpacked under {data_root}"


_BOTH = ("InD", "OOD", "pool")
_PLACES = "http://places2.csail.mit.edu"
_LSUN_R = "https://www.dropbox.com/s/moqh2wh8696c3yl/LSUN_resize.tar.gz"
_LSUN_C = "https://www.dropbox.com/s/fhtsw1m3qxlwj6h/LSUN.tar.gz"
_ISUN = "https://www.dropbox.com/s/ssz7qxfqae0cca5/iSUN.tar.gz"

NAMED: dict[str, NamedDataset] = {
    d.name: d
    for d in (
        NamedDataset(
            "cifar10", _BOTH, ("cifar10",), CifarFiles,
            ("cifar-10-batches-py", "cifar10/cifar-10-batches-py"),
            "https://www.cs.toronto.edu/~kriz/cifar.html", "torchvision",
        ),
        NamedDataset(
            "cifar100", _BOTH, ("cifar100",), CifarFiles,
            ("cifar-100-python", "cifar100/cifar-100-python"),
            "https://www.cs.toronto.edu/~kriz/cifar.html", "torchvision",
        ),
        NamedDataset(
            "svhn", _BOTH, ("svhn",), SvhnFiles, ("svhn", "SVHN", "."),
            "http://ufldl.stanford.edu/housenumbers", "torchvision",
        ),
        NamedDataset(
            "mnist", _BOTH, ("mnist",), MnistFiles,
            ("MNIST/raw", "mnist/MNIST/raw", "mnist", "mnist/raw"),
            "https://ossci-datasets.s3.amazonaws.com/mnist", "torchvision",
        ),
        NamedDataset(
            "fashionmnist", _BOTH, ("fashionmnist",), MnistFiles,
            ("FashionMNIST/raw", "fashionmnist/FashionMNIST/raw", "fashionmnist"),
            "https://github.com/zalandoresearch/fashion-mnist", "torchvision",
        ),
        NamedDataset(
            "imagenette", _BOTH,
            ("imagenette", "imagenette2-160", "imagenette2-320", "imagenette2"),
            origin="https://github.com/fastai/imagenette", loader="torchvision",
        ),
        NamedDataset(
            "textures", ("OOD", "pool"),
            ("textures", "dtd/dtd/images", "dtd/images", "textures/dtd/images"),
            origin="https://www.robots.ox.ac.uk/~vgg/data/dtd", loader="torchvision",
        ),
        NamedDataset(
            "places365", ("OOD", "pool"),
            ("places365", "val_256", "places365/val_256", "Places", "val_large"),
            origin=_PLACES, loader="torchvision",
        ),
        NamedDataset(
            "lsun_r", ("OOD", "pool"), ("lsun_r", "LSUN_resize"), origin=_LSUN_R,
            loader="pytorch_ood",
        ),
        NamedDataset(
            "lsun_c", ("OOD", "pool"), ("lsun_c", "LSUN"), origin=_LSUN_C, loader="pytorch_ood",
        ),
        NamedDataset(
            "isun", ("OOD", "pool"), ("isun", "iSUN", "iSUN_patches"), origin=_ISUN,
        ),
        NamedDataset(
            "tiny300k", ("pool", "OOD"), ("tiny300k",), TinyFiles, (".", "tiny300k"),
            "https://github.com/hendrycks/outlier-exposure", "pytorch_ood",
        ),
    )
}  # fmt: skip


def labelled_split(name: str, data_root: Path, split: str) -> ImageFolder | ArrayFiles:
    """Find one split of a dataset with classes.

    Args:
        name: a named dataset, or a folder's name under `data_root`.
        data_root: the folder that holds datasets.
        split: ``"train"`` or ``"test"``.

    Returns:
        The images, not read yet.

    Raises:
        ValueError: it is not there; the message says where it was looked for, and how to get it.
    """
    check_data_root(name, data_root)
    facts = NAMED.get(name)
    folders = facts.folders if facts else (name,)
    for folder in folders:
        directory = split_folder(data_root / folder, split)
        if directory is not None:
            return image_folder(name, directory, data_root / folder)
    if facts and facts.reader is not None:
        for place in facts.places:
            files = facts.reader(name, data_root / place, split)
            if files.present():
                return files
    for folder in folders:
        if has_images(data_root / folder):
            inside = sorted(p.name for p in (data_root / folder).iterdir() if p.is_dir())
            wanted = "train" if split == "train" else "test or val"
            raise BadInput(
                f"dataset '{name}': split '{split}' is missing; expected {data_root / folder} to "
                f"hold a folder {wanted}, found {_some(inside)}"
            )
    if facts is None:
        raise BadInput(
            f"dataset '{name}': not found; expected an image folder "
            f"{data_root / name}/<split>/<class>/<image>, or one of digits, {', '.join(_inliers())}"
        )
    raise not_found(facts, data_root)


def unlabelled_images(
    name: str, data_root: Path, split: str, role: str
) -> ImageFolder | ArrayFiles:
    """Find images whose classes do not matter: an OOD set or an outlier pool.

    Of a folder with splits the one asked for is taken (``"test"`` also where it is called
    ``val``); of a folder without, everything in it.

    Args:
        name: a named dataset, or a folder's name under `data_root`.
        data_root: the folder that holds datasets.
        split: ``"test"`` for an OOD set, ``"train"`` for a pool.
        role: what it is wanted as, for messages.

    Raises:
        ValueError: it is not there.
    """
    check_data_root(name, data_root)
    facts = NAMED.get(name)
    folders = facts.folders if facts else (name,)
    for folder in folders:
        if has_images(data_root / folder):
            return plain_folder(name, data_root / folder, split)
    if facts is None:
        raise BadInput(f"{role} '{name}': no image in {data_root / name}")
    if facts.reader is not None:
        for place in facts.places:
            files = facts.reader(name, data_root / place, split)
            if files.present():
                return files
    raise not_found(facts, data_root, role)


def plain_folder(name: str, directory: Path, split: str) -> ImageFolder:
    """List a folder's images: those of one split if it has splits, else all."""
    inside = split_folder(directory, split)
    if inside is not None and has_images(inside):
        return image_folder(name, inside, directory)
    return image_folder(name, directory)


def check_data_root(name: str, data_root: Path) -> None:
    """Raise where `data_root` is no folder.

    Raises:
        MissingData: naming the dataset it is needed for.
    """
    if not data_root.is_dir():
        raise MissingData(f"data_root '{data_root}': no such folder (needed for '{name}')")


def not_found(facts: NamedDataset, data_root: Path | None, role: str = "dataset") -> MissingData:
    """Make the error for a named dataset that is not there, or that needs a `data_root`."""
    if data_root is None:
        return MissingData(
            f"{role} '{facts.name}': needs data_root, the folder that holds it "
            f"({facts.looked_for()}); get it with {facts.how_to_get('DATA_ROOT')}"
        )
    return MissingData(
        f"{role} '{facts.name}': not found under {data_root} (looked for {facts.looked_for()}); "
        f"get it with {facts.how_to_get(data_root)}"
    )


def _inliers() -> list[str]:
    return [d.name for d in NAMED.values() if "InD" in d.roles]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return (shown or "none") + (", …" if len(names) > 5 else "")
