"""Stored expert trajectories: where they are, which are there, and reading a snapshot of one.

One safetensors file per expert: its parameters after every epoch as one matrix, and its curves.
`trustdd.distillation.experts` trains them.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from safetensors import SafetensorError, safe_open

from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import OUTLIERS, Experiment
from trustdd.store.files import sha256
from trustdd.store.locks import lock, lock_path
from trustdd.store.provenance import provenance
from trustdd.store.published import published_folders
from trustdd.store.records import (
    MANIFEST,
    Damaged,
    checked,
    is_whole,
    read_manifest,
    set_aside,
    write_record,
)
from trustdd.store.source_hash import source_hash
from trustdd.store.tensors import read_tensors

if TYPE_CHECKING:
    # not before an expert is read: the workflow's plan only asks for names
    import pandas as pd
    from torch import Tensor

FORMAT = "trustdd-expert-1"

#: what an expert depends on
EXPERT_FIELDS = (
    "dataset", "image_size", "width", "depth", "seed", "zca", "outliers", "outlier_pool",
    "corruptions", "outlier_weight", "expert_lr", "expert_batch", "expert_augmentation",
    "precision",
)  # fmt: skip


def experts_key(experiment: Experiment) -> str:
    """A readable, unique name for the experts of an experiment: ``digits-poe-seed0-1a2b3c4d``."""
    text = json.dumps(expert_settings(experiment), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{experiment.dataset}-{experiment.outliers}-seed{experiment.seed}-{digest}"


def expert_settings(experiment: Experiment) -> dict[str, object]:
    """Return the fields that an expert depends on, as JSON types; see `Experiment.identity`."""
    return experiment.identity(EXPERT_FIELDS)


def experts_directory(experiment: Experiment, profile_directory: Path) -> Path:
    """Return where the experts of an experiment are kept: ``results/PROFILE/experts/KEY``."""
    return profile_directory / "experts" / experts_key(experiment)


@dataclass(frozen=True)
class ExpertTrajectory:
    """One stored expert; what is asked for is read from disk, a snapshot at a time.

    Attributes:
        path: ``expert-NNN.safetensors``.
        index: its number NNN.
    """

    path: Path
    index: int

    @property
    def epochs(self) -> int:
        """How many epochs it was trained; it has one snapshot more."""
        return stored_epochs(self.path)

    def snapshot(self, epoch: int) -> Tensor:
        """Return all parameters after `epoch` epochs, ``float32 [p]``; 0 is the fresh network.

        Raises:
            ValueError: the expert was not trained so far.
        """
        with safe_open(checked(self.path), framework="pt") as file:
            rows = file.get_slice("parameters")
            if not 0 <= epoch < rows.get_shape()[0]:
                raise BadInput(
                    f"epoch {epoch} of {self.path.name}; expected 0 to {rows.get_shape()[0] - 1}"
                )
            return rows[epoch : epoch + 1][0]

    def parameters(self) -> Tensor:
        """Return every snapshot, ``float32 [epochs + 1, p]``."""
        return read_tensors(self.path)[0]["parameters"]

    def curves(self) -> pd.DataFrame:
        """Return a row per epoch: `expert`, `epoch`, losses, accuracies, distance travelled.

        `train_loss` and `train_accuracy` are means over the epoch's steps, as it trained (NaN
        at epoch 0); `test_accuracy` is in [0, 1]; `distance` is ``|θ_epoch − θ_0|`` and `step`
        ``|θ_epoch − θ_{epoch−1}|`` (0 and NaN at epoch 0).
        """
        import pandas as pd

        tensors, _ = read_tensors(self.path)
        parameters = tensors["parameters"].double()
        begin = [math.nan]
        return pd.DataFrame(
            {
                "expert": self.index,
                "epoch": range(len(parameters)),
                "train_loss": begin + tensors["train_loss"].tolist(),
                "train_accuracy": begin + tensors["train_accuracy"].tolist(),
                "test_accuracy": tensors["test_accuracy"].tolist(),
                "distance": (parameters - parameters[0]).norm(dim=1).tolist(),
                "step": begin + parameters.diff(dim=0).norm(dim=1).tolist(),
            }
        )


class Experts(Sequence[ExpertTrajectory]):
    """The stored experts of one folder, in the order of their numbers."""

    def __init__(self, directory: Path, count: int | None = None) -> None:
        """Open a folder; with `count`, only the first ones. What is not recorded is not there.

        Raises:
            ValueError: it holds no experts, or fewer than `count`.
        """
        self.directory = Path(directory)
        recorded = self.manifest().get("files", {})
        found: list[ExpertTrajectory] = []
        while (path := expert_path(self.directory, len(found))).name in recorded and path.is_file():
            found.append(ExpertTrajectory(path, len(found)))
        if not found or len(found) < (count or 0):
            raise BadInput(f"{directory}: holds {len(found)} experts; expected {count or '≥ 1'}")
        self._experts = found[:count]

    def __len__(self) -> int:
        """How many experts there are."""
        return len(self._experts)

    @overload
    def __getitem__(self, index: int) -> ExpertTrajectory: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ExpertTrajectory]: ...
    def __getitem__(self, index: int | slice) -> ExpertTrajectory | Sequence[ExpertTrajectory]:
        """Return one expert, or several."""
        return self._experts[index]

    def segment(self, expert: int, start_epoch: int, epochs: int) -> tuple[Tensor, Tensor]:
        """Return an expert's parameters ``[p]`` after `start_epoch`, and `epochs` epochs later."""
        trajectory = self._experts[expert]
        return trajectory.snapshot(start_epoch), trajectory.snapshot(start_epoch + epochs)

    def curves(self) -> pd.DataFrame:
        """Return the curves of all experts, one below the other; see `ExpertTrajectory.curves`."""
        import pandas as pd

        return pd.concat([e.curves() for e in self._experts], ignore_index=True)

    def manifest(self) -> dict[str, Any]:
        """Return what was recorded: settings, files with their hashes, seconds, versions."""
        return read_manifest(self.directory)


