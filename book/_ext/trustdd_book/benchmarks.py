"""What benchmarks measured, from ``benchmarks/results``, and what the jobs of this book took.

``{benchmark} NAME`` shows a report of ``speed.py``, ``{scale} NAME`` one of ``scale.py``, and
``{build-costs}`` the longest jobs of the graph that made the book.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from trustdd_book.pictures import drawing
from trustdd_book.tables import build_table

logger = logging.getLogger(__name__)
SPEED = [
    "part", "seconds · plain", "seconds · here", "seconds · bf16", "times as fast · here",
    "times as fast · bf16",
]  # fmt: skip
SAMENESS = [
    "part", "apart · distance", "apart · gradient", "cosine · bf16", "peak MiB · plain",
    "peak MiB · here",
]  # fmt: skip
TITLES = {
    "cifar10": "CIFAR-10 at IPC 10: ConvNet-3 of width 128, 256 real images a class",
    "digits": "This book's digits: ConvNet-2 of width 32, 64 real images a class",
}
AXES = {
    "ipc": "images per class", "classes": "classes", "image_size": "pixels of an image's side",
    "outlier_ipc": "outliers per class slot",
}  # fmt: skip
#: jobs shown one by one
LONGEST = 10
KINDS = {
    "distill": "distil and evaluate", "evaluate": "evaluate", "notebook": "execute a notebook",
    "variant": "execute a notebook", "course": "further stages", "transfer": "further stages",
    "detectors": "further stages", "book": "build the pages", "stage_book": "build the pages",
}  # fmt: skip


class _Shown(SphinxDirective):
    """A directive that shows a JSON file."""

    def report(self, path: Path) -> Any:
        """Read it; warn and return ``None`` where it is not there."""
        if not path.is_file():
            logger.warning("%s is not there", path, location=self.get_location())
            return None
        self.env.note_dependency(str(path))
        return json.loads(path.read_text(encoding="utf-8"))

    def table(
        self, heads: list[str], rows: list[list[str]], code: tuple[str, ...] = ()
    ) -> nodes.table:
        """A table whose first column names its rows and whose others are numbers.

        Args:
            heads: of the columns.
            rows: cells of plain text.
            code: cells that are set as code.
        """

        def inline(text: str) -> list[nodes.Node]:
            return [nodes.literal("", text) if text in code else nodes.Text(text)]

        return build_table(heads, rows, inline, [False, *[True] * (len(heads) - 1)])

    def measured_on(self, machine: dict[str, Any]) -> nodes.paragraph:
        """The machine, in words."""
        words = (
            f"Measured on {machine['device']}, torch {machine['torch']}, {machine['date']}; "
            f"{machine['repeats']} turns."
        )
        return nodes.paragraph("", words)


class Benchmark(_Shown):
    """A table for each setting, the machine they were measured on, and times of starting."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the tables, or a warning where there is no such file."""
        report = self.report(Path(self.env.srcdir, "benchmarks", f"{self.arguments[0]}.json"))
        if report is None:
            return []
        shown: list[nodes.Node] = []
        for name, setting in report["settings"].items():
            shown.append(nodes.rubric("", TITLES.get(name, name)))
            shown.append(self.table(SPEED, [_speed(part) for part in setting["parts"]]))
            words = (
                f"One outer step, images and outliers: {setting['outer_step_ours']:.1f} times as "
                f"fast, in bf16 {setting['outer_step_bf16']:.1f} times."
            )
            shown.append(nodes.paragraph("", words))
            shown.append(self.table(SAMENESS, [_sameness(part) for part in setting["parts"]]))
            words = _exactness(setting["parts"])
            shown += [nodes.paragraph("", words)] if words else []
            shown += self._split(setting["parts"])
        shown.append(self.measured_on(report["machine"]))
        if report.get("starting"):
            rows = [[name, f"{seconds:.2f}"] for name, seconds in report["starting"].items()]
            names = tuple(report["starting"])
            shown.append(nodes.rubric("", "Starting"))
            shown.append(self.table(["command", "seconds"], rows, names))
        return shown

    def _split(self, parts: list[dict[str, Any]]) -> list[nodes.Node]:
        """What the time of each part goes into, plain and here."""
        split = [part for part in parts if "split" in part]
        if not split:
            return []
        kinds = list(split[0]["split"]["ours"])
        heads = [
            "percent of the time",
            *(f"{kind} · {w}" for kind in kinds for w in ("plain", "here")),
        ]
        rows = [
            [
                part["part"],
                *(
                    f"{100 * part['split'][w][kind]:.0f}"
                    for kind in kinds
                    for w in ("plain", "ours")
                ),
            ]
            for part in split
        ]
        return [self.table(heads, rows)]


def _speed(part: dict[str, Any]) -> list[str]:
    seconds, ratio = part["seconds"], part["ratio"]
    return [
        part["part"],
        *(f"{seconds[way]:.3f}" if way in seconds else "–" for way in ("plain", "ours", "bf16")),
        *(_ratio(ratio.get(way)) for way in ("ours", "bf16")),
    ]


