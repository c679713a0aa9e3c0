"""Names of what a set's students are compared with, each an arm of its measures."""

OWN = "the set"
WITH_OWN = "the set, its outliers"
WITH_RANDOM = "the set, random outliers"
RANDOM = "random images"
RANDOM_BOTH = "random images and outliers"
HARD = "the set, hard labels"
#: with the other augmentation: none, where the set's students have one
OTHER, RANDOM_OTHER = "the set, {}", "random images, {}"


def augmented(strategy: str | None) -> str:
    """How an arm is named after its students' augmentation."""
    return "augmented" if strategy else "not augmented"
