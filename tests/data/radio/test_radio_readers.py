"""Sets of frames and recordings: what is in the files comes out, and what is wrong with one is told in one line."""

import builtins
import codecs
import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from limbeck.data import look_at_signals
from limbeck.data.radio import (
    RML2018_CLASSES,
    Signals,
    convert_radioml_2018,
    make_signals,
    read_radioml_2016,
    read_sigmf,
    read_signals,
    write_signals,
)
from limbeck.data.radio.sigmf import open_recording
from limbeck.data.signal_splits import all_signals, open_signals
from limbeck.data.split import hold_out
from limbeck.errors import InputError


def small_cells(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {(name, snr): rng.normal(size=(3, 2, 16)).astype(dtype) for name in ("QPSK", "BPSK") for snr in (2, -4)}


def in_python_2s_words(cells):
    """The bytes that Python 2 and an old NumPy wrote: protocol 0, text as `str`, arrays by `numpy.core`."""
    out = [b"(d"]
    for (name, snr), frames in cells.items():
        n, two, length = frames.shape
        raw = frames.astype("<f4").tobytes().decode("latin1")
        text = "".join(f"\\x{ord(c):02x}" for c in raw)
        out.append(
            f"(S'{name}'\nI{snr}\ntcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
            f"(I1\n(I{n}\nI{two}\nI{length}\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
            f"I00\nS'{text}'\ntbs".encode("ascii")
        )
    return b"".join([*out, b"."])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5, "python 2"])
def test_pickles_of_2016_are_read_sorted(tmp_path, protocol):
    cells, path = small_cells(), tmp_path / "a.pkl"
    path.write_bytes(in_python_2s_words(cells) if protocol == "python 2" else pickle.dumps(cells, protocol))
    found = read_radioml_2016(path)
    assert found.classes == ("BPSK", "QPSK")
    assert found.y.tolist() == [0] * 6 + [1] * 6
    assert found.snr.tolist() == ([-4] * 3 + [2] * 3) * 2
    assert np.array_equal(found.X[3:6], cells["BPSK", 2])
    assert found.X.dtype == np.float32
    assert np.bincount(found.cells()).tolist() == [3, 3, 3, 3]