def _sameness(part: dict[str, Any]) -> list[str]:
    """How near the results are, and what memory they take."""
    error, peak = part["relative_error"], part.get("peak_mib", {})
    return [
        part["part"],
        *("–" if error is None else f"{value:.0e}" for value in error or (None, None)),
        f"{part['cosine']:.4f}" if "cosine" in part else "–",
        *("–" if peak.get(way) is None else f"{peak[way]:,}" for way in ("plain", "ours")),
    ]


def _exactness(parts: list[dict[str, Any]]) -> str:
    """How far both ways are from double precision, at the most."""
    errors = [part["against_float64"] for part in parts if "against_float64" in part]
    if not errors:
        return ""
    plain, ours = (max(error[way] for error in errors) for way in ("plain", "ours"))
    return (
        "Against the plain way in double precision, the synthetic gradient's relative error is "
        f"{plain:.0e} the plain way and {ours:.0e} here, both in single precision."
    )


def _ratio(found: list[float] | None) -> str:
    """The median and the range."""
    if found is None:
        return "–"
    return f"{found[0]:.1f} ({found[1]:.1f}–{found[2]:.1f})"


class Scale(_Shown):
    """The picture of how a step scales, its lines, and the memory of published settings."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return them, or a warning where there is no such file."""
        path = Path(self.env.srcdir, "benchmarks", f"{self.arguments[0]}.json")
        report = self.report(path)
        if report is None:
            return []
        picture = path.with_suffix(".svg")
        self.env.note_dependency(str(picture))
        shown = drawing(
            self.env, picture.read_text(encoding="utf-8"), report["alt"], name=picture.stem,
            classes=("catalogue-image", "only-wide"),
        )  # fmt: skip
        rows = [
            [
                AXES[axis], f"{values['values'][0]} to {values['values'][-1]}",
                f"{values['seconds'][0]:.3f} to {values['seconds'][-1]:.3f}",
                f"{values['r2']:.3f}",
            ]
            for axis, values in report["axes"].items()
        ]  # fmt: skip
        memory = [
            [f"IPC {row['ipc']}", f"{row['before_mib']:,}", f"{row['peak_mib']:,}"]
            for row in report["memory"]
        ]
        return [
            nodes.container("", *shown, classes=["figure-frame"], is_div=True),
            self.table(["varied", "from, to", "seconds a step", "R² of a line"], rows),
            nodes.rubric("", "Memory of a step with OE at CIFAR-10's published settings"),
            self.table(["", "MiB before", "MiB at the peak"], memory),
            self.measured_on({**report["machine"], "repeats": report["repeats"]}),
        ]


class BuildCosts(_Shown):
    """Where ``make book`` spent its time: by kind of job, then the longest jobs."""

    def run(self) -> list[nodes.Node]:
        """Return two tables; nothing where the book was staged without costs."""
        path = Path(self.env.srcdir, "costs.json")
        if not path.is_file():
            return []
        jobs = [job for job in self.report(path) if job["seconds"] > 0]
        kinds: dict[str, list[dict[str, Any]]] = {}
        for job in jobs:
            kinds.setdefault(_kind(job["job"]), []).append(job)
        rows = [
            [kind, str(len(members)), *_sums(members)]
            for kind, members in sorted(kinds.items(), key=lambda pair: -_seconds(pair[1]))
        ]
        rows.append(["together", str(len(jobs)), *_sums(jobs)])
        longest = [
            [job["job"], f"{job['seconds']:.0f}", f"{job['cpu_seconds']:.0f}",
             f"{job['peak_mib']:,}"]
            for job in jobs[:LONGEST]
        ]  # fmt: skip
        return [
            self.table(["jobs", "number", "seconds", "processor seconds"], rows),
            nodes.rubric("", f"The {min(LONGEST, len(jobs))} longest"),
            self.table(
                ["job", "seconds", "processor seconds", "peak MiB"],
                longest,
                tuple(row[0] for row in longest),
            ),
        ]


def _kind(job: str) -> str:
    """What a job does, from its name."""
    if job.endswith(("figures", "tables", "numbers")):
        return "figures, tables, numbers"
    return KINDS.get(job.partition("-")[0], "other")


def _seconds(jobs: list[dict[str, Any]]) -> float:
    return float(sum(job["seconds"] for job in jobs))


def _sums(jobs: list[dict[str, Any]]) -> list[str]:
    return [f"{_seconds(jobs):.0f}", f"{sum(job['cpu_seconds'] for job in jobs):.0f}"]


def setup(app: Sphinx) -> None:
    """Register the directives."""
    app.add_directive("benchmark", Benchmark)
    app.add_directive("scale", Scale)
    app.add_directive("build-costs", BuildCosts)
