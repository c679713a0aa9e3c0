"""``trustdd import`` and ``trustdd export``: distilled sets in, and out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trustdd.settings.errors import BadInput

PATH = click.Path(path_type=Path)
parameter_option = click.option(
    "-p", "--parameter", "assignments", multiple=True, metavar="FIELD=VALUE",
    help="Set a field of the experiment, e.g. training_epochs=300. May be repeated.",
)  # fmt: skip
data_root_option = click.option("--data-root", help="The folder that holds the data set.")


@click.command(
    "import",
    epilog="""\b
Examples:
  trustdd import images.pt labels.pt --dataset cifar10 --data-root data -o set.safetensors
  trustdd import set.npz --dataset digits --statistics dataset -o set.safetensors
""",
    short_help="Read a distilled set of another project in.",
)
@click.argument("file", type=PATH)
@click.argument("labels", type=PATH, required=False)
@click.option("--dataset", required=True, help="The data set that it was distilled from.")
@data_root_option
@click.option("-o", "--output", type=PATH, required=True, help="The set, a .safetensors.")
@click.option(
    "--range",
    "range_",
    metavar="RANGE",
    help="Of the numbers: unit ([0, 1]), bytes ([0, 255]), symmetric ([-1, 1]), normalised, zca.",
)
@click.option(
    "--statistics", metavar="NAME", help="They are normalised by: dataset, trajectory, imagenet."
)
@click.option("--mean", metavar="M,M,M", help="… by this mean and --std, a number a channel.")
@click.option("--std", metavar="S,S,S", help="The std that goes with --mean.")
@click.option("--channels", metavar="first|last", help="Which dimension holds the channels.")
@click.option("--label-kind", metavar="KIND", help="Labels are hard, distribution or logits.")
@click.option("--first-label", type=int, default=0, show_default=True, help="Of the first class.")
@click.option(
    "--sorted-by-class", is_flag=True, help="Without labels: as many of one class as of the next."
)
@click.option("--classes", metavar="A,B,…", help="Classes in the set's own order, if not ours.")
@click.option("--entry", metavar="NAME", help="Which of several sets in the file.")
@click.option("--image-size", type=int, help="Of the set, where it is not the data set's.")
@click.option("--resize", is_flag=True, help="Fit the pictures of a folder to the size.")
@click.option("--student-lr", metavar="LR|FILE", help="The learned learning rate.")
@click.option(
    "--augmentation", metavar="NAMES|none", help="Of students; the data set's by default."
)
@click.option("--outliers", metavar="oe|poe", help="What the file's outliers are.")
@click.option("--name", default="", help="What it is called in tables; the file's name by default.")
@click.option("--terms", default="", help="Under which terms it was published, for its card.")
@parameter_option
def import_command(
    file: Path,
    labels: Path | None,
    dataset: str,
    data_root: str | None,
    output: Path,
    range_: str | None,
    statistics: str | None,
    mean: str | None,
    std: str | None,
    channels: str | None,
    label_kind: str | None,
    first_label: int,
    sorted_by_class: bool,
    classes: str | None,
    entry: str | None,
    image_size: int | None,
    resize: bool,
    student_lr: str | None,
    augmentation: str | None,
    outliers: str | None,
    name: str,
    terms: str,
    assignments: tuple[str, ...],
) -> None:
    """Read a set from FILE (.pt, .npz, .npy, .safetensors, or a folder of images) and LABELS.

    What the numbers mean is found where they tell, and printed with the reason; what they do not
    tell is asked for. A preview with the classes' names is written beside the set.
    """
    settings = experiment_settings(assignments)
    if augmentation is not None:
        settings["augmentation"] = None if augmentation == "none" else augmentation
    given: dict[str, Any] = {
        "range_": _one_of("--range", range_, ("unit", "bytes", "symmetric", "normalised", "zca")),
        "statistics": _statistics(statistics, mean, std),
        "channels": _one_of("--channels", channels, ("first", "last")),
        "label_kind": _one_of("--label-kind", label_kind, ("hard", "distribution", "logits")),
        "outliers": _one_of("--outliers", outliers, ("oe", "poe")),
        "first_label": first_label,
        "sorted_by_class": sorted_by_class,
        "classes": None if classes is None else [c.strip() for c in classes.split(",")],
        "entry": entry,
        "resize": resize,
        "name": name,
        "terms": terms,
        "settings": settings,
    }
    if output.suffix != ".safetensors":
        raise BadInput(f"output '{output}'; expected a name that ends in .safetensors")
    for path in (file, labels):
        if path is not None and not path.exists():
            raise BadInput(f"{path}: no such file or folder")
        if path is not None and path.resolve() == output.resolve():
            raise BadInput(f"output '{output}' is what is read; expected another name")
    from trustdd.data.foreign.importing import Reading, import_set
    from trustdd.report.card import set_card, write_card
    from trustdd.report.contact_sheet import sheet_of, write_sheet
    from trustdd.store.files import sha256

    given["student_lr"] = _rate(student_lr)
    read = import_set(
        file, labels, dataset=dataset, data_root=data_root, image_size=image_size,
        reading=Reading(**given),
    )  # fmt: skip
    for decision in read.decisions:
        click.echo(f"{decision.what:<13} {decision.value}  ({decision.why})")
    read.distilled.save(output)
    click.echo(f"{'set':<13} {output}  (SHA-256 {sha256(output)})")
    preview = write_sheet(sheet_of(read.distilled, read.classes), output.with_suffix(".png"))
    click.echo(f"{'preview':<13} {preview}  (see whether the images are what their names say)")
    card = write_card(set_card(output), output.with_suffix(".md"), preview.name)
    click.echo(f"{'card':<13} {card}")


@click.command(
    "export",
    epilog="""\b
