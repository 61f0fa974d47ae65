"""Signals as a run takes them: made once, divided by class and SNR or by recordings, limited, in batches, and refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.data import Augment, Loader, open_data
from limbeck.data.radio import Signals, make_signals, read_signals
from limbeck.data.radio.levels import snr_levels
from limbeck.data.signal_splits import all_signals, hash_frames, open_signals
from limbeck.errors import InputError

CLASSES, SNRS = ("BPSK", "QPSK", "WBFM"), (-4.0, 10.0)
OPTIONS = {"frames_per_cell": 20, "classes": CLASSES, "snrs": SNRS, "length": 64}
PLAIN = {"crop": "none", "flip": False}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def splits(home: Path):
    return open_data("radio", path=str(home), options=OPTIONS, test=0.2, validation=0.25)


def test_every_class_is_divided_alike_at_every_snr(splits) -> None:
    assert splits.report["counts"] == {"train": 72, "validation": 24, "test": 24}
    for one, each in ((splits.train, 12), (splits.validation, 4), (splits.test, 4)):
        assert np.bincount(one.cells()).tolist() == [each] * 6
    assert splits.kind == "signal"
    assert splits.image_size == (1, 64)
    assert splits.class_names == CLASSES


def test_the_frames_are_those_of_the_generator_each_in_one_split(splits) -> None:
    made = make_signals("radioml2016_published", frames_per_cell=20, seed=0, classes=CLASSES, snrs=SNRS, length=64)
    rows = []
    for one in (splits.train, splits.validation, splits.test):
        frames = one.samples(np.arange(len(one)))
        for frame, label, snr in zip(frames, one.labels, one.snr, strict=True):
            (row,) = np.flatnonzero((frame == made.X).all((1, 2)))
            assert (made.y[row], made.snr[row]) == (label, snr)
            rows.append(row)
    assert sorted(rows) == list(range(120))
    assert splits.report["leakage"] == {}


def test_a_made_set_is_written_once_and_known_again(splits, home: Path) -> None:
    (file,) = (home / "radio").glob("*.npz")
    before = file.stat().st_mtime_ns
    again = open_data("radio", path=str(home), options=OPTIONS, test=0.2, validation=0.25, cache=home / "cache")
    remembered = open_data("radio", path=str(home), options=OPTIONS, test=0.2, validation=0.25, cache=home / "cache")
    assert file.stat().st_mtime_ns == before
    assert splits.fingerprint == again.fingerprint == remembered.fingerprint
    other = open_data("radio", path=str(home), options=OPTIONS, test=0.2, validation=0.25, seed=1)
    assert other.fingerprint != splits.fingerprint


def test_what_is_remembered_of_a_mapped_file_is_of_those_frames(tmp_path: Path) -> None:
    np.random.default_rng(0).standard_normal(10 * 2 * 32).astype(np.float32).tofile(tmp_path / "raw")
    mapped = np.memmap(tmp_path / "raw", np.float32, "r", shape=(10, 2, 32))
    shorter = np.memmap(tmp_path / "raw", np.float32, "r", shape=(10, 2, 16))
    turned = np.memmap(tmp_path / "raw", np.float32, "r", shape=(10, 2, 32), order="F")
    for _ in range(2):
        for frames in (mapped, shorter, turned, mapped[:5], mapped[5:]):
            assert hash_frames(frames, tmp_path).tolist() == hash_frames(np.array(frames), None).tolist()
    assert len(list(tmp_path.glob("frames-*"))) == 3  # parts are not remembered


def test_few_frames_of_each_cell_leave_the_test_set_whole(splits, home: Path) -> None:
    few = [
        open_data("radio", path=str(home), options=OPTIONS, test=0.2, validation=0.25, limit_per_cell=count)
        for count in (3, 6)
    ]
    assert [np.bincount(one.train.cells()).tolist() for one in few] == [[3] * 6, [6] * 6]
    for one in few:
        np.testing.assert_array_equal(one.test.samples(np.arange(24)), splits.test.samples(np.arange(24)))
    fewer, more = (set(one.train.samples(np.arange(len(one.train)))[:, 0, 0].tolist()) for one in few)
    assert fewer < more
    with pytest.raises(InputError, match=r"limit_per_cell = 13: .* has 12 training frames of 'BPSK' at -4 dB"):
        open_data("radio", path=str(home), options=OPTIONS, test=0.2, validation=0.25, limit_per_cell=13)


def test_batches_carry_snr_and_are_the_same_whenever_asked_for(splits) -> None:
    loader = Loader(splits.train, batch_size=16, augment=Augment(**PLAIN), seed=3)
    first = list(loader.epoch(2))
    resumed = list(loader.epoch(2, 1))
    assert len(first) == 4
    torch.testing.assert_close(first[1].inputs, resumed[0].inputs, rtol=0, atol=0)
    batch = first[0]
    assert (batch.inputs.dtype, tuple(batch.inputs.shape)) == (torch.float32, (16, 2, 64))
    index = batch.index.numpy()
    np.testing.assert_array_equal(batch.inputs.numpy(), splits.train.samples(index))
    np.testing.assert_array_equal(batch.further["snr"].numpy(), splits.train.snr[index])
    np.testing.assert_array_equal(batch.target.numpy(), splits.train.labels[index])
    assert "snr" in loader.offers
    balanced = Loader(splits.train, batch_size=16, augment=None, sampling="balanced")
    assert len(next(balanced.epoch(0))) == 16


@pytest.mark.parametrize("rotate", ["any", "quarter"])
def test_a_frame_that_is_turned_keeps_its_magnitudes(splits, rotate: str) -> None:
    loader = Loader(splits.train, batch_size=16, augment=Augment(rotate=rotate, **PLAIN), needs={"view2"})
    batch = next(loader.epoch(0))
    plain = splits.train.samples(batch.index.numpy())
    plain = plain[:, 0] + 1j * plain[:, 1]
    angles = []
    for inputs in (batch.inputs, batch.further["view2"]):
        turned = torch.complex(*inputs.unbind(1)).numpy()
        np.testing.assert_allclose(np.abs(turned), np.abs(plain), rtol=1e-5, atol=1e-9)
        angle = np.angle((turned * plain.conj()).sum(1))
        assert len(np.unique(angle.round(3))) > 2
        angles.append(angle)
        if rotate == "quarter":
            np.testing.assert_allclose(np.cos(4 * angle), 1, atol=1e-4)
    assert (angles[0] != angles[1]).any()
    again = next(loader.epoch(0))
    torch.testing.assert_close(again.inputs, batch.inputs, rtol=0, atol=0)
    assert (next(loader.epoch(1)).inputs != batch.inputs).any()


def test_a_frame_that_is_moved_goes_around_its_ends(splits) -> None:
    batch = next(Loader(splits.train, batch_size=16, augment=Augment(crop="shift", flip=False)).epoch(0))
    moved = set()
    for frame, plain in zip(batch.inputs.numpy(), splits.train.samples(batch.index.numpy()), strict=True):
        (by,) = [by for by in range(-8, 9) if (np.roll(plain, by, 1) == frame).all()]
        moved.add(by)
    assert len(moved) > 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"flip": True}, "augment.flip = True: is for pictures"),
        ({"crop": "resized"}, "augment.crop = 'resized': is for pictures; of signals it is none or shift"),
        ({"mixup": 0.2}, "augment.mixup = 0.2: is for pictures"),
        ({"erase": 0.1}, "augment.erase = 0.1: is for pictures"),
        ({"noise": 0.1}, "augment.noise = 0.1: is for pictures"),
        ({"blur": 1.0}, "augment.blur = 1.0: is for pictures"),
        ({"gamma": (0.5, 2.0)}, "is for pictures"),
    ],
)
def test_signals_refuse_what_pictures_know(splits, asked: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Loader(splits.train, batch_size=4, augment=Augment(**{**PLAIN, **asked}))


def test_pictures_refuse_what_signals_know() -> None:
    digits = open_data("digits", limit=20)
    with pytest.raises(InputError, match=r"augment.rotate: turns the phase of signals"):
        Loader(digits.train, batch_size=4, augment=Augment(rotate="any"))
    with pytest.raises(InputError, match=r"data.limit_per_cell: is for signals"):
        open_data("digits", limit_per_cell=2)


def recorded(counts: dict[int, int], *, snr: np.ndarray | None = None) -> Signals:
    """Frames of recordings: group -> how many; two recordings of each class in turn."""
    groups = np.repeat(list(counts), list(counts.values()))
    X = np.random.default_rng(0).normal(size=(len(groups), 2, 16)).astype(np.float32)
    return Signals(X, groups // 4 % 2, snr, ("A", "B"), groups, tuple(f"r{i}.sigmf-meta" for i in counts))


def test_a_recording_never_crosses_splits() -> None:
    found = recorded({i: 5 + i for i in range(8)})
    for seed in range(5):
        splits = open_signals(found, name="sigmf", where="here", validation=0.3, test=0.3, seed=seed)
        seen: dict[int, str] = {}
        for split in (splits.train, splits.validation, splits.test):
            assert split is not None
            for row in range(len(split)):
                recording = split.source(row).partition("[")[0]
                assert seen.setdefault(recording, split.split) == split.split
        assert len(seen) == 8
        assert "snr" not in next(Loader(splits.train, batch_size=4, augment=None).epoch(0)).further
    with pytest.raises(InputError, match="too few recordings to hold out a test set"):
        open_signals(replace(recorded({0: 30}), classes=("A",)), name="sigmf", where="here", validation=0.3, test=0.3)


def test_equal_frames_in_two_splits_are_told() -> None:
    made = make_signals("clean_snr", frames_per_cell=10, seed=0, classes=("BPSK",), snrs=(10,), length=32)
    doubled = Signals(np.concatenate([made.X, made.X]), np.zeros(20, np.int64), np.full(20, 10, np.float32), ("BPSK",))
    splits = open_signals(doubled, name="doubled", where="here", validation=0, test=0.5)
    rows = {one.split: set(one.samples(np.arange(10))[:, 0, 0].tolist()) for one in (splits.train, splits.test)}
    assert splits.report["leakage"]["train/test"]["count"] == len(rows["train"] & rows["test"]) > 0


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("radio", {"image_size": 32}, "data.image_size = 32: is for pictures, and 'radio' reads signals"),
        ("radio", {"limit": 5, "limit_per_cell": 2}, "give one of them"),
        (
            "radio",
            {"test": 0.001, "options": {**OPTIONS, "frames_per_cell": 1}},
            "too few frames of each class and SNR",
        ),
        ("radio", {"options": {**OPTIONS, "profile": "radioml16"}}, "did you mean"),
        ("sigmf", {}, "data.options.frame_length: 'sigmf' needs it"),
        ("radioml2016", {}, r"data.path: missing; give the path of RML2016.10a_dict.pkl"),
    ],
)
def test_bad_sections_end_in_one_line(home: Path, name: str, fields: dict, message: str) -> None:
    path = {"path": str(home)} if name == "radio" else {}
    with pytest.raises(InputError, match=message):
        open_data(name, **{"options": OPTIONS if name == "radio" else {}, **path, **fields})


def test_a_set_of_frames_is_filtered_by_class_and_snr(splits, home: Path) -> None:
    file = max((home / "radio").glob("*.npz"), key=lambda path: path.stat().st_size)
    some = open_data("signals", path=str(file), options={"classes": ["WBFM", "BPSK"], "snrs": [10]}, validation=0)
    assert some.class_names == ("WBFM", "BPSK")
    assert some.report["counts"] == {"train": 32, "test": 8}
    assert set(some.train.snr.tolist()) == {10}
    with pytest.raises(InputError, match=r"data.options.snrs: no frame at 4 dB \(there are -4, 10\)"):
        open_data("signals", path=str(file), options={"snrs": [4]})
    with pytest.raises(InputError, match="unknown class 'BPS'"):
        open_data("signals", path=str(file), options={"classes": ["BPS"]})


def lacking(home: Path, **more: object) -> str:
    """A set without a frame of C at 10 dB."""
    cells = [(label, snr) for label in range(3) for snr in (0, 10) if (label, snr) != (2, 10)]
    y, snr = (np.repeat([cell[place] for cell in cells], 10) for place in (0, 1))
    X = np.random.default_rng(0).normal(size=(50, 2, 16)).astype(np.float32)
    np.savez(home / "lacking.npz", X=X, y=y, snr=snr, classes=["A", "B", "C"], **more)
    return str(home / "lacking.npz")


def test_a_cell_without_frames_is_refused_unless_it_is_left_out(tmp_path: Path) -> None:
    path = lacking(tmp_path)
    with pytest.raises(
        InputError, match="class 'C' has no frame at 10 dB; add some, or leave the class or the SNR out"
    ):
        open_data("signals", path=path)
    assert open_data("signals", path=path, options={"snrs": [0]}).report["counts"]["test"] == 6
    assert open_data("signals", path=path, options={"classes": ["A", "B"]}).report["counts"]["test"] == 8
    cells = {
        (name, snr): np.ones((4, 2, 16), np.float32) for name in "AB" for snr in (0, 10) if (name, snr) != ("B", 10)
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(cells))
    with pytest.raises(InputError, match="class 'B' has no frame at 10 dB"):
        open_data("radioml2016", path=str(tmp_path / "a.pkl"))
    some = open_data("radioml2016", path=str(tmp_path / "a.pkl"), options={"snrs": [0]}, test=0.25, validation=0.25)
    assert some.report["counts"] == {"train": 4, "validation": 2, "test": 2}


def test_sets_that_are_only_judged_may_lack_cells(tmp_path: Path) -> None:
    found = read_signals(lacking(tmp_path))
    judged = all_signals(found, name="lacking")
    assert len(judged) == 50
    assert np.bincount(judged.cells()).tolist() == [10] * 5


def measured(count: int = 400, **more: object) -> Signals:
    """Frames of two classes with an SNR each of their own, from -10 to 20 dB."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(count, 2, 16)).astype(np.float32)
    return Signals(X, np.arange(count) % 2, rng.uniform(-10, 20, count).astype(np.float32), ("A", "B"), **more)


