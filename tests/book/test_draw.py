"""Students in a browser: the numbers of PyTorch's, and a page that lets them answer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsing import MODULES, STATIC, opened_browser, page_of

from trustdd.networks.convnet import ConvNet
from trustdd.report.confidence import FROM_LOGITS, confidence_of
from trustdd.report.page_data import images as page_images
from trustdd.report.page_data.packing import packed, script
from trustdd.report.page_data.students import layers
from trustdd.settings.randomness import stream

TENSORFLOW = [
    MODULES / "@tensorflow/tfjs-core/dist/tf-core.es2017.min.js",
    MODULES / "@tensorflow/tfjs-backend-cpu/dist/tf-backend-cpu.es2017.min.js",
]
SCRIPTS = [*TENSORFLOW, *(STATIC / n for n in ("interactive.js", "students.js", "pixels.js"))]
MODES = ("none", "oe", "poe")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not TENSORFLOW[0].is_file():
        pytest.skip("TensorFlow.js is not there (npm ci)")
    yield from opened_browser()


def student(channels: int, size: int, width: int, depth: int, classes: int, seed: int) -> ConvNet:
    """A network with parameters that are all drawn, biases and scales included."""
    network = ConvNet(channels, classes, size, width, depth).eval()
    generator = stream(seed, "browser")
    for parameter in network.parameters():
        with torch.no_grad():
            spread = 1 / math.sqrt(max(1, parameter[0].numel()))
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return network


def students_value(
    networks: dict[str, ConvNet], channels: int, size: int, classes: int, thresholds: float
) -> dict[str, Any]:
    mean, std = [0.3, 0.4, 0.5][:channels], [0.2, 0.3, 0.25][:channels]
    scale = {"threshold": thresholds, "lowest": -3.0, "highest": 9.0}
    return {
        "classes": [f"c{i}" for i in range(classes)], "image_size": size, "channels": channels,
        "mean": mean, "std": std,
        "students": [
            {"outliers": mode, "name": mode, "layers": layers(network),
             "scores": dict.fromkeys(FROM_LOGITS, scale)}
            for mode, network in networks.items()
        ],
    }  # fmt: skip


def logits_of(network: ConvNet, value: dict[str, Any], images: np.ndarray) -> np.ndarray:
    mean, std = (torch.tensor(value[k]).view(-1, 1, 1) for k in ("mean", "std"))
    with torch.inference_mode():
        return network((torch.from_numpy(images).float() / 255 - mean) / std).numpy()


@pytest.mark.parametrize(
    ("channels", "size", "width", "depth", "classes"),
    [(1, 16, 32, 2, 10), (3, 32, 16, 3, 7), (1, 28, 8, 3, 10), (3, 20, 8, 2, 100)],
)
def test_logits_are_pytorchs(
    browser: Any, tmp_path: Path, channels: int, size: int, width: int, depth: int, classes: int
) -> None:
    network = student(channels, size, width, depth, classes, seed=size)
    value = students_value({"none": network}, channels, size, classes, 0.5)
    images = np.random.default_rng(0).integers(0, 256, (5, channels, size, size), dtype=np.uint8)
    page = browser.new_page()
    page.goto(page_of(tmp_path, "none", SCRIPTS, [script("students", value)]).as_uri())
    found = page.evaluate(
        "bytes => trustdd.wake()[0].answer(Uint8Array.from(bytes))", images.ravel().tolist()
    )
    page.close()
    expected = logits_of(network, value, images)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(np.array(found), expected, atol=1e-4)


def test_scores_are_the_packages(browser: Any, tmp_path: Path) -> None:
    logits = np.array([[1.0, -2.0, 0.5], [30.0, 2.0, 2.0], [-700.0, -701.0, -702.0]])
    page = browser.new_page()
    page.goto(page_of(tmp_path, "none", [STATIC / "interactive.js"]).as_uri())
    found = page.evaluate("all => all.map(trustdd.scores)", logits.tolist())
    page.close()
    for score in FROM_LOGITS:
        np.testing.assert_allclose([f[score] for f in found], confidence_of(logits, score))


@pytest.fixture(scope="module")
def drawing(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page with three students and two sets of images, and what it was made from."""
    size = 16
    networks = {mode: student(1, size, 8, 2, 10, seed) for seed, mode in enumerate(MODES)}
    value = students_value(networks, 1, size, 10, thresholds=0.4)
    images = np.random.default_rng(1).integers(0, 256, (2, 6, 1, size, size), dtype=np.uint8)
    sets = [
        {"id": "in", "name": "test images", "kind": "InD", "labels": [0, 1, 2, 3, 4, 5],
         "images": packed(images[0], "uint8")},
        {"id": "dots", "name": "dots", "kind": "far OOD", "images": packed(images[1], "uint8")},
    ]  # fmt: skip
    enlarge = packed(page_images._enlarge(size), "float32")
    data = [
        script("students", value),
        script("images", {"sets": sets, "drawing": {"enlarge": enlarge}}),
    ]
    folder = tmp_path_factory.mktemp("draw")
    context = browser.new_context(viewport={"width": 900, "height": 900}, has_touch=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page_of(folder, "draw", [*SCRIPTS, STATIC / "draw.js"], data).as_uri())
    page.add_style_tag(path=str(STATIC / "book.css"))
    yield page, networks, value, images
    assert errors == []
    context.close()


