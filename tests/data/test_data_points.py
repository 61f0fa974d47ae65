"""Points of a set: what is left out and why, where they go when their picture is moved, and what is cut out around them."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.data import Augment, Loader, open_data
from limbeck.data.placement import combine, cut_context, turned_affine, warp
from limbeck.data.point_crops import CropPolicy, cropped
from limbeck.data.points import open_points
from limbeck.data.raw import PointAnnotation, RawData, RawSplit
from limbeck.errors import InputError
from limbeck.pictures import window_affine
from limbeck.point_schemes import choose_scheme

LENGTH = 5
NAMES = tuple(str(i) for i in range(LENGTH))
GOOD = np.array([[10.0, 12], [30, 12], [20, 20], [13, 30], [27, 30]], np.float32)
SCHEME = choose_scheme(LENGTH, mirrored=[(0, 1), (3, 4)], normalizers={"inter_ocular": [0, 1]})


def opened(annotations, size=(40, 60), windows=None, scheme=SCHEME, pictures=None):
    pictures = [np.zeros((*size, 3), np.uint8)] * len(annotations) if pictures is None else pictures
    names = [f"p{i}" for i in range(len(pictures))]
    split = RawSplit(pictures, annotations=annotations, names=names, windows=windows)
    raw = RawData({"train": split}, NAMES, kind="points", scheme=scheme)
    rows = np.arange(len(annotations))
    sizes = np.array([size] * len(rows))
    return open_points(raw, split, rows, sizes=sizes, class_names=NAMES, keep=True, description="reading")


def filling(count):
    return [PointAnnotation(GOOD)] * count


def with_point(row, value):
    points = GOOD.copy()
    points[row] = value
    return points


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (PointAnnotation(GOOD[:4]), "4 points; expected 5"),
        (PointAnnotation(np.zeros((5, 3), np.float32)), r"of shape \[5, 3\]; expected \[5, 2\]"),
        (PointAnnotation(with_point(2, np.inf)), "point 2 is infinite"),
        (PointAnnotation(np.full((5, 2), np.nan, np.float32)), "none of its points is known"),
        (PointAnnotation(np.full((5, 2), 7, np.float32)), "all of its points lie in one place"),
        (PointAnnotation(GOOD + 100), "more than half of its points lie outside the picture of 60 x 40 pixels"),
        (PointAnnotation(GOOD, np.ones(4, bool)), "5 points but 4 marks"),
        (InputError("a.pts: not readable"), "a.pts: not readable"),
        (None, "no points are known"),
    ],
)
def test_pictures_whose_points_cannot_be_used_are_left_out(wrong, reason):
    found = opened([*filling(10), wrong])
    assert found.usable.tolist() == [True] * 10 + [False]
    assert list(found.errors) == [10]
    with pytest.raises(InputError, match=reason):
        raise InputError(found.errors[10])
    assert len(found.targets) == 10


def test_what_is_kept_is_counted():
    partly, far = with_point(1, np.nan), with_point(3, (-4, 30))
    annotations = [*filling(2), PointAnnotation(partly), PointAnnotation(far, np.array([1, 1, 0, 0, 1], bool))]
    found = opened(annotations)
    assert found.usable.all()
    assert found.notes == [
        "1 points are unknown, and neither learned nor judged (first: p2)",
        "2 points are hidden, and learned as the others are (first: p3)",
        "1 points lie outside their picture, and are learned where they lie (first: p3)",
    ]
    assert found.targets.class_counts().tolist() == [4, 3, 4, 4, 4]
    assert found.targets.visible[3].tolist() == [True, True, False, False, True]


def test_grey_and_deep_pictures_are_counted(tmp_path):
    Image.fromarray(np.zeros((40, 60), np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "grey.png")
    pictures = [str(tmp_path / "deep.png"), str(tmp_path / "grey.png"), np.zeros((40, 60, 3), np.uint8)]
    found = opened(filling(3), pictures=pictures)
    assert found.notes == [
        "2 pictures are grey, and shown as RGB (first: p0)",
        "1 pictures have 16 bits or more, and are scaled to 8 (first: p0)",
    ]


def png_of_16_bits(path, colours):
    """Pillow reads RGB of 16 bits a channel as RGB of 8, and writes none."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = colours.shape
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_coloured_pictures_of_16_bits_are_counted(tmp_path):
    png_of_16_bits(tmp_path / "deep.png", np.random.default_rng(0).integers(0, 65536, (40, 60, 3)))
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "plain.png")
    pictures = [str(tmp_path / "plain.png"), str(tmp_path / "deep.png"), (tmp_path / "deep.png").read_bytes()]
    assert opened(filling(3), pictures=pictures).notes == [
        "2 pictures have 16 bits or more, and are scaled to 8 (first: p1)"
    ]


