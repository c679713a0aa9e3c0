"""What pages' scripts read: packed exactly, thresholds as the reports have them."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from trustdd.report.analysis.confidence import threshold_of
from trustdd.report.page_data.packing import packed, script
from trustdd.students.metrics import ood_metrics


def test_arrays_come_back_to_the_last_bit() -> None:
    given = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    made = packed(given.T, "float32")
    assert made["shape"] == [4, 3]
    back = np.frombuffer(base64.b64decode(made["float32"]), "<f4").reshape(4, 3)
    np.testing.assert_array_equal(back, given.T)
    with pytest.raises(ValueError, match="values from -1 to 256; expected those of uint8"):
        packed([-1, 256], "uint8")


def test_a_script_sets_one_name() -> None:
    text = script("images", {"sets": ["“a”", 1.5]})
    head, _, value = text.partition(" = ")
    assert head == "(window.trustdd ??= {}).images"
    assert json.loads(value.rstrip(";\n")) == {"sets": ["“a”", 1.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        script("images", float("nan"))


@pytest.mark.parametrize("count", [1, 19, 20, 21, 200, 596])
@pytest.mark.parametrize("ties", [False, True])
def test_the_threshold_is_that_of_the_report(count: int, ties: bool) -> None:
    generator = np.random.default_rng(count)
    inside, outside = generator.normal(1, 1, count), generator.normal(0, 1, 300)
    if ties:
        inside, outside = inside.round(1), outside.round(1)
    threshold = threshold_of(inside)
    assert (inside >= threshold).mean() >= 0.95
    # the next higher value would keep too few
    higher = inside[inside > threshold]
    assert not len(higher) or (inside >= higher.min()).mean() < 0.95
    assert (outside >= threshold).mean() == ood_metrics(inside, outside)["fpr95_in"]
    labels = np.r_[np.ones(count), np.zeros(300)]
    _, recalls, thresholds = roc_curve(labels, np.r_[inside, outside], drop_intermediate=False)
    assert threshold == thresholds[np.argmax(recalls >= 0.95)]


def test_a_threshold_needs_images() -> None:
    with pytest.raises(ValueError, match="0 images"):
        threshold_of(np.array([]))
    with pytest.raises(ValueError, match=r"kept 1\.5; expected"):
        threshold_of(np.ones(3), 1.5)
