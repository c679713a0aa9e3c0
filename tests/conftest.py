"""What every test shares: one thread each, and no artefact written into the checkout."""

import os

import pytest

# Before anything imports torch: two workers with two threads each only wait for one another.
for _threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session", autouse=True)
def results_root(tmp_path_factory):
    """A folder of its own for the artefacts of this worker's tests; returns its path."""
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTDD_RESULTS", str(root))
        yield root


def pytest_collection_modifyitems(items):
    """Slow files come first; `make test` gives each file to one worker, in this order."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
