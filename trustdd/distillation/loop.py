"""The outer loop: one synthetic set, one objective, checkpoints, and the same bytes every time.

Ordinary distillation, OE and POE differ in their data only: without outliers the second set
of tensors is not there.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from trustdd.data.distilled_set import DistilledSet, load_distilled
from trustdd.data.given import read_given, with_outliers
from trustdd.data.imagesets import fingerprint
from trustdd.data.initial_set import initial_set
from trustdd.data.inputs import load_inputs
from trustdd.data.outliers import outlier_source
from trustdd.distillation.objective import Materials, Objective, objective_class
from trustdd.distillation.state import State, snapshot_tensors, snapshots_of
from trustdd.networks.native.library import library
from trustdd.networks.process import computing_facts, prepare_process
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.store.records import set_aside
from trustdd.store.run import Run
from trustdd.store.tensors import read_sealed_tensors, write_sealed_tensors
from trustdd.students.training import resolve_device

#: shares of the iterations after which a snapshot of the set is kept
SNAPSHOTS = (0.0, 0.125, 0.25, 0.5, 0.75)
CHECKPOINT = "checkpoint.safetensors"
#: seconds between two checkpoints; where a run resumes does not change what it makes
CHECKPOINT_SECONDS = 30.0


def distill(
    experiment: Experiment,
    run: Run | None = None,
    progress: bool = True,
    images_of: Run | None = None,
) -> DistilledSet:
    """Distil a training set, and a set of outliers where the experiment asks for one.

    With a `run`, the result and its curves are stored there; a finished run is read, an
    interrupted one goes on from its last checkpoint and ends in the same bytes.

    Args:
        experiment: the settings. A `selection` other than ``"distilled"`` skips the optimisation of
            the images, ``outlier_selection="random"`` that of the outliers.
        run: where to store; its experiment must be this one.
        progress: show a bar with iteration, both losses and the time left.
        images_of: a finished run of ordinary distillation whose images are this one's as well, see
            `same_images`: only the outliers are distilled, and the result is the same to the byte.

    Returns:
        The distilled set, on the CPU, rounded as it is stored (`DistilledSet.rounded`).

    Raises:
        ValueError: the data is not there, a class has too few images, or the experiment takes
            the full training set (there is nothing to distil); `images_of` has other images.
        FloatingPointError: a loss is no longer finite; the last good checkpoint stays.
    """
    if experiment.selection == "full":
        raise BadInput("selection 'full'; expected another one where a set is distilled")
    if run is not None and run.experiment.key != experiment.key:
        raise BadInput(f"run of {run.experiment.key}; expected one of {experiment.key}")
    if run is not None and run.done("distill"):
        return load_distilled(run.path("distilled.safetensors"))
    if images_of is not None:
        ordinary = same_images(experiment)
        if ordinary is None or images_of.experiment.key != ordinary.key:
            raise BadInput(
                f"images of {images_of.experiment.key} for {experiment.key}; expected those of "
                f"{'no other run' if ordinary is None else ordinary.key}"
            )
    begun = time.perf_counter()
    prepare_process()
    device = resolve_device(experiment.device)
    data = load_inputs(experiment)
    own = experiment.outlier_selection == "given"
    source = None if own else outlier_source(experiment, data, device)
    start = initial_set(experiment, data, source)
    seen = {"train": data.train.fingerprint}
    if experiment.outliers == "oe" and source is not None:
        seen["outliers"] = fingerprint(source.images)
    state, before = _resume(experiment, run, start, device, seen)
    total = _iterations(experiment)
    if images_of is not None and experiment.outlier_selection == "random":
        state.stand_still(total, _marks(total))
    if state.iteration < total:
        # built only now: a finished or random set needs no experts and no compiled code
        results = run.directory.parents[1] if run is not None else None
        objective = objective_class(experiment.method)(
            Materials(
                experiment, data, source, device, results, progress, images_of is not None, start
            )
        )
        _loop(objective, state, experiment, run, total, progress, before, begun, seen)
    if images_of is not None:
        before += _take_images(state, images_of)
    ended = _ended(start, state).rounded().with_pictures(data)
    if run is not None:
        begin = _ended(start, State(start.images, start.outliers)).rounded().with_pictures(data)
        facts: dict[str, Any] = {"data": seen}
        if images_of is not None:
            facts["images_of"] = images_of.experiment.key
        seconds = before + time.perf_counter() - begun
        _store(run, begin, ended, state, seconds, device, facts)
    return ended


def _ended(start: DistilledSet, state: State) -> DistilledSet:
    """What has become of a set; a given one has gained outliers, and is else as it was."""
    outliers = None if state.outliers is None else state.outliers.detach().cpu()
    if start.experiment.selection == "given":
        return with_outliers(read_given(start.experiment), outliers, start.experiment)
    return replace(
        start,
        images=state.images.detach().cpu(),
        outliers=outliers,
        student_lr=None if state.student_lr is None else float(state.student_lr),
    )


def same_images(experiment: Experiment) -> Experiment | None:
    """Return the ordinary distillation whose images are an experiment's as well, if there is one.

    Where images and outliers are distilled apart (`Objective.apart`), as in gradient matching with
    one matching step a network, the published way at one image per class, outliers change nothing
    about the images.
    """
    if experiment.outliers == "none" or experiment.selection != "distilled":
        return None
    if not objective_class(experiment.method).apart(experiment):
        return None
    return experiment.but(outliers="none")


def _take_images(state: State, images_of: Run) -> float:
    """Put a finished run's images into a state, and return the seconds that they took."""
    state.images = load_distilled(images_of.path("distilled.safetensors")).images
    losses = images_of.read_frame("curves.csv")["loss_in"]
    state.losses = [
        (float(of_images), of_outliers)
        for of_images, (_, of_outliers) in zip(losses, state.losses, strict=True)
    ]
    for iteration, kept in snapshots_of(images_of.read_tensors("snapshots.safetensors")).items():
        state.snapshots[iteration]["images"] = kept["images"]
    return float(images_of.manifest()["distill"]["seconds"])


