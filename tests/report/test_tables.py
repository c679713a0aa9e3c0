"""Tables of the catalogue: what their cells say, and what LaTeX, HTML and Markdown make of them."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from fabricated_runs import stored_profile

from trustdd.report import latex, markup, numbers
from trustdd.report.analysis.claims import CLAIMS
from trustdd.report.comparison import Difference, difference
from trustdd.report.markup import Code, Column, Measured, Section
from trustdd.report.primary import primary_of
from trustdd.report.results import Results, reports, summary
from trustdd.report.table_style import TableStyle
from trustdd.report.tables import TABLES
from trustdd.report.verdicts import judge
from trustdd.store.profiles import load_profile
from trustdd.store.run import Run


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = stored_profile(tmp_path_factory.getbasetemp())
    return Results(load_profile(path), path.parent)


@pytest.fixture(scope="module")
def make(stored):
    """Make a table, once for all tests."""
    made = {}

    def once(entry_id):
        if entry_id not in made:
            entry = TABLES.find(entry_id)
            runs = [
                run
                for run in stored.planned(*entry.groups_of(stored.profile))
                if entry.takes(run.experiment)
            ]
            made[entry_id] = TABLES.make(entry_id, runs)
        return made[entry_id]

    return once


MADE = [name for name in TABLES.entries if name != "tab06"]


def _row(made, first, section=""):
    """The cells after the first of the row that starts with `first`, below `section`."""
    below = not section
    for row in made.rows:
        if isinstance(row, Section):
            below = not section or section in row.text
        elif below and row[0] == first:
            return row[1:]
    raise AssertionError(f"no row {first!r}")


# -- renderings -----------------------------------------------------------------------------------

COLUMNS = (Column("set"), Column("none", "AUROC ↑", True), Column("OE", "AUROC ↑", True))
ROWS = (
    Section("digits, IPC 2"),
    ("50% & more_x", Measured(0.5, 0.01, rank=2), Measured(0.913, 0.004, rank=1, clear=True)),
    (Code("a_b"), None, Measured(-0.02, sign=True, interval=(-0.05, 0.01))),
)


def test_latex_is_booktabs_with_escapes_bold_best_and_spread():
    text = latex.table(COLUMNS, ROWS, "Caption: 5% ± 1 λ.", "tab:x")
    assert r"50\% \& more\_x & 50.0 $\pm$ 1.0 & \textbf{91.3} $\pm$ 0.4 \\" in text
    assert r"\texttt{a\_b} &  & $-$2.0 [$-$5.0, +1.0] \\" in text
    assert r"\caption{Caption: 5\% $\pm$ 1 $\lambda$.}" in text
    assert r"& \multicolumn{2}{c}{AUROC $\uparrow$} \\" in text
    assert r"\cmidrule(lr){2-3}" in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1


def test_markdown_escapes_and_marks_the_best():
    lines = markup.markdown(COLUMNS, ROWS).splitlines()
    assert lines[1] == "| :--- | ---: | ---: |"
    assert lines[2] == "| *digits, IPC 2* |  |  |"
    assert lines[3] == r"| 50% & more\_x | 50.0 ± 1.0 | **91.3** ± 0.4 |"
    assert lines[4] == r"| `a_b` |  | −2.0 \[−5.0, +1.0\] |"


class _Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.open = [], []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += int(dict(attributes).get("colspan", 1))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("entry_id", MADE)
def test_every_rendering_of_every_table_has_the_same_shape(make, entry_id):
    made = make(entry_id)
    width = len(made.columns)
    parser = _Cells()
    parser.feed(markup.html_table(made.columns, made.rows, made.caption, entry_id))
    assert parser.open == []
    assert set(parser.rows) == {width}
    heads = len(parser.rows) - len(made.rows)
    assert heads == (2 if any(c.group for c in made.columns) else 1)
    lines = markup.markdown(made.columns, made.rows).splitlines()
    assert len(lines) == len(made.rows) + 2
    assert {len(re.split(r"(?<!\\)\|", line)) - 2 for line in lines} == {width}
    text = latex.table(made.columns, made.rows, made.caption, entry_id)
    assert text.count("{") == text.count("}")
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    for line in body.splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert len(re.split(r"(?<!\\)&", line)) == width
    assert made.frame.shape == (len(made.rows), width)
    words = made.words(TableStyle())
    assert words.startswith(f"{made.finding}. ")
    assert words.count(made.finding) == 1
    assert not set(words) & set("*`<>$[]"), "the caption would change as Markdown"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX is installed")
def test_tables_and_numbers_compile_alone_and_included(make, stored, tmp_path):
    def compiles(name):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-1500:]
        return (tmp_path / name).with_suffix(".pdf").stat().st_size

    for entry_id in MADE:
        made = make(entry_id)
        text = latex.table(made.columns, made.rows, made.words(TableStyle()), f"tab:{entry_id}")
        (tmp_path / f"{entry_id}.tex").write_text(text)
    assert compiles("tab08.tex") > 1000
    (tmp_path / "numbers.tex").write_text(numbers.macros(numbers.numbers(stored)))
    inputs = "\n".join(rf"\input{{{entry_id}}}\clearpage" for entry_id in MADE)
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n"
        "\\input{numbers}AUROC \\trustddMainPoeAuroc{} by \\trustddMainPoeFprNineFive.\n"
        f"{inputs}\n"
        "\\end{document}\n"
    )
    assert compiles("paper.tex") > 1000


def _over_seeds(*values):
    return Measured(float(np.mean(values)), float(np.std(values, ddof=1)), dict(enumerate(values)))


def test_the_best_is_clear_where_its_difference_from_the_next_is_beyond_its_interval():
    # paired by seed: always 0.02 above, though the seeds differ by more
    close = [_over_seeds(0.50, 0.60, 0.70), _over_seeds(0.52, 0.621, 0.72), None]
    best = markup.ranked(close)
    assert [c.rank for c in best[:2]] == [2, 1]
    assert best[1].clear and not best[0].clear
    # the same means, but no seed tells them apart
    mixed = markup.ranked([_over_seeds(0.50, 0.60, 0.70), _over_seeds(0.70, 0.60, 0.561)])
    assert [c.rank for c in mixed] == [2, 1]
    assert not any(c.clear for c in mixed)
    # of errors, the smaller one
    assert [c.rank for c in markup.ranked(close, smaller=True)[:2]] == [1, 2]
    # a single seed shows nothing
    single = markup.ranked([Measured(0.5, values={0: 0.5}), Measured(0.9, values={0: 0.9})])
    assert [(c.rank, c.clear) for c in single] == [(2, False), (1, False)]
    assert markup.ranked([Measured(0.5), None])[0].rank == 0


def test_values_equal_as_shown_share_a_rank():
    row = markup.ranked([Measured(0.9711), Measured(0.9714), Measured(0.95), None])
    assert [c.rank for c in row[:3]] == [1, 1, 2]
    assert not any(c.clear for c in row[:3])


@pytest.mark.parametrize(
    ("look", "tex", "html", "md"),
    [
        (TableStyle(), r"\textbf{91.3} $\pm$ 0.4", "<strong>91.3</strong> ± 0.4", "**91.3** ± 0.4"),
        (TableStyle(bold="none"), "& 91.3 $\\pm$ 0.4", "right\">91.3", "| 91.3"),
        (TableStyle(second="underline"), r"\underline{50.0} $\pm$", "<u>50.0</u> ±", "*50.0* ±"),
        (TableStyle(second="italic"), r"\textit{50.0} $\pm$", "<em>50.0</em> ±", "*50.0* ±"),
        (TableStyle(ranks=True), r"0.4\textsuperscript{1}", "0.4<sup>1</sup>", "0.4 (1)"),
    ],
)  # fmt: skip
def test_marks_follow_the_look_in_every_rendering(look, tex, html, md):
    assert tex in latex.table(COLUMNS, ROWS, "c", "tab:x", look)
    assert html in markup.html_table(COLUMNS, ROWS, "c", "x", look)
    assert md in markup.markdown(COLUMNS, ROWS, look)


def test_bold_is_explained_where_something_is_ranked(make):
    assert "Bold: the best, where" in make("tab03").words(TableStyle())
    assert "Bold" not in make("tab03").words(TableStyle(bold="none"))
    assert "Bold" not in make("tab02").words(TableStyle())


def test_numbers_in_cells():
    assert Measured(1234.5, scale=1, digits=0).number(1234.5) == "1,234"
    assert markup.plain(Measured(float("nan"))) == "–"
    assert markup.plain(Measured(0.5, float("nan"))) == "50.0"
    nowhere = (float("nan"), float("nan"))
    assert markup.plain(Measured(0.01, sign=True, interval=nowhere)) == "+1.0"


# -- what the tables say ------------------------------------------------------------------------


def test_main_table_holds_the_means_of_the_reports(make, stored):
    made = make("tab03")
    frame = reports(stored.runs("main"))
    frame = frame[frame["score"] == "msp"]
    section = "digits, DSA, IPC 2"
    poe = frame[(frame["outliers"] == "poe") & (frame["ood"] == "gaussian")]
    none, oe, treated, *rest = _row(made, "Gaussian noise", section)
    assert treated.mean == pytest.approx(poe["auroc"].mean())
    assert treated.std == pytest.approx(poe["auroc"].std(ddof=1))
    assert rest[2].mean == pytest.approx(poe["fpr95"].mean())
    assert none.mean < min(oe.mean, treated.mean)
    assert {treated.rank, oe.rank} == {1, 2}
    assert none.rank == 3
    mean = _row(made, "mean", section)[2]
    level = summary(stored.runs("main")).query("outliers == 'poe'")["auroc"]
    assert (mean.mean, mean.std) == pytest.approx((level.mean(), level.std(ddof=1)))
    near = _row(made, "mean, near-OOD (1)", section)[2]
    assert near.mean == pytest.approx(_row(made, "transposed digits", section)[2].mean)
    # another IPC has a section of its own
    assert _row(made, "mean", "digits, DSA, IPC 1")[2].mean != mean.mean


def test_trajectory_matching_has_a_table_of_its_own(make):
    sections = [row.text for row in make("tab04").rows if isinstance(row, Section)]
    assert sections == ["digits, MTT, IPC 2"]


def test_accuracy_table_sets_modes_beside_real_images(make, stored):
    none, oe, poe, random, full, *gaps = _row(make("tab07"), "digits, DSA, IPC 2")
    frame = summary(stored.runs("main"))
    by_mode = frame.groupby("outliers")["accuracy"].mean()
    assert (none.mean, oe.mean, poe.mean) == pytest.approx(
        (by_mode["none"], by_mode["oe"], by_mode["poe"])
    )
    assert gaps[1].mean == pytest.approx(by_mode["poe"] - by_mode["none"])
    assert random.mean < none.mean < full.mean


def test_equal_budget_table_pairs_distilled_with_random(make, stored):
    made = make("tab08")
    budget = summary(stored.runs("equal_budget"))["auroc"]
    assert _row(made, "all InD, IPC 4")[1].mean == pytest.approx(budget.mean())
    drawn = summary(stored.runs("random_outliers")).query("outliers == 'oe'")
    own = summary(stored.runs("main")).query("outliers == 'oe'")
    gaps = own.set_index("seed")["auroc"] - drawn.set_index("seed")["auroc"]
    gap = _row(made, "InD + OE-D")[-1]
    expected = difference(gaps.to_numpy())
    assert gap.mean == pytest.approx(expected.mean)
    assert gap.interval == pytest.approx((expected.low, expected.high))
    assert _row(made, "InD + OE-R")[-1] is None


def test_corruption_table_names_alone_and_all_but_one(make):
    names = [row[0] for row in make("tab09").rows]
    assert names == ["all", "only jigsaw", "only invert", "without jigsaw"]


def test_sweeps_differ_in_one_setting_alone(make):
    made = make("tab10")
    values = [row[0] if not isinstance(row, Section) else row.text for row in made.rows]
    assert values == ["outlier weight λ", "0.1", "0.5", "outliers per InD image", "1", "2"]
    # the main setting is the same run in both sweeps
    same = [_row(made, "0.5")[1].mean, _row(made, "1", "outliers per")[1].mean]
    assert same[0] == pytest.approx(same[1])


def test_scores_and_architectures_have_a_row_each(make):
    assert [r[0] for r in make("tab11").rows] == ["MSP", "MaxLogit", "Energy", "ODIN", "KNN"]
    assert [r[0] for r in make("tab12").rows] == ["ConvNet", "MLP", "LeNet"]


def test_cost_table_counts_bytes_of_what_is_kept(make):
    made = make("tab14")
    images, storage, *_ = _row(made, "digits, DSA, IPC 2, POE")
    assert images.mean == 40
    assert storage.mean == pytest.approx(40 * 256 * 2 / 1024)
    images, storage, *_ = _row(made, "digits, random, IPC 2, POE")
    assert storage.mean == pytest.approx(40 * 256 / 1024)
    images, storage, _, training, *_ = _row(made, "digits, full data, no outliers")
    assert (images.mean, storage.mean) == pytest.approx((1437, 1437 * 256 / 1024))
    assert training.mean == 40.0


def test_settings_table_shows_what_varies_and_leaves_out_what_plays_no_part(make):
    made = make("tab02")
    rows = {row[0].text: row[1:] for row in made.rows}
    assert rows["ipc"] == ("2; 4; 1", "2")
    assert rows["experts"] == ("–", "2")
    assert rows["real_batch"][1] == "–"
    assert rows["outlier_weight"][0] == "0.5; 0.1"
    assert not {"seed", "device", "data_root", "ood"} & set(rows)


def test_dataset_table_counts_what_the_reports_counted(make):
    made = make("tab01")
    rows = {(row[0], row[1]): row[2] for row in made.rows if not isinstance(row, Section)}
    assert rows["far-OOD", "textures"] == "60"
    assert rows["near-OOD", "transposed digits"] == "60"
    assert int(rows["InD, training", "digits"].replace(",", "")) > 1000


# -- the ledger ---------------------------------------------------------------------------------


def ledger_rows(made):
    """Claim and measure → the result and the verdict."""
    return {(row[0], row[2]): (row[3], row[5]) for row in made.rows}


FAR_ABOVE = "Outliers raise OOD detection far above ordinary distillation"
NEAR, FAR = "AUROC, near OOD", "AUROC, far OOD"


def test_ledger_is_computed_from_the_runs(make, stored):
    made = make("tab15")
    found = ledger_rows(made)
    assert len(found) == len(CLAIMS)
    rows = made.data[made.data["comparison"].ne("")]
    claims = [
        (
            [Difference(r.difference, r.low, r.high, r.seeds) for r in part.itertuples()],
            part["bound"].iloc[0],
        )
        for _, part in rows.groupby(["claim", "measure"], sort=False)
    ]
    words = {key: part["verdict"].iloc[0] for key, part in rows.groupby(["claim", "measure"])}
    again = [verdict.word for verdict in judge(claims)]
    assert again == [words[key] for key, _ in rows.groupby(["claim", "measure"], sort=False)]
    assert (rows[rows["claim"] == FAR_ABOVE]["difference"] > 0.05).all()
    counted = sum(int(number) for number in re.findall(r"(\d+) (?:re|con|un|not)", made.finding))
    assert counted == len(CLAIMS)
    few = ledger_rows(TABLES.make("tab15", stored.runs("main"), profile="fabricated"))
    trajectory = "With trajectory matching, too, outliers raise OOD detection far above"
    assert few[trajectory, FAR] == ("–", "not run")


def test_prose_reads_what_the_ledger_says(stored, make):
    said = numbers.numbers(stored)
    rows = make("tab15").data.set_index(["name", "measure"])
    assert said["ledger.helps.far.verdict"] == rows.loc[("helps", "far"), "verdict"].iloc[0]
    gap = rows.loc[("helps", "far"), "difference"].iloc[1]
    assert said["ledger.helps.far.1"].startswith(f"{100 * gap:+.1f} points")
    assert (
        said["ledger.fitted_detectors.natural.0"] == "not run"
        or "CI" in (said["ledger.fitted_detectors.natural.0"])
    )


def test_noise_enters_no_verdict(make, stored):
    """Detection of Gaussian noise can be as good or bad as it likes."""
    frame = make("tab15").data.set_index(["claim", "measure", "comparison"])["difference"]
    reports = summary_of_sets(stored.runs("main"), ["textures"])
    gaps = reports["oe"] - reports["none"]
    assert frame[FAR_ABOVE, "far", "OE"] == pytest.approx(gaps.mean())


def summary_of_sets(runs, sets):
    """Mean MSP AUROC over some sets: a row per seed, a column per mode."""
    frame = pd.concat(
        run.read_frame("report.csv").assign(mode=run.experiment.outliers, seed=run.experiment.seed)
        for run in runs
    )
    frame = frame[(frame["score"] == "msp") & frame["ood"].isin(sets)]
    return frame.pivot_table(index="seed", columns="mode", values="auroc")


def test_claim_is_contradicted_where_the_runs_say_the_opposite(stored, monkeypatch):
    from trustdd.report.analysis import claims
    from trustdd.report.tables import ledger

    def swapped(*given):
        frame = measured(*given)
        return frame.assign(outliers=frame["outliers"].map({"none": "oe", "oe": "none"}))

    measured = claims.measured
    # three seeds of sixty images show little; what is tested is which way the word goes
    monkeypatch.setattr("trustdd.report.verdicts.LEVEL", 0.5)
    straight = ledger_rows(ledger.tab15(stored.runs("main")))
    monkeypatch.setattr(claims, "measured", swapped)
    found = ledger_rows(ledger.tab15(stored.runs("main")))
    assert (straight[FAR_ABOVE, FAR][1], found[FAR_ABOVE, FAR][1]) == ("reproduced", "contradicted")


@pytest.mark.parametrize("profile", ["paper", "quick", "mnist", "imagenette"])
def test_primary_measures_are_of_the_suite_and_without_noise(profile):
    found = load_profile(profile)
    runs = [Run.of(experiment, profile) for experiment in found.experiments()]
    primary = primary_of(runs)
    suite = set(runs[0].experiment.ood)
    assert {*primary.near, *primary.far} == suite - {"gaussian", "uniform"}
    assert primary.near and primary.far


def test_macros_are_named_in_letters_and_read_as_percent():
    text = numbers.macros({"profile": "p", "main.poe.fpr95_std": 0.0123, "main.seeds": "3 seeds"})
    assert r"\newcommand{\trustddMainPoeFprNineFiveStd}{1.2}" in text
    assert r"\newcommand{\trustddMainSeeds}{3 seeds}" in text
    assert all(re.fullmatch(r"\\newcommand\{\\[A-Za-z]+\}\{.*\}", line)
               for line in text.splitlines()[1:])  # fmt: skip


def test_data_behind_a_table_is_in_long_form(make):
    data = make("tab03").data
    assert isinstance(data, pd.DataFrame)
    assert {"outliers", "ood", "auroc", "auroc_std", "seeds"} <= set(data.columns)
