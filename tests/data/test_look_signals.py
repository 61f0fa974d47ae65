"""A first look at signals: what is counted, how recordings are to be cut, and what is odd about them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from limbeck.data import is_signals, look_at_signals
from limbeck.data.radio import write_signals
from limbeck.errors import InputError


def frames(count: int, length: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 2, length)).astype(np.float32)


def record(folder: Path, name: str, samples: int, *spans: tuple, rate: float | None = 1e6, **facts: object) -> None:
    """A SigMF recording with (start, count, annotation) spans; `facts` are of the recording, keys after `core:`."""
    folder.mkdir(exist_ok=True)
    seed = sum(name.encode())
    frames(1, samples, seed)[0].T.astype("<f4").tofile(folder / f"{name}.sigmf-data")
    annotations = [{"core:sample_start": start, "core:sample_count": count, **more} for start, count, more in spans]
    told = {"core:datatype": "cf32_le", "core:version": "1.2.0", **({} if rate is None else {"core:sample_rate": rate})}
    told |= {f"core:{key}": value for key, value in facts.items()}
    meta = {"global": told, "captures": [{"core:sample_start": 0}], "annotations": annotations}
    (folder / f"{name}.sigmf-meta").write_text(json.dumps(meta))


def test_frames_are_counted_by_class_and_snr(tmp_path: Path) -> None:
    y = np.array([0, 0, 0, 0, 1, 1, 1])
    snr = np.array([-4, 0, 0, 0, -4, -4, 0], np.float32)
    np.savez(tmp_path / "a.npz", X=frames(7), y=y, snr=snr, classes=["BPSK", "QPSK"])
    found = look_at_signals(tmp_path / "a.npz")
    assert (found.name, found.frames, found.length) == ("signals", 7, 32)
    assert found.counts == {"BPSK": 4, "QPSK": 3}
    assert found.snrs == (-4.0, 0.0)
    assert found.per_cell == (1, 3)
    assert (found.recordings, found.problems, found.options) == (None, (), {})


def test_without_snr_the_cells_are_the_classes(tmp_path: Path) -> None:
    X = frames(6)
    X[4] = X[1]
    np.savez(tmp_path / "a.npz", X=X, y=np.array([0, 0, 0, 0, 1, 1]))
    found = look_at_signals(tmp_path / "a.npz")
    assert found.snrs is None
    assert found.per_cell == (2, 4)
    assert found.problems == ("1 of 6 frames repeat another one: splits may share them",)


def test_a_pickle_of_radioml(tmp_path: Path) -> None:
    cells = {(name, snr): frames(3, seed=snr + len(name)) for name in ("8PSK", "WBFM") for snr in (0, 10)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(cells, protocol=2))
    found = look_at_signals(tmp_path / "a.pkl")
    assert (found.name, found.counts, found.per_cell) == ("radioml2016", {"8PSK": 6, "WBFM": 6}, (3, 3))
    (tmp_path / "a.pkl").rename(tmp_path / "A.PKL")
    assert look_at_signals(tmp_path / "A.PKL").name == "radioml2016"


@pytest.mark.parametrize("name", ["FRAMES.NPZ", "FRAMES.H5"])
def test_endings_may_be_written_large(tmp_path: Path, name: str) -> None:
    pytest.importorskip("h5py")
    write_signals(tmp_path / name.lower(), frames_per_cell=1, seed=0, classes=["BPSK", "QPSK"], snrs=[0])
    (tmp_path / name.lower()).rename(tmp_path / name)
    assert is_signals(tmp_path / name)
    assert look_at_signals(tmp_path / name).name == "signals"


def test_hdf5_of_both_kinds(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "ours.h5", "w") as file:
        file["X"], file["y"] = frames(4), np.array([0, 0, 1, 1])
    assert look_at_signals(tmp_path / "ours.h5").name == "signals"
    with h5py.File(tmp_path / "gold.hdf5", "w") as file:
        file["X"] = np.zeros((48, 16, 2), np.float32)  # is not read before it is converted
        file["Y"], file["Z"] = np.repeat(np.eye(24, dtype=np.int64), 2, 0), np.tile([[0], [2]], (24, 1))
    found = look_at_signals(tmp_path / "gold.hdf5")
    assert (found.name, found.frames, found.length, found.per_cell) == ("radioml2018", 48, 16, (1, 1))
    assert found.snrs == (0.0, 2.0)
    assert list(found.counts)[:2] == ["OOK", "4ASK"]
    (tmp_path / "torn.h5").write_bytes((tmp_path / "ours.h5").read_bytes()[:100])
    with pytest.raises(InputError, match=r"torn.h5: cannot be read, or is truncated"):
        look_at_signals(tmp_path / "torn.h5")


def test_recordings_are_cut_to_what_every_span_holds(tmp_path: Path) -> None:
    for number, name in enumerate(("BPSK", "QPSK", "BPSK", "QPSK")):
        spans = [(10, 300, {"core:label": name, "lab:snr_db": 5 + number}), (400, 9, {"core:comment": "a click"})]
        record(tmp_path / "air", f"r{number}", 600, *spans, rate=2e6 if number == 3 else 1e6)
    found = look_at_signals(tmp_path / "air")
    assert (found.name, found.recordings, found.length) == ("sigmf", 4, 128)  # 150 samples of r3 at half its rate
    assert found.options == {"label": "core:label", "sample_rate": 1e6, "snr": "lab:snr_db", "frame_length": 128}
    assert found.counts == {"BPSK": 4, "QPSK": 3}
    assert found.problems == (
        "2 sample rates, 1e+06 to 2e+06 Hz: all are resampled to the lowest",
        "154 samples at the ends of 4 spans are less than a frame of 128, and left out",
    )


def test_classes_of_whole_recordings(tmp_path: Path) -> None:
    for number, name in enumerate(("FM", "AM", "FM")):
        record(tmp_path / "air", f"r{number}", 1500, recorder="a", description=name, hw=f"set {number}")
    found = look_at_signals(tmp_path / "air")
    assert found.options == {"label": "global:core:description", "frame_length": 1024}
    assert found.counts == {"AM": 1, "FM": 2}
    assert found.problems == (
        "1,428 samples at the ends of 3 spans are less than a frame of 1024, and left out",
        "of one recording each, and so in one split only: AM",
    )


def test_a_cell_without_frames_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=frames(7), y=[0, 0, 0, 0, 1, 1, 1], snr=[0, 0, 2, 2, 0, 0, 0], classes=["A", "B"])
    found = look_at_signals(tmp_path / "a.npz")
    assert found.problems == ("class 'B' has no frame at 2 dB: a run needs some; leave the class or the SNR out",)
    assert (found.per_cell, found.is_measured) == ((0, 3), False)


def test_a_measured_snr_is_told_in_steps(tmp_path: Path) -> None:
    snr = np.random.default_rng(0).uniform(-3, 3, 30)
    np.savez(tmp_path / "a.npz", X=frames(30), y=np.arange(30) % 2, snr=snr, classes=["A", "B"])
    found = look_at_signals(tmp_path / "a.npz")
    assert found.snrs == (-2.0, 0.0, 2.0)
    assert (found.per_cell, found.is_measured) == ((15, 15), True)
    assert found.problems == ("the SNR is measured (30 values): told and divided in steps of 2 dB",)


def test_what_gives_no_frame_is_told(tmp_path: Path) -> None:
    for number in range(3):
        record(tmp_path / "air", f"r{number}", 600, (0, 128, {"core:label": "A"}), (200, 40, {"core:label": "B"}))
    found = look_at_signals(tmp_path / "air")
    place = tmp_path / "air" / "r0.sigmf-meta"
    told = f"3 spans or recordings left out; first: {place}: the span at sample 200 has 40, less than a frame of 64"
    assert found.problems == (told,)


def test_what_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    record(tmp_path / "air", "r0", 500, (0, 400, {"core:comment": "a click"}))
    with pytest.raises(InputError, match=r"nothing names the classes of these 1 recordings"):
        look_at_signals(tmp_path / "air")
    np.savez(tmp_path / "a.npz", X=np.zeros((4, 2, 32), np.float32), y=np.array([0, 0, 1, 1]))
    with pytest.raises(InputError, match="frame 0 is all zeros"):
        look_at_signals(tmp_path / "a.npz")


def test_signals_are_told_from_pictures_by_name(tmp_path: Path) -> None:
    record(tmp_path / "air", "r0", 500)
    (tmp_path / "photos").mkdir()
    (tmp_path / "list.csv").write_text("image,label\n")
    assert is_signals(tmp_path / "air")
    assert not is_signals(tmp_path / "photos")
    assert not is_signals(tmp_path / "list.csv")
    assert not is_signals(tmp_path / "nowhere.npz")
    for name in ("a.sigmf-meta", "b.SIGMF-META"):  # a recording is two files of one name but for the ending
        (tmp_path / name).write_text("{}")
    assert is_signals(tmp_path / "a.sigmf-meta")
    assert not is_signals(tmp_path / "b.SIGMF-META")
