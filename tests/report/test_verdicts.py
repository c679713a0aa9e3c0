"""A word is given where there is something, and seldom where there is nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from trustdd.report.comparison import difference
from trustdd.report.verdicts import (
    CONTRADICTED,
    LEVEL,
    NOT_RUN,
    REPRODUCED,
    UNDECIDED,
    holm,
    judge,
    p_above,
)

CLAIMS, LEDGERS = 12, 1500


def words(claims):
    return [verdict.word for verdict in judge(claims)]


@pytest.mark.parametrize("bound", [0.0, 0.05, -0.02])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_p_is_that_of_a_t_test(seeds, bound):
    values = np.random.default_rng(seeds).normal(0.03, 0.05, seeds)
    expected = stats.ttest_1samp(values, bound, alternative="greater").pvalue
    assert p_above(difference(values), bound) == pytest.approx(expected, rel=1e-6)


def test_holm_is_that_of_statistics_textbooks():
    # four hypotheses, worked out by hand: 4·0.01, 3·0.02, 2·0.03 (raised to 0.06), 1·0.5
    assert holm([0.03, 0.01, math.nan, 0.5, 0.02]) == pytest.approx(
        [0.06, 0.04, math.nan, 0.5, 0.06], nan_ok=True
    )


def test_each_word_where_it_is_due():
    above, across, below = (
        difference(np.array([m - 0.01, m, m + 0.01])) for m in (0.2, 0.001, -0.2)
    )
    assert words([([above, above], 0.0)]) == [REPRODUCED]
    assert words([([above, across], 0.0)]) == [UNDECIDED]
    assert words([([above, below], 0.0)]) == [CONTRADICTED], "one that is below is enough"
    assert words([([below], 0.0)]) == [CONTRADICTED]
    assert words([([across], 0.0)]) == [UNDECIDED]
    assert words([([across], -0.1)]) == [REPRODUCED], "no worse than the margin"
    assert words([([above], 0.3)]) == [CONTRADICTED], "above 0, and below the bound"
    assert words([([], 0.0)]) == [NOT_RUN]


def test_one_seed_decides_nothing():
    assert words([([difference(np.array([0.9]))], 0.0)]) == [UNDECIDED]


def test_more_claims_ask_for_more():
    clear = difference(np.array([0.05, 0.06, 0.085]))
    nothing = difference(np.array([-0.01, 0.0, 0.01]))
    assert words([([clear], 0.0)])[0] == REPRODUCED
    assert words([([clear], 0.0), *[([nothing], 0.0)] * 11])[0] == UNDECIDED


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("comparisons", [1, 2, 4])
@pytest.mark.parametrize("bound", [0.0, -0.02])
def test_words_are_seldom_given_where_there_is_nothing(seeds, comparisons, bound):
    """Under the null, every difference at its bound: a ledger gives a word in 5% at most."""
    generator = np.random.default_rng([seeds, comparisons, int(bound * 100) + 2])
    given = {REPRODUCED: 0, CONTRADICTED: 0}
    for _ in range(LEDGERS):
        claims = []
        for _ in range(CLAIMS):
            shared = generator.normal(0, 0.03, seeds)  # comparisons of a claim are correlated
            own = generator.normal(0, 0.03, (comparisons, seeds))
            claims.append(([difference(bound + shared + row) for row in own], bound))
        found = set(words(claims))
        for word in given:
            given[word] += word in found
    # three standard errors of a share of 5% above it
    most = LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / LEDGERS)
    assert given[REPRODUCED] / LEDGERS <= most
    assert given[CONTRADICTED] / LEDGERS <= most
    assert sum(given.values()) / LEDGERS <= most + LEVEL / 2


def test_a_real_effect_is_found():
    generator = np.random.default_rng(0)
    found = [
        words([([difference(generator.normal(0.08, 0.02, 5))], 0.0)] * 2)[0] for _ in range(300)
    ]
    assert found.count(REPRODUCED) > 280
