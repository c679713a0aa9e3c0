"""The reduced features say of the whole ones what numpy says of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trustdd.students.feature_space import feature_space


@pytest.mark.parametrize(("images", "width"), [(40, 7), (12, 30)])
def test_coordinates_and_distances(images: int, width: int) -> None:
    draw = torch.Generator().manual_seed(images)
    inside = torch.randn(images, width, generator=draw) * torch.arange(1.0, width + 1)
    features = {"in": inside, "far": 5 + torch.randn(9, width, generator=draw)}
    labels = torch.arange(images) % 3
    found = feature_space(features, labels)

    whole = inside.numpy().astype(float)
    centre = whole.mean(0)
    _, sizes, directions = np.linalg.svd(whole - centre, full_matrices=False)
    np.testing.assert_allclose(found["in_share"], (sizes**2 / (sizes**2).sum())[:2], rtol=1e-9)
    for name, key in (("in", "in"), ("far", "ood.far")):
        expected = (features[name].numpy().astype(float) - centre) @ directions[:2].T
        # up to the sign of each direction, the same for both sets
        signs = np.sign((found["in"].numpy() * ((whole - centre) @ directions[:2].T)).sum(0))
        np.testing.assert_allclose(found[key].numpy(), expected * signs, rtol=1e-4, atol=1e-4)
    # no image is measured against a mean that it is part of
    known, known_labels = whole[0::2], labels.numpy()[0::2]
    means = [known[known_labels == c].mean(0) for c in range(3)]
    for key, points in (("distance.far", features["far"].numpy()), ("in_distance", whole[1::2])):
        near = [min(np.linalg.norm(x - m) for m in means) for x in points]
        np.testing.assert_allclose(found[key], near, rtol=1e-5)
    assert {str(t.dtype) for k, t in found.items() if k != "in_share"} == {"torch.float32"}


def test_a_direction_points_to_where_its_largest_entry_is_positive() -> None:
    line = torch.tensor([[-3.0, 0.1], [0.0, 0.0], [3.0, -0.1]])
    first = feature_space({"in": line}, torch.tensor([0, 0, 1]))["in"][:, 0]
    assert first.tolist() == sorted(first.tolist())
    other = feature_space({"in": line * torch.tensor([-1.0, 1.0])}, torch.tensor([0, 0, 1]))["in"]
    assert other[0, 0] > other[2, 0]
