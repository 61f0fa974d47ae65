"""SigMF recordings: what is in the files comes out, and what is wrong with one is told in one line."""

import hashlib
import json

import numpy as np
import pytest

from limbeck.data.radio import read_sigmf
from limbeck.data.radio.sigmf import open_recording
from limbeck.data.signal_splits import open_signals
from limbeck.data.split import hold_out
from limbeck.errors import InputError


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
        ({"annotations": [span(0, 20, "")]}, "nothing has 'core:label'"),
        ({"annotations": [span(3, 20, {"a": 1})]}, "'core:label' of the span at sample 3 must be a name"),
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
    some = read_sigmf(tmp_path / "a.sigmf-meta", frame_length=16, classes=["a"])
    assert some.notes[1] == "spans of classes that data.options.classes does not name are left out: b (2)"
    # with a hop of 20 a frame of 16 is followed by 4 samples that nobody wants: of 40, none is a rest
    assert read_sigmf(tmp_path / "a.sigmf-meta", frame_length=16, hop=20, classes=["a"]).notes[1:] == ()
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
