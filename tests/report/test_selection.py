"""Selections: one value, understood alike everywhere, and followed by all that is made."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from fabricated_runs import stored_profile

from trustdd.cli import main
from trustdd.report.catalogue import REPORTED
from trustdd.report.confidence import confidence_of
from trustdd.report.figures import FIGURES
from trustdd.report.request import Request, runs_as_words, runs_of_words
from trustdd.report.results import MissingArtefacts, Results, arrays, reports
from trustdd.report.selection import Selection, seeds_as_text
from trustdd.report.tables import TABLES
from trustdd.report.view import View
from trustdd.settings.errors import BadInput
from trustdd.store.profiles import load_profile
from trustdd.store.run import Run


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return load_profile(stored_profile(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module", autouse=True)
def folder(profile, tmp_path_factory):
    root = tmp_path_factory.mktemp("selected")
    (root / "fabricated").mkdir()
    for name in ("runs", "experts"):
        (root / "fabricated" / name).symlink_to(profile.path.parent / "fabricated" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTDD_RESULTS", str(root))
        yield root


# -- one value ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_text", "as_values"),
    [
        ({"score": "energy"}, {"score": "energy"}),
        ({"metric": "fpr95_in, aupr_out"}, {"metric": ["fpr95_in", "aupr_out"]}),
        ({"ood": "textures"}, {"ood": ("textures",)}),
        ({"seeds": "0,2"}, {"seeds": [0, 2]}),
        ({"seeds": "0-4"}, {"seeds": range(5)}),
        ({"seeds": "3"}, {"seeds": 3}),
        ({"outliers": "none,poe"}, {"outliers": ["none", "poe"]}),
        ({"ipc": "1,10"}, {"ipc": [1, 10]}),
        ({"method": "mtt"}, {"method": ["mtt"]}),
        ({"ood": "", "seeds": None, "metric": []}, {}),
    ],
)
def test_texts_and_values_make_the_same_selection(as_text, as_values):
    assert Selection.of(**as_text) == Selection.of(**as_values)


def test_a_selection_survives_json_and_the_command_line():
    asked = Selection.of(
        score="energy", metric="fpr95_in", ood="a,b", seeds="0-2,7", outliers="poe", ipc=10
    )
    assert Selection.of(**json.loads(json.dumps(asked.given))) == asked
    options = dict(zip(asked.options[::2], asked.options[1::2], strict=True))
    assert Selection.of(**{k.removeprefix("--"): v for k, v in options.items()}) == asked
    assert asked.slug == "energy-fpr95_in-a+b-seeds0-2+7-poe-ipc10"
    assert Selection().options == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scores": "msp"}, "option 'scores'; nearest: score; expected one of score, metric"),
        ({"score": "softmax"}, "score 'softmax'; expected one of msp, maxlogit, energy"),
        ({"metric": "fpr"}, "metric 'fpr'; expected one of auroc, aupr_in, aupr_out, fpr95"),
        ({"outliers": "oee"}, "outliers 'oee'; expected one of none, oe, poe"),
        ({"method": "dm2"}, "method 'dm2'; expected one of "),
        ({"seeds": "4-0"}, "seeds '4-0'; expected integers ≥ 0 and ranges of them, e.g. 0-4"),
        ({"seeds": "first"}, "seeds 'first'; expected integers"),
        ({"seeds": True}, "seeds True; expected integers"),
        ({"ipc": "0"}, "ipc '0'; expected integers ≥ 1"),
        ({"ood": "textures,textures"}, "ood ['textures', 'textures']"),
    ],
)
def test_what_is_impossible_is_refused_by_name(given, said):
    with pytest.raises(BadInput, match=re.escape(said)):
        Selection.of(**given)


def test_seeds_as_text_are_read_again():
    for seeds in ((0, 1, 2), (0, 2), (5,), (0, 1), (0, 1, 2, 3, 9), (range(0, 5), 7)):
        read = Selection.of(seeds=seeds_as_text(seeds)).seeds
        assert [*np.concatenate([np.atleast_1d(part) for part in read])] == [
            *np.concatenate([np.atleast_1d(part) for part in seeds])
        ]


# -- found among stored runs --------------------------------------------------------------------


def test_ranges_take_the_seeds_that_are_stored_and_names_must_be(profile):
    runs = Results(profile).runs("main")
    asked = Selection.of(seeds="1-9")
    chosen, settled = asked.settle(runs, "it")
    assert {run.experiment.seed for run in chosen} == {1, 2}
    assert settled.given == {"seeds": "1,2"}
    assert asked.lacking(runs) == [3, 4, 5, 6, 7, 8, 9]
    with pytest.raises(MissingArtefacts, match="seeds 7 is not stored for it; stored: 0, 1, 2"):
        Selection.of(seeds="0,7").settle(runs, "it")
    with pytest.raises(MissingArtefacts, match="seeds 5-9 is not stored"):
        Selection.of(seeds="5-9").settle(runs, "it")


def test_what_leaves_nothing_out_is_no_selection(profile):
    runs = Results(profile).runs("main")
    everything = Selection.of(
        score="msp", seeds="0-4", outliers="poe,none,oe", method="dsa", ipc=2,
        ood="transposed_digits,textures,gaussian",
    )  # fmt: skip
    chosen, settled = everything.settle(runs, "it")
    assert len(chosen) == len(runs)
    assert settled == Selection()


def test_a_view_gives_the_score_and_the_sets_that_are_selected(profile):
    runs = Results(profile).runs("main")
    view = View(runs, Selection.of(score="energy", ood="gaussian,textures"))
    frame = reports(runs).query("score == 'energy' and ood in ['gaussian', 'textures']")
    expected = frame.groupby("key", sort=False)[["auroc", "fpr95_in"]].mean()
    summary = view.summary().set_index("key")
    np.testing.assert_allclose(summary["auroc"], expected["auroc"])
    np.testing.assert_allclose(summary["fpr95_in"], expected["fpr95_in"])
    assert view.sets == ("textures", "gaussian")
    logits = arrays(runs[0], "logits.safetensors")
    confidences = view.confidences(runs[0])
    assert list(confidences) == ["in", "textures", "gaussian"]
    np.testing.assert_array_equal(
        confidences["gaussian"], confidence_of(logits["ood.gaussian"], "energy")
    )
    assert view.over_sets == "over the 2 OOD sets textures and Gaussian noise"
    # further detectors' scores stand in a report of their own
    assert set(View(runs, Selection.of(score="knn")).reports()["score"]) == {"knn"}


# -- followed by all that is made ---------------------------------------------------------------

#: option → a value other than what is shown without it, and words that must then stand in the
#: caption, and those that must not
CHANGES = {
    "score": ("energy", ["Energy"], ["MSP score"]),
    "metric": ("fpr95_in", ["FPR95 (InD positive)"], ["AUROC"]),
    "ood": ("textures,gaussian", ["textures and Gaussian noise"], ["transposed"]),
    "seeds": ("0-1", ["2 seeds"], ["3 seeds"]),
    "outliers": ("none,poe", ["POE"], [" OE"]),
}


@pytest.mark.parametrize("option", CHANGES)
@pytest.mark.parametrize("entry_id", ["fig05", "fig11", "fig17", "tab03", "tab08", "tab12"])
def test_each_option_changes_numbers_and_words(profile, entry_id, option):
    catalogue = TABLES if entry_id.startswith("tab") else FIGURES
    value, there, gone = CHANGES[option]
    plain = catalogue.show(entry_id, profile=profile)
    shown = catalogue.show(entry_id, profile=profile, **{option: value})
    words = f"{shown.record['finding']} {shown.record['caption']} {shown.record.get('alt', '')}"
    for word in there:
        assert word in words
    for word in gone:
        assert word not in words
    settled = "0,1" if option == "seeds" else value
    assert shown.record["selection"] == Selection.of(**{option: settled}).given
    assert f"--{option}" in shown.record["command"]
    assert shown.files["csv"].read_bytes() != plain.files["csv"].read_bytes()
    # never over the profile's own
    assert shown.files["csv"].parent != plain.files["csv"].parent
    assert Selection.of(**shown.record["selection"]).slug in shown.files["csv"].parent.name


def test_command_python_and_notebook_ask_for_the_same(profile, folder, monkeypatch):
    shown = FIGURES.show(
        "fig02", profile=profile, score="energy", ood=["textures"], seeds=[0, 1], metric="fpr95_in"
    )
    before = {path.name: path.read_bytes() for path in shown.files.values()}
    place = shown.files["svg"].parent
    for path in place.iterdir():
        path.unlink()
    monkeypatch.chdir(profile.path.parent)
    words = ["figure", "fig02", "--profile", profile.path.name, "--score", "energy"]
    words += ["--ood", "textures", "--seeds", "0-1", "--metric", "fpr95_in"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_an_option_that_plays_no_part_is_refused(profile, capsys, monkeypatch):
    with pytest.raises(BadInput, match=r"figure fig10 \(Matching losses\) has no score or ood to"):
        FIGURES.show("fig10", profile=profile, score="energy", ood="textures")
    with pytest.raises(BadInput, match=r"tab01 .* it takes nothing"):
        TABLES.show("tab01", profile=profile, seeds="0")
    # of a request for everything, each entry follows what it can
    shown = FIGURES.show("fig10", profile=profile, score="energy", seeds="0-1", strict=False)
    assert shown.record["selection"] == {"seeds": "0,1"}


def test_what_is_not_stored_is_one_clear_error(profile, capsys, monkeypatch):
    monkeypatch.chdir(profile.path.parent)

    def refused(*words):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--profile", profile.path.name])
        assert ended.value.code == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    said = refused("figure", "fig02", "--ood", "textures,svhn")
    assert "ood svhn is not stored for figure fig02 of profile 'fabricated'; stored: " in said
    assert "stored: msp, maxlogit, energy, odin, knn" in refused("table", "tab03", "--score", "vim")
    assert "needs more than the logits" in refused("figure", "fig02", "--score", "knn")
    assert "outliers oe is not stored" in refused("table", "tab04", "--outliers", "oe")


def test_every_entry_takes_only_options_that_there_are():
    for catalogue in (FIGURES, TABLES):
        for entry in catalogue.entries.values():
            assert set(entry.options) <= set(REPORTED)
            # one that may show another measure takes the score and sets that it is of
            assert "metric" not in entry.options or "ood" in entry.options


# -- which runs ---------------------------------------------------------------------------------


def test_runs_are_said_in_words_that_find_them_again(profile):
    def said(experiments):
        runs = [Run.of(e, profile.name) for e in experiments]
        words = runs_as_words(profile, runs)
        found = runs_of_words(profile, words)
        assert [r.experiment.to_dict() for r in found] == [e.to_dict() for e in experiments]
        return words

    groups = profile.groups
    assert said(groups["mtt"]) == ["mtt"]
    assert said([*groups["equal_budget"], *groups["mtt"]]) == ["equal_budget", "mtt"]
    grid = profile.grid(ipc=3, outliers=["none", "poe"], seed=[0, 1], outlier_weight=2.0)
    assert said(grid) == [
        "{dataset: digits, method: dsa, outliers: none, ipc: 3, seed: [0, 1]}",
        "{dataset: digits, method: dsa, outliers: poe, ipc: 3, outlier_weight: 2.0, seed: [0, 1]}",
    ]
    assert len(said(profile.grid(ipc=2, outliers="poe", seed=[0, 1], corruptions=["invert"]))) == 1
    # the order counts, since the first run names the setting
    assert said(list(groups["mtt"])[::-1]) != ["mtt"]


def test_runs_may_be_named_by_key(profile):
    run = Results(profile).runs("main")[4]
    (found,) = runs_of_words(profile, [run.experiment.key])
    assert found.experiment.to_dict() == run.experiment.to_dict()
    with pytest.raises(BadInput, match=r"runs 'mian'; expected a group of profile 'fabricated' \("):
        runs_of_words(profile, ["mian"])
    with pytest.raises(BadInput, match="expected a grid in YAML"):
        runs_of_words(profile, ["{ipc: 2"])


def test_requests_that_differ_go_to_different_places(profile):
    plain = Request(profile=profile)
    others = [
        Request(profile=profile, selection=Selection.of(score="energy")),
        Request(profile=profile, selection=Selection.of(seeds="0")),
        Request(profile=profile, runs=tuple(Results(profile).planned("mtt"))),
        Request(
            profile=profile, runs=tuple(Results(profile).planned("mtt")),
            selection=Selection.of(seeds="0"),
        ),
    ]  # fmt: skip
    places = {request.place("figure") for request in others}
    assert len(places) == len(others)
    assert plain.place("figure") not in places
    assert plain.stem("figure", "fig02", "page") == "fig02"
    column = Request(profile=profile, width="column")
    assert column.stem("figure", "fig02", "page") == "fig02-3.25in"
    assert column.stem("figure", "fig02", "column") == "fig02"
    assert column.place("figure") == plain.place("figure")
    assert Path(plain.place("table")).name == "tables"
