"""Figures of the catalogue: what they draw, what they say, and how they look."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from fabricated_runs import stored_profile
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from trustdd.report import style
from trustdd.report.analysis import selective
from trustdd.report.confidence import confidence_of
from trustdd.report.figures import FIGURES
from trustdd.report.figures.ablations import varied
from trustdd.report.figures.detection import _confidence_finding
from trustdd.report.figures.marks import montage
from trustdd.report.figures.pictures import _rank_within
from trustdd.report.results import (
    MissingArtefacts,
    Results,
    arrays,
    pictures,
    reports,
    summary,
)
from trustdd.report.view import View
from trustdd.store.profiles import load_profile
from trustdd.store.run import Run
from trustdd.students import metrics

#: entries made from no run's files need data; they are looked at one by one
FROM_RUNS = [name for name, entry in FIGURES.entries.items() if name not in ("fig01", "fig03")]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = stored_profile(tmp_path_factory.getbasetemp())
    return Results(load_profile(path), path.parent)


@pytest.fixture(scope="module")
def make(stored):
    """Make a figure, once for each width."""
    made = {}

    def once(entry_id, width="page"):
        if (entry_id, width) not in made:
            groups = FIGURES.find(entry_id).groups_of(stored.profile)
            runs = stored.planned(*groups)
            made[entry_id, width] = FIGURES.make(entry_id, runs, width=width, profile="fabricated")
        return made[entry_id, width]

    return once


def _texts(figure):
    from matplotlib.text import Text

    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


# -- how they look ------------------------------------------------------------------------------


@pytest.mark.parametrize("width", ["page", "column"])
@pytest.mark.parametrize("entry_id", FROM_RUNS)
def test_every_figure_fits_its_page_and_says_what_it_is(make, entry_id, width):
    made = make(entry_id, width)
    figure = made.figure
    with style.applied():
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw_without_rendering()
        drawn = {"the panels": figure.get_tightbbox(renderer).transformed(figure.dpi_scale_trans)}
        # the title, the mark and the legend stand outside the panels' layout
        drawn |= {t.get_text(): t.get_window_extent(renderer) for t in figure.texts}
        for legend in figure.legends:
            drawn["the legend"] = legend.get_window_extent(renderer)
    for name, box in drawn.items():
        assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1, f"{name!r} is too wide"
        assert box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1, f"{name!r} is too high"
    for one, other in itertools.combinations(drawn, 2):
        assert not drawn[one].overlaps(drawn[other]), f"{one!r} and {other!r} overlap"
    assert figure.get_figwidth() == pytest.approx(style.width_in_inches(width))
    with style.applied():
        assert style.check(figure) == []
    shown = " ".join(t.get_text() for t in _texts(figure))
    assert "profile: fabricated" in shown
    assert made.finding.split()[0] in shown
    assert len(made.alt) > 60
    assert made.finding not in made.caption
    assert not set(made.caption + made.alt) & set("*`<>$[]"), "it would change as Markdown"
    assert "nan" not in (made.caption + made.alt + made.finding).lower().split()
    assert not made.data.empty


@pytest.mark.parametrize(
    "entry_id", ["fig02", "fig05", "fig10", "fig11", "fig15", "fig16", "fig19"]
)
def test_a_mode_has_the_same_colour_everywhere(make, entry_id):
    drawn = set()
    for axes in make(entry_id, "page").figure.axes:
        drawn |= {to_hex(line.get_color()).upper() for line in axes.get_lines()}
        drawn |= {
            to_hex(patch.get_facecolor()).upper() for patch in axes.patches if patch.get_fill()
        }
    assert {style.colour("oe").upper(), style.colour("poe").upper()} <= drawn
    modes = {style.colour(mode) for mode in style.NAMES}
    allowed = {*modes, style.INK, style.GRID, style.CARD}
    assert drawn <= {colour.upper() for colour in allowed}


def test_modes_differ_in_more_than_colour():
    assert len({style.colour(mode) for mode in style.NAMES}) == 3
    for looks in (style.MARKERS, style.LINES):
        assert len(set(map(str, looks.values()))) == 3


# -- what they draw -----------------------------------------------------------------------------


def test_fig01_shows_an_image_at_a_fixed_share_of_confidence(make, stored):
    made = make("fig01")
    run = stored.runs("main")[0]
    logits = arrays(run, "logits.safetensors")["ood.textures"]
    confidence = confidence_of(logits)
    kept = arrays(run, "samples.safetensors")
    place = int(kept["place.textures"])
    assert (confidence < confidence[place]).mean() == pytest.approx(0.9, abs=0.02)
    shown = made.data[made.data["outliers"] == "none"]
    assert shown["probability"].max() == pytest.approx(confidence[place])
    assert shown["probability"].sum() == pytest.approx(1)
    assert f"ordinary DD says {logits[place].argmax()}" in made.finding
    image = made.figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(image, kept["ood.textures"][0] / 255, atol=1e-6)
    assert {run.experiment.seed for run in made.runs} == {0}


def test_fig02_histograms_hold_every_image_once(make, stored):
    made = make("fig02")
    sums = made.data.groupby(["outliers", "images"])["share"].sum()
    np.testing.assert_allclose(sums, 1, rtol=1e-9)
    runs = [r for r in stored.runs("main") if r.experiment.outliers == "oe"]
    inside = [confidence_of(arrays(r, "logits.safetensors")["in"]) for r in runs]
    own = made.data[(made.data["outliers"] == "oe") & (made.data["images"] == "in")]
    expected, _ = np.histogram(np.concatenate(inside), [*own["score_from"], 1.0])
    np.testing.assert_allclose(own["share"], expected / expected.sum(), atol=1e-9)
    assert made.finding.startswith("Outliers lower the median MSP")


def test_fig02_finding_follows_the_numbers():
    assert "do not lower" in _confidence_finding({"none": 0.3, "poe": 0.6}, "MSP")
    assert "0.30 (POE)" in _confidence_finding({"none": 0.6, "poe": 0.3}, "MSP")
    mixed = _confidence_finding({"none": 0.5, "oe": 0.6, "poe": 0.3}, "Energy")
    assert mixed.startswith("Outliers change the median Energy")


def test_fig03_corrupts_one_image_of_each_class(stored):
    made = FIGURES.make("fig03", stored.planned("main"), profile="fabricated")
    assert made.data["corruption"].tolist() == ["jigsaw", "invert", "mosaic", "speckle"]
    # invert turns x into 1 − x on grey images, so its change is known
    from trustdd.data.inliers import load_inliers

    train = load_inliers(stored.runs("main")[0].experiment).train
    first = [int((train.labels == c).nonzero()[0]) for c in range(10)]
    images = train.images[first].float() / 255
    change = made.data.set_index("corruption")["mean_absolute_change"]
    assert change["invert"] == pytest.approx(float((1 - 2 * images).abs().mean()), abs=1e-6)


def test_fig04_compares_modes_random_images_and_full_data(make, stored):
    made = make("fig04")
    rows = made.data.set_index(["method", "selection", "outliers"])["accuracy"]
    frame = summary(stored.runs("main"))
    assert rows["dsa", "distilled", "poe"] == pytest.approx(
        frame[frame["outliers"] == "poe"]["accuracy"].mean()
    )
    assert ("mtt", "distilled", "none") in rows.index
    assert rows["dsa", "random", "none"] < rows["dsa", "distilled", "none"]
    # the gain of OE, which only the main runs have, in points
    level = frame.groupby("outliers")["accuracy"].mean()
    gain = re.search(r"OE ([+−][\d.]+)", made.finding)[1].replace("−", "-")
    assert float(gain) == pytest.approx(100 * (level["oe"] - level["none"]), abs=0.051)


def test_fig05_sets_equal_budgets_and_random_against_distilled(make, stored):
    made = make("fig05")
    settings = made.data.groupby("panel", sort=False)["setting"].unique()
    assert list(settings["a"]) == ["all InD (IPC 4)", "InD + OE", "InD + POE"]
    assert list(settings["b"]) == ["OE-R", "OE-D", "POE-R", "POE-D"]
    budget = made.data[made.data["setting"] == "all InD (IPC 4)"]
    expected = summary(stored.runs("equal_budget"))["auroc"]
    assert budget["auroc"].tolist() == pytest.approx(expected.tolist())
    assert "95% CI" in made.caption


@pytest.mark.parametrize("entry_id", ["fig04", "fig05", "fig16", "fig17", "fig20"])
def test_axes_reach_as_far_as_the_spread(make, entry_id):
    for axes in make(entry_id).figure.axes:
        low, high = axes.get_ylim()
        for bars in axes.collections:
            for segment in getattr(bars, "get_segments", list)():
                ends = np.asarray(segment)[:, 1]
                assert ends.min() >= low
                assert ends.max() <= max(high, 1.0)


def test_fig05_says_which_comparison_is_lacking(stored):
    with pytest.raises(MissingArtefacts, match=r"fig05: no run with outliers none at the same"):
        FIGURES.make("fig05", stored.runs("main", "random_outliers"), profile="fabricated")


def test_fig06_draws_every_box_and_arrow(make):
    made = make("fig06")
    shown = {t.get_text() for t in _texts(made.figure)}
    assert set(made.data["title"]) <= shown
    assert len(made.data) == 8


def test_fig07_and_fig08_measure_the_change_of_every_image(make, stored):
    run = next(r for r in stored.runs("main") if r.experiment.outliers == "poe")
    for entry_id, part in (("fig07", "images"), ("fig08", "outliers")):
        data = make(entry_id).data
        own = data[data["outliers"] == "poe"]["mean_absolute_change"]
        change = np.abs(pictures(run)[part] - pictures(run, "initial.safetensors")[part])
        np.testing.assert_allclose(own, change.mean(axis=(1, 2, 3)), rtol=1e-5)
    picture = make("fig07").figure.axes[0].images[0].get_array()
    labels = [t.get_text() for t in make("fig07").figure.axes[0].get_yticklabels()]
    assert labels == ["initial", "ordinary DD", "POE"]
    assert picture.shape[0] * 10 == picture.shape[1] * 3


def test_montage_keeps_every_pixel():
    images = np.random.default_rng(0).random((3, 8, 8, 1)).astype(np.float32)
    picture = montage([images[:2], images[2:]], 2)
    assert picture.shape == (68, 68, 4)
    np.testing.assert_array_equal(picture[1:33:4, 1:33:4, 0], images[0, ..., 0])
    np.testing.assert_array_equal(picture[35:67:4, 1:33:4, 1], images[2, ..., 0])
    assert (picture[1:33, 1:33, 3] == 1).all()
    # between the images, and where there is none, what is behind shows
    assert not picture[34:, 34:, 3].any()
    assert not picture[33:35, :, 3].any()


def test_images_shown_cover_the_labels_first():
    assert _rank_within(np.array([0, 0, 1, 1, 0])).tolist() == [0, 1, 0, 1, 2]


def test_fig09_ends_with_the_finished_set(make, stored):
    data = make("fig09").data
    last = data[(data["iteration"] == 20) & (data["outliers"] == "poe")]
    expected = summary(stored.runs("main")).query("outliers == 'poe'")["auroc"]
    assert sorted(last["auroc"]) == pytest.approx(sorted(expected))
    assert sorted(data["iteration"].unique()) == [0, 2, 5, 10, 15, 20]


def test_fig10_draws_the_curves_of_the_runs(make, stored):
    made = make("fig10")
    run = stored.runs("main")[-1]
    own = made.data[(made.data["outliers"] == "poe") & (made.data["seed"] == 2)]
    assert own["loss_out"].tolist() == run.read_frame("curves.csv")["loss_out"].tolist()
    assert made.data[made.data["outliers"] == "none"]["loss_out"].isna().all()
    assert len(made.figure.axes) == 2


def test_fig10_has_one_panel_where_there_is_one_loss(stored):
    made = FIGURES.make("fig10", stored.runs("mtt"))
    (panel,) = made.figure.axes
    assert panel.get_title(loc="left") == "images and outliers together"
    assert "InD images" not in made.finding
    assert "for images and outliers at once" in made.caption


@pytest.mark.parametrize(
    ("entry_id", "column", "values"),
    [("fig11", "outlier_weight", [0.1, 0.5]), ("fig12", "ipc", [1, 2]), ("fig13", "ratio", [1, 2])],
)
def test_sweeps_show_each_value_once(make, entry_id, column, values):
    data = make(entry_id).data
    poe = data[data["outliers"] == "poe"]
    assert sorted(poe[column]) == values
    panel = make(entry_id).figure.axes[0]
    assert [t.get_text() for t in panel.get_xticklabels()] == [f"{v:g}" for v in values]


def test_a_sweep_keeps_what_differs_in_one_setting_alone(stored):
    runs = [*stored.runs("main"), *stored.runs("ablation_weight"), *stored.runs("ablation_budget")]
    frame = varied(summary(runs), "outlier_weight")
    poe = frame[frame["outliers"] == "poe"]
    assert set(poe["outlier_weight"]) == {0.1, 0.5}
    assert set(poe["outlier_ipc"]) == {2}
    assert len(frame[frame["outliers"] == "none"]) == 3


def test_sweeps_need_two_values(stored):
    with pytest.raises(MissingArtefacts, match=r"figure fig11: .*λ = 0.5; it needs"):
        FIGURES.make("fig11", stored.runs("main"), profile="fabricated")


def test_fig14_orders_the_variants(make):
    made = make("fig14")
    names = [t.get_text() for t in made.figure.axes[0].get_yticklabels()]
    assert names == ["all", "only jigsaw", "only invert", "without jigsaw"]
    assert made.figure.axes[0].images[0].get_array().shape == (4, 4)


def test_fig15_curves_have_the_area_of_the_report(make, stored):
    data = make("fig15").data
    frame = reports(stored.runs("main"))
    frame = frame[(frame["score"] == "msp")]
    for mode in ("none", "poe"):
        roc = data.query(f"outliers == '{mode}' and ood == 'gaussian' and curve == 'roc'")
        area = np.trapezoid(roc["mean"], roc["x"])
        report = frame[(frame["outliers"] == mode) & (frame["ood"] == "gaussian")]["auroc"].mean()
        assert area == pytest.approx(report, abs=0.01)
        pr = data.query(f"outliers == '{mode}' and ood == 'gaussian' and curve == 'pr'")
        precision = frame[(frame["outliers"] == mode) & (frame["ood"] == "gaussian")]["aupr_in"]
        assert pr["mean"].iloc[1:].mean() == pytest.approx(precision.mean(), abs=0.01)


def test_fig16_shows_each_score_of_the_reports(make, stored):
    data = make("fig16").data
    assert list(dict.fromkeys(data["score"])) == ["msp", "maxlogit", "energy", "odin", "knn"]
    energy = reports(stored.runs("main")).query("score == 'energy' and outliers == 'oe'")
    shown = data[(data["score"] == "energy") & (data["outliers"] == "oe")]["auroc"].item()
    assert shown == pytest.approx(energy["auroc"].mean())


def test_fig17_counts_the_architectures_where_outliers_help(make):
    made = make("fig17")
    assert "on 2 of 2 other architectures" in made.finding
    assert set(made.data["network"]) == {"convnet", "mlp", "lenet"}


def test_fig18_shows_distances_in_units_of_the_inliers_median(make, stored):
    made = make("fig18")
    run = stored.runs("main")[0]
    stored_points = arrays(run, "features.safetensors")
    nearest = stored_points["in_distance"].astype(float)
    far = stored_points["distance.gaussian"].astype(float)
    rows = made.data.query("outliers == 'none' and seed == 0 and images == 'gaussian'")
    assert rows["q50"].item() == pytest.approx(np.median(far) / np.median(nearest))
    # by counting pairs
    pairs = (far[:, None] > nearest).mean() + (far[:, None] == nearest).mean() / 2
    assert rows["auroc"].item() == pytest.approx(pairs)
    # a row for every mode, seed and set; InD has no AUROC against itself
    assert len(made.data) == 3 * 3 * 4
    assert made.data[made.data["images"] == "in"]["auroc"].isna().all()


def test_fig19_calibration_and_risk(make, stored):
    run = stored.runs("main")[0]
    logits = arrays(run, "logits.safetensors")
    confidence, correct = confidence_of(logits["in"]), logits["in"].argmax(1) == logits["in_labels"]
    measures = selective.trust_measures([run]).iloc[0]
    assert measures["ece"] == pytest.approx(
        metrics.expected_calibration_error(confidence, correct, 15)
    )
    # everything accepted: InD errors and all OOD inputs, half and half
    risk = selective.risk_curve(View([run]), run)
    assert risk[-1] == pytest.approx(0.5 * (1 - correct.mean()) + 0.5)
    data = make("fig19").data
    assert set(data["curve"]) == {"reliability", "risk"}


def test_weighted_risk_is_the_plain_one_where_weights_are_equal():
    generator = np.random.default_rng(5)
    confidence = generator.integers(0, 6, 80) / 5  # many ties
    correct = generator.random(80) < confidence
    covered, risk = selective._weighted_risk(confidence, correct, np.full(80, 0.3))
    plain = metrics.risk_coverage(confidence, correct)
    at = np.searchsorted(plain["coverage"], covered - 1e-9)
    np.testing.assert_allclose(risk, plain["risk"].to_numpy()[at], rtol=1e-9)


def test_fig20_places_sets_by_what_they_take(make):
    rows = make("fig20").data.set_index(["selection", "outliers"])
    assert rows.loc[("distilled", "poe"), "storage_kib"] == pytest.approx(20.0)
    assert rows.loc[("random", "poe"), "storage_kib"] == pytest.approx(10.0)
    assert rows.loc[("full", "none"), "training_seconds"] == pytest.approx(40.0)
    assert "smaller than the full data" in make("fig20").finding


# -- one seed, and other shapes -----------------------------------------------------------------

ONE_SEED = ["fig02", "fig05", "fig10", "fig15", "fig19"]


@pytest.mark.parametrize("entry_id", ONE_SEED)
def test_one_seed_is_drawn_without_spread_and_said(stored, entry_id):
    groups = FIGURES.find(entry_id).groups
    runs = [r for r in stored.planned(*groups) if r.experiment.seed == 0]
    made = FIGURES.make(entry_id, runs, width="column", profile="fabricated")
    assert "fabricated · seed 0" in " ".join(t.get_text() for t in _texts(made.figure))
    assert "nan" not in (made.caption + made.alt + made.finding).lower()


def test_colour_images_and_many_classes_are_drawn(tmp_path):
    import torch

    from trustdd.data.distilled_set import DistilledSet
    from trustdd.settings.experiment import Experiment

    experiment = Experiment(dataset="cifar10", data_root="x", ipc=3)
    run = Run(tmp_path / "p" / "runs" / "k", experiment)
    generator = np.random.default_rng(1)
    images = generator.random((30, 3, 32, 32))
    labels = np.repeat(np.arange(10), 3)
    for name in ("initial.safetensors", "distilled.safetensors"):
        normalised = torch.tensor((images - 0.3) / 0.35, dtype=torch.float32)
        kept = DistilledSet(
            normalised, torch.tensor(labels), None, None, experiment, (0.3,) * 3, (0.35,) * 3
        )
        kept.save(run.path(name))
    run.record("distill", ["initial.safetensors", "distilled.safetensors"], 1.0)
    made = FIGURES.make("fig07", [run], profile="p")
    heads = [t.get_text() for t in made.figure.axes[0].get_xticklabels()]
    assert heads == [str(i) for i in range(10)]
    assert made.data["mean_absolute_change"].max() == 0
    assert isinstance(made.data, pd.DataFrame)