def test_a_measured_snr_counts_in_steps() -> None:
    found = measured()
    assert found.is_measured
    assert np.abs(found.levels - found.snr).max() <= 1
    assert set(np.unique(found.levels).tolist()) == set(range(-10, 21, 2))
    splits = open_signals(found, name="m", where="here", validation=0.2, test=0.2)
    assert splits.report["warnings"] == ["the SNR is measured (400 values): told and divided in steps of 2 dB"]
    for one in (splits.train, splits.validation, splits.test):
        # a part of the set has the levels of the whole, and keeps what was measured
        np.testing.assert_array_equal(one.levels, 2 * np.round(one.snr / 2))
        assert one.take([3, 1]).levels.tolist() == one.levels[[3, 1]].tolist()
    assert len(np.unique(splits.test.cells())) <= 32
    shares = [np.bincount(one.cells(), minlength=32) for one in (splits.train, splits.test)]
    assert (np.abs(shares[1] / (shares[0] + shares[1]) - 0.23) < 0.13).all()
    few = open_signals(measured(2000), name="m", where="here", validation=0, test=0.2, limit_per_cell=2)
    assert len(few.train) == 2 * len(np.unique(few.test.cells()))


@pytest.mark.parametrize(
    ("snr", "levels"),
    [
        ([-3, 5, 5, 7, 9, 11], [-3, 5, 5, 7, 9, 11]),  # whole numbers were set, however few frames have them
        ([7.5] * 9 + [2.5] * 8, [7.5] * 9 + [2.5] * 8),  # so were broken ones that many frames have
        ([7.5, 2.5, 2.6], [8, 2, 2]),
        ([-0.4, 0.3, 0.9], [0, 0, 0]),
        (list(range(-50, 50)), [2 * round(one / 2) for one in range(-50, 50)]),  # too many to be told one by one
    ],
)
def test_few_values_of_snr_are_levels_as_they_are(snr: list, levels: list) -> None:
    found = snr_levels(np.array(snr))
    assert found.tolist() == levels
    assert not np.signbit(found[found == 0]).any()


