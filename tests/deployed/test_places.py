"""Class maps and boxes brought back to the picture that was given; boxes chosen as the networks' own are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.deployed import ClassMaps, choose_found, class_colours, save_map
from limbeck.deployed.boxes import boxes_in_picture
from limbeck.deployed.maps import map_in_picture
from limbeck.models.heads import AnchorOutputs, choose_boxes, encode_boxes, make_anchors
from limbeck.pictures import fit_affine, fit_picture

CHOICE = {"score_threshold": 0.05, "iou_threshold": 0.5, "candidates": 20, "limit": 12}


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("source", [(40, 60), (60, 40), (17, 90)])
def test_a_map_lies_where_its_picture_was(fit, source):
    """The left half of a picture is one class: found in the fitted picture, it must come back as the left half."""
    picture = np.zeros((*source, 3), np.uint8)
    picture[:, : source[1] // 2] = 255
    fitted = fit_picture(picture, (32, 32), fit)
    found = map_in_picture((fitted[:, :, 0] > 127).astype(np.uint8), fit_affine(source, (32, 32), fit), source)
    assert found.shape == source
    seen = found != 255
    expected = (picture[:, :, 0] > 0).astype(np.uint8)
    edge = 2 * max(
        1, source[1] // 32
    )  # columns about the border between the halves, which no sampling can place exactly
    middle = source[1] // 2
    for part in (slice(0, middle - edge), slice(middle + edge, None)):
        assert (found[:, part][seen[:, part]] == expected[:, part][seen[:, part]]).all()
    assert seen.all() == (fit != "crop")
    assert seen.mean() >= min(source) / max(source) - 0.05


def test_maps_are_written_with_their_names(tmp_path):
    found = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)
    save_map(found, tmp_path / "map.png", ("sky", "road", "ö"))
    image = Image.open(tmp_path / "map.png")
    np.testing.assert_array_equal(np.asarray(image), found)
    assert [image.text[f"class {index}"] for index in range(3)] == ["sky", "road", "ö"]
    colours = class_colours(3)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB"))[0], colours[:3])
    np.testing.assert_array_equal(np.asarray(image.convert("RGB"))[1, 0], colours[3])


def test_colours_differ():
    assert len({tuple(colour) for colour in class_colours(255).tolist()}) == 256


def test_shares_leave_out_what_was_not_seen():
    shares = ClassMaps([np.array([[0, 1], [1, 255]], np.uint8)], ("a", "b", "c")).shares()
    np.testing.assert_allclose(shares, [[1 / 3, 2 / 3, 0]])


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_boxes_go_back_to_pixels_of_the_picture(fit):
    source, fitted = (48, 90), (40, 40)
    box = np.array([[30.0, 10.0, 60.0, 40.0]])  # in pixels of the picture, inside what every fit keeps
    affine = fit_affine(source, fitted, fit)
    shares = (box.reshape(2, 2) @ affine[:, :2].T + affine[:, 2]).reshape(1, 4) / [40, 40, 40, 40]
    np.testing.assert_allclose(boxes_in_picture(shares, affine, fitted=fitted, size=source), box, atol=1e-4)
    beyond = boxes_in_picture(np.array([[-1.0, -1.0, 2.0, 2.0]]), affine, fitted=fitted, size=source)
    np.testing.assert_allclose(beyond, [[0, 0, 90, 48]])


@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_chosen_as_the_network_s_own(seed):
    torch.manual_seed(seed)
    anchors = make_anchors([(6, 6), (3, 3)], "paper")
    logits = torch.randn(3, len(anchors), 4)
    corners = torch.rand(3, len(anchors), 2, 2).sort(dim=2).values.flatten(2)
    corners[..., 2:] += 0.01
    deltas = torch.stack([encode_boxes(one, anchors) for one in corners])
    out = AnchorOutputs(logits, deltas, anchors)
    decoded = torch.cat([out.boxes(), out.class_scores()], 2).numpy()
    found = choose_found(decoded, **CHOICE)
    assert found.shape == (3, 12, 6)
    for rows, expected in zip(found, choose_boxes(out, **CHOICE), strict=True):
        count = len(expected.labels)
        assert count == 12
        np.testing.assert_allclose(rows[:count, :4], expected.boxes.numpy(), atol=1e-6)
        np.testing.assert_allclose(rows[:count, 4], expected.scores.numpy(), atol=1e-6)
        np.testing.assert_array_equal(rows[:count, 5], expected.labels.numpy())


def test_rows_are_filled_up_with_zeros():
    decoded = np.zeros((1, 2, 5), np.float32)
    decoded[0, 0] = [0.1, 0.1, 0.5, 0.5, 0.9]
    found = choose_found(decoded, **CHOICE)
    np.testing.assert_allclose(found[0, 0], [0.1, 0.1, 0.5, 0.5, 0.9, 0])
    assert not found[0, 1:].any()
