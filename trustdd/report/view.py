"""Stored runs as an entry shows them: those of a selection, on its OOD sets, by its score.

Every maker of a figure or table is given one `View` and reads numbers, names of measures and names
of sets from it alone; so what is drawn, what is written beside it and what is recorded agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import overload

import numpy as np
import pandas as pd

from trustdd.report import results
from trustdd.report.comparison import seeds_text
from trustdd.report.confidence import FROM_LOGITS, confidence_of
from trustdd.report.naming import METRICS, SCORES, listed, ood_name
from trustdd.report.results import MissingArtefacts
from trustdd.report.selection import Selection
from trustdd.settings.experiment import Experiment
from trustdd.store.run import Run


class View(Sequence[Run]):
    """Runs seen through a selection.

    Attributes:
        runs: in their order; the view is also a sequence of them.
        selection: which score, measures and OOD sets are shown of them; already settled.
        metrics: the measures shown, the selection's or the entry's own.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        selection: Selection | None = None,
        metrics: Sequence[str] = ("auroc",),
    ) -> None:
        self.runs = tuple(runs)
        self.selection = selection or Selection()
        self.metrics = self.selection.metric or tuple(metrics)

    @overload
    def __getitem__(self, place: int) -> Run: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Run]: ...
    def __getitem__(self, place: int | slice) -> Run | Sequence[Run]:
        """Return one run, or several."""
        return self.runs[place]

    def __len__(self) -> int:
        """How many runs there are."""
        return len(self.runs)

    @classmethod
    def around(cls, runs: Sequence[Run]) -> View:
        """Return runs as a view: themselves if they are one, else all that is stored of them."""
        return runs if isinstance(runs, View) else View(runs)

    # -- parts of it --------------------------------------------------------------------------

    def of(self, runs: Sequence[Run]) -> View:
        """Return a view of other runs through the same selection."""
        return View(runs, self.selection, self.metrics)

    def with_keys(self, keys: Sequence[str] | pd.Series) -> View:
        """Return a view of the runs of these keys."""
        wanted = set(keys)
        return self.of([run for run in self.runs if run.experiment.key in wanted])

    def one_setting(self) -> View:
        """Keep the first run's dataset, method and IPC: what a single panel can show."""
        return self.of(results.one_setting(self.runs))

    def first_seed(self) -> View:
        """Keep the runs of the smallest seed."""
        seed = self.seeds[0]
        return self.of([run for run in self.runs if run.experiment.seed == seed])

    def by_mode(self) -> dict[str, View]:
        """Outlier mode → its runs, in the order none, oe, poe."""
        return {mode: self.of(runs) for mode, runs in results.by_mode(self.runs).items()}

    @property
    def experiment(self) -> Experiment:
        """The first run's settings."""
        return self.runs[0].experiment

    @property
    def seeds(self) -> list[int]:
        """The runs' seeds, sorted, each once."""
        return results.seeds_of(self.runs)

    # -- numbers ------------------------------------------------------------------------------

    @cached_property
    def sets(self) -> tuple[str, ...]:
        """The OOD sets that are shown, in the order of the first run's suite."""
        suite = tuple(self.experiment.ood or ()) if self.runs else ()
        return tuple(name for name in suite if not self.selection.ood or name in self.selection.ood)

    def reports(self, name: str = "report.csv", *, every_score: bool = False) -> pd.DataFrame:
        """Return the runs' reports on the sets that are shown, by the score that is shown.

        Args:
            name: ``report.csv`` or another report of the runs.
            every_score: all scores, those of further detectors too where all runs hold them.

        Raises:
            MissingArtefacts: the score is not stored.
        """
        frame = results.reports(self.runs, name)
        score = self.selection.score
        further = every_score or score not in set(frame["score"])
        if name == "report.csv" and further and all(r.has("detectors.csv") for r in self.runs):
            detectors = results.reports(self.runs, "detectors.csv")
            frame = pd.concat([frame, detectors], ignore_index=True)
        if self.selection.ood:
            frame = frame[frame["ood"].isin(self.selection.ood)].reset_index(drop=True)
        if every_score:
            return frame
        shown = frame[frame["score"] == score]
        lacking = {run.experiment.key for run in self.runs} - set(shown["key"])
        if lacking:
            stored = ", ".join(dict.fromkeys(frame["score"]))
            raise MissingArtefacts(
                f"score {score} is not stored in {name} of {len(lacking)} of {len(self.runs)} "
                f"runs; stored: {stored}", sorted(lacking), "",
            )  # fmt: skip
        return shown.reset_index(drop=True)

    def per_run(self, also: Sequence[str] = (), name: str = "report.csv") -> pd.DataFrame:
        """Return a row per run: means over the sets that are shown; see `results.per_run`.

        Args:
            also: further columns whose values stay apart; with ``"score"``, all scores.
            name: of the report.
        """
        frame = self.reports(name, every_score="score" in also)
        return results.per_run(frame, also, self.selection.score)

    def summary(self) -> pd.DataFrame:
        """Return a row per run: means over the sets that are shown, and accuracy."""
        return self.per_run()

    def confidences(self, run: Run, student: int = 0) -> dict[str, np.ndarray]:
        """The score of a run's stored logits: ``"in"`` and each set that is shown → ``[n]``.

        Args:
            run: of the view.
            student: which of its students.

        Raises:
            MissingArtefacts: the score is not one that logits alone give.
        """
        score = self.selection.score
        if score not in FROM_LOGITS:
            raise MissingArtefacts(
                f"score {score} needs more than the logits that are stored; expected one of "
                f"{', '.join(FROM_LOGITS)}", (), "",
            )  # fmt: skip
        logits = results.arrays(run, "logits.safetensors", student)
        named = {"in": "in", **{name: f"ood.{name}" for name in self.sets}}
        return {name: confidence_of(logits[stored], score) for name, stored in named.items()}

    # -- words --------------------------------------------------------------------------------

    @property
    def metric(self) -> str:
        """The first measure of detection among those shown; AUROC where there is none."""
        return next((m for m in self.metrics if m != "accuracy"), "auroc")

    @property
    def score_name(self) -> str:
        """The score as read: ``MSP``."""
        return SCORES[self.selection.score]

    @property
    def seeds_text(self) -> str:
        """How many seeds there are of a setting: ``3 seeds``, or ``2 to 3 seeds``."""
        seeds: dict[str, set[int]] = {}
        for run in self.runs:
            setting = {k: v for k, v in run.experiment.to_dict().items() if k != "seed"}
            seeds.setdefault(repr(setting), set()).add(run.experiment.seed)
        counts = [len(found) for found in seeds.values()]
        return seeds_text(min(counts), max(counts)) if counts else ""

    @property
    def over_sets(self) -> str:
        """What a mean is over: ``over the 2 OOD sets textures and photos``."""
        suites = {self.of([run]).sets for run in self.runs}
        if len(suites) != 1:
            return "over the OOD sets of each dataset"
        names = [ood_name(name) for name in self.sets]
        if len(names) == 1:
            return f"on the OOD set {names[0]}"
        return f"over the {len(names)} OOD sets {listed(names)}"

    def measure(self, metric: str) -> str:
        """A measure as read in a sentence: ``mean FPR95 (InD positive)``, ``InD accuracy``."""
        if metric == "accuracy":
            return "InD accuracy"
        return METRICS[metric] if len(self.sets) == 1 else f"mean {METRICS[metric]}"
