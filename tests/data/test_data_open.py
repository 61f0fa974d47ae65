"""Opening a data set: splits, and everything that may be wrong with one, found and named."""

import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limbeck.data import DATA, RawData, RawSplit, look_at, open_data, read_labelled
from limbeck.errors import InputError
from limbeck.option_types import check_option_types


def sources(pictures):
    return {pictures.source(index) for index in range(len(pictures))}


def refused(*pieces, name="folder", **fields):
    with pytest.raises(InputError) as caught:
        open_data(name, **fields)
    text = str(caught.value)
    assert "\n" not in text
    for piece in pieces:
        assert piece in text, text


def test_digits_are_real_and_whole():
    splits = open_data("digits", seed=0)
    assert splits.report["counts"] == {"train": 1295, "test": 359, "validation": 143}
    assert splits.image_size == (32, 32)
    assert splits.class_names == tuple("0123456789")
    picture = splits.train.picture(0)
    assert picture.shape == (32, 32, 3)
    assert picture.dtype == np.uint8
    assert picture.max() > 200
    assert np.array_equal(picture[:, :, 0], picture[:, :, 2])
    assert not sources(splits.train) & sources(splits.test)
    assert splits.report["left_out_count"] == 0
    assert min(splits.report["class_counts"]["test"]) > 30
    again, other = open_data("digits", seed=0), open_data("digits", seed=1)
    assert splits.fingerprint == again.fingerprint != other.fingerprint