Examples:
  trustdd export set.safetensors --to pt -o set.pt
  trustdd export results/quick/runs/KEY/distilled.safetensors --to png -o pictures
""",
    short_help="Write a distilled set for others' code.",
)
@click.argument("file", metavar="SET", type=PATH)
@click.option("--to", required=True, metavar="pt|npz|png", help="png is a folder of pictures.")
@click.option("-o", "--output", type=PATH, help="Where to; beside the set by default.")
@data_root_option
def export(file: Path, to: str, output: Path | None, data_root: str | None) -> None:
    """Write SET as a .pt or .npz that others' code reads, or as a folder of pictures.

    Read in again by `trustdd import`, it is the same set.
    """
    _one_of("--to", to, ("pt", "npz", "png"))
    from trustdd.data.distilled_set import load_distilled
    from trustdd.data.foreign.exporting import export_set

    distilled = load_distilled(file)
    target = output or file.with_suffix("" if to == "png" else f".{to}")
    click.echo(export_set(distilled, _class_names(distilled, data_root), to, target))


def _class_names(distilled: Any, data_root: str | None) -> list[str]:
    """The classes' names where the data set is there, else their numbers."""
    from trustdd.data.inliers import load_inliers
    from trustdd.settings.errors import MissingData
    from trustdd.settings.experiment import Experiment

    own = distilled.experiment
    try:
        plain = Experiment(dataset=own.dataset, data_root=data_root, image_size=own.image_size)
        return list(load_inliers(plain).classes)
    except (BadInput, MissingData):
        return [str(label) for label in range(distilled.classes)]


def experiment_settings(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of an experiment that ``-p`` sets, checked.

    Raises:
        ValueError: an unknown field, or a value of the wrong type.
    """
    if not assignments:
        return {}
    from trustdd.notebooks.parameters import experiment_parameters
    from trustdd.notebooks.values import check_values, parse_assignments

    fields = experiment_parameters()
    return check_values(fields, parse_assignments(assignments, fields), "an experiment")


def _one_of(option: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        raise BadInput(f"{option} {value}; expected one of {', '.join(allowed)}")
    return value


def _statistics(name: str | None, mean: str | None, std: str | None) -> Any:
    if mean is None and std is None:
        return name
    if name is not None or mean is None or std is None:
        raise BadInput("--statistics, --mean and --std; expected a name, or both of the numbers")
    numbers = []
    for option, text in (("--mean", mean), ("--std", std)):
        try:
            numbers.append(tuple(float(part) for part in text.split(",")))
        except ValueError:
            raise BadInput(
                f"{option} {text}; expected numbers, one a channel: 0.5,0.5,0.5"
            ) from None
    if len(numbers[0]) != len(numbers[1]) or min(numbers[1]) <= 0:
        raise BadInput(f"--mean {mean} and --std {std}; expected as many of both, --std above 0")
    return tuple(numbers)


def _rate(text: str | None) -> float | None:
    """A learning rate, as a number or from a file that holds one."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    from trustdd.data.foreign.containers import read_container

    held = list(read_container(Path(text)).values())
    if len(held) != 1 or held[0].numel() != 1:
        raise BadInput(f"--student-lr {text}; expected a number, or a file that holds one")
    return float(held[0])
