"""Decoding and fitting: what training and deployment share."""

import io

import numpy as np
import pytest
from PIL import Image

from limbeck.errors import InputError
from limbeck.pictures import UnreadablePicture, decode, fit_picture, picture_size


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(height, width):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 5 % 256, columns * 3 % 256, (rows + columns) % 256], axis=2).astype(np.uint8)


def test_rgb_bytes_and_path_give_the_same_pixels(tmp_path):
    array = gradient(7, 9)
    Image.fromarray(array).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()):
        assert np.array_equal(decode(source), array)
        assert picture_size(source) == (7, 9)


def test_grey_and_palette_become_rgb():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    assert np.array_equal(decode(encoded(Image.fromarray(grey))), np.repeat(grey[:, :, None], 3, axis=2))
    array = np.zeros((4, 4, 3), np.uint8)
    array[:2] = (255, 0, 0)
    array[2:] = (0, 0, 255)
    palette = Image.fromarray(array).convert("P", palette=Image.Palette.ADAPTIVE)
    assert palette.mode == "P"
    assert np.array_equal(decode(encoded(palette)), array)
    assert np.array_equal(decode(encoded(Image.fromarray(array[:, :, 0] > 0)))[:, :, 1], array[:, :, 0])


def test_transparency_lies_over_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    rgba[0, 1] = (10, 20, 30, 0)
    rgba[0, 2] = (0, 0, 0, 128)
    found = decode(encoded(Image.fromarray(rgba)))
    assert found[0, 0].tolist() == [10, 20, 30]
    assert found[0, 1].tolist() == [255, 255, 255]
    assert abs(int(found[0, 2, 0]) - 127) <= 1


def test_16_bit_grey_is_scaled_not_cut():
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    expected = [0, 1, 128, 255]
    for kind in ("PNG", "TIFF"):
        assert decode(encoded(Image.fromarray(values), kind))[0, :, 0].tolist() == expected
    assert decode(encoded(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)), "TIFF"))[0, :, 0].tolist() == [
        0,
        128,
        255,
    ]


def test_exif_orientation_is_applied():
    array = gradient(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    data = encoded(Image.fromarray(array), exif=exif)
    assert picture_size(data) == (6, 4)
    assert np.array_equal(decode(data), np.rot90(array, -1))


@pytest.mark.parametrize("broken", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_broken_bytes_are_one_clear_error(broken):
    with pytest.raises(UnreadablePicture) as caught:
        decode(broken)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, InputError)


def test_truncated_and_missing_files_are_named(tmp_path):
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)), "JPEG")
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadablePicture, match=r"cut\.jpg: not a readable picture"):
        decode(tmp_path / "cut.jpg")
    with pytest.raises(UnreadablePicture, match=r"gone\.jpg: no such file"):
        decode(tmp_path / "gone.jpg")


def test_fit_sizes_and_identity():
    array = gradient(20, 40)
    for fit in ("crop", "squash", "pad"):
        assert fit_picture(array, (16, 24), fit).shape == (16, 24, 3)
        assert fit_picture(array, (20, 40), fit) is array
        assert fit_picture(array[:1, :1], (5, 3), fit).shape == (5, 3, 3)
        assert fit_picture(gradient(1, 300), (8, 8), fit).shape == (8, 8, 3)


def test_crop_keeps_the_middle_squash_all_pad_all():
    array = np.zeros((10, 30, 3), np.uint8)
    array[:, 10:20] = 200  # the middle third
    assert (fit_picture(array, (10, 10), "crop") == 200).all()
    squashed = fit_picture(array, (10, 10), "squash")
    assert squashed[5, 5, 0] == 200
    assert squashed[5, 0, 0] == 0
    padded = fit_picture(array, (30, 30), "pad")
    assert (padded[:10] == 0).all()
    assert (padded[20:] == 0).all()
    assert np.array_equal(padded[10:20], array)


def test_crop_equals_resize_of_the_shorter_side_then_centre_crop():
    array = gradient(60, 90)
    resized = np.asarray(Image.fromarray(array).resize((30, 20), Image.Resampling.BILINEAR))
    assert np.abs(fit_picture(array, (20, 20), "crop").astype(int) - resized[:, 5:25]).max() <= 1


def test_unknown_fit_is_refused():
    with pytest.raises(InputError, match="crop, squash or pad"):
        fit_picture(gradient(4, 4), (2, 2), "stretch")