def test_a_measured_snr_is_filtered_by_steps(tmp_path: Path) -> None:
    found = measured()
    np.savez(tmp_path / "m.npz", X=found.X, y=found.y, snr=found.snr, classes=["A", "B"])
    some = open_data("signals", path=str(tmp_path / "m.npz"), options={"snrs": [4, -2]}, validation=0)
    assert set(some.train.levels.tolist()) == {4, -2}
    assert np.abs(some.train.snr - some.train.levels).max() <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": []}, "classes: must name at least one"),
        ({"classes": ["A", "A"]}, "classes: must name at least one, each once"),
        ({"snrs": []}, "snrs: must name at least one"),
        ({"snrs": [float("nan")]}, "snrs: must be finite numbers in dB, got nan"),
    ],
)
def test_choices_that_leave_nothing_are_refused(tmp_path: Path, options: dict, words: str) -> None:
    path = lacking(tmp_path)
    with pytest.raises(InputError, match=words):
        open_data("signals", path=path, options=options)


def test_frames_of_another_generator_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {**OPTIONS, "frames_per_cell": 3}
    open_data("radio", path=str(tmp_path), options=small, test=0.4, validation=0)
    monkeypatch.setattr("limbeck.data.signal_readers.GENERATOR", 10_000)
    open_data("radio", path=str(tmp_path), options=small, test=0.4, validation=0)
    assert len(list((tmp_path / "radio").glob("*.npz"))) == 2


@pytest.mark.parametrize("processes", [0, -1])
def test_frames_are_made_by_a_process_at_least(home: Path, processes: int) -> None:
    with pytest.raises(InputError, match=f"processes: must be a whole number from 1 to 1024, got {processes}"):
        open_data("radio", path=str(home), options={**OPTIONS, "processes": processes})