def expert_path(directory: Path, index: int) -> Path:
    """Return the file of one expert."""
    return directory / f"expert-{index:03d}.safetensors"


def stored_epochs(path: Path) -> int:
    """Return how many epochs an expert's file holds; −1 where there is no whole file."""
    try:
        with safe_open(path, framework="pt") as file:
            return int(file.get_slice("parameters").get_shape()[0]) - 1
    except (OSError, SafetensorError):
        return -1


def claim(directory: Path, experiment: Experiment) -> None:
    """Make the folder hold experts of this experiment's settings.

    Raises:
        ValueError: it holds experts of other settings; the first difference is named.
    """
    settings = expert_settings(experiment)
    try:
        known = read_manifest(directory).get("settings")
    except Damaged as error:
        if directory in published_folders(directory):
            raise
        set_aside(directory / MANIFEST, error)
        known = None
    if known is None:
        with lock(expert_lock(directory, "manifest")):
            write_record(directory / MANIFEST, {**read_manifest(directory), "settings": settings})
        return
    for name in (*settings, *known):
        if known.get(name) != settings.get(name):
            raise BadInput(
                f"{directory}: holds experts of {name} {known.get(name)!r}; "
                f"expected {settings.get(name)!r}"
            )


def experts_source(experiment: Experiment) -> str:
    """Hash the source that trains an experiment's experts, see `trustdd.store.source_hash`."""
    return source_hash(["trustdd.distillation.experts", *OUTLIERS[experiment.outliers]])


def trained_epochs(path: Path, source: str) -> int:
    """Return how many epochs an expert was trained by some source; −1 where it was not.

    A file that is not recorded is not there: what wrote it was killed before it said so.

    Args:
        path: ``expert-NNN.safetensors``.
        source: as `experts_source` gives it; of published experts any will do.
    """
    manifest = read_manifest(path.parent)
    recorded = path.name in manifest.get("files", {})
    fresh = manifest.get("sources", {}).get(path.name) == source
    published = path.parent in published_folders(path.parent)
    if not recorded or not (fresh or published) or not (published or is_whole(path)):
        return -1
    return stored_epochs(checked(path))


def record_expert(path: Path, seconds: float, device: str, source: str, **made_on: Any) -> None:
    """Note a finished expert in the manifest: hash, training time in seconds, what made it."""
    with lock(expert_lock(path.parent, "manifest")):
        manifest = read_manifest(path.parent)

        def noted(kind: str, value: Any) -> dict[str, Any]:
            return {**manifest.get(kind, {}), path.name: value}

        facts = {
            "files": noted("files", sha256(path)),
            "seconds": noted("seconds", round(seconds, 2)),
            "sources": noted("sources", source),
            "device": device,
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            **provenance(),
            **made_on,
        }
        write_record(path.parent / MANIFEST, {**manifest, **facts})


def expert_lock(directory: Path, name: str) -> Path:
    """Return the file of one of the locks of an experts' folder."""
    return lock_path(directory.parents[1], f"{directory.name}-{name}")
