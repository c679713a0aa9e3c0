"""Verdicts: words with a test behind each.

A claim says that some differences lie above a bound: 0, a margin that makes 'far above', or a
negative one that makes 'no worse than'. It is *reproduced* where all of them are shown to, and
*contradicted* where one of them is shown to lie below; otherwise it is *undecided*.

All of a claim's differences have to bear it out, so its p-value for 'reproduced' is the largest of
their one-sided ones (an intersection–union test), and for 'contradicted' the smallest, times their
number (Bonferroni). The claim's own is twice the smaller of the two, since it may fall either way.
Over the claims of one ledger, Holm's step-down procedure (Holm 1979) keeps the chance that any word
but *undecided* is given where no difference is there at all at `LEVEL`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trustdd.report.comparison import Difference

#: in the order in which they are counted
VERDICTS = REPRODUCED, CONTRADICTED, UNDECIDED, NOT_RUN = (
    "reproduced", "contradicted", "undecided", "not run",
)  # fmt: skip
#: the chance, over all claims together, that a word is given where there is nothing
LEVEL = 0.05


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        word: one of `VERDICTS`.
        p: its p-value after Holm's correction, in [0, 1]; NaN where nothing could be tested.
    """

    word: str
    p: float


def p_above(difference: Difference, bound: float = 0.0) -> float:
    """Return the one-sided p-value of 'the mean difference lies above `bound`'.

    By the t-test that the difference's interval comes from; of fewer than two seeds it is NaN.
    """
    from scipy.special import stdtr, stdtrit

    if difference.seeds < 2:
        return math.nan
    freedom = difference.seeds - 1
    error = (difference.high - difference.low) / 2 / float(stdtrit(freedom, 0.975))
    gap = difference.mean - bound
    if error == 0:
        return 0.5 if gap == 0 else float(gap < 0)
    return float(stdtr(freedom, -gap / error))


def judge(claims: Sequence[tuple[Sequence[Difference], float]]) -> list[Verdict]:
    """Give each claim of a ledger its word.

    Args:
        claims: of each, the differences that it rests on, and the bound that it says all of them
            lie above. Without differences it was not run; where one of them has a single seed,
            nothing can be tested and it is undecided.

    Returns:
        A verdict for each claim, in their order.
    """
    towards: list[tuple[float, bool]] = []
    for differences, bound in claims:
        above = [p_above(d, bound) for d in differences]
        if not above or any(math.isnan(p) for p in above):
            towards.append((math.nan, False))
            continue
        bears_out = max(above)
        bears_against = min(1.0, len(above) * min(1 - p for p in above))
        p = min(1.0, 2 * min(bears_out, bears_against))
        towards.append((p, bears_out < bears_against))
    adjusted = holm([p for p, _ in towards])
    found = []
    for (differences, _), (_, borne_out), p in zip(claims, towards, adjusted, strict=True):
        word = UNDECIDED
        if not differences:
            word = NOT_RUN
        elif p <= LEVEL:
            word = REPRODUCED if borne_out else CONTRADICTED
        found.append(Verdict(word, p))
    return found


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's step-down procedure.

    Args:
        values: in [0, 1]; NaN ones are no tests, stay NaN and are not counted.

    Returns:
        Adjusted p-values in the same order: each is at most the level at which it would be
        significant among all of them.
    """
    order = sorted((i for i, p in enumerate(values) if not math.isnan(p)), key=lambda i: values[i])
    adjusted = [math.nan] * len(values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * values[i]))
        adjusted[i] = largest
    return adjusted
