"""What every test shares: one thread each, and a world of its own.

A session makes a folder for whatever tests would find elsewhere: the home, caches, settings of
other programs, temporary files. The compiled passes are made there once. Nothing is written into
the checkout, and no test sees what another one changed in the environment, the working folder, or
PyTorch's settings.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# Before anything imports torch: two workers with two threads each only wait for one another.
for _threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

#: where a session's folder is told to the workers that it starts
WORLD = "_TRUSTDD_TESTS"
#: what is asked of the tests, not of the package
ASKED = {"TRUSTDD_BOOK"}
#: settings of a person's shell that would change what is computed or found
FOREIGN = {"CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "SOURCE_DATE_EPOCH", "PYTHONHASHSEED"}


def pytest_configure(config):
    """Make the session's folder, before any module of tests is imported."""
    if WORLD in os.environ:  # of a worker's session
        tempfile.tempdir = None
        return
    home, temporary = Path.home(), tempfile.gettempdir()
    world = Path(tempfile.mkdtemp(prefix="trustdd-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(world, ignore_errors=True))
    for name in [n for n in os.environ if n.startswith("TRUSTDD_") and n not in ASKED]:
        del os.environ[name]
    for name in FOREIGN & {*os.environ}:
        del os.environ[name]
    # tests' own folders outlive the session, for a look at what went wrong
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", temporary)
    # a browser is a program, not a setting; git asks whom a checkout belongs to
    os.environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", str(_browsers(home)))
    os.environ.setdefault("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    places = {
        "HOME": "home", "TMPDIR": "tmp", "TRUSTDD_CACHE": "cache/trustdd",
        "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data",
        "XDG_STATE_HOME": "state",
    }  # fmt: skip
    for name, place in places.items():
        (world / place).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(world / place)
    os.environ[WORLD] = str(world)
    config.add_cleanup(lambda: os.environ.pop(WORLD, None))
    tempfile.tempdir = None


def _browsers(home):
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "ms-playwright"


@pytest.fixture(scope="session", autouse=True)
def results_root(tmp_path_factory):
    """A folder of its own for the artefacts of this worker's tests; returns its path."""
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTDD_RESULTS", str(root))
        yield root


@pytest.fixture(autouse=True)
def _alone(results_root):
    """The environment, the working folder and PyTorch's settings, put back after every test."""
    environment, folder = dict(os.environ), os.getcwd()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
        threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    yield
    os.chdir(folder)
    if {**os.environ} != environment:
        os.environ.clear()
        os.environ.update(environment)
    if torch is not None:
        torch.set_num_threads(threads)
        torch.set_default_dtype(torch.float32)
        torch.backends.cudnn.deterministic = deterministic


def pytest_collection_modifyitems(items):
    """Slow files come first; `make test` gives each file to one worker, in this order."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
