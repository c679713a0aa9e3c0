"""Expert trajectories: networks trained on real data, their parameters kept after every epoch.

Trajectory matching (Cazenavette et al., CVPR 2022) asks of a synthetic set that a student
trained on it follows such experts. In TrustDD they train on ``CE(InD) + λ · uniform-CE``, the
outliers drawn anew for every batch, so that what they know of outliers can be distilled.

Experiments that train the same experts share them: `experts_key` covers just what an expert
depends on, and neither how many there are nor how many epochs they have. More of either is
added to what is stored, and gives the bytes that training all at once would have given.
"""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from trustdd.data.inliers import InlierData
from trustdd.data.inputs import load_inputs
from trustdd.data.outliers import OutlierSource, outlier_source
from trustdd.distillation.adjoint import flatten_parameters, unflatten_parameters
from trustdd.networks.passes import logits_and_features
from trustdd.networks.process import computing_facts, prepare_process
from trustdd.settings.errors import BadInput, Explained
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream
from trustdd.store.expert_store import (
    FORMAT,
    Experts,
    claim,
    expert_lock,
    expert_path,
    experts_source,
    read_manifest,
    record_expert,
    trained_epochs,
)
from trustdd.store.locks import lock
from trustdd.store.published import published_folders
from trustdd.store.records import set_aside
from trustdd.store.tensors import (
    read_sealed_tensors,
    read_tensors,
    write_sealed_tensors,
    write_tensors,
)
from trustdd.students.descent import Descent
from trustdd.students.fitting import fit
from trustdd.students.recipe import expert_recipe
from trustdd.students.training import build_network, resolve_device

#: images a step when an expert is tested
TEST_BATCH = 512


def train_experts(
    experiment: Experiment,
    directory: Path,
    progress: bool = True,
    *,
    epochs: int | None = None,
    data: InlierData | None = None,
    source: OutlierSource | None = None,
) -> Experts:
    """Train the experts that an experiment asks for and that are not stored yet.

    SGD without momentum at `expert_lr`, batches of `expert_batch`. The parameters after every
    epoch are written at once; training that was killed goes on from its last epoch and ends in
    the same bytes. Processes that share the folder share the work. Experts that other source
    trained are trained anew, unless they are published.

    Args:
        experiment: the settings: `experts`, the fields of `EXPERT_FIELDS`, and `device`.
        directory: where to keep them, see `experts_directory`.
        progress: show a bar with loss, test accuracy and the time left.
        epochs: epochs of each; by default all that trajectory matching reads, see
            `Experiment.expert_length`.
        data: the InD data where it is loaded already.
        source: the outliers where they are loaded already.

    Returns:
        The experts, `experiment.experts` of them.

    Raises:
        ValueError: the folder holds experts of other settings, or the data is not there.
        Explained: there are published experts, and fewer or shorter ones than are asked for.
        FloatingPointError: an expert's loss is no longer finite; its last epoch is kept.
    """
    directory = Path(directory)
    length = experiment.expert_length if epochs is None else epochs
    if length < 1:
        raise BadInput(f"epochs {epochs!r}; expected an integer ≥ 1")
    claim(directory, experiment)
    made_by = experts_source(experiment)
    paths = [expert_path(directory, i) for i in range(experiment.experts)]
    missing = [i for i, path in enumerate(paths) if trained_epochs(path, made_by) < length]
    if missing:
        if directory in published_folders(directory):
            raise Explained(
                f"{directory}: published, without {len(missing)} of {len(paths)} experts of "
                f"{length} epochs; what is published is not added to"
            )
        data = load_inputs(experiment) if data is None else data
        prepare_process()
        device = resolve_device(experiment.device)
        source = outlier_source(experiment, data, device) if source is None else source
        trainer = _Trainer(experiment, directory, data, source, device, length)
        bar = tqdm(
            total=length * len(missing), desc=f"experts {directory.name}", unit="epoch",
            disable=not progress,
        )  # fmt: skip
        with bar:
            # first those that no other process is training, then wait for the others
            for wait in (False, True):
                for index in list(missing):
                    with lock(expert_lock(directory, f"{index:03d}"), wait) as held:
                        if held:
                            trainer.train(index, bar)
                            missing.remove(index)
    return Experts(directory, experiment.experts)


