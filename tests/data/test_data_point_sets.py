"""Readers of points: `.pts` files, tables, and the layouts of 300W, WFLW and COFW, in small copies made here."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from limbeck.data import open_data
from limbeck.data.annotated import annotated_kind, find_annotated
from limbeck.data.point_layouts import read_300w, read_cofw, read_wflw
from limbeck.data.point_sets import groups_of, read_point_table, read_pts, read_pts_file
from limbeck.errors import InputError
from limbeck.pipeline.inspect import refuse_annotated

SHAPE = np.random.default_rng(5).uniform(10, 50, (68, 2)).round(2)


def write_pts(path, points, head="version: 1", said=None):
    lines = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points)
    path.write_text(f"{head}\nn_points: {len(points) if said is None else said}\n{{\n{lines}\n}}\n")


def write_face(folder, stem, points=SHAPE, seed=0, suffix=".jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"{stem}{suffix}")
    write_pts(folder / f"{stem}.pts", points)


def test_a_pts_file(tmp_path):
    write_pts(tmp_path / "a.pts", SHAPE, head="version:  1")
    np.testing.assert_allclose(read_pts_file(tmp_path / "a.pts"), SHAPE, atol=1e-4)
    for text, reason in (
        ("n_points: 2\n{\n1 2\n}\n", "says n_points: 2 and holds 2 numbers"),
        ("n_points: 1\n{\n1 two\n}\n", "could not convert"),
        ("1 2\n3 4\n", "not a .pts file"),
    ):
        (tmp_path / "b.pts").write_text(text)
        with pytest.raises(InputError, match=reason):
            read_pts_file(tmp_path / "b.pts")
    with pytest.raises(InputError, match="not readable"):
        read_pts_file(tmp_path / "none.pts")


def test_a_folder_of_pictures_with_pts_files(tmp_path):
    for number in range(4):
        write_face(tmp_path / "train" / "indoor", f"t{number}", seed=number)
    write_face(tmp_path / "test" / "outdoor", "u", seed=9)
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "indoor" / "lone.png")
    write_pts(tmp_path / "train" / "indoor" / "t3.pts", SHAPE[:67])
    write_pts(tmp_path / "train" / "indoor" / "t2.pts", SHAPE, said=60)
    raw = read_pts(str(tmp_path), crop="none")
    assert {name: len(split.pictures) for name, split in raw.splits.items()} == {"train": 4, "test": 1}
    first, _, broken, short = raw.splits["train"].annotations
    np.testing.assert_allclose(first.points, SHAPE - 0.5, atol=1e-3)  # from Matlab's count to continuous places
    assert first.subsets == ("indoor",)
    assert isinstance(broken, InputError)
    assert len(short.points) == 67
    assert raw.scheme.name == "face68"
    assert len(raw.class_names) == 68
    assert any("1 pictures have no .pts file" in line for line in raw.warnings)
    assert "points are taken to be in the order of face68 (data.options.scheme)" in raw.warnings


def test_pts_with_another_count_are_left_out_and_named(tmp_path):
    for number in range(12):
        write_face(tmp_path, f"t{number:02}", seed=number)
    write_pts(tmp_path / "t00.pts", SHAPE[:67])
    data = open_data("pts", path=str(tmp_path), image_size=32, options={"crop": "none"}, validation=0)
    left = data.report["left_out"]
    assert [Path(one["source"]).name for one in left] == ["t00.jpg"]
    assert left[0]["reason"] == "67 points; expected 68"


def test_folders_that_hold_no_points(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_pts(str(tmp_path / "none"))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"no picture has a \.pts file"):
        read_pts(str(tmp_path))
    (tmp_path / "a.pts").write_text("nothing")
    with pytest.raises(InputError, match=r"no training picture has points; first: .*a\.pts: not a \.pts file"):
        read_pts(str(tmp_path))


def write_table(path, cells, **columns):
    pictures = []
    for seed in range(len(cells)):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 64, 3)).astype(np.uint8)).save(
            path.parent / f"{seed}.png"
        )
        pictures.append(f"{seed}.png")
    pa.parquet.write_table(pa.table({"image": pictures, **columns, "landmarks": cells}), path)
    return str(path)


def test_points_are_known_by_their_layout(tmp_path):
    write_face(tmp_path / "own" / "train" / "indoor", "a")
    make_300w(tmp_path / "300")
    (tmp_path / "tables").mkdir()
    file = write_table(tmp_path / "tables" / "train.parquet", [FOUR] * 2, label=["a", "b"])
    assert annotated_kind(file) is None  # classes are what a label is for
    write_table(tmp_path / "tables" / "train.parquet", [FOUR] * 2)
    found = {"own": "pts", "300": "300w", "tables": "points", "tables/train.parquet": "points"}
    for place, reader in found.items():
        assert annotated_kind(str(tmp_path / place)) == "points"
        assert find_annotated(str(tmp_path / place), "points") == reader
    with pytest.raises(
        InputError, match=r'own: looks like pictures for landmarks, .* show faces/quick > .* name = "pts"'
    ):
        refuse_annotated(str(tmp_path / "own"))
    (tmp_path / "own" / "train" / "indoor" / "a.pts").rename(tmp_path / "own" / "train" / "indoor" / "a.PTS")
    assert annotated_kind(str(tmp_path / "own")) == "points"
    assert len(read_pts(str(tmp_path / "own")).splits["train"].pictures) == 1
    (tmp_path / "own" / "train" / "indoor" / "a.PTS").unlink()
    assert annotated_kind(str(tmp_path / "own")) is None
    refuse_annotated(str(tmp_path / "own"))


def test_tables_with_points_in_any_of_their_forms(tmp_path):
    flat, pairs = SHAPE[:4].reshape(-1).tolist(), SHAPE[:4].tolist()
    text = " ".join(str(value) for value in flat)
    expected = SHAPE[:4] + 0.5
    forms = {
        "flat": write_table(tmp_path / "flat.parquet", [flat] * 3),
        "pairs": write_table(tmp_path / "pairs.parquet", [pairs] * 3),
        "text": write_table(tmp_path / "text.parquet", [text, text.replace(" ", ","), f"[{text}]"]),
    }
    for file in forms.values():
        for annotation in read_point_table(file).splits["train"].annotations:
            np.testing.assert_allclose(annotation.points, expected, rtol=1e-6)
    (tmp_path / "columns.csv").write_text("image,ax,ay,bx,by\n0.png,1,2,3,4\n1.png,5,6,,\n")
    raw = read_point_table(str(tmp_path / "columns.csv"), point_columns=["ax", "ay", "bx", "by"], first_pixel=0.5)
    first, second = raw.splits["train"].annotations
    assert first.points.tolist() == [[1, 2], [3, 4]]
    assert np.isnan(second.points).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("[[1, 2], [3, 4]]", [[1.5, 2.5], [3.5, 4.5]]),
        ("[[1 2]\n [3 4]]", [[1.5, 2.5], [3.5, 4.5]]),
        ("[[1, 2], null, null]", [[1.5, 2.5], [np.nan, np.nan], [np.nan, np.nan]]),
        ("1 2 nan nan 5 6", [[1.5, 2.5], [np.nan, np.nan], [5.5, 6.5]]),
        ([[1.0, 2.0], None, [3.0, 4.0]], [[1.5, 2.5], [np.nan, np.nan], [3.5, 4.5]]),
        ([[1.0, 2.0], [None, None]], [[1.5, 2.5], [np.nan, np.nan]]),
    ],
)
def test_points_as_nested_text_or_with_unknown_pairs(tmp_path, cell, expected):
    raw = read_point_table(write_table(tmp_path / "a.parquet", [cell]))
    np.testing.assert_array_equal(raw.splits["train"].annotations[0].points, expected)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (3.0, r"its points are 3\.0; expected x and y in turn, or pairs"),
        ({"x": 1.0}, "its points are {'x': 1.0}; expected x and y"),
        ([[1.0, 2.0], [3.0]], r"its points are \[\[1\.0, 2\.0\], \[3\.0\]\]; expected x and y"),
        ("1 two", "its points are '1 two'; expected x and y"),
    ],
)
def test_points_that_are_none_are_told(tmp_path, cell, reason):
    with pytest.raises(InputError, match=reason):
        read_point_table(write_table(tmp_path / "a.parquet", [cell]))


FOUR = SHAPE[:4].reshape(-1).tolist()


@pytest.mark.parametrize("cell", ["1 2 30 40", "[1, 2, 30, 40]", [1.0, 2.0, 30.0, 40.0]])
def test_boxes_and_marks_may_be_text(tmp_path, cell):
    marks = "1 0 1 1" if isinstance(cell, str) else [True, False, True, True]
    file = write_table(tmp_path / "a.parquet", [FOUR] * 2, face=[cell] * 2, seen=[marks] * 2)
    raw = read_point_table(file, box_column="face", visible_column="seen", crop="given_box", pad=0, square=False)
    first = raw.splits["train"].annotations[0]
    assert first.box == (1.5, 2.5, 30.5, 40.5)
    assert first.visible.tolist() == [True, False, True, True]


def test_boxes_and_marks_that_are_none(tmp_path):
    for name, box in {"number": 3.0, "three": "1 2 3", "word": "left", "pairs": [[1.0, 2.0], [3.0, 4.0]]}.items():
        file = write_table(tmp_path / f"{name}.parquet", [FOUR], face=[box])
        with pytest.raises(InputError, match=r"its box is .*; expected x1, y1, x2, y2"):
            read_point_table(file, box_column="face")
    for name, marks in {"mark": 1, "some": [1.0, None, 1.0, 1.0], "words": "yes no"}.items():
        file = write_table(tmp_path / f"{name}.parquet", [FOUR], seen=[marks])
        with pytest.raises(InputError, match=r"its marks are .*; expected one for each point, 0 = hidden"):
            read_point_table(file, visible_column="seen")
    file = write_table(tmp_path / "none.parquet", [FOUR] * 3, face=[[1.0, 2.0, None, 4.0], None, [1.0, 2.0, 9.0, 9.0]])
    windows = read_point_table(file, box_column="face", crop="given_box").splits["train"].windows
    assert np.isnan(windows).any(1).tolist() == [True, True, False]
    (tmp_path / "a.csv").write_text('image,landmarks,face\n0.png,1 2 3 4,""\n1.png,1 2 3 4,1 2 9 9\n')
    raw = read_point_table(str(tmp_path / "a.csv"), box_column="face")
    assert [one.box for one in raw.splits["train"].annotations] == [None, (1.5, 2.5, 9.5, 9.5)]


def test_tables_with_marks_boxes_subsets_and_groups(tmp_path):
    file = write_table(
        tmp_path / "a.parquet",
        [SHAPE[:4].reshape(-1).tolist()] * 3,
        hidden=[[1, 0, 1, 1]] * 3, face=[[1.0, 2.0, 30.0, 40.0]] * 3, part=["easy", "hard", "easy"], who=["a", "a", "b"],
    )  # fmt: skip
    options = {"visible_column": "hidden", "box_column": "face", "subset_column": "part", "group_by": "who"}
    raw = read_point_table(file, **options, crop="given_box", pad=0.0, square=False)
    train = raw.splits["train"]
    assert train.annotations[0].visible.tolist() == [True, False, True, True]
    assert [one.subsets for one in train.annotations] == [("easy",), ("hard",), ("easy",)]
    assert train.groups.tolist() == ["a", "a", "b"]
    assert train.windows[0].tolist() == [1.5, 2.5, 30.5, 40.5]


def test_cells_that_cannot_be_meant_are_kept_as_reasons(tmp_path):
    good = SHAPE[:4].reshape(-1).tolist()
    raw = read_point_table(write_table(tmp_path / "a.parquet", [good, good, None, good[:-1]]))
    assert "no points are known" in str(raw.splits["train"].annotations[2])
    assert "of shape [7]" in str(raw.splits["train"].annotations[3])
    with pytest.raises(InputError, match="unknown column 'points'"):
        read_point_table(write_table(tmp_path / "b.parquet", [good]), points_column="points")
    with pytest.raises(InputError, match=r"give data\.options\.points_column"):
        read_point_table(str(tmp_path / "a.parquet"), points_column=None)
    with pytest.raises(InputError, match=r"data\.options: point scheme 'face68' has 68 points; the set has 4"):
        read_point_table(str(tmp_path / "a.parquet"), scheme="face68")


def test_groups_by_a_pattern():
    assert groups_of(["ann_1.jpg", "ann_22.jpg", "bo_1.jpg"], r"(.+)_\d+").tolist() == ["ann", "ann", "bo"]
    assert groups_of(["a_1.jpg", "_1.jpg", "_2.jpg"], r"(a)?_\d").tolist() == ["a", "_1.jpg", "_2.jpg"]
    for pattern, reason in (("(", "not a regular expression"), ("a+", "expected one group"), (r"(\d{9})", "fits no")):
        with pytest.raises(InputError, match=reason):
            groups_of(["ann_1.jpg"], pattern)


def test_a_pattern_for_groups_sees_the_path_below_the_set(tmp_path):
    root = tmp_path / "take_1" / "faces"
    for who in ("ann", "bob"):
        for number in (1, 2):
            write_face(root / "train", f"{who}_{number}")
    write_face(root / "test", "eve_1")
    splits = read_pts(str(root), group_pattern=r"(\w+)_\d+").splits
    assert [splits[name].groups.tolist() for name in ("train", "test")] == [["ann", "ann", "bob", "bob"], ["eve"]]
    for stem in ("ann_1", "ann_2", "bob_1"):
        write_face(root, stem)
    table = pa.table({"image": [str(root / "ann_1.jpg"), "ann_2.jpg", "bob_1.jpg"], "landmarks": [FOUR] * 3})
    pa.parquet.write_table(table, root / "train.parquet")
    for options in ({}, {"root": str(root)}):
        raw = read_point_table(str(root), group_pattern=r"(\w+)_\d+", **options)
        assert raw.splits["train"].groups.tolist() == ["ann", "ann", "bob"]


def test_groups_are_named_once(tmp_path):
    file = write_table(tmp_path / "a.parquet", [FOUR] * 2, who=["a", "b"])
    with pytest.raises(InputError, match=r"data\.options\.group_pattern: data\.group_by = 'who' names the groups"):
        read_point_table(file, group_by="who", group_pattern=r"(\d)\.png")


def make_300w(root):
    """LFPW numbers its training and test pictures separately: equal names there are different pictures."""
    places = {
        "afw": ["1051618982_1"], "helen/trainset": ["100032540_1", "100040721_1"], "lfpw/trainset": ["image_0001"],
        "helen/testset": ["296814969_1", "296961468_1"], "lfpw/testset": ["image_0001"], "ibug": ["image_003_1"],
        "300W/01_Indoor": ["indoor_001"], "300W/02_Outdoor": ["outdoor_001"],
    }  # fmt: skip
    for seed, (place, stem) in enumerate((place, stem) for place, stems in places.items() for stem in stems):
        write_face(root / place, stem, seed=seed, suffix=".png")
    return str(root)


def test_300w(tmp_path):
    root = make_300w(tmp_path)
    raw = read_300w(root)
    assert [len(raw.splits[name].pictures) for name in ("train", "test")] == [4, 4]
    assert [one.subsets[0] for one in raw.splits["test"].annotations] == ["common"] * 3 + ["challenging"]
    low, high = SHAPE.min(0) - 0.5, SHAPE.max(0) - 0.5
    np.testing.assert_allclose(raw.splits["train"].windows[0], [*(low - 5), *(high + 5)], atol=1e-3)
    private = read_300w(root, test_set="private").splits["test"].annotations
    assert [one.subsets[0] for one in private] == ["indoor", "outdoor"]
    with pytest.raises(InputError, match="expected full or private"):
        read_300w(root, test_set="common")


def test_300w_opens_by_its_name(tmp_path):
    root = make_300w(tmp_path)
    data = open_data("300w", path=root, image_size=32)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [3, 1, 4]
    private = open_data("300w", path=root, image_size=32, options={"test_set": "private"})
    assert sorted(private.test.targets.in_subset()) == ["indoor", "outdoor"]


def test_300w_with_a_test_picture_among_the_training_ones(tmp_path):
    root = make_300w(tmp_path)
    for ending in (".png", ".pts"):
        shutil.copy(tmp_path / f"lfpw/testset/image_0001{ending}", tmp_path / "lfpw/trainset")
    with pytest.raises(
        InputError, match=r"lfpw: 1 pictures are in both training and test folders \(first: image_0001\)"
    ):
        read_300w(root)
    with pytest.raises(InputError, match="no such folder; expected 300W's layout"):
        read_300w(str(tmp_path / "helen"))


def wflw_line(points, name, flags=(0, 0, 0, 0, 0, 0), box=(1, 2, 50, 60)):
    return " ".join([*(f"{v:.3f}" for v in points.reshape(-1)), *(str(v) for v in (*box, *flags)), name])


def test_wflw(tmp_path):
    points = np.random.default_rng(1).uniform(10, 50, (98, 2)).round(2)
    write_face(tmp_path / "WFLW_images" / "0--Parade", "a")
    lists = tmp_path / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    lists.mkdir(parents=True)
    name = "0--Parade/a.jpg"
    (lists / "list_98pt_rect_attr_train.txt").write_text(f"{wflw_line(points, name)}\n{wflw_line(points, name)}\n")
    (lists / "list_98pt_rect_attr_test.txt").write_text(wflw_line(points, name, (1, 0, 0, 1, 0, 1)) + "\n")
    raw = read_wflw(str(tmp_path))
    assert len(raw.splits["train"].pictures) == 2
    (only,) = raw.splits["test"].annotations
    assert only.subsets == ("pose", "make-up", "blur")
    np.testing.assert_allclose(only.points, points + 0.5, rtol=1e-5)
    assert only.box == (1.5, 2.5, 50.5, 60.5)
    assert raw.scheme.name == "face98"
    assert len(set(raw.splits["train"].groups)) == 1  # two faces of one photo stay together
    (lists / "list_98pt_rect_attr_test.txt").write_text("1 2 3 a.jpg\n")
    with pytest.raises(InputError, match="line 1: "):
        read_wflw(str(tmp_path))
    (lists / "list_98pt_rect_attr_test.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"list_98pt_rect_attr_test\.txt: not readable"):
        read_wflw(str(tmp_path))
    with pytest.raises(InputError, match="no list_98pt_rect_attr_train"):
        read_wflw(str(tmp_path / "WFLW_images"))


def make_cofw(file, mark, count):
    h5py = pytest.importorskip("h5py")
    generator = np.random.default_rng(2)
    phis = generator.uniform(10, 50, (count, 87))
    phis[:, 58:] = generator.integers(0, 2, (count, 29))
    pictures = []
    with h5py.File(file, "w") as archive:
        references = np.empty((1, count), h5py.ref_dtype)
        for row in range(count):
            shape = (60, 64) if row == 0 else (60, 64, 3)  # the first is grey
            pictures.append(generator.integers(0, 256, shape).astype(np.uint8))
            references[0, row] = archive.create_dataset(f"#refs#/{row}", data=pictures[-1].T).ref
        archive.create_dataset(f"Is{mark}", data=references, dtype=h5py.ref_dtype)
        archive.create_dataset(f"phis{mark}", data=phis.T)
        archive.create_dataset(f"bboxes{mark}", data=np.tile([[5.0, 6, 40, 50]], (count, 1)).T)
    return pictures, phis


def test_cofw(tmp_path):
    pictures, phis = make_cofw(tmp_path / "COFW_train_color.mat", "Tr", 3)
    make_cofw(tmp_path / "COFW_test_color.mat", "T", 2)
    raw = read_cofw(str(tmp_path))
    train = raw.splits["train"]
    for found, picture in zip(train.pictures, pictures, strict=True):
        assert np.array_equal(found, picture)
    first = train.annotations[0]
    np.testing.assert_allclose(first.points, np.stack([phis[0, :29], phis[0, 29:58]], 1) - 0.5, rtol=1e-5)
    assert first.visible.tolist() == (phis[0, 58:] == 0).tolist()
    assert first.box == (4.5, 5.5, 44.5, 55.5)
    assert raw.scheme.name == "face29"
    (tmp_path / "COFW_test_color.mat").write_bytes(b"not one")
    with pytest.raises(InputError, match="not of COFW's form"):
        read_cofw(str(tmp_path))
    (tmp_path / "COFW_test_color.mat").unlink()
    with pytest.raises(InputError, match=r"no COFW_test_color\.mat"):
        read_cofw(str(tmp_path))


@pytest.mark.skipif("LIMBECK_DATA" not in os.environ, reason="LIMBECK_DATA is not set")
def test_the_packed_set_of_faces():
    folder = Path(os.environ["LIMBECK_DATA"]) / "faces68"
    if not folder.is_dir():
        pytest.skip("not there")
    data = open_data(
        "points", path=str(folder), limit=300, image_size=64,
        options={"subset_column": "subset", "group_pattern": r"([^/]+)_\d+\.jpg"},
    )  # fmt: skip
    assert len(data.test) == 653
    assert data.scheme.name == "face68"
    assert sorted(data.test.targets.in_subset()) == ["helen_test", "ytf"]
    assert int(data.test.targets.in_subset()["helen_test"].sum()) == 169