def shown(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".verdict").all_inner_texts()]


def expected_verdicts(
    networks: dict[str, ConvNet], value: dict[str, Any], image: np.ndarray, score: str = "msp"
) -> list[str]:
    said = []
    for network in networks.values():
        logits = logits_of(network, value, image[None])
        accepted = confidence_of(logits, score)[0] >= 0.4
        best = value["classes"][int(logits.argmax())]
        said.append(f"✓ accepts it as {best}" if accepted else "✕ rejects it")
    return said


def seen(page: Any) -> np.ndarray:
    return np.array(page.evaluate("[...trustdd.draw.state.pixels]"), np.uint8).reshape(1, 16, 16)


def test_an_image_that_is_picked_is_answered_for(drawing: Any) -> None:
    page, networks, value, images = drawing
    verdicts = set()
    page.locator("input[value=dots]").check(force=True)
    for place in range(6):
        page.locator(".thumbnails button").nth(place).click()
        np.testing.assert_array_equal(seen(page), images[1, place])
        for score in FROM_LOGITS:
            page.locator(f"input[value={score}]").check(force=True)
            assert shown(page) == expected_verdicts(networks, value, images[1, place], score)
            verdicts |= {text[0] for text in shown(page)}
    assert verdicts == {"✓", "✕"}
    counts = [
        sum(confidence_of(logits_of(n, value, images[1]), "energy") >= 0.4)
        for n in networks.values()
    ]
    said = page.locator(".tally").inner_text()
    assert said == "Accepted of these 6 (far OOD): none {}, oe {}, poe {}.".format(*counts)
    page.locator("input[value=msp]").check(force=True)


def test_mouse_and_keys_draw(drawing: Any) -> None:
    page, networks, value, _ = drawing
    page.get_by_role("button", name="Clear").click()
    board = page.locator("canvas.board")
    box = board.bounding_box()
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(middle, box["y"] + box["height"] - 40, steps=6)
    page.mouse.up()
    by_mouse = seen(page)
    # a one: bright in the middle from top to bottom, dark at the sides
    assert by_mouse[0, :, 7:9].min() > 100
    assert by_mouse[0, :, :4].max() == by_mouse[0, :, -4:].max() == 0
    assert shown(page) == expected_verdicts(networks, value, by_mouse)
    assert page.locator(".hint").inner_text()

    board.focus()
    page.keyboard.press("Delete")
    page.keyboard.press("Space")
    for _step in range(8):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    # the same digit, wherever on the board and however large it was drawn
    np.testing.assert_array_equal(seen(page), by_mouse)
    page.get_by_role("button", name="Upside down").click()
    np.testing.assert_array_equal(seen(page), by_mouse[:, ::-1, ::-1])
    page.get_by_role("button", name="Invert").click()
    np.testing.assert_array_equal(seen(page), 255 - by_mouse[:, ::-1, ::-1])


def test_a_finger_draws(drawing: Any) -> None:
    page, networks, value, _ = drawing
    page.get_by_role("button", name="Clear").click()
    box = page.locator("canvas.board").bounding_box()
    page.touchscreen.tap(box["x"] + 60, box["y"] + 60)
    assert seen(page).any()
    assert shown(page) == expected_verdicts(networks, value, seen(page))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_file_is_cut_and_shrunk(drawing: Any, tmp_path: Path, mode: str) -> None:
    from PIL import Image

    page, networks, value, _ = drawing
    # left half bright, right half dark, and bars outside the middle square
    array = np.zeros((64, 100), np.uint8)
    array[:, 18:50] = 200
    array[:, :18] = array[:, 82:] = 255
    file = tmp_path / "picture.png"
    Image.fromarray(array).convert(mode).save(file)
    page.locator("#draw-file").set_input_files(file)
    page.wait_for_function("trustdd.draw.state.from === 'picked'")
    page.wait_for_function("trustdd.draw.state.pixels[0] === 200")
    found = seen(page)[0]
    assert (found[:, :7] == 200).all()
    assert (found[:, 9:] == 0).all()
    assert shown(page) == expected_verdicts(networks, value, seen(page))
    page.get_by_role("button", name="Clear").click()
    page.evaluate("trustdd.draw.show(new Uint8Array(256), 'drawn')")


def test_a_drawn_digit_is_enlarged_as_the_data_is() -> None:
    import torch.nn.functional as F

    from trustdd.data.embedded import digits

    small = torch.randint(0, 17, (3, 1, 8, 8), generator=stream(0, "digits")).double() / 16
    for size in (16, 24, 32):
        expected = F.interpolate(small, (size, size), mode="bicubic", antialias=True)
        matrix = torch.from_numpy(page_images._enlarge(size))
        torch.testing.assert_close(matrix @ small @ matrix.T, expected)
    assert digits(16)[0][0].shape[-1] == 16


def test_a_layer_that_pages_cannot_run_is_named() -> None:
    from trustdd.networks.architectures import build

    with pytest.raises(ValueError, match="pages let ConvNets answer"):
        layers(build("lenet", 1, 10, 16, width=8, depth=2, generator=stream(0, "lenet")))
