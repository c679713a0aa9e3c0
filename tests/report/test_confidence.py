"""Scores of stored logits: the same as those of the students' own scores, without torch."""

import numpy as np
import pytest
import torch

from trustdd.report.confidence import FROM_LOGITS, confidence_of, softmax
from trustdd.students.scores import SCORES


def _logits():
    generator = torch.Generator().manual_seed(0)
    return torch.cat(
        [
            torch.randn(50, 10, generator=generator) * 5,
            torch.full((1, 10), 80.0),
            torch.eye(10) * 90,
        ]
    )


def test_every_score_of_logits_is_here():
    assert set(FROM_LOGITS) == set(SCORES)


@pytest.mark.parametrize("score", SCORES)
def test_scores_are_those_of_the_scores_module(score):
    ours = confidence_of(_logits().numpy(), score)
    np.testing.assert_allclose(ours, SCORES[score](_logits().double()).numpy(), rtol=1e-9)


def test_probabilities_sum_to_one():
    np.testing.assert_allclose(softmax(_logits().numpy()).sum(axis=1), 1, rtol=1e-12)


def test_a_score_that_needs_more_than_logits_is_refused():
    with pytest.raises(ValueError, match=r"score 'knn' is not read off logits; expected one of"):
        confidence_of(_logits().numpy(), "knn")
