"""Sets of frames: what is in the files comes out, and what is wrong with one is told in one line."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from limbeck.data import look_at_signals
from limbeck.data.radio import (
    RML2018_CLASSES,
    Signals,
    convert_radioml_2018,
    make_signals,
    read_signals,
    write_signals,
)
from limbeck.data.signal_splits import all_signals
from limbeck.errors import InputError


def gold(path, *, cells=3, classes=(0, 1, 5, 23), snrs=(-20, 0, 30), **changes):
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(1)
    count = len(classes) * len(snrs) * cells
    y = np.repeat(classes, len(snrs) * cells)
    arrays = {
        "X": rng.normal(size=(count, 32, 2)).astype(np.float32),
        "Y": np.eye(24, dtype=np.int64)[y],
        "Z": np.tile(np.repeat(snrs, cells), len(classes))[:, None].astype(np.int64),
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            if value is not None:
                file[name] = value
    return arrays


def test_2018_is_converted_with_the_corrected_labels(tmp_path):
    arrays = gold(tmp_path / "a.hdf5")
    names = ("OOK", "4ASK", "8PSK", "OQPSK")  # numbers 0, 1, 5 and 23 of the corrected order
    folder = convert_radioml_2018(tmp_path / "a.hdf5", tmp_path / "out", classes=names)
    found = read_signals(folder)
    assert isinstance(found.X, np.memmap)
    assert found.classes == names
    assert found.y.tolist() == sorted(found.y) == [0] * 9 + [1] * 9 + [2] * 9 + [3] * 9
    assert np.array_equal(found.X, arrays["X"].transpose(0, 2, 1))
    assert found.snr.tolist() == arrays["Z"][:, 0].tolist()
    assert len(RML2018_CLASSES) == 24


def test_2018_is_filtered_by_class_snr_and_number(tmp_path):
    arrays = gold(tmp_path / "a.hdf5")
    folder = convert_radioml_2018(
        tmp_path / "a.hdf5", tmp_path / "out", classes=["8PSK", "OOK"], snrs=[30, -20], frames_per_cell=2
    )
    found = read_signals(folder)
    rows = [0, 1, 6, 7, 18, 19, 24, 25]
    assert np.array_equal(found.X, arrays["X"][rows].transpose(0, 2, 1))
    assert found.y.tolist() == [1] * 4 + [0] * 4
    assert found.snr.tolist() == [-20, -20, 30, 30] * 2


def test_2018_may_be_in_any_order(tmp_path, monkeypatch):
    monkeypatch.setattr("limbeck.data.radio.radioml_2018.SLICE", 5)
    monkeypatch.setattr("limbeck.data.radio.record.SLICE", 5)
    whole = gold(tmp_path / "a.hdf5")
    order = np.random.default_rng(2).permutation(36)
    gold(tmp_path / "b.hdf5", **{name: value[order] for name, value in whole.items()})
    names = ["OOK", "4ASK", "8PSK", "OQPSK"]
    found = read_signals(convert_radioml_2018(tmp_path / "b.hdf5", tmp_path / "out", classes=names, snrs=[0]))
    wanted = order[whole["Z"][order, 0] == 0]
    assert np.array_equal(found.X, whole["X"][wanted].transpose(0, 2, 1))


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"Z": None}, {}, "no array 'Z'"),
        ({"X": np.ones((36, 2, 32), np.float32)}, {}, r"expected X \[N, samples, 2\]"),
        ({"Y": np.zeros((36, 24), np.int64)}, {}, "row 0 of Y is not one 1"),
        ({"X": np.full((36, 32, 2), np.inf, np.float32)}, {}, "not finite"),
        ({"X": np.zeros((36, 32, 2), np.float32)}, {}, "all zeros"),
        ({}, {"snrs": [1]}, "no frame at 1 dB"),
        ({}, {"classes": ["OOK", "BPSK"]}, "has no frame of 'BPSK'"),
        ({}, {"classes": ["OOK", "OOK"]}, "classes: must name at least one, each once"),
        ({}, {"classes": []}, "classes: must name at least one, each once"),
        ({}, {"snrs": []}, "snrs: must name at least one"),
        ({}, {"snrs": [float("nan")]}, "snrs: must be finite numbers"),
        ({}, {"frames_per_cell": 4}, "has 3 of 'OOK' at -20 dB"),
        ({}, {"classes": ["OKO"]}, "did you mean 'OOK'"),
        ({}, {"frames_per_cell": 0}, "frames_per_cell"),
    ],
)
def test_wrong_2018_is_told_in_one_line(tmp_path, changes, options, words):
    gold(tmp_path / "a.hdf5", **changes)
    options = {"classes": ["OOK", "4ASK", "8PSK", "OQPSK"], **options}
    with pytest.raises(InputError, match=words) as caught:
        convert_radioml_2018(tmp_path / "a.hdf5", tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "signals.json").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"X": "group"}, "'X' is a group, not an array"),
        ({"Y": "group"}, "'Y' is a group, not an array"),
        ({"X": np.full((36, 32, 2), b"abc")}, r"X holds \|S3"),
        ({"Z": np.full((36, 1), b"abc")}, r"Z holds \|S3"),
        ({"X": np.ones((36, 32, 2), np.int64)}, "X holds int64"),
        ({"X": np.float32(3)}, r"X \[\], Y"),
        ({"Y": np.float32(3)}, r"Y \[\]"),
    ],
)
def test_2018_of_other_kinds_is_told_in_one_line(tmp_path, changes, words):
    h5py = pytest.importorskip("h5py")
    gold(tmp_path / "a.hdf5", **{name: None if isinstance(value, str) else value for name, value in changes.items()})
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        for name, value in changes.items():
            if isinstance(value, str):
                file.create_group(name)
    for read in (lambda path: convert_radioml_2018(path, tmp_path / "out"), look_at_signals):
        with pytest.raises(InputError, match=words) as caught:
            read(tmp_path / "a.hdf5")
        assert "\n" not in str(caught.value)


def test_the_row_of_2018_that_is_wrong_is_named(tmp_path):
    X = np.ones((36, 32, 2), np.float32)
    X[20] = np.nan  # class 5, the first at 0 dB being 21; -20 dB has 18 to 20
    gold(tmp_path / "a.hdf5", X=X)
    with pytest.raises(InputError, match=r"frame 20 holds"):
        convert_radioml_2018(tmp_path / "a.hdf5", tmp_path / "out", classes=["8PSK"])
    X[20], X[26] = 1, 0  # 30 dB
    gold(tmp_path / "a.hdf5", X=X)
    with pytest.raises(InputError, match=r"frame 26 is all zeros"):
        convert_radioml_2018(tmp_path / "a.hdf5", tmp_path / "out", classes=["OOK", "8PSK"], snrs=[-20, 30])


def test_a_full_disk_is_told_from_a_damaged_file(tmp_path, monkeypatch):
    gold(tmp_path / "a.hdf5")

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "open_memmap", full)
    with pytest.raises(InputError, match=r"X\.npy: cannot write \(No space left on device\); free some space"):
        convert_radioml_2018(tmp_path / "a.hdf5", tmp_path / "out")


def test_damaged_hdf5_ends_in_one_line(tmp_path):
    gold(tmp_path / "a.hdf5")
    good, rng = (tmp_path / "a.hdf5").read_bytes(), np.random.default_rng(0)
    ends = 0
    for _ in range(60):
        damaged = np.frombuffer(good, np.uint8).copy()
        damaged[rng.integers(0, 4096, 6)] = rng.integers(0, 256, 6)
        (tmp_path / "b.hdf5").write_bytes(damaged.tobytes())
        for read in (lambda path: convert_radioml_2018(path, tmp_path / "out"), read_signals):
            try:
                read(tmp_path / "b.hdf5")
            except InputError as error:
                ends += 1
                assert "\n" not in str(error)  # noqa: PT017
    assert ends > 60


def test_truncated_hdf5_is_told(tmp_path):
    gold(tmp_path / "a.hdf5", cells=40)
    content = (tmp_path / "a.hdf5").read_bytes()
    (tmp_path / "a.hdf5").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="truncated"):
        convert_radioml_2018(tmp_path / "a.hdf5", tmp_path / "out")
    with pytest.raises(InputError, match="truncated"):
        read_signals(tmp_path / "a.hdf5")


def test_a_folder_that_lost_something_is_told(tmp_path):
    gold(tmp_path / "a.hdf5")
    names = ["OOK", "4ASK", "8PSK", "OQPSK"]
    folder = convert_radioml_2018(tmp_path / "a.hdf5", tmp_path / "out", classes=names)
    facts = json.loads((folder / "signals.json").read_text())
    (folder / "signals.json").write_text(json.dumps({**facts, "frames": 99}))
    with pytest.raises(InputError, match=r"signals\.json says 99"):
        read_signals(folder)
    (folder / "y.npy").unlink()
    with pytest.raises(InputError, match="not a whole folder"):
        read_signals(folder)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_written_signals_come_back_mapped(tmp_path, suffix):
    if suffix == ".h5":
        pytest.importorskip("h5py")
    order = {"frames_per_cell": 3, "seed": 1, "classes": ["BPSK", "GFSK"], "snrs": [0, 10], "length": 32}
    made = make_signals(**order)
    found = read_signals(write_signals(tmp_path / f"a{suffix}", **order))
    assert isinstance(found.X, np.memmap)
    for name in ("X", "y", "snr", "classes"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name


def test_npz_of_anyone(tmp_path):
    X = np.random.default_rng(0).normal(size=(4, 2, 20)).astype(np.float32)
    np.savez_compressed(tmp_path / "a.npz", X=X, y=np.array([3, 7, 3, 7], np.uint8))
    found = read_signals(tmp_path / "a.npz")
    assert np.array_equal(found.X, X)
    assert (found.y.tolist(), found.classes, found.snr) == ([0, 1, 0, 1], ("3", "7"), None)
    assert found.cells().tolist() == [0, 1, 0, 1]
    np.savez(
        tmp_path / "b.npz", X=X, y=np.array([0, 1, 0, 1]), classes=["a", "b"], groups=[5, 5, 6, 6], snr=[1, 1, 2, 2]
    )
    found = read_signals(tmp_path / "b.npz")
    assert found.groups.tolist() == [5, 5, 6, 6]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": None}, "no array 'X'"),
        ({"y": None}, "no array 'y'"),
        ({"X": np.ones((4, 20, 2), np.float32)}, "swap its last two axes"),
        ({"X": np.ones((4, 2, 20))}, "float64"),
        ({"X": np.ones((4, 2, 20), np.complex64)}, "complex64"),
        ({"X": np.array([[["a"]]], object)}, "no .npz of plain arrays"),
        ({"y": np.array([0, 1, 0])}, r"y is \[3\]"),
        ({"y": np.array([0, 1, 0, 2])}, "label 2 is outside"),
        ({"y": np.array([0.0, 1, 0, 1])}, "whole numbers"),
        ({"classes": np.array(["a", "a"])}, "two classes have the name 'a'"),
        ({"classes": np.array(["a", "b\nc"])}, r"class name 'b\\nc' must be one line"),
        ({"classes": np.array(["a", ""])}, "class name '' must be one line"),
        ({"X": np.ones((4, 2, 15), np.float32)}, "at least 16 samples, not 15"),
        ({"snr": np.array([0, 0, 0, 1e9])}, "snr holds"),
        ({"snr": np.array([0, 0, 0, np.nan])}, "snr holds"),
        ({"snr": np.array(["high"] * 4)}, "snr must hold numbers in dB"),
        ({"snr": np.zeros((4, 1))}, r"snr must hold numbers in dB, one row of them, not \[4, 1\]"),
        ({"y": np.eye(4, dtype=int)}, r"y must hold whole numbers, one row of them, not \[4, 4\]"),
        ({"y": np.array(["a", "b", "a", "b"])}, "y must hold whole numbers"),
        ({"classes": np.array("ab")}, r"classes must hold names, one row of them, not \[\]"),
        ({"X": np.float32(3)}, r"must be \[N, 2, samples\] float32, not \[\]"),
        ({"groups": np.zeros((4, 2))}, "groups must hold a number or name for each frame"),
        ({"groups": np.array([0, 1, 2, np.nan])}, "groups holds a value that is not finite"),
        ({"groups": np.array([0, 1, 2])}, r"groups is \[3\]"),
        ({"X": np.zeros((4, 2, 20), np.float32)}, "frame 0 is all zeros"),
    ],
)
def test_wrong_npz_is_told_in_one_line(tmp_path, arrays, words):
    good = {"X": np.ones((4, 2, 20), np.float32), "y": np.array([0, 1, 0, 1]), "classes": np.array(["a", "b"])}
    np.savez(tmp_path / "a.npz", **{k: v for k, v in {**good, **arrays}.items() if v is not None})
    with pytest.raises(InputError, match=words) as caught:
        read_signals(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize(
    ("groups", "names"),
    [
        (np.array(["r2", "r1", "r2", "r1"]), ("r1", "r2")),
        (np.array([b"r2", b"r1", b"r2", b"r1"]), ("r1", "r2")),
        (np.array([0.7, 0.2, 0.7, 0.2]), ("0.2", "0.7")),
    ],
)
def test_groups_of_names_and_of_fractions(tmp_path, suffix, groups, names):
    X, y = np.random.default_rng(0).normal(size=(4, 2, 20)).astype(np.float32), np.array([0, 1, 0, 1])
    if suffix == ".npz":
        np.savez(tmp_path / "a.npz", X=X, y=y, groups=groups)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["X"], file["y"] = X, y
            file["groups"] = groups.astype(h5py.string_dtype()) if groups.dtype.kind == "U" else groups
    found = read_signals(tmp_path / f"a{suffix}")
    assert (found.groups.tolist(), found.names) == ([1, 0, 1, 0], names)
    assert all_signals(found, name="a").source(2) == f"{names[1]}[2]"


def test_hdf5_of_anyone(tmp_path):
    h5py = pytest.importorskip("h5py")
    X, y = np.random.default_rng(0).normal(size=(4, 2, 20)).astype(np.float32), np.array([0, 1, 0, 1])
    for classes, names in ((np.array([7, 8]), ("7", "8")), (np.array([b"a", b"b"]), ("a", "b"))):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["X"], file["y"], file["classes"] = X, y, classes
        assert read_signals(tmp_path / "a.h5").classes == names
    for changes, words in (
        ({"X": None}, "'X' is a group, not an array"),
        ({"y": np.int64(1)}, r"y must hold whole numbers, one row of them, not \[\]"),
        ({"snr": np.array([b"a"] * 4)}, "snr must hold numbers"),
        ({"X": X[:0], "y": y[:0]}, "holds no frame"),
    ):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, value in {"X": X, "y": y, **changes}.items():
                if value is None:
                    file.create_group(name)
                else:
                    file[name] = value
        with pytest.raises(InputError, match=words):
            read_signals(tmp_path / "a.h5")


def test_damaged_npz_ends_in_one_line(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((4, 2, 20), np.float32), y=np.array([0, 1, 0, 1]), classes=["a", "b"])
    good, rng, ends = (tmp_path / "a.npz").read_bytes(), np.random.default_rng(0), 0
    for number in range(300):
        damaged = np.frombuffer(good, np.uint8).copy()
        damaged[rng.integers(0, len(good), 6)] = rng.integers(0, 256, 6)
        cut = len(good) if number % 2 else int(rng.integers(0, len(good)))
        (tmp_path / "b.npz").write_bytes(damaged.tobytes()[:cut])
        try:
            read_signals(tmp_path / "b.npz")
        except InputError as error:
            ends += 1
            assert "\n" not in str(error)  # noqa: PT017
    assert ends > 150
    encrypted = bytearray(good)  # bit 0 of the flags, in the entries' headers and in the archive's index
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := encrypted.find(magic, start + 1)) >= 0:
            encrypted[start + place] |= 1
    (tmp_path / "b.npz").write_bytes(encrypted)
    with pytest.raises(InputError, match=r"damaged, or no .npz of plain arrays .*encrypted"):
        read_signals(tmp_path / "b.npz")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"nothing")
    (tmp_path / "a.csv").write_bytes(b"nothing")
    for name, words in (("a.npz", "damaged"), ("a.csv", "sets of frames are"), ("b.npz", "no such file")):
        with pytest.raises(InputError, match=words):
            read_signals(tmp_path / name)


@pytest.mark.skipif("LIMBECK_DATA" not in os.environ, reason="LIMBECK_DATA names no folder of data sets")
def test_published_frames_have_the_published_norm():
    path = Path(os.environ["LIMBECK_DATA"]) / "radio" / "rml2016_10b_subset.npz"
    if not path.exists():
        pytest.skip(f"no {path}")
    found = read_signals(path)
    assert found.X.shape == (1400, 2, 128)
    assert set(np.bincount(found.cells())) == {7}
    np.testing.assert_allclose(np.hypot(found.X[:, 0], found.X[:, 1]).sum(1), 1, atol=1e-5)
    assert isinstance(found, Signals)