class Harmful:
    """As a pickle, runs a command when it is loaded."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    "harm",
    [
        Harmful(os.system, ("touch HARM",)),
        Harmful(builtins.eval, ("open('HARM', 'w')",)),
        Harmful(builtins.getattr, (np.ndarray, "tofile")),
        Harmful(np.load, ("HARM",)),
    ],
)
def test_pickles_that_carry_code_are_refused(tmp_path, monkeypatch, harm, protocol):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({**small_cells(), ("8PSK", 2): harm}, protocol))
    with pytest.raises(InputError, match=r"a\.pkl: is no file of RadioML: it carries code"):
        read_radioml_2016(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pkl"]


RECONSTRUCT = np.ones(1).__reduce__()[0]
FIELDS = Harmful(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0))


def reconstructed(kind, raw, shape=(1,)):
    return Harmful(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, shape, kind, False, raw))


FORGED = {
    # arrays of objects, whose pointers would be the file's bytes
    "nested": Harmful(np.ndarray, (Harmful(np.ndarray, ((1,), np.dtype("O"), b"A" * 8)),)),
    "buffer": Harmful(np.ndarray, ((1,), np.dtype("O"), b"A" * 8)),
    "plain buffer": Harmful(np.ndarray, ((1, 2, 16), np.dtype("f4"), b"A" * 128)),
    "state": reconstructed(np.dtype("O"), b"A" * 8),
    "field": reconstructed(np.dtype([("a", "O")]), b"A" * 8),
    "hidden field": reconstructed(FIELDS, b"A" * 8),
    "field over a buffer": Harmful(np.ndarray, ((1,), FIELDS, b"A" * 8)),
    "text": reconstructed(np.dtype("U4"), b"A" * 16),
    "dates": reconstructed(np.dtype("M8[s]"), b"A" * 8),
    # arrays that reach over what there is
    "beyond": Harmful(np.ndarray, ((2, 2, 2**40), np.dtype("f4"))),
    "no strides": Harmful(np.ndarray, ((2, 2, 16), np.dtype("f4"), b"A" * 8, 0, (0, 0, 0))),
    "few bytes": reconstructed(np.dtype("f4"), b"A" * 8, (2, 2, 2**40)),
    "less than none": reconstructed(np.dtype("f4"), b"", (-1, 0)),
    "another class": Harmful(RECONSTRUCT, (np.dtype("f4"), (0,), b"b")),
    "another encoding": Harmful(codecs.encode, ("a", "hex")),
}


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("forged", FORGED)
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, forged, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({**small_cells(), ("8PSK", 2): FORGED[forged]}, protocol))
    with pytest.raises(InputError, match=r"a\.pkl: is no file of RadioML: it (carries code|holds an array)") as caught:
        read_radioml_2016(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 200


def test_what_a_pickle_calls_cannot_be_changed_by_it(tmp_path):
    path = tmp_path / "a.pkl"
    # numpy.ndarray, then BUILD with a state of its own
    path.write_bytes(b"\x80\x02cnumpy\nndarray\n}U\x06_buildNsb.")
    with pytest.raises(InputError, match="a change of what it calls"):
        read_radioml_2016(path)


@pytest.mark.parametrize("core", ["core", "_core"])
@pytest.mark.parametrize("kind", [">f4", "<f8", "<f2"])
def test_numbers_of_every_width_and_order_are_read(tmp_path, core, kind):
    cells = {(name, np.int64(snr)): frames.astype(kind) for (name, snr), frames in small_cells().items()}
    cells["BPSK", np.int64(2)] = np.asfortranarray(cells["BPSK", np.int64(2)])
    path = tmp_path / "a.pkl"
    for protocol in (2, 5):
        written = pickle.dumps(cells, protocol)
        ours = b"numpy._core" if b"numpy._core" in written else b"numpy.core"
        if protocol == 2:  # names are lines; later protocols tell their lengths
            written = written.replace(ours, f"numpy.{core}".encode())
        path.write_bytes(written)
        found = read_radioml_2016(path)
        assert np.array_equal(found.X[3:6], cells["BPSK", 2].astype(np.float32))
        assert found.snr.tolist() == ([-4] * 3 + [2] * 3) * 2


@pytest.mark.parametrize("key", [("A", 10**5000), ("A", float("nan")), ("A", "2"), "A", (1, 2), ("A", 2, 3)])
def test_keys_that_name_no_cell_are_told(tmp_path, key):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({key: np.ones((1, 2, 16), np.float32)}))
    with pytest.raises(InputError, match=r"holds the key .*, not \(modulation, SNR\)"):
        read_radioml_2016(path)


def changed(**cells):
    return {**small_cells(), **{("BPSK", 2): value for value in cells.values()}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged, or no pickle"),
        (pickle.dumps(small_cells())[:-200], "damaged, or no pickle"),
        (b"PK\x03\x04 something else", "damaged, or no pickle"),
        (pickle.dumps([1, 2]), "holds list, not a dictionary"),
        (pickle.dumps({"BPSK": np.ones((1, 2, 16))}), "holds the key 'BPSK'"),
        (pickle.dumps(changed(a=np.ones((3, 16, 2), np.float32))), r"\[3, 16, 2\] float32"),
        (pickle.dumps(changed(a=np.ones((3, 2, 20), np.float32))), "2 lengths"),
        (pickle.dumps(changed(a=np.array([[[None]]]))), "object"),
        (pickle.dumps(changed(a=np.full((3, 2, 16), np.nan, np.float32))), "frame 3 holds a value that is not finite"),
        (pickle.dumps(changed(a=np.zeros((1, 2, 16), np.float32))), "frame 3 is all zeros"),
    ],
)
def test_wrong_pickles_are_told_in_one_line(tmp_path, content, words):
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_radioml_2016(path)
    assert "\n" not in str(caught.value)


def test_a_missing_pickle_is_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_radioml_2016(tmp_path / "a.pkl")


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


def record(folder, name, values, datatype="cf32_le", *, annotations=(), captures=None, raw=None, **facts):
    """A recording of those numbers, as they are stored."""
    code = datatype.split("_")[0][1:]
    order = ">" if datatype.endswith("_be") else "<"
    stored = np.asarray(values).astype(f"{order}{code[0]}{int(code[1:]) // 8}").tobytes() if raw is None else raw
    (folder / f"{name}.sigmf-data").write_bytes(stored)
    meta = {
        "global": {"core:datatype": datatype, "core:version": "1.2.0", **facts},
        "captures": [{"core:sample_start": 0}] if captures is None else captures,
        "annotations": list(annotations),
    }
    path = folder / f"{name}.sigmf-meta"
    path.write_text(json.dumps(meta))
    return path


def span(start, count, label, **more):
    return {"core:sample_start": start, "core:sample_count": count, "core:label": label, **more}


CODES = [
    "f32_le",
    "f32_be",
    "f64_le",
    "f64_be",
    *(f"{s}{b}_{e}" for s in "iu" for b in (16, 32, 64) for e in ("le", "be")),
]


@pytest.mark.parametrize("kind", "rc")
@pytest.mark.parametrize("code", [*CODES, "i8", "u8"])
def test_all_data_types(tmp_path, kind, code):
    bits = int("".join(c for c in code.split("_")[0] if c.isdigit()))
    shares = np.array([-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, -0.25, 0.125])
    if code[0] == "f":
        stored, expected = shares, shares
    else:
        half = 2 ** (bits - 1)
        stored = (shares * half + (half if code[0] == "u" else 0)).astype(object).astype(f"{code[0]}{bits // 8}")
        expected = shares
    path = record(tmp_path, "a", stored, f"{kind}{code}")
    recording = open_recording(path)
    found = recording.read(0, recording.samples)
    wanted = expected if kind == "r" else expected[::2] + 1j * expected[1::2]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert recording.samples == len(wanted)
    np.testing.assert_allclose(recording.read(1, 2), wanted[1:3], atol=1e-6)


def test_channels_and_headers(tmp_path):
    # two channels, a header of 5 bytes before the first sample, one of 3 before sample 4, 2 bytes at the end
    samples = np.arange(6 * 2 * 2, dtype="<i2").reshape(6, 2, 2)
    raw = b"HEAD!" + samples[:4].tobytes() + b"MID" + samples[4:].tobytes() + b"ND"
    captures = [
        {"core:sample_start": 0, "core:header_bytes": 5},
        {"core:sample_start": 4, "core:header_bytes": 3},
    ]
    path = record(
        tmp_path, "a", None, "ci16_le", raw=raw, captures=captures, **{"core:num_channels": 2, "core:trailing_bytes": 2}
    )
    recording = open_recording(path)
    assert recording.samples == 6
    for channel in (0, 1):
        wanted = (samples[:, channel, 0] + 1j * samples[:, channel, 1]) / 2**15
        np.testing.assert_allclose(recording.read(0, 6, channel), wanted)
        np.testing.assert_allclose(recording.read(3, 3, channel), wanted[3:])


def test_recordings_are_cut_by_their_annotations(tmp_path):
    values = np.arange(200) + 1
    spans = [
        span(0, 40, "qpsk", snr=5),
        span(40, 20, "bpsk", snr=7.5),
        span(60, 10, "bpsk", snr=1),
        {"core:sample_start": 90},
    ]
    record(tmp_path, "a", values, annotations=spans)
    (tmp_path / "below").mkdir()
    record(tmp_path / "below", "b", values, annotations=[span(10, 30, "qpsk", snr=-3)])
    found = read_sigmf(tmp_path, frame_length=16, hop=8, snr="snr")
    # 40 samples make 4 frames of 16 every 8, 20 make 1, 10 none, 30 make 2
    assert found.classes == ("bpsk", "qpsk")
    assert found.y.tolist() == [1, 1, 1, 1, 0, 1, 1]
    assert found.groups.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert found.snr.tolist() == [5, 5, 5, 5, 7.5, -3, -3]
    assert found.names == (str(tmp_path / "a.sigmf-meta"), str(tmp_path / "below" / "b.sigmf-meta"))
    assert found.X[1, 0].tolist() == list(range(17, 49, 2))  # from sample 8 on: every other number is an I
    assert found.X[4, 0, 0] == 81
    one = read_sigmf(tmp_path / "a.sigmf-data", frame_length=16, classes=["qpsk"])
    assert (len(one), one.classes, one.snr) == (2, ("qpsk",), None)


def test_recordings_as_a_whole_by_a_global_key(tmp_path):
    record(tmp_path, "a", np.arange(200), **{"core:description": "wfm"})
    record(tmp_path, "b", np.arange(100), **{"core:description": "dmr"})
    found = read_sigmf(tmp_path, frame_length=20, label="global:core:description")
    assert found.classes == ("dmr", "wfm")
    assert found.y.tolist() == [1] * 5 + [0] * 2


def test_recordings_are_resampled_span_by_span(tmp_path):
    time = np.arange(3000)
    tone = np.exp(2j * np.pi * 0.01 * time)
    record(
        tmp_path,
        "a",
        np.stack([tone.real, tone.imag], 1),
        annotations=[span(0, 3000, "tone")],
        **{"core:sample_rate": 1e6},
    )
    found = read_sigmf(tmp_path, frame_length=64, sample_rate=4e5)
    assert len(found) == 1200 // 64
    x = found.X[5, 0] + 1j * found.X[5, 1]
    np.testing.assert_allclose(x, np.exp(2j * np.pi * 0.025 * (5 * 64 + np.arange(64))), atol=0.01)


def test_splits_take_recordings_as_wholes(tmp_path):
    for number in range(6):
        record(tmp_path, f"{number}", np.arange(400), annotations=[span(0, 100, "a"), span(100, 100, "b")])
    found = read_sigmf(tmp_path, frame_length=20)
    kept, held = hold_out(found.y, 0.3, seed=0, groups=found.groups)
    assert len(kept)
    assert len(held)
    assert not set(found.groups[kept]) & set(found.groups[held])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"datatype": "cf32"}, "core:datatype 'cf32' is none of SigMF's"),
        ({"datatype": "ci8_le"}, "none of SigMF's"),
        ({"raw": b"123"}, "3 bytes, which is no whole number of samples of 8 bytes"),
        ({"raw": b""}, "has 0 of them"),
        ({"annotations": [span(190, 20, "a")]}, "reaches to sample 210, but the data has 100"),
        ({"annotations": [span(-1, 20, "a")]}, "at least 0, got -1"),
        ({"annotations": [span(0, 20, None)]}, "nothing has 'core:label'"),
        ({"annotations": [span(0, 10, "a", snr=1)]}, "or all that has is shorter"),
        ({"captures": [{"core:sample_start": 150}]}, "a capture starts at sample 150"),
        ({"captures": [{"core:sample_start": 50}, {"core:sample_start": 10}]}, "must be sorted"),
        ({"captures": "none"}, "must be a list"),
        ({"core:num_channels": 0}, "core:num_channels"),
        ({"core:num_channels": 3}, "no whole number of samples of 24 bytes"),
        ({"core:dataset": "../other"}, "name of a file beside it"),
        ({"core:dataset": "gone.iq"}, "gone.iq, is not beside it"),
        ({"core:sample_rate": "fast"}, "core:sample_rate"),
        ({"core:sample_rate": 10**400}, "core:sample_rate must be a number of Hz above 0"),
        ({"annotations": [span(10**4000, 20, "a")]}, "must be a whole number below 2\\^63"),
        ({"core:metadata_only": True}, "has no data"),
        ({"annotations": [span(0, 20, "a", snr="high")]}, "must be a number in dB, got 'high'"),
    ],
)
def test_metadata_that_disagrees_is_told_in_one_line(tmp_path, change, words):
    given = {"values": np.arange(200), "annotations": [span(0, 50, "a", snr=1)], **change}
    record(tmp_path, "a", **given)
    with pytest.raises(InputError, match=words) as caught:
        read_sigmf(tmp_path, frame_length=16, snr="snr")
    assert "\n" not in str(caught.value)


BAD_RATES = (0, -1e6, float("nan"), float("inf"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frame_length": 4}, "frame_length"),
        ({"hop": 0}, "hop"),
        ({"channel": 1}, "has 1, counted from 0"),
        ({"sample_rate": 10.0}, "says no core:sample_rate"),
        ({"classes": ["b"]}, "no frame of 16 samples"),
        ({"classes": []}, "classes: must name at least one"),
        *(({"sample_rate": rate}, "sample_rate: must be a finite number of Hz above 0") for rate in BAD_RATES),
        ({"label": "global:"}, "label"),
    ],
)
def test_wrong_cuts_are_told(tmp_path, options, words):
    record(tmp_path, "a", np.arange(200), annotations=[span(0, 50, "a")])
    with pytest.raises(InputError, match=words):
        read_sigmf(tmp_path, **{"frame_length": 16, **options})


def test_what_gives_no_frame_is_told(tmp_path):
    spans = [span(0, 40, "a"), span(40, 20, "b"), span(60, 10, "b"), {"core:sample_start": 90}]
    record(tmp_path, "a", np.arange(200), annotations=spans, **{"core:sample_rate": 1e6})
    record(tmp_path, "b", np.arange(200), annotations=[span(0, 32, "a")], **{"core:sample_rate": 2e6})
    record(tmp_path, "c", np.arange(200), annotations=[{"core:sample_start": 0}])
    found = read_sigmf(tmp_path, frame_length=16)
    assert found.left_out == (
        (str(tmp_path / "a.sigmf-meta"), "the span at sample 60 has 10, less than a frame of 16"),
        (str(tmp_path / "c.sigmf-meta"), "nothing in it has 'core:label'"),
    )
    # 40 - 2 * 16 = 8 of the first span, 20 - 16 = 4 of the second, none of the third recording's 32
    assert found.notes[0] == "12 samples at the ends of 2 spans are less than a frame of 16, and left out"
    assert found.notes[1].startswith("recordings of several sample rates (1e+06 Hz, 2e+06 Hz) are cut as they are")
    assert len(found.notes) == 2
    whole = read_sigmf(tmp_path / "b.sigmf-meta", frame_length=16)
    assert (whole.left_out, whole.notes) == ((), ())
    # with a hop of 20 a frame of 16 is followed by 4 samples that nobody wants: of 40, none is a rest
    assert read_sigmf(tmp_path / "a.sigmf-meta", frame_length=16, hop=20, classes=["a"]).notes == ()
    splits = open_signals(found, name="sigmf", where="here", validation=0, test=0.3)
    assert splits.report["left_out_count"] == 2
    assert splits.report["left_out"][1] == {
        "split": "all", "source": str(tmp_path / "c.sigmf-meta"), "reason": "nothing in it has 'core:label'"
    }  # fmt: skip
    assert splits.report["warnings"][:2] == list(found.notes)
    assert splits.report["warnings"][2].startswith("2 spans or recordings left out; first: ")


def test_sample_numbers_count_from_the_offset(tmp_path):
    values = np.arange(400)
    spans = [span(100, 40, "a"), span(140, 20, "b")]
    captures = [{"core:sample_start": 100}]
    path = record(tmp_path, "a", values, annotations=spans, captures=captures, **{"core:offset": 100})
    recording = open_recording(path)
    assert (recording.offset, recording.samples) == (100, 200)
    assert [one.start for one in recording.spans] == [0, 40]
    np.testing.assert_array_equal(recording.read(3, 2), [6 + 7j, 8 + 9j])
    found = read_sigmf(path, frame_length=16)
    assert found.X[:, 0, 0].tolist() == [0, 32, 80]
    record(tmp_path, "a", values, annotations=spans, **{"core:offset": 100})
    with pytest.raises(InputError, match=r"core:sample_start of a capture, 0, lies before core:offset = 100"):
        open_recording(path)


def test_data_is_held_against_its_hash(tmp_path):
    values = np.arange(200)
    right = hashlib.sha512(values.astype("<f4").tobytes()).hexdigest()
    path = record(tmp_path, "a", values, annotations=[span(0, 50, "a")], **{"core:sha512": right.upper()})
    assert len(read_sigmf(path, frame_length=16)) == 3
    stored = bytearray(path.with_suffix(".sigmf-data").read_bytes())
    stored[7] ^= 1
    path.with_suffix(".sigmf-data").write_bytes(stored)
    with pytest.raises(InputError, match=r"a\.sigmf-meta: a\.sigmf-data is damaged, or another file"):
        read_sigmf(path, frame_length=16)


def test_a_recording_that_is_named_twice_is_read_once(tmp_path):
    path = record(tmp_path, "a", np.arange(200), annotations=[span(0, 64, "a")])
    other = record(tmp_path, "b", np.arange(200), annotations=[span(0, 64, "a")])
    (tmp_path / "link").symlink_to(tmp_path)
    for paths in (
        [path, path.with_suffix(".sigmf-data"), other],
        [path, tmp_path],
        [*sorted(tmp_path.glob("*.sigmf*"))],
        [path, tmp_path / "link" / "a.sigmf-meta", other],
    ):
        found = read_sigmf(paths, frame_length=16)
        assert found.names == (str(path), str(other))
        assert found.groups.tolist() == [0] * 4 + [1] * 4


def test_the_recording_that_is_wrong_is_named(tmp_path):
    record(tmp_path, "a", np.arange(200) + 1, annotations=[span(0, 50, "a", snr=1)])
    silent, lost = np.arange(200) + 1.0, np.arange(200) + 1.0
    silent[40 + 32 : 40 + 64], lost[41] = 0, np.nan
    for values, words in ((silent, "frame 1 is all zeros"), (lost, "frame 0 holds a value that is not finite")):
        record(tmp_path, "b", values, annotations=[span(20, 64, "a", snr=1)])
        with pytest.raises(InputError, match=rf"b\.sigmf-meta, span at sample 20: {words}"):
            read_sigmf(tmp_path, frame_length=16)
    record(tmp_path, "b", np.arange(200) + 1, annotations=[span(20, 64, "a", snr=float("inf"))])
    with pytest.raises(
        InputError, match=r"b\.sigmf-meta: 'snr' of the span at sample 20 must be a number in dB, got inf"
    ):
        read_sigmf(tmp_path, frame_length=16, snr="snr")


def test_odd_ratios_and_files_are_told(tmp_path):
    path = record(tmp_path, "a", np.arange(200), annotations=[span(0, 50, "a")], **{"core:sample_rate": 1e6})
    with pytest.raises(InputError, match="no ratio of whole numbers"):
        read_sigmf(path, frame_length=16, sample_rate=333_333.77)
    with pytest.raises(InputError, match="unpack it"):
        read_sigmf(tmp_path / "a.sigmf", frame_length=16)
    with pytest.raises(InputError, match="no recording"):
        read_sigmf(tmp_path / "data", frame_length=16) if (tmp_path / "data").mkdir() is None else None
    path.write_text("[]")
    with pytest.raises(InputError, match="is no SigMF metadata"):
        read_sigmf(path, frame_length=16)
    number = '{"global": {"core:datatype": "cf32_le"}, "captures": [{"core:sample_start": ' + "1" * 5000 + "}]}"
    for text, words in (
        ("{", "not readable as JSON"),
        ("[" * 100_000, "nested too deep"),
        (number, "not readable as JSON"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=words) as caught:
            read_sigmf(path, frame_length=16)
        assert "\n" not in str(caught.value)


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