def _iterations(experiment: Experiment) -> int:
    return experiment.iterations if _distils(experiment) else 0


def _distils(experiment: Experiment) -> bool:
    """Tell whether images or outliers are to be optimised, or all of them drawn at random."""
    of_outliers = experiment.outliers != "none" and experiment.outlier_selection == "distilled"
    return experiment.selection == "distilled" or of_outliers


def _resume(
    experiment: Experiment,
    run: Run | None,
    start: DistilledSet,
    device: torch.device,
    seen: Mapping[str, str],
) -> tuple[State, float]:
    """The state to go on from, and the seconds already spent on it."""
    if run is not None and run.has(CHECKPOINT):
        path = run.path(CHECKPOINT)
        try:
            tensors, metadata = read_sealed_tensors(path)
            seconds = float(tensors.pop("seconds"))
            if json.loads(metadata["data"]) == seen:
                return State.of(tensors, device), seconds
            raise BadInput(f"{path}: of other data than is here now")
        except BadInput as error:
            set_aside(path, error)
    student_lr = None
    if _distils(experiment) and objective_class(experiment.method).LEARNS_STUDENT_LR:
        rate = experiment.student_lr if start.student_lr is None else start.student_lr
        student_lr = torch.tensor(rate, dtype=torch.float32, device=device)
    outliers = None if start.outliers is None else start.outliers.to(device, copy=True)
    return State(start.images.to(device, copy=True), outliers, student_lr), 0.0