def test_many_wrong_pictures_are_another_format():
    with pytest.raises(InputError, match=r"2 of 10 pictures have points that cannot be used; first: p8: 4 points"):
        opened([*filling(8), PointAnnotation(GOOD[:4]), PointAnnotation(GOOD[:4])])


def test_shares_instead_of_pixels_are_told():
    with pytest.raises(InputError, match="points must be in pixels, not shares"):
        opened([PointAnnotation(GOOD / 60)] * 4)


@pytest.mark.parametrize("options", [{}, {"crop": "gt_box"}, {"first_pixel": 0.5}])
def test_shares_in_a_table_are_told_whatever_the_first_pixel(tmp_path, options):
    lines = ["image,landmarks"]
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png," + " ".join(str(one) for one in (GOOD / [60, 40]).reshape(-1)))
    (tmp_path / "train.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match="points must be in pixels, not shares"):
        open_data("points", path=str(tmp_path), image_size=32, options=options)


def test_shares_of_one_point_are_told():
    split = RawSplit([np.zeros((40, 60, 3), np.uint8)] * 3, annotations=[np.array([[x, 0.9]]) for x in (0.6, 1.3, 0.9)])
    raw = RawData({"train": split}, ("0",), kind="points")
    with pytest.raises(InputError, match="not shares"):
        open_points(
            raw,
            split,
            np.arange(3),
            sizes=np.array([[40, 60]] * 3),
            class_names=("0",),
            keep=True,
            description="reading",
        )


def test_points_of_one_picture_may_lie_close_together():
    near = PointAnnotation(20 + GOOD / 60)
    assert opened([*filling(3), near]).usable.all()


def test_a_window_that_misses_the_points():
    windows = np.array([[0.0, 0, 40, 40]] * 10 + [[40, 0, 60, 40]])
    assert opened(filling(11), windows=windows).errors == {10: "the box misses it: 0 of 5 points lie inside"}
    windows[10] = np.nan
    assert "no box is known" in opened(filling(11), windows=windows).errors[10]
    windows[10] = [0, 0, 28, 40]
    found = opened(filling(11), windows=windows)
    assert found.usable.all()
    assert "1 points lie outside the box that is cut out" in found.notes[0]


def test_points_move_with_their_picture():
    targets = opened(filling(2)).targets
    same = targets.changed(0, np.eye(2, 3), (40, 60))
    np.testing.assert_allclose(same, GOOD / [60, 40], rtol=1e-6)
    doubled = targets.changed(0, window_affine((10, 10, 30, 30), (40, 40)), (40, 40))
    np.testing.assert_allclose(doubled, (GOOD - 10) * 2 / 40, rtol=1e-6)


def test_mirrored_points_change_places_and_mirrored_twice_nothing_has():
    targets = opened(filling(1)).targets
    mirror = np.array([[-1.0, 0.0, 60.0], [0.0, 1.0, 0.0]])
    once = targets.changed(0, mirror, (40, 60)) * [60, 40]
    np.testing.assert_allclose(once, [[30, 12], [50, 12], [40, 20], [33, 30], [47, 30]], rtol=1e-6)
    twice = targets.changed(0, combine(mirror, mirror), (40, 60)) * [60, 40]
    np.testing.assert_allclose(twice, GOOD, rtol=1e-6)


def test_a_mirror_needs_to_know_the_pairs():
    unknown = choose_scheme(LENGTH)
    targets = opened(filling(1), scheme=unknown).targets
    with pytest.raises(InputError, match="which of them change places"):
        targets.changed(0, np.array([[-1.0, 0.0, 60.0], [0.0, 1.0, 0.0]]), (40, 60))


def test_unknown_points_stay_unknown():
    targets = opened([PointAnnotation(with_point(1, np.nan))]).targets
    mirrored = targets.changed(0, np.array([[-1.0, 0.0, 60.0], [0.0, 1.0, 0.0]]), (40, 60))
    assert np.isnan(mirrored).any(1).tolist() == [True, False, False, False, False]


def test_identity_tells_points_windows_and_pairs_apart():
    whole = opened(filling(2)).targets
    moved = opened([*filling(1), PointAnnotation(GOOD + 1)]).targets
    windowed = opened(filling(2), windows=np.array([[0.0, 0, 40, 40]] * 2)).targets
    unpaired = opened(filling(2), scheme=choose_scheme(LENGTH)).targets
    assert len({one.identity() for one in (whole, moved, windowed, unpaired)}) == 4
    assert opened(filling(2)).targets.identity() == whole.identity()


def box_split(*annotations, names=None):
    return {"train": RawSplit([b""] * len(annotations), annotations=list(annotations), names=names)}


def window_of(policy, annotation, names=None):
    return cropped(box_split(annotation, names=names), policy)["train"].windows[0].tolist()


def test_crop_policies_by_hand(tmp_path):
    given = PointAnnotation(GOOD, box=(0.0, 10.0, 20.0, 50.0))
    assert window_of(CropPolicy("gt_box", square=False), given) == [10, 12, 30, 30]
    assert window_of(CropPolicy("gt_box", pad=0.1, square=False), given) == [8, 10, 32, 32]
    assert window_of(CropPolicy("gt_box", pad_pixels=3), given) == [7, 8, 33, 34]
    assert window_of(CropPolicy("given_box"), given) == [-10, 10, 30, 50]
    assert window_of(CropPolicy("given_and_gt_box", square=False), given) == [0, 10, 30, 50]
    assert np.isnan(window_of(CropPolicy("given_box"), PointAnnotation(GOOD))).all()
    assert cropped(box_split(given), CropPolicy("none"))["train"].windows is None
    (tmp_path / "boxes.csv").write_text("name,x1,y1,x2,y2\nb/two.png,1,2,11,12\n")
    policy = CropPolicy("detector_box", boxes=str(tmp_path / "boxes.csv"))
    assert window_of(policy, given, names=["/a/b/two.png"]) == [1, 2, 11, 12]
    assert np.isnan(window_of(policy, given, names=["/a/c/two.png"])).all()


def test_boxes_of_a_detector_by_the_name_of_the_face_or_by_a_file_that_has_one_face(tmp_path):
    (tmp_path / "boxes.csv").write_text(
        "name,x1,y1,x2,y2\nin/a.jpg,1,2,11,12\nb.jpg,2,2,11,12\nb.jpg (line 3),3,2,9,9\n"
    )
    policy = CropPolicy("detector_box", square=False, boxes=str(tmp_path / "boxes.csv"))
    files = ["/set/in/a.jpg", "/set/in/b.jpg", "/set/in/b.jpg"]
    names = [f"{file[5:]} (line {line})" for line, file in enumerate(files, 1)]
    split = RawSplit(files, annotations=[PointAnnotation(GOOD)] * 3, names=names)
    windows = cropped({"train": split}, policy)["train"].windows
    assert windows[[0, 2]].tolist() == [[1, 2, 11, 12], [3, 2, 9, 9]]
    assert np.isnan(windows[1]).all()  # which of two faces a file's name means nobody knows


def test_crop_policies_that_cannot_be_meant(tmp_path):
    with pytest.raises(InputError, match="unknown crop 'gtbox'"):
        CropPolicy("gtbox")
    with pytest.raises(InputError, match=r"needs data\.options\.boxes"):
        CropPolicy("detector_box")
    with pytest.raises(InputError, match=r"uses no data\.options\.boxes"):
        CropPolicy("gt_box", boxes="a.csv")
    with pytest.raises(InputError, match="must be 0 or more and finite"):
        CropPolicy(pad=-0.1)
    (tmp_path / "boxes.csv").write_text("name,x1,y1,x2,y2\na,1,2,11,12\na,1,2,11,12\n")
    with pytest.raises(InputError, match=r"1 names have two boxes or more \(first: a\)"):
        cropped(box_split(PointAnnotation(GOOD)), CropPolicy("detector_box", boxes=str(tmp_path / "boxes.csv")))
    with pytest.raises(InputError, match="no such file"):
        cropped(box_split(PointAnnotation(GOOD)), CropPolicy("detector_box", boxes=str(tmp_path / "none.csv")))


def dotted(size, points):
    """A black picture with a bright square of 3 x 3 pixels about each point."""
    picture = np.zeros((*size, 3), np.uint8)
    for x, y in np.floor(points).astype(int):
        picture[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 255
    return picture


def centre_near(picture, place, reach=4):
    """The centre of brightness around a place, in continuous pixels."""
    x, y = np.floor(place).astype(int)
    rows, columns = np.mgrid[y - reach : y + reach + 1, x - reach : x + reach + 1]
    light = picture[rows, columns, 0].astype(float)
    return np.array([(light * (columns + 0.5)).sum(), (light * (rows + 0.5)).sum()]) / light.sum()


def test_a_window_anywhere_shows_its_points_where_the_map_says():
    points = np.array([[20.5, 22.5], [45.5, 18.5], [30.5, 40.5]])
    picture = dotted((60, 80), points)
    window = (-12.3, 5.2, 52.6, 66.9)  # beyond the left and the lower edge
    context = cut_context(picture, window, (64, 64))
    assert context.shape == (80, 80, 3)
    moved = points @ window_affine(window, (64, 64))[:, :2].T + window_affine(window, (64, 64))[:, 2] + 8
    for place in moved:
        assert np.abs(centre_near(context, place) - place).max() < 0.3


def test_a_turned_picture_shows_its_points_where_the_map_says():
    points = np.array([[20.5, 22.5], [45.5, 18.5], [30.5, 40.5]])
    affine = turned_affine(np.array([25.0, 1.1, 3.0, -2.0]), (64, 64))
    turned = warp(dotted((64, 64), points), affine, (64, 64))
    for place in points @ affine[:, :2].T + affine[:, 2]:
        assert np.abs(centre_near(turned, place) - place).max() < 0.3


CHANGES = Augment(crop="turned", turn=30.0, zoom=(0.9, 1.1), padding=0.05, gamma=(0.9, 1.1), noise=0.01)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A folder of 24 pictures with 5 bright points each, and their .pts files."""
    root = tmp_path_factory.mktemp("faces")
    generator = np.random.default_rng(0)
    for number in range(24):
        shift = generator.uniform(0, 30, 2)
        points = np.floor((GOOD - 5) * 2 + 8 + shift) + 0.5
        (root / f"person{number // 3}_{number}.png").parent.mkdir(exist_ok=True)
        Image.fromarray(dotted((96, 110), points)).save(root / f"person{number // 3}_{number}.png")
        lines = "\n".join(f"{x + 0.5} {y + 0.5}" for x, y in points)  # Matlab counts from 1
        (root / f"person{number // 3}_{number}.pts").write_text(f"version: 1\nn_points: 5\n{{\n{lines}\n}}\n")
    return root


def open_faces(root, **options):
    given = {"mirrored": [[0, 1], [3, 4]], "group_pattern": r"(person\d+)_", "pad": 0.3, **options}
    return open_data("pts", path=str(root), image_size=64, validation=0.2, test=0.2, options=given)


@pytest.mark.parametrize("store_bytes", [0, 10**9])
def test_pictures_and_points_of_a_batch_belong_together(faces, store_bytes):
    given = {"mirrored": [[0, 1], [3, 4]], "pad": 0.3}
    data = open_data("pts", path=str(faces), image_size=64, options=given, store_bytes=store_bytes)
    for augment in (None, CHANGES, Augment(crop="shift", padding=0.1)):
        loader = Loader(data.train, batch_size=8, augment=augment, seed=3)
        for batch in loader.epoch(1):
            assert batch.target.shape == (8, LENGTH, 2)
            pixels = (batch.inputs.permute(0, 2, 3, 1) * 255).to(torch.uint8).numpy()
            for picture, places in zip(pixels, batch.target.numpy() * 64, strict=True):
                for place in places:
                    if (place > 6).all() and (place < 58).all():
                        assert np.abs(centre_near(np.where(picture > 60, picture, 0), place) - place).max() < 0.6


def test_batches_are_the_same_in_memory_and_from_disk(faces):
    given = {"mirrored": [[0, 1], [3, 4]], "pad": 0.3}
    both = [open_data("pts", path=str(faces), image_size=64, options=given, store_bytes=size) for size in (0, 10**9)]
    assert both[0].fingerprint == both[1].fingerprint
    first, second = (next(iter(Loader(one.train, batch_size=8, augment=CHANGES).epoch(0))) for one in both)
    assert torch.equal(first.inputs, second.inputs)
    assert torch.equal(first.target, second.target)


def test_what_is_kept_around_windows_counts_to_what_is_held(faces):
    given = {"mirrored": [[0, 1], [3, 4]], "pad": 0.3}
    held = 24 * 80 * 80 * 3  # 64 pixels and 8 on each side
    for store_bytes, is_in_memory in ((held, True), (held - 1, False)):
        data = open_data("pts", path=str(faces), image_size=64, options=given, store_bytes=store_bytes)
        assert data.train.is_in_memory == is_in_memory


def test_left_and_right_are_kept_apart_in_mirrored_batches(faces):
    data = open_faces(faces)
    batches = list(Loader(data.train, batch_size=6, augment=Augment(crop="none"), seed=0).epoch(0))
    places = torch.cat([batch.target for batch in batches])
    assert bool((places[:, 0, 0] < places[:, 1, 0]).all())
    assert bool((places[:, 3, 0] < places[:, 4, 0]).all())
    assert len({round(float(x), 3) for x in places[:, 2, 0]}) >= 1


def test_a_person_never_crosses_splits(faces):
    data = open_faces(faces)
    people = [
        {pictures.source(row).rpartition("/")[2].partition("_")[0] for row in range(len(pictures))}
        for pictures in (data.train, data.validation, data.test)
    ]
    assert all(people)
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    assert not people[1] & people[2]
    assert any(line.startswith("crop: the box of the true points, 30 %") for line in data.report["warnings"])


def test_what_points_cannot_be_asked_for(faces):
    data = open_data("pts", path=str(faces), image_size=64)
    with pytest.raises(InputError, match="nobody said which points change places in a mirror"):
        Loader(data.train, batch_size=4, augment=Augment())
    Loader(data.train, batch_size=4, augment=Augment(flip=False))
    with pytest.raises(InputError, match=r"augment\.turn = 10: is for augment\.crop = turned"):
        Augment(turn=10)
    with pytest.raises(InputError, match=r"augment\.gamma = \[2, 0\.5\]"):
        Augment(gamma=(2, 0.5))
    with pytest.raises(InputError, match="noise lie in"):
        Augment(noise=1.5)
