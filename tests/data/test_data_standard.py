"""Standard sets in the layouts that they are handed out in, made small."""

import hashlib
import pickle
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets as published

from limbeck.data import look_at, open_data
from limbeck.errors import InputError


def refused(*pieces, name, **fields):
    with pytest.raises(InputError) as caught:
        open_data(name, **fields)
    text = str(caught.value)
    assert "\n" not in text
    for piece in pieces:
        assert piece in text, text


def write_cifar(folder, kind, monkeypatch, *, per_file=20):
    """Files of CIFAR's format; their checksums take the place of the published ones, which torchvision holds them to."""
    folder.mkdir(parents=True)
    classes = 10 if kind is published.CIFAR10 else 100
    key = "labels" if classes == 10 else "fine_labels"
    pixels = {}

    def write(name, record):
        data = pickle.dumps(record)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    for part in ("train_list", "test_list"):
        listed = []
        for place, (name, _) in enumerate(getattr(kind, part)):
            rng = np.random.default_rng([place, part == "test_list"])
            pixels[part, place] = rng.integers(0, 256, (per_file, 3072)).astype(np.uint8)
            listed.append(write(name, {"data": pixels[part, place], key: [row % classes for row in range(per_file)]}))
        monkeypatch.setattr(kind, part, listed)
    names = write(kind.meta["filename"], {kind.meta["key"]: [f"name{place}" for place in range(classes)]})
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": names[1]})
    return pixels


def test_cifar10_in_its_own_layout(tmp_path, monkeypatch):
    pixels = write_cifar(tmp_path / "cifar-10-batches-py", published.CIFAR10, monkeypatch)
    for path in (tmp_path, tmp_path / "cifar-10-batches-py"):
        splits = open_data("cifar10", path=str(path))
        assert splits.report["counts"] == {"train": 90, "test": 20, "validation": 10}
        assert splits.class_names[3] == "name3"
        assert splits.image_size == (32, 32)
        expected = pixels["test_list", 0][4].reshape(3, 32, 32).transpose(1, 2, 0)
        assert np.array_equal(splits.test.picture(4), expected)
    assert look_at(tmp_path).name == "cifar10"


def test_cifar100_has_fine_labels(tmp_path, monkeypatch):
    write_cifar(tmp_path / "cifar-100-python", published.CIFAR100, monkeypatch, per_file=400)
    splits = open_data("cifar100", path=str(tmp_path))
    assert len(splits.class_names) == 100
    assert splits.test.labels[:3].tolist() == [0, 1, 2]


def test_changed_cifar_files_are_never_unpickled(tmp_path, monkeypatch):
    write_cifar(tmp_path / "cifar-10-batches-py", published.CIFAR10, monkeypatch)

    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps(Trap()))
    refused("checksum differs", name="cifar10", path=str(tmp_path))
    assert not (tmp_path / "sprung").exists()


def test_cifar_without_network_says_where_the_files_belong(tmp_path, monkeypatch):
    def offline(*arguments, **options):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    refused(
        "cannot be downloaded", "unpack https://", str(tmp_path / "data"), name="cifar10", path=str(tmp_path / "data")
    )


@pytest.fixture
def tiny(tmp_path, write_classes, png):
    root = tmp_path / "tiny-imagenet-200"
    write_classes(root / "train", ("n02", "n01"), 10, below="images")
    (root / "train" / "n01" / "n01_boxes.txt").write_text("a\t0\t0\t1\t1\n")
    (root / "val" / "images").mkdir(parents=True)
    lines = []
    for place in range(6):
        (root / "val" / "images" / f"val_{place}.png").write_bytes(png(5000 + place))
        lines.append(f"val_{place}.png\t{('n01', 'n02')[place % 2]}\t0\t0\t5\t5\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tcrane\nn99\tcrane\n")
    return root


def test_tiny_imagenet_has_its_own_val_layout(tiny):
    for path in (tiny, tiny.parent):
        splits = open_data("tiny_imagenet", path=str(path))
        assert splits.class_names == ("goldfish", "crane")
        assert splits.report["counts"] == {"train": 18, "test": 6, "validation": 2}
        assert splits.test.labels.tolist() == [0, 1, 0, 1, 0, 1]
        assert splits.test.source(2).endswith("val/images/val_2.png")
        assert look_at(path).name == "tiny_imagenet"


def test_tiny_imagenet_with_a_part_missing(tiny):
    (tiny / "val" / "val_annotations.txt").write_text("val_0.png\tn77\n")
    refused("class 'n77' has no training pictures", name="tiny_imagenet", path=str(tiny))
    (tiny / "val" / "val_annotations.txt").unlink()
    refused("val_annotations.txt: missing", name="tiny_imagenet", path=str(tiny))


def test_imagenet_folders_are_in_the_order_of_their_ids(tmp_path, write_classes):
    write_classes(tmp_path / "train", ("n03", "n01"), 10)
    write_classes(tmp_path / "val", ("n01", "n03"), 3)
    (tmp_path / "words.txt").write_text("n01\tcrane\nn03\tcrane\n")
    splits = open_data("imagenet", path=str(tmp_path))
    assert splits.class_names == ("crane (n01)", "crane (n03)")
    assert splits.report["counts"] == {"train": 18, "test": 6, "validation": 2}
    (tmp_path / "val").rename(tmp_path / "elsewhere")
    refused("ILSVRC2012_img_val.tar", name="imagenet", path=str(tmp_path))


def test_imagenet_as_kaggle_gives_it(tmp_path, write_classes, png):
    folder = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    write_classes(folder / "train", ("n01", "n02"), 10)
    (folder / "val").mkdir()
    for place in range(4):
        (folder / "val" / f"v{place}.JPEG").write_bytes(png(7000 + place))
    rows = "".join(f"v{place},{('n02', 'n01')[place % 2]} 1 2 3 4\n" for place in range(4))
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + rows)
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01 tench, Tinca tinca\nn02 goldfish\n")
    splits = open_data("imagenet", path=str(tmp_path))
    assert splits.class_names == ("tench", "goldfish")
    assert splits.test.labels.tolist() == [1, 0, 1, 0]


def test_imagenet_archives_that_do_not_unpack_are_named(tmp_path):
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(b"cut off")
    refused("archives cannot be unpacked", "ILSVRC2012_devkit", name="imagenet", path=str(tmp_path))
