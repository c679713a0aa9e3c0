"""Exported files: the same bytes again, paper-ready, and a record of what they were made from."""

import hashlib
import json
import os
import re
import subprocess
import sys
import zlib

import numpy as np
import pandas as pd
import pytest
from fabricated_runs import stored_profile
from matplotlib.figure import Figure

from trustdd.report import style
from trustdd.report.export import MadeFigure, MadeTable
from trustdd.report.figures import FIGURES
from trustdd.report.markup import Column
from trustdd.report.request import Request
from trustdd.report.results import MissingArtefacts, Results
from trustdd.report.tables import TABLES
from trustdd.store.profiles import load_profile


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return load_profile(stored_profile(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module", autouse=True)
def folder(profile, tmp_path_factory):
    """Results whose runs are the made-up ones, and whose exports stay in this module."""
    root = tmp_path_factory.mktemp("exports")
    (root / "fabricated").mkdir()
    (root / "fabricated" / "runs").symlink_to(profile.path.parent / "fabricated" / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTDD_RESULTS", str(root))
        yield root


@pytest.fixture(scope="module")
def fig10(profile, folder):
    """A figure with three seeds, exported once."""
    return FIGURES.show("fig10", profile=profile)


def _bytes(files):
    return {suffix: path.read_bytes() for suffix, path in files.items()}


def test_a_figure_made_again_elsewhere_has_the_same_bytes(profile, folder):
    first = _bytes(FIGURES.show("fig02", profile=profile).files)
    code = (
        "from trustdd import load_profile; from trustdd.report.figures import FIGURES;"
        f"FIGURES.show('fig02', profile=load_profile({str(profile.path)!r}))"
    )
    # another process, another day as far as matplotlib can tell, another order of sets
    environment = {**os.environ, "PYTHONHASHSEED": "17", "SOURCE_DATE_EPOCH": "86400"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    names = {s: path.name for s, path in FIGURES.show("fig02", profile=profile).files.items()}
    again = {s: (folder / "fabricated" / "figures" / names[s]).read_bytes() for s in first}
    assert {s for s in first if first[s] != again[s]} == set()


def test_a_table_made_again_has_the_same_bytes(profile):
    first = _bytes(TABLES.show("tab08", profile=profile).files)
    assert set(first) == {"tex", "html", "md", "csv", "quoted.csv", "json"}
    assert first == _bytes(TABLES.show("tab08", profile=profile).files)


def test_pdf_embeds_truetype_fonts_and_has_the_width_asked_for(profile):
    shown = FIGURES.show("fig10", profile=profile, width="column")
    assert shown.files["pdf"].name == "fig10-3.25in.pdf"
    pdf = shown.files["pdf"].read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", pdf)
    assert float(box[1]) == pytest.approx(3.25 * 72, abs=0.5)
    text = pdf + b"".join(_streams(pdf))
    assert b"/FontFile2" in text
    assert b"/Type3" not in text
    assert b"CreationDate" not in text


def _streams(pdf):
    for body in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            yield zlib.decompress(body)
        except zlib.error:
            continue


def test_picture_is_an_opaque_white_card(fig10):
    from PIL import Image

    image = np.asarray(Image.open(fig10.files["png"]).convert("RGBA"))
    assert (image[..., 3] == 255).all()
    assert (image[[0, 0, -1, -1], [0, -1, 0, -1], :3] == 255).all()
    svg = fig10.files["svg"].read_text()
    assert "<text" not in svg  # text as paths: the reader's fonts do not matter
    assert "<dc:date>" not in svg


def test_record_says_what_it_was_made_from(profile, fig10):
    record = json.loads(fig10.files["json"].read_text())
    runs = Results(profile).runs("main")
    assert record["profile"] == "fabricated"
    assert record["seeds"] == [0, 1, 2]
    assert record["runs"] == [run.experiment.key for run in runs]
    # of the runs, not of today
    assert (record["date"], record["commit"]) == ("2024-02-29", "0123456789ab")
    assert record["device"] == "cpu, 1 threads"
    seconds = [s["seconds"] for run in runs for s in run.records().values()]
    assert record["wall_seconds"] == pytest.approx(sum(seconds))
    assert record["parameters"]["varied"]["seed"] == [0, 1, 2]
    assert record["parameters"]["shared"]["ipc"] == 2
    first = runs[0]
    digest = hashlib.sha256(first.path("curves.csv").read_bytes()).hexdigest()
    assert record["inputs"][f"{first.experiment.key}/curves.csv"] == digest
    assert len(record["inputs"]) == 9
    assert record["command"] == "trustdd figure fig10 --profile fabricated.yaml"
    for name, expected in record["files"].items():
        path = fig10.files["json"].with_name(name)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == expected
    assert {"torch", "numpy"} <= set(record["libraries"])
    assert record["alt"].strip() and record["caption"].strip()
    assert str(profile.path.parent) not in json.dumps(record)


def test_optional_artefacts_enter_the_record(profile):
    record = TABLES.show("tab11", profile=profile).record
    names = {path.rsplit("/")[-1] for path in record["inputs"]}
    assert names == {"report.csv", "detectors.csv"}


def test_a_figure_of_one_seed_records_that_seed_alone(profile):
    record = FIGURES.show("fig07", profile=profile).record
    assert record["seeds"] == [0]
    assert all("-seed0-" in key for key in record["runs"])


def test_other_runs_make_a_variant_beside_the_profiles_own_figure(profile, folder, fig10):
    own = _bytes(fig10.files)
    some = [r for r in Results(profile).runs("main") if r.experiment.seed < 2]
    variant = FIGURES.show("fig10", some, profile)
    assert variant.files["svg"].parent.parent == folder / "fabricated" / "variants"
    assert variant.record["variant"]
    assert variant.record["seeds"] == [0, 1]
    assert "seed: [0, 1]" in variant.record["command"]
    kept = folder / "fabricated" / "figures"
    assert {s: (kept / fig10.files[s].name).read_bytes() for s in own} == own
    # the profile's own runs, in whatever order or form, are no variant
    experiments = list(profile.group("main"))[::-1]
    same = FIGURES.show("fig10", experiments, profile)
    assert not same.record["variant"]
    assert _bytes(same.files) == own


def test_a_notebook_shows_the_entry_the_picture_and_the_alt_text(profile, fig10):
    bundle = fig10._repr_mimebundle_()
    assert bundle["application/vnd.trustdd.entry+json"]["id"] == "fig10"
    assert bundle["application/vnd.trustdd.entry+json"]["path"].endswith("figures/fig10.json")
    assert bundle["text/plain"] == fig10.record["alt"]
    assert bundle["image/png"]
    table = TABLES.show("tab07", profile=profile)._repr_mimebundle_()
    assert table["text/html"].startswith("<table")
    assert table["application/vnd.trustdd.entry+json"]["kind"] == "table"


def test_alt_text_and_caption_are_required():
    data = pd.DataFrame()
    for empty in ("alt", "caption", "finding"):
        words = {"alt": "a", "caption": "c", "finding": "f", empty: "  "}
        with pytest.raises(ValueError, match=f"{empty} is empty"):
            MadeFigure(Figure(), data, **words)
    with pytest.raises(ValueError, match="2 cells; expected 1"):
        MadeTable((Column("a"),), (("x", "y"),), data, "c", "f")


def test_unknown_ids_and_widths_name_what_is_allowed(profile):
    with pytest.raises(ValueError, match=r"figure 'fig2'; nearest: fig.*expected one of fig01"):
        FIGURES.show("fig2", profile=profile)
    with pytest.raises(ValueError, match="table 'fig02'"):
        TABLES.find("fig02")
    with pytest.raises(ValueError, match=r"width 'wide'; expected column \(3.25 in\)"):
        FIGURES.show("fig10", profile=profile, width="wide")
    assert style.width_in_inches("5.5") == 5.5


def test_missing_artefacts_name_the_entry(profile, tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path / "empty"))
    with pytest.raises(
        MissingArtefacts, match=r"figure fig02: .*make book PROFILE=\S+fabricated.yaml"
    ):
        FIGURES.show("fig02", profile=profile)
    with pytest.raises(MissingArtefacts, match=r"table tab06: .*imagenette"):
        TABLES.collect("tab06", profile)
    assert not (tmp_path / "empty" / "fabricated" / "figures").exists()


def test_variants_of_other_settings_go_to_other_folders(profile):
    runs = Results(profile).planned("main")
    places = [
        Request(profile=profile, runs=tuple(part)).place("figure") for part in (runs[:2], runs[2:])
    ]
    assert places[0] != places[1]
    assert Request(profile=profile, runs=tuple(runs[1::-1])).place("figure") == places[0]
