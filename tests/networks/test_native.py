"""The compiled passes, held against the eager ones, and what happens without a compiler."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trustdd.networks.architectures import build
from trustdd.networks.native import library as native_library
from trustdd.networks.native.binding import MOST_BLOCKS, Batch, NativeConvNet, Plan
from trustdd.networks.native.library import library
from trustdd.networks.passes import Passes, SoftTargets

needs_compiler = pytest.mark.skipif(library() is None, reason="no C compiler here")
needs_bf16 = pytest.mark.skipif(
    not NativeConvNet.usable(32, 2, low=True), reason="this CPU does not multiply in bfloat16"
)


@pytest.fixture
def fresh() -> Iterator[None]:
    """The library is looked for anew, then and afterwards."""
    library.cache_clear()
    yield
    library.cache_clear()


class Problem:
    """A network away from its initial norms, a batch and a loss, in float32."""

    def __init__(self, channels: int, size: int, width: int, depth: int, count: int) -> None:
        draw = torch.Generator().manual_seed(size)
        self.network = build("convnet", channels, 4, size, width, depth, draw)
        for parameter in self.network.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
        self.parameters = [p.detach() for p in self.network.parameters()]
        self.images = torch.randn(count, channels, size, size, generator=draw)
        labels = torch.randint(4, (count,), generator=draw)
        # a mean over InD images, and outliers of another weight behind them
        self.loss = SoftTargets.of(labels[: count - 1], 4, 1, 0.5)

    def exact_products(
        self, direction: list[Tensor | None]
    ) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Gradients, and their product's with a direction, by autograd in float64."""
        network = self.network.double()
        images, parameters = self.images.double().requires_grad_(), list(network.parameters())
        loss = SoftTargets(self.loss.targets.double(), self.loss.weights.double())
        gradients = torch.autograd.grad(loss.loss(network(images)), parameters, create_graph=True)
        pairs = zip(gradients, direction, strict=True)
        product = torch.stack([(g * d.double()).sum() for g, d in pairs if d is not None]).sum()
        by_images, *by_parameters = torch.autograd.grad(
            product, [images, *parameters], materialize_grads=True
        )
        return [g.detach() for g in gradients], by_images, by_parameters

    def exact(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits, features and gradients by autograd in float64."""
        network = self.network.double()
        features = network.embed(self.images.double())
        logits = network.classifier(features)
        loss = SoftTargets(self.loss.targets.double(), self.loss.weights.double()).loss(logits)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        return logits.detach(), features.detach(), list(gradients)


def apart(found: Tensor, expected: Tensor) -> float:
    """Relative error in the Euclidean norm."""
    return float((found.double() - expected).norm() / expected.norm().clamp_min(1e-30))


#: the last has 7 pixels after one block: tiles stick out, and pooling drops a row
SHAPES = [(1, 16, 32, 2), (3, 28, 16, 3), (3, 32, 64, 3), (2, 8, 16, 1), (3, 15, 16, 2)]


@needs_compiler
@pytest.mark.parametrize("channels, size, width, depth", SHAPES)
def test_gradients_are_those_of_autograd(channels: int, size: int, width: int, depth: int) -> None:
    # few images: among many, some activation lies so near zero that rounding decides its sign
    problem = Problem(channels, size, width, depth, 2)
    passes = Passes(problem.network)
    assert passes.compiled(problem.parameters, problem.images) is not None
    found, gradients = passes.gradients(problem.parameters, problem.images, problem.loss)
    _, features = passes.outputs(problem.parameters, problem.images)
    logits, embedded, expected = problem.exact()
    assert apart(found, logits) < 1e-5
    assert apart(features, embedded) < 1e-5
    for i, (mine, theirs) in enumerate(zip(gradients, expected, strict=True)):
        if i % 4 == 1 and i < 4 * depth:  # a convolution's bias: zero but for rounding
            assert not mine.any()
            assert float(theirs.abs().max()) < 1e-12
        else:
            assert apart(mine, theirs) < 2e-5, i


@needs_compiler
@pytest.mark.parametrize("some", [False, True])
@pytest.mark.parametrize("channels, size, width, depth", SHAPES)
def test_derivatives_along_a_direction_are_those_of_autograd(
    channels: int, size: int, width: int, depth: int, some: bool
) -> None:
    problem = Problem(channels, size, width, depth, 2)
    draw = torch.Generator().manual_seed(7)
    direction: list[Tensor | None] = [
        None if some and p.ndim == 1 else torch.randn(p.shape, generator=draw)
        for p in problem.parameters
    ]
    passes = Passes(problem.network)
    gradients, by_images, by_parameters = passes.products(
        problem.parameters, problem.images, problem.loss, direction
    )
    _, same, nothing = passes.products(
        problem.parameters, problem.images, problem.loss, direction, by_parameters=False
    )
    assert torch.equal(same, by_images)
    assert nothing == []
    expected, images_expected, parameters_expected = problem.exact_products(direction)
    assert apart(by_images, images_expected) < 3e-5
    for i, (a, b, c, d) in enumerate(
        zip(gradients, expected, by_parameters, parameters_expected, strict=True)
    ):
        if i % 4 == 1 and i < 4 * depth:
            assert not a.any() and not c.any()
        else:
            assert apart(a, b) < 2e-5, i
            assert apart(c, d) < 5e-5, i


@needs_compiler
@pytest.mark.parametrize("channels, size, width, depth", SHAPES)
def test_a_batch_is_the_sum_of_its_images(channels: int, size: int, width: int, depth: int) -> None:
    problem = Problem(channels, size, width, depth, 13)
    passes = Passes(problem.network)
    logits, gradients = passes.gradients(problem.parameters, problem.images, problem.loss)
    parts = zip(problem.images.split(1), problem.loss.split(1), strict=True)
    alone = [passes.gradients(problem.parameters, image, loss) for image, loss in parts]
    assert torch.equal(logits, torch.cat([own for own, _ in alone]))
    for i, mine in enumerate(gradients):
        assert apart(mine, sum(own[i].double() for _, own in alone)) < 1e-5


@needs_compiler
def test_forward_alone_gives_the_same_logits_and_needs_no_loss() -> None:
    problem = Problem(3, 32, 32, 3, 9)
    passes = Passes(problem.network)
    with torch.inference_mode():
        alone, _ = passes.outputs(problem.parameters, problem.images)
    both, _ = passes.gradients(problem.parameters, problem.images, problem.loss)
    assert torch.equal(alone, both)


@needs_compiler
def test_pieces_and_threads_change_rounding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(3, 32, 32, 3, 23)
    passes = Passes(problem.network)

    def gradients() -> list[Tensor]:
        return passes.gradients(problem.parameters, problem.images, problem.loss)[1]

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = gradients()
        assert all(torch.equal(a, b) for a, b in zip(one, gradients(), strict=True))
        monkeypatch.setattr("trustdd.networks.native.binding.WORK_BYTES", 1)  # an image a piece
        pieces = gradients()
        torch.set_num_threads(3)
        three = gradients()
        assert all(torch.equal(a, b) for a, b in zip(three, gradients(), strict=True))
    finally:
        torch.set_num_threads(threads)
    for a, b, c in zip(one, pieces, three, strict=True):
        assert apart(b, a.double()) < 1e-5
        assert apart(c, a.double()) < 1e-5


@needs_compiler
def test_vectors_may_be_left_out_and_strides_do_not_matter() -> None:
    problem = Problem(3, 16, 16, 2, 6)
    passes = Passes(problem.network)
    images = problem.images.to(memory_format=torch.channels_last)
    shared = SoftTargets(torch.tensor([[0.25]]).expand(6, 4), torch.tensor([[0.1]]).expand(6, 1))
    plain = SoftTargets(shared.targets.contiguous(), shared.weights.contiguous())
    _, some = passes.gradients(problem.parameters, images, shared, norms=False)
    _, every = passes.gradients(problem.parameters, problem.images, plain)
    for parameter, a, b in zip(problem.parameters, some, every, strict=True):
        assert torch.equal(a, b) if parameter.ndim > 1 else not a.numel()


@needs_bf16
@pytest.mark.parametrize("channels, size, width, depth", SHAPES)
def test_bfloat16_points_the_same_way(channels: int, size: int, width: int, depth: int) -> None:
    problem = Problem(channels, size, width, depth, 13)
    _, low = Passes(problem.network, "bf16").gradients(
        problem.parameters, problem.images, problem.loss
    )
    _, high = Passes(problem.network).gradients(problem.parameters, problem.images, problem.loss)
    _, _, expected = problem.exact()
    for i, (mine, theirs) in enumerate(zip(low, expected, strict=True)):
        if i % 4 == 1 and i < 4 * depth:
            continue
        cosine = torch.cosine_similarity(mine.double().flatten(), theirs.flatten(), dim=0)
        assert float(cosine) > 0.98, i
    # it is not float32 by another name, where a second block is there to multiply in
    assert depth == 1 or apart(low[0], high[0].double()) > 1e-4


def test_other_widths_and_kinds_go_by_pytorch() -> None:
    problem = Problem(3, 16, 16, 2, 4)
    double = [p.double() for p in problem.parameters]
    passes = Passes(problem.network)
    assert passes.compiled(double, problem.images.double()) is None
    odd = build("convnet", 3, 4, 16, 24, 2, torch.Generator().manual_seed(0))
    assert Passes(odd).compiled([p.detach() for p in odd.parameters()], problem.images) is None


def test_without_a_compiler_it_says_so_once(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    problem = Problem(3, 16, 16, 2, 4)
    expected = Passes(problem.network).gradients(problem.parameters, problem.images, problem.loss)[
        1
    ]
    library.cache_clear()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.warns(UserWarning, match=r"half the speed: there is no C compiler"):
        found = Passes(problem.network).gradients(problem.parameters, problem.images, problem.loss)[
            1
        ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Passes(problem.network).gradients(problem.parameters, problem.images, problem.loss)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_compiler_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, fresh: None, tmp_path: Path
) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'no such processor' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("TRUSTDD_CACHE", str(tmp_path / "cache"))
    with pytest.warns(UserWarning, match=r"broken-cc failed with 'no such processor'"):
        assert library() is None
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_it_can_be_done_without(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    monkeypatch.setenv("TRUSTDD_NATIVE", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert library() is None


@needs_compiler
def test_it_is_compiled_once_and_elsewhere_if_need_be(
    monkeypatch: pytest.MonkeyPatch, fresh: None, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRUSTDD_CACHE", str(tmp_path / "cache"))
    # where an earlier process may have left one
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "empty"))
    (tmp_path / "empty").mkdir()
    assert library() is not None
    (made,) = tmp_path.rglob("*.so")
    stamp = made.stat().st_mtime_ns
    library.cache_clear()
    assert library() is not None
    assert made.stat().st_mtime_ns == stamp
    # a cache that is no folder: the temporary one takes it
    library.cache_clear()
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("TRUSTDD_CACHE", str(blocked))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    assert library() is not None
    assert len(list((tmp_path / "other").rglob("*.so"))) == 1


@needs_compiler
def test_a_forked_process_goes_on_alone() -> None:
    """As a DataLoader's workers do: one thread each."""
    script = """
import os, torch
from trustdd.networks.native import binding
from trustdd.networks.architectures import build
from trustdd.networks.passes import Passes, SoftTargets
torch.set_num_threads(2)
network = build("convnet", 1, 2, 8, 16, 1, torch.Generator().manual_seed(0))
parameters = [p.detach() for p in network.parameters()]
loss = SoftTargets.of(torch.tensor([0, 1, 0, 1]), 2)
images = torch.ones(4, 1, 8, 8)
def total():
    return sum(float(g.sum()) for g in Passes(network).gradients(parameters, images, loss)[1])
before = total()
with binding._lock:
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os._exit(0 if abs(total() - before) < 1e-5 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert finished.stdout.strip() == "0", finished.stderr


@needs_compiler
def test_the_librarys_name_covers_all_that_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A change in any C file gives another library, and no C file lies there unused."""
    compiler = native_library._compiler()
    listed = subprocess.run(
        [compiler, "-MM", str(native_library.SOURCE)], capture_output=True, text=True, check=True
    ).stdout
    read = {Path(word).name for word in listed.replace("\\\n", " ").split()[1:]}
    folder = native_library.SOURCE.parent
    assert read == {path.name for path in folder.iterdir() if path.suffix not in (".py", "")}
    assert len(read) > 5
    for name in read:
        (tmp_path / name).write_text((folder / name).read_text())
    monkeypatch.setattr(native_library, "SOURCE", tmp_path / native_library.SOURCE.name)
    names = {native_library.library_name(compiler)}
    for name in read:
        with (tmp_path / name).open("a") as file:
            file.write("/* another */\n")
        names.add(native_library.library_name(compiler))
    assert len(names) == 1 + len(read)


@pytest.mark.parametrize("structure, file", [(Plan, "plan.h"), (Batch, "convnet.c")])
def test_python_and_c_agree_on_structures(structure: type[ctypes.Structure], file: str) -> None:
    text = (native_library.SOURCE.parent / file).read_text()
    (body,) = re.findall(rf"typedef struct {{([^}}]*)}} {structure.__name__};", text)
    fields: list[tuple[str, str]] = []
    for line in re.sub(r"/\*.*?\*/", "", body, flags=re.DOTALL).split(";")[:-1]:
        kind, names = line.strip().removeprefix("const ").split(maxsplit=1)
        for name in names.split(","):
            fields.append((name.split("*")[-1].strip(), "pointer" if "*" in name else kind))
    kinds = {ctypes.c_int64: "size", ctypes.c_float: "float", ctypes.c_void_p: "pointer"}
    assert fields == [(name, kinds[kind]) for name, kind in structure._fields_]
    assert f"#define MOST_BLOCKS {MOST_BLOCKS}\n" in (
        native_library.SOURCE.with_name("plan.h").read_text()
    )
