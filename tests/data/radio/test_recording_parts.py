"""Parts of recordings: what is read of them is what the whole has there, and costs no more than they need."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from limbeck.data.radio.sigmf import Recording, Span, open_recording, resample, resampled_count, scaled


def record(folder: Path, samples: int, *, datatype: str = "ci16_le", rate: float = 1e6) -> Recording:
    values = np.random.default_rng(0).integers(-3000, 3000, 2 * samples, dtype=np.int16)
    values.tofile(folder / "a.sigmf-data")
    told = {"core:datatype": datatype, "core:version": "1.2.0", "core:sample_rate": rate}
    (folder / "a.sigmf-meta").write_text(json.dumps({"global": told, "captures": [], "annotations": []}))
    return open_recording(folder / "a.sigmf-meta")


@pytest.mark.parametrize(("rate", "up", "down"), [(1e6, 1, 1), (5e5, 1, 2), (1.5e6, 3, 2), (48e3, 6, 125), (3e6, 3, 1)])
@pytest.mark.parametrize("span", [Span(0, 3000, {}), Span(701, 1999, {})])
def test_a_part_is_what_the_whole_has_there(tmp_path: Path, rate: float, up: int, down: int, span: Span) -> None:
    recording = record(tmp_path, 3000)
    samples = recording.read(span.start, span.count)
    expected = samples if up == down else resample_poly(samples, up, down)
    assert resampled_count(recording, span, rate) == len(expected)
    np.testing.assert_allclose(resample(recording, span, rate, 0), expected, atol=1e-6)
    for start, count in ((0, 1), (0, 40), (17, 60), (len(expected) - 30, 30), (len(expected) - 1, 1)):
        part = resample(recording, span, rate, 0, start=start, count=count)
        np.testing.assert_allclose(part, expected[start : start + count], atol=1e-6)


def test_a_span_without_samples_has_none_at_any_rate(tmp_path: Path) -> None:
    for rate in (None, 5e5):
        assert len(resample(record(tmp_path, 100), Span(5, 0, {}), rate, 0)) == 0


def test_a_part_of_a_long_recording_is_read_alone(tmp_path: Path) -> None:
    recording = record(tmp_path, 1_000_000)
    for rate in (None, 5e5):
        tracemalloc.start()
        resample(recording, Span(0, recording.samples, {}), rate, 0, start=300_000, count=1000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 500_000


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("code", ["i1", "i2", "i4", "u1", "u2", "u4"])
def test_whole_numbers_are_shares_of_full_scale_without_wider_copies(code: str, order: str) -> None:
    info = np.iinfo(code)
    drawn = np.random.default_rng(0).integers(info.min, info.max, 10_000, dtype=code, endpoint=True)
    values = np.concatenate([drawn, [info.min, info.max, info.min + info.max // 2]]).astype(order + code)
    half = 2.0 ** (info.bits - 1)
    expected = (values.astype(np.float64) - (half if code[0] == "u" else 0)) / half
    tracemalloc.start()
    found = scaled(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=0)
    assert peak <= found.nbytes + 2 * values.nbytes + 10_000
