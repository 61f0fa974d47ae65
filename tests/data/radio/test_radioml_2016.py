"""RadioML's pickles: what is in them comes out, nothing in them runs, and what is wrong is told in one line."""

import builtins
import codecs
import os
import pickle

import numpy as np
import pytest

from limbeck.data.radio import read_radioml_2016
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