def test_class_folders_are_split_by_seed_and_class(tmp_path, write_classes):
    write_classes(tmp_path, ("cat", "dog", "owl"), 20)
    splits = open_data("folder", path=str(tmp_path))
    assert splits.class_names == ("cat", "dog", "owl")
    assert splits.report["class_counts"] == {"train": [14] * 3, "test": [4] * 3, "validation": [2] * 3}
    parts = [sources(part) for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60
    assert all("cat" in splits.test.source(index) for index in np.flatnonzero(splits.test.labels == 0))
    assert splits.image_size == (32, 32)
    wide = open_data("folder", path=str(tmp_path), image_size=(8, 20), fit="pad")
    assert wide.train.picture(0).shape == (8, 20, 3)


def test_own_split_folders_are_kept(tmp_path, write_classes):
    for split, count in (("train", 10), ("val", 3), ("test", 4)):
        write_classes(tmp_path / split, ("a", "b"), count)
    splits = open_data("folder", path=str(tmp_path))
    assert splits.report["counts"] == {"train": 20, "test": 8, "validation": 6}
    assert all("/val/" in source for source in sources(splits.validation))
    without = open_data("folder", path=str(tmp_path), validation=0)
    assert without.validation is None
    assert any("not used" in line for line in without.report["warnings"])


def test_with_train_and_val_only_val_is_the_test_set(tmp_path, write_classes):
    for split, count in (("Train", 20), ("val", 5)):
        write_classes(tmp_path / split, ("a", "b"), count)
    splits = open_data("folder", path=str(tmp_path))
    assert splits.report["counts"] == {"train": 36, "test": 10, "validation": 4}
    assert all("/val/" in source for source in sources(splits.test))
    assert all("/Train/" in source for source in sources(splits.validation) | sources(splits.train))


def test_validation_0_trains_on_everything(tmp_path, write_classes):
    write_classes(tmp_path, ("a", "b"), 10)
    splits = open_data("folder", path=str(tmp_path), validation=0)
    assert splits.validation is None
    assert splits.report["counts"] == {"train": 16, "test": 4}


def test_limit_is_stratified_and_leaves_the_test_set_whole(tmp_path, write_classes):
    write_classes(tmp_path, ("a", "b"), 20)
    splits = open_data("folder", path=str(tmp_path), limit=10)
    assert splits.report["class_counts"] == {"train": [5, 5], "test": [4, 4], "validation": [2, 2]}
    fewer = splits.train.limited(4, seed=1)
    assert fewer.class_counts().tolist() == [2, 2]
    assert sources(fewer) < sources(splits.train)


def test_a_few_unreadable_pictures_are_listed_and_left_out(tmp_path, write_classes):
    write_classes(tmp_path, ("a", "b"), 20)
    (tmp_path / "a" / "broken.jpg").write_bytes(b"not a picture")
    whole = (tmp_path / "b" / "000.png").read_bytes()
    (tmp_path / "b" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a" / "notes.txt").write_text("passed over")
    splits = open_data("folder", path=str(tmp_path))
    report = splits.report
    assert report["left_out_count"] == 2
    assert {entry["source"].rsplit("/", 1)[1] for entry in report["left_out"]} == {"broken.jpg", "cut.png"}
    assert all("not a readable picture" in entry["reason"] for entry in report["left_out"])
    assert sum(report["counts"].values()) == 40
    assert any("left out" in line for line in report["warnings"])


def test_mostly_unreadable_is_an_error(tmp_path, write_classes):
    write_classes(tmp_path, ("a", "b"), 4)
    for place in range(16):
        (tmp_path / "a" / f"broken{place}.jpg").write_bytes(b"x")
    refused("not usable", "broken", path=str(tmp_path))


def test_no_usable_folder_is_one_clear_line(tmp_path, write_classes, png):
    refused("no such folder", "data.path", path=str(tmp_path / "gone"))
    refused("data.path: missing")
    (tmp_path / "empty").mkdir()
    refused("no class folders", path=str(tmp_path / "empty"))
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "a.png").write_bytes(png(0))
    refused("pictures but no class folders", path=str(tmp_path / "loose"))
    (tmp_path / "hollow" / "cat").mkdir(parents=True)
    (tmp_path / "hollow" / "dog").mkdir()
    refused("no pictures in 2 class folders", path=str(tmp_path / "hollow"))
    write_classes(tmp_path / "one", ("cat",), 5)
    refused("one class", "cat", path=str(tmp_path / "one"))
    refused("a file, expected a folder", path=str(tmp_path / "loose" / "a.png"))
    refused("unknown data set 'fodler'", "did you mean 'folder'?", name="fodler")
    refused("data.fit", "did you mean 'crop'?", name="digits", fit="corp")
    refused("data.path", "'digits' does not use it", name="digits", path="somewhere")
    refused("unknown option 'shape'", name="digits", options={"shape": 3})
    refused("expected pixels", name="digits", image_size=0)


def test_an_empty_class_folder_is_named(tmp_path, write_classes):
    write_classes(tmp_path, ("a", "b"), 10)
    (tmp_path / "c").mkdir()
    splits = open_data("folder", path=str(tmp_path))
    assert splits.class_names == ("a", "b")
    assert any(str(tmp_path / "c") in line for line in splits.report["warnings"])


def test_split_folders_without_train_are_not_taken_for_classes(tmp_path, write_classes):
    write_classes(tmp_path / "val", ("a", "b"), 5)
    write_classes(tmp_path / "test", ("a", "b"), 5)
    refused("no train folder beside test, val", path=str(tmp_path))


def test_a_test_class_that_is_never_trained_is_an_error(tmp_path, write_classes):
    write_classes(tmp_path / "train", ("a", "b"), 5)
    write_classes(tmp_path / "test", ("a", "bb"), 5)
    refused("'bb'", "train", path=str(tmp_path))


def test_too_few_pictures_to_hold_out_a_test_set(tmp_path, write_classes):
    write_classes(tmp_path, ("a", "b"), 1)
    refused("too few pictures", path=str(tmp_path))


def test_leakage_is_found_by_content_and_warned_of(tmp_path, write_classes):
    for split, count in (("train", 10), ("test", 5)):
        write_classes(tmp_path / split, ("a", "b"), count)
    array = np.asarray(Image.open(tmp_path / "train" / "a" / "003.png"))
    Image.fromarray(array).save(
        tmp_path / "test" / "b" / "renamed.bmp"
    )  # another name, another format, the same picture
    clean = open_data("folder", path=str(tmp_path / "train"))
    assert clean.report["leakage"] == {}
    splits = open_data("folder", path=str(tmp_path), validation=0)
    leak = splits.report["leakage"]["train/test"]
    assert leak["count"] == 1
    assert [path.rsplit("/", 1)[1] for path in leak["examples"][0]] == ["003.png", "renamed.bmp"]
    assert any("leakage: 1 of 11 test pictures" in line for line in splits.report["warnings"])


def test_one_picture_under_two_labels_is_named(tmp_path, write_classes):
    write_classes(tmp_path, ("a", "b"), 30)
    for place in range(30):
        (tmp_path / "b" / f"copy{place}.png").write_bytes((tmp_path / "a" / f"{place:03}.png").read_bytes())
    assert any("two or more labels" in line for line in open_data("folder", path=str(tmp_path)).report["warnings"])


def test_unlabelled_pictures_are_a_set_of_their_own(tmp_path, write_classes, png):
    write_classes(tmp_path / "set", ("a", "b"), 10)
    (tmp_path / "more" / "deep").mkdir(parents=True)
    for place in range(4):
        (tmp_path / "more" / "deep" / f"{place}.png").write_bytes(png(9000 + place))
    splits = open_data("folder", path=str(tmp_path / "set"), unlabelled=str(tmp_path / "more"))
    assert len(splits.unlabelled) == 4
    assert splits.unlabelled.labels.tolist() == [-1] * 4
    assert splits.report["counts"]["unlabelled"] == 4
    (tmp_path / "none").mkdir()
    refused("no pictures for data.unlabelled", path=str(tmp_path / "set"), unlabelled=str(tmp_path / "none"))


def test_fingerprint_follows_content_and_not_place(tmp_path, write_classes):
    write_classes(tmp_path / "one", ("a", "b"), 10)
    before = open_data("folder", path=str(tmp_path / "one")).fingerprint
    (tmp_path / "one").rename(tmp_path / "two")
    assert open_data("folder", path=str(tmp_path / "two")).fingerprint == before
    assert open_data("folder", path=str(tmp_path / "two"), image_size=16).fingerprint != before
    (tmp_path / "two" / "a" / "000.png").write_bytes((tmp_path / "two" / "b" / "000.png").read_bytes())
    assert open_data("folder", path=str(tmp_path / "two")).fingerprint != before


def test_inspection_is_remembered_until_a_file_changes(tmp_path, write_classes, monkeypatch):
    write_classes(tmp_path / "set", ("a", "b"), 10)
    (tmp_path / "set" / "a" / "broken.png").write_bytes(b"x")
    fields = {"path": str(tmp_path / "set"), "store_bytes": 0, "cache": tmp_path / "cache"}
    before = open_data("folder", **fields)
    read = []
    monkeypatch.setattr("limbeck.data.inspect.read_picture", lambda picture: read.append(picture))
    after = open_data("folder", **fields)
    assert (after.fingerprint, after.report) == (before.fingerprint, before.report)
    assert not read
    monkeypatch.undo()
    (tmp_path / "set" / "a" / "broken.png").write_bytes((tmp_path / "set" / "a" / "000.png").read_bytes())
    assert open_data("folder", **fields).report["left_out_count"] == 0


def test_outside_readers_are_checked_and_divided_like_ours(tmp_path, monkeypatch):
    (tmp_path / "my_pictures.py").write_text(
        textwrap.dedent(
            """
            import numpy as np
            from limbeck.data import RawData, RawSplit

            def stripes(path=None, count=10):
                pictures = [np.random.default_rng(row).integers(0, 255, (9, 9)).astype(np.uint8) for row in range(2 * count)]
                pictures[3] = b"broken"
                return RawData({"train": RawSplit(pictures, ["across", "down"] * count, groups=[row // 2 for row in range(2 * count)])})

            def nothing():
                return 3
            """
        )
    )
    monkeypatch.chdir(tmp_path)
    splits = open_data("my_pictures:stripes", options={"count": 20})
    assert splits.class_names == ("across", "down")
    assert splits.report["left_out_count"] == 1
    assert splits.train.picture(0).shape == (32, 32, 3)
    refused("expected limbeck.data.RawData", name="my_pictures:nothing")
    refused("unknown option 'cuont'", "did you mean 'count'?", name="my_pictures:stripes", options={"cuont": 1})
    sys.modules.pop("my_pictures", None)


def test_look_at_tells_what_a_recipe_needs(tmp_path, write_classes):
    write_classes(tmp_path / "set", ("a", "b", "c"), 6)
    look = look_at(tmp_path / "set")
    assert (look.name, look.task, look.class_names, look.counts) == (
        "folder",
        "classification",
        ("a", "b", "c"),
        {"train": 18},
    )
    assert (look.image_size, look.picture_size) == ((32, 32), (12, 10))
    with pytest.raises(InputError, match="no such file or folder"):
        look_at(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"\.csv"):
        look_at(tmp_path / "notes.txt")


def test_every_reader_says_what_it_reads():
    assert all(reader.__doc__ for reader in DATA.values())


def test_read_labelled_takes_the_test_split_where_there_is_one(tmp_path, write_classes, capsys):
    for split, count in (("train", 4), ("test", 3)):
        write_classes(tmp_path / "divided" / split, ("a", "b"), count)
    pictures = read_labelled(str(tmp_path / "divided"), image_size=(8, 8))
    assert (len(pictures), pictures.class_names, pictures.picture(0).shape) == (6, ("a", "b"), (8, 8, 3))
    write_classes(tmp_path / "one", ("b",), 5)
    (tmp_path / "one" / "b" / "broken.png").write_bytes(b"x")
    pictures = read_labelled(str(tmp_path / "one"), image_size=(8, 8))
    assert (len(pictures), pictures.class_names, pictures.labels.tolist()) == (5, ("b",), [0] * 5)
    assert "left out" in capsys.readouterr().err
    assert len(read_labelled("digits", image_size=(8, 8))) == 1797
    with pytest.raises(InputError, match="no such file or folder"):
        read_labelled(str(tmp_path / "gone"), image_size=(8, 8))


def test_a_reader_may_bring_unlabelled_pictures(monkeypatch, noise):
    def mine():
        pictures = [noise(seed) for seed in range(30)]
        return RawData({"train": RawSplit(pictures[:20], ["a", "b"] * 10), "unlabelled": RawSplit(pictures[20:])})

    monkeypatch.setitem(DATA, "mine", mine)
    splits = open_data("mine")
    assert len(splits.unlabelled) == 10
    assert splits.report["counts"] == {"train": 14, "test": 4, "validation": 2, "unlabelled": 10}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mirrored": [0, 1]}, "mirrored = [0, 1]: expected a list of lists of whole numbers"),
        ({"mirrored": [[0, 1.0]]}, "mirrored = [[0, 1.0]]: expected a list of lists of whole numbers"),
        ({"mirrored": "ab"}, "mirrored = 'ab': expected a list of lists of whole numbers"),
        (
            {"normalizers": {"inter_ocular": 3}},
            "normalizers = {'inter_ocular': 3}: expected a table of lists of whole numbers or of lists of whole numbers",
        ),
        ({"normalizers": [0, 1]}, "normalizers = [0, 1]: expected a table of lists"),
        ({"pad": "x"}, "pad = 'x': expected a number"),
        ({"pad": True}, "pad = True: expected a number"),
        ({"crop": 3}, "crop = 3: expected text"),
        ({"scheme": 4}, "scheme = 4: expected text"),
        ({"first_pixel": "a"}, "first_pixel = 'a': expected a number"),
        ({"group_pattern": 3}, "group_pattern = 3: expected text"),
        ({"crop": "detector_box", "boxes": 3}, "boxes = 3: expected text"),
        ({"square": "no"}, "square = 'no': expected true or false"),
        ({"square": 1}, "square = 1: expected true or false"),
        ({"pad": float("nan")}, "pad and pad_pixels must be 0 or more and finite, got nan, 0.0"),
    ],
)
def test_options_of_another_type_are_told(tmp_path, options, expected):
    refused("data.options", expected, name="pts", path=str(tmp_path), options=options)


def test_options_of_every_reader_are_compared_with_its_annotations(tmp_path):
    refused("data.options.box_form = 3: expected xyxy or xywh", name="boxes", options={"box_form": 3})
    refused("data.options.class_names = 'cat': expected a list of text", name="table", options={"class_names": "cat"})
    refused("data.options.frame_length = 2.5: expected a whole number", name="sigmf", options={"frame_length": 2.5})
    refused("data.options.year = [2017]: expected text or a whole number", name="coco", options={"year": [2017]})


def test_what_annotations_allow_passes():
    def reader(
        a: float, b: Sequence[float] | None, c: Mapping[str, Sequence[int | Sequence[int]]], d: str | None, e, f: Any
    ): ...

    options = {"a": 1, "b": range(3), "c": {"x": [0, (1, 2)]}, "d": Path("x"), "e": 1, "f": {}, "g": 2}
    check_option_types(reader, options, where="data.options.")
    options = {"a": np.float32(1), "b": np.arange(3), "c": {}, "d": None}
    check_option_types(reader, options, where="data.options.")

    def outside(a: "Nowhere"): ...  # noqa: F821

    check_option_types(outside, {"a": 3}, where="")