def _loop(
    objective: Objective,
    state: State,
    experiment: Experiment,
    run: Run | None,
    total: int,
    progress: bool,
    before: float,
    begun: float,
    seen: Mapping[str, str],
) -> None:
    marks = _marks(total)
    saved = time.perf_counter()
    bar = tqdm(
        total=total, initial=state.iteration, desc=experiment.key, disable=not progress, unit="it"
    )
    with bar:
        while state.iteration < total:
            if state.iteration in marks:
                state.keep_snapshot()
            losses = objective.step(state, state.iteration)
            state.losses.append(losses)
            state.iteration += 1
            _check_finite(state, experiment)
            shown = {"in": losses[0], "out": losses[1]}
            bar.set_postfix({k: f"{v:.3f}" for k, v in shown.items() if v == v}, refresh=False)
            bar.update()
            if run is not None and time.perf_counter() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(run, state, before + time.perf_counter() - begun, seen)
                saved = time.perf_counter()


def _marks(total: int) -> set[int]:
    """Iterations before which a snapshot is kept."""
    return {round(share * total) for share in SNAPSHOTS}


def _check_finite(state: State, experiment: Experiment) -> None:
    broken = state.not_finite()
    # a part that is not there has NaN for a loss
    losses = [loss for loss in state.losses[-1] if not math.isnan(loss)]
    if broken or not all(map(math.isfinite, losses)):
        what = f"{' and '.join(broken)} not finite" if broken else f"losses {losses}"
        rates = [f"lr_{name}" for name in broken or ("images", "outliers")]
        raise FloatingPointError(
            f"{experiment.key}: diverged at iteration {state.iteration} ({what}); try a smaller "
            f"{' or '.join(rates)}; the last good checkpoint is kept"
        )


def save_checkpoint(run: Run, state: State, seconds: float, seen: Mapping[str, str]) -> None:
    """Write all that a run needs to go on from here; the old checkpoint stays until then.

    Args:
        run: whose.
        state: as it is.
        seconds: spent on it.
        seen: fingerprints of the data, with others of which it is not gone on.
    """
    tensors = {**state.tensors(), "seconds": torch.tensor(seconds, dtype=torch.float64)}
    noted = {"data": json.dumps(dict(seen), sort_keys=True)}
    write_sealed_tensors(run.path(CHECKPOINT), tensors, noted)


def _store(
    run: Run,
    start: DistilledSet,
    finished: DistilledSet,
    state: State,
    seconds: float,
    device: torch.device,
    facts: Mapping[str, Any],
) -> None:
    finished.save(run.path("distilled.safetensors"))
    start.save(run.path("initial.safetensors"))
    steps = range(1, state.iteration + 1)
    columns = {
        "iteration": steps,
        **dict(zip(("loss_in", "loss_out"), _columns(state), strict=True)),
    }
    run.write_frame("curves.csv", pd.DataFrame(columns))
    files = ["distilled.safetensors", "initial.safetensors", "curves.csv"]
    if state.snapshots:
        metadata = {"iterations": json.dumps(sorted(state.snapshots))}
        run.write_tensors("snapshots.safetensors", snapshot_tensors(state.snapshots), metadata)
        files.append("snapshots.safetensors")
    run.record(
        "distill", files, seconds, device=device_name(device), **facts, **computing_facts(),
        **peak_memory(device),
    )  # fmt: skip
    run.path(CHECKPOINT).unlink(missing_ok=True)


def _columns(state: State) -> tuple[list[float], list[float]]:
    return [a for a, _ in state.losses], [b for _, b in state.losses]


def device_name(device: torch.device) -> str:
    """A device's name as shown on pages: the GPU's model, or ``cpu`` and what computes there."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    compiled = ", compiled passes" if library() is not None else ""
    return f"cpu, {torch.get_num_threads()} threads{compiled}"


def peak_memory(device: torch.device) -> dict[str, int]:
    """Peak memory of this process, and of the GPU where one is used, in MiB."""
    import resource

    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if device.type == "cuda":
        return {
            "peak_memory_mib": host,
            "peak_gpu_memory_mib": torch.cuda.max_memory_allocated(device) // 2**20,
        }
    return {"peak_memory_mib": host}