class _Trainer:
    """Trains experts of one folder, each from where it stopped."""

    def __init__(
        self,
        experiment: Experiment,
        directory: Path,
        data: InlierData,
        source: OutlierSource | None,
        device: torch.device,
        epochs: int,
    ) -> None:
        self.experiment, self.directory, self.data = experiment, directory, data
        self.made_by = experts_source(experiment)
        self.source, self.device, self.epochs = source, device, epochs
        # uint8 until a batch is drawn
        self.images = data.train.images.to(device)
        self.test_images = data.test.images.to(device)
        self.labels, self.test_labels = (
            _required(part.labels).to(device) for part in (data.train, data.test)
        )

    def train(self, index: int, bar: tqdm) -> None:
        final = expert_path(self.directory, index)
        partial = self.directory / f".expert-{index:03d}.partial.safetensors"
        if trained_epochs(final, self.made_by) >= self.epochs:  # by another in the meantime
            bar.update(self.epochs)
            return
        network = build_network(
            self.experiment, self.data.channels, len(self.data.classes), "expert", index
        ).to(self.device)
        descent = Descent(network, expert_recipe(self.experiment))
        record, seconds = self._begin(network, final, partial)
        bar.update(len(record["train_loss"]))
        begun = time.perf_counter() - seconds
        for epoch in range(len(record["train_loss"]), self.epochs):
            self._epoch(network, descent, index, epoch, record)
            seconds = time.perf_counter() - begun
            noted = {"seconds": repr(seconds), "source": self.made_by}
            write_sealed_tensors(partial, _stacked(record), noted)
            shown = {"loss": record["train_loss"][-1], "accuracy": record["test_accuracy"][-1]}
            bar.set_postfix({k: f"{float(v):.3f}" for k, v in shown.items()}, refresh=False)
            bar.update()
        write_tensors(final, _stacked(record), {"format": FORMAT})
        record_expert(final, seconds, str(self.device), self.made_by, **computing_facts())
        partial.unlink(missing_ok=True)

    def _begin(
        self, network: nn.Module, final: Path, partial: Path
    ) -> tuple[dict[str, list[Tensor]], float]:
        """Put the network where its expert stopped; return what was recorded until then."""
        tensors, metadata = self._half_done(partial)
        done = trained_epochs(final, self.made_by)
        if done >= 0 and (not tensors or done >= len(tensors["parameters"]) - 1):
            tensors, metadata = read_tensors(final)
        if not tensors:
            first = flatten_parameters(network, list(network.parameters()))
            accuracy = self._test_accuracy(network)
            names = ("parameters", "train_loss", "train_accuracy", "test_accuracy")
            return dict(zip(names, ([_kept(first)], [], [], [accuracy]), strict=True)), 0.0
        last = tensors["parameters"][-1].to(self.device)
        with torch.no_grad():
            for parameter, value in zip(
                network.parameters(), unflatten_parameters(network, last), strict=True
            ):
                parameter.copy_(value)
        known = read_manifest(self.directory).get("seconds", {}).get(final.name, 0.0)
        return {k: list(v) for k, v in tensors.items()}, float(metadata.get("seconds", known))

    def _half_done(self, partial: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
        """What was trained of an expert by this source before it was stopped, if anything."""
        if partial.is_file():
            try:
                tensors, metadata = read_sealed_tensors(partial)
            except BadInput as error:
                set_aside(partial, error)
            else:
                if metadata.get("source") == self.made_by:
                    return tensors, metadata
        return {}, {}

    def _epoch(
        self,
        network: nn.Module,
        descent: Descent,
        index: int,
        epoch: int,
        record: dict[str, list[Tensor]],
    ) -> None:
        experiment = self.experiment
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)

        def watch(logits: Tensor, labels: Tensor, loss: Tensor) -> None:
            right = (logits.argmax(1) == labels).sum()
            sums.add_(torch.stack([loss.detach().double() * len(labels), right.double()]))

        fit(
            network,
            self.images,
            self.labels,
            None if self.source is None else self.source.mixed,
            descent.recipe,
            stream(experiment.seed, "expert", index, "epoch", epoch),
            normalise=self.data.normalise,
            watch=watch,
            descent=descent,
        )
        loss, accuracy = (sums.cpu() / len(self.images)).float()
        after = flatten_parameters(network, list(network.parameters()))
        if not (torch.isfinite(loss) and torch.isfinite(after).all()):
            raise FloatingPointError(
                f"expert {index} of {self.directory.name} diverged in epoch {epoch + 1} (loss "
                f"{float(loss):g}); try an expert_lr below {experiment.expert_lr:g}"
            )
        record["parameters"].append(_kept(after))
        record["train_loss"].append(loss)
        record["train_accuracy"].append(accuracy)
        record["test_accuracy"].append(self._test_accuracy(network))

    @torch.no_grad()
    def _test_accuracy(self, network: nn.Module) -> Tensor:
        right = torch.zeros((), device=self.device)
        pieces = zip(
            self.test_images.split(TEST_BATCH), self.test_labels.split(TEST_BATCH), strict=True
        )
        for images, labels in pieces:
            logits, _ = logits_and_features(network, self.data.normalise(images))
            right += (logits.argmax(1) == labels).sum()
        return (right / len(self.test_labels)).cpu()


def _kept(parameters: Tensor) -> Tensor:
    """A copy on the CPU: on a CPU, ``.cpu()`` alone would hand out the live weights."""
    return parameters.detach().to("cpu", copy=True)


def _stacked(record: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack(values) for name, values in record.items()}


def _required(labels: Tensor | None) -> Tensor:
    if labels is None:
        raise BadInput("the InD data has no labels; expected one per image")
    return labels
