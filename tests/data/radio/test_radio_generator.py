"""Generated frames: pulses, powers, channels and noise against published values and slow references."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import hilbert
from scipy.special import j0

from limbeck.data.radio import PROFILES, RML2018_CLASSES, Channel, Waveform, make_frames, make_signals, write_signals
from limbeck.data.radio import modulate as mod
from limbeck.data.radio.audio import analytic_speech, speech
from limbeck.data.radio.channel import draw_taps, faded, noisy, resampled, samples_before, turned
from limbeck.data.radio.resample import REACH, interpolate
from limbeck.data.radio.streams import Streams
from limbeck.errors import InputError

RML16, RML22, CLEAN = PROFILES["radioml2016"], PROFILES["rml22"], PROFILES["clean_snr"]


def draws(count, name="test", seed=3):
    return Streams(seed, name, 0.0, range(count))


def baseband(name, count=64, length=512, waveform=RML16.waveform):
    return mod.MODULATIONS[name](draws(count, name), length, waveform)


def test_constellations_have_the_published_magnitudes():
    for name, mean in (("PAM4", 2.0), ("QAM16", 2.9953524), ("QAM64", 6.0868905)):
        assert np.abs(mod.CONSTELLATIONS[name]).mean() == pytest.approx(mean, abs=1e-6)
    powers = {"BPSK": 1, "QPSK": 1, "8PSK": 1, "PAM4": 1.25, "QAM16": 1.1146, "QAM64": 1.1336}
    for name, power in powers.items():
        points = mod.CONSTELLATIONS[name] / np.abs(mod.CONSTELLATIONS[name]).mean()
        assert (np.abs(points) ** 2).mean() == pytest.approx(power, abs=1e-4)


def test_constellations_have_as_many_points_as_their_names_say():
    sizes = {"OOK": 2, "BPSK": 2, "QPSK": 4}
    for name, points in mod.CONSTELLATIONS.items():
        size = sizes.get(name) or int("".join(c for c in name if c.isdigit()))
        assert len(points) == len(set(np.round(points, 9))) == size
        if name not in ("OOK", "4ASK", "8ASK"):
            assert abs(points.mean()) < 1e-12


def test_root_raised_cosine():
    times = np.array([0, 1 / 8, 1 / 2, 1 / 1.4, 1.0])
    expected = [1.0956338, 1.0598872, 0.6077737, 0.2606035, -0.0846903]
    np.testing.assert_allclose(mod.rrc(times, 0.35), expected, atol=1e-7)
    around = mod.rrc(np.array([1 / 1.4 - 1e-5, 1 / 1.4 + 1e-5]), 0.35)
    assert around.mean() == pytest.approx(0.2606035, abs=1e-6)  # the limit joins its neighbours


def test_each_arm_of_the_pulse_sums_to_one():
    for rate in (2, 8):
        np.testing.assert_allclose(mod.rrc_taps(rate, 0.35).sum(0), 1, atol=0.01)
    long = mod.rrc_taps(8, 0.35, span=88)
    np.testing.assert_allclose(long.sum(0), 1, atol=2e-4)
    kept = (mod.rrc_taps(8, 0.35) ** 2).sum() / (long**2).sum()
    assert kept == pytest.approx(1, abs=1e-3)


def test_pulses_are_shaped_as_by_stuffing_zeros_and_filtering():
    taps = mod.rrc_taps(8, 0.35)
    symbols = np.random.default_rng(0).choice(mod.CONSTELLATIONS["QAM16"], (3, 40))
    found = mod.shape(symbols, taps)
    for row, values in zip(symbols, found, strict=True):
        stuffed = np.zeros(40 * 8, complex)
        stuffed[::8] = row
        whole = np.convolve(stuffed, taps.reshape(-1))
        np.testing.assert_allclose(values, whole[(len(taps) - 1) * 8 : 40 * 8], atol=1e-12)


@pytest.mark.parametrize(
    ("name", "power"), [("BPSK", 1), ("QPSK", 1), ("8PSK", 1), ("PAM4", 1.25), ("QAM16", 1.1146), ("QAM64", 1.1336)]
)
def test_transmitted_power_is_the_symbols_power(name, power):
    # Nyquist pulses keep the mean over all samples; the excess bandwidth loses 1 to 2 %
    found = (np.abs(baseband(name, 200, 1024)) ** 2).mean()
    taps = mod.rrc_taps(8, 0.35)
    assert found == pytest.approx(power * (taps**2).sum() / 8, rel=0.02)
    assert 0.97 < (taps**2).sum() / 8 < 1.001


def test_frequency_modulations_have_a_constant_envelope():
    np.testing.assert_allclose(np.abs(baseband("CPFSK")), 1, atol=1e-12)
    np.testing.assert_allclose(np.abs(baseband("GFSK")), 0.999, atol=1e-12)
    np.testing.assert_allclose(np.abs(baseband("WBFM")), 1, atol=1e-12)


def test_frequency_modulations_step_their_phase_as_specified():
    steps = np.diff(np.unwrap(np.angle(baseband("CPFSK")), axis=1), axis=1)
    np.testing.assert_allclose(np.abs(steps), math.pi * 0.5 / 8, atol=1e-9)
    steps = np.diff(np.unwrap(np.angle(baseband("GFSK")), axis=1), axis=1)
    assert np.abs(steps).max() == pytest.approx(0.1, abs=1e-3)
    assert np.abs(steps).min() < 0.02
    steps = np.diff(np.unwrap(np.angle(baseband("GMSK")), axis=1), axis=1)
    assert np.abs(steps).max() * 8 == pytest.approx(math.pi / 2, rel=0.01)


def test_oqpsk_never_passes_through_zero():
    assert np.abs(baseband("OQPSK")).min() > 0.3
    assert np.abs(baseband("QPSK")).min() < 0.1


def test_wide_band_fm_is_the_pre_emphasised_voice_in_the_phase():
    zeros, poles = mod.pre_emphasis(220.5e3)
    turn = np.exp(-2j * np.pi * np.array([0.0, 1e3, 5e3, 15e3]) / 220.5e3)
    gain = np.abs((zeros[0] + zeros[1] * turn) / (poles[0] + poles[1] * turn))
    analog = np.sqrt(1 + (2 * np.pi * 75e-6 * np.array([0.0, 1e3, 5e3, 15e3])) ** 2)
    np.testing.assert_allclose(gain, analog, rtol=0.05)
    loud = replace(RML16.waveform, audio_level=0.1, audio_silence=0.0)
    steps = np.diff(np.unwrap(np.angle(baseband("WBFM", 300, waveform=loud)), axis=1), axis=1)
    quiet = np.diff(
        np.unwrap(np.angle(baseband("WBFM", 300, waveform=replace(loud, audio_silence=1.0))), axis=1), axis=1
    )
    assert 0.1 < steps.std() < 2.0
    assert quiet.std() < 0.05 * steps.std()


def test_amplitude_modulation_is_a_carrier_and_a_real_voice():
    samples = baseband("AM-DSB")
    assert np.abs(samples.imag).max() == 0
    assert samples.real.mean() == pytest.approx(1, abs=0.01)
    assert (samples.real >= 0.5).all()
    assert abs(baseband("AM-DSB-SC", 400).mean()) < 0.01


def test_single_sideband_has_one_side():
    loud = Waveform(audio_silence=0.0)
    spectrum = np.abs(np.fft.fft(baseband("AM-SSB", 40, 8192, loud) * np.hanning(8192))) ** 2
    frequency = np.fft.fftfreq(8192, 1 / 200e3)
    upper = spectrum[:, (frequency > 400) & (frequency < 5000)].sum()
    lower = spectrum[:, (frequency < -400) & (frequency > -5000)].sum()
    assert lower < 1e-4 * upper


def test_analytic_speech_is_its_real_part_and_that_turned():
    found = analytic_speech(draws(4), 6000, 44_100.0, level=0.05, silence=0.0)
    turned_by_fft = hilbert(found.real, axis=1).imag[:, 1000:-1000]
    error = (found.imag[:, 1000:-1000] - turned_by_fft).std() / turned_by_fft.std()
    assert error < 0.02


def test_speech_starts_as_it_goes_on_and_keeps_its_bounds():
    made = speech(draws(4000), 60, level=0.05, silence=0.0)
    assert made[:, :5].std() == pytest.approx(made[:, -5:].std(), rel=0.1)
    assert np.abs(speech(draws(200), 60, level=5.0, silence=0.0)).max() == 0.5
    loud, some = (speech(draws(2000), 60, level=0.05, silence=share) for share in (0.0, 0.3))
    silent = (loud != some).any(1)
    assert silent.mean() == pytest.approx(0.3, abs=0.04)
    assert np.abs(some[silent]).max() < 0.02


def test_am_ssb_of_2016_is_white_noise():
    frames = make_frames(RML16, "AM-SSB", 18, range(2000), seed=1)
    x = frames[:, 0] + 1j * frames[:, 1]
    lags = np.array([(x[:, k:] * x[:, : 128 - k].conj()).mean() for k in range(1, 40)])
    power = (np.abs(x) ** 2).mean()
    assert np.abs(lags / power).max() < 5 / math.sqrt(2000 * 88)
    assert abs((x**2).mean()) / power < 5 / math.sqrt(2000 * 128)  # circular
    kurtosis = (np.abs(x) ** 4).mean() / power**2
    assert kurtosis == pytest.approx(2.0, abs=0.05)  # Gaussian


@pytest.mark.parametrize("snr", [-10, 0, 10])
def test_noise_power(snr):
    silence = np.zeros((400, 512), complex)
    power = (np.abs(noisy(RML16.channel, draws(400), silence, snr)) ** 2).mean()
    assert power == pytest.approx(10 ** (-snr / 5), rel=0.01)
    power = (np.abs(noisy(RML22.channel, draws(400), silence, snr)) ** 2).mean()
    assert power == pytest.approx(10 ** (-snr / 10), rel=0.01)
    loud = silence + 3 * np.exp(1j * np.arange(512))
    noise = noisy(CLEAN.channel, draws(400), loud, snr) - loud
    assert 10 * math.log10(9 / (np.abs(noise) ** 2).mean()) == pytest.approx(snr, abs=0.05)


def test_relative_noise_counts_each_frame_by_itself():
    samples = np.stack([np.full(4096, 0.01 + 0j), np.full(4096, 100 + 0j)])
    noise = noisy(CLEAN.channel, draws(2), samples, 10) - samples
    np.testing.assert_allclose((np.abs(noise) ** 2).mean(1) / [1e-5, 1e3], 1, rtol=0.1)


def test_taps_have_the_published_mean_power():
    taps = draw_taps(RML16.channel, draws(20_000), 128)[..., 0]
    gain = (np.abs(taps) ** 2).sum(1).mean()
    assert gain == pytest.approx(1.77, abs=0.05)
    sinc = np.sinc(np.arange(8)[:, None] - np.array([0, 0.9, 1.7])) * [1, 0.8, 0.3]
    assert gain == pytest.approx((sinc**2).sum(), rel=0.01)


def test_the_first_path_is_rician_and_the_others_are_not():
    alone = replace(RML16.channel, delays=(0.0,), gains=(1.0,))
    power = np.abs(draw_taps(alone, draws(20_000), 128)[:, 0, 0]) ** 2
    k = 4.0
    assert power.mean() == pytest.approx(1, rel=0.01)
    assert power.var() == pytest.approx((1 + 2 * k) / (1 + k) ** 2, rel=0.05)
    flat = np.abs(draw_taps(replace(alone, rician_k=None), draws(20_000), 128)[:, 0, 0]) ** 2
    # a sum of 8 + 8 sinusoids is not quite Gaussian: fourth moments fall short by 1/8 of theirs
    assert flat.var() == pytest.approx(1 - 1 / 16, rel=0.05)


def test_moving_paths_decorrelate_as_clarkes_model_says():
    way = Channel(doppler=0.004)
    taps = draw_taps(way, draws(6000), 256)[:, 0]
    for look in (4, 8, 16, 32):
        found = (taps[:, look] * taps[:, 0].conj()).mean()
        assert found.real == pytest.approx(j0(2 * np.pi * 0.004 * 8 * look), abs=0.05)
        assert abs(found.imag) < 0.05


def test_fading_is_a_time_varying_filter():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(2, 47)) + 1j * rng.normal(size=(2, 47))
    taps = rng.normal(size=(2, 8, 6)) + 1j * rng.normal(size=(2, 8, 6))
    still, moving = faded(taps[..., :1], samples, 40), faded(taps, samples, 40)
    for row in range(2):
        for t in range(40):
            past = samples[row, t : t + 8][::-1]
            assert still[row, t] == pytest.approx((taps[row, :, 0] * past).sum())
            look, share = divmod(t, 8)
            between = taps[row, :, look] * (1 - share / 8) + taps[row, :, look + 1] * share / 8
            assert moving[row, t] == pytest.approx((between * past).sum())


def test_interpolation_reads_tones_between_samples():
    tone = np.exp(2j * np.pi * 0.3 * np.arange(200) + 0.4j)[None]
    for positions in (REACH + 1.7 * np.arange(90), np.array([[REACH + 0.123, 50.5, 150.999]])):
        found = interpolate(tone, positions)
        np.testing.assert_allclose(found, np.exp(2j * np.pi * 0.3 * np.atleast_2d(positions) + 0.4j), atol=2e-3)
    np.testing.assert_allclose(interpolate(np.ones((1, 40)), np.linspace(8, 30, 77)), 1, atol=1e-12)


def test_clocks_that_differ_stretch_the_frame():
    way = Channel(sro_ppm=2000.0, taps=1)
    count = samples_before(way, 4000)
    tone = np.repeat(np.exp(2j * np.pi * 0.05 * np.arange(count))[None], 200, 0)
    found = resampled(way, draws(200), tone, 4000)
    pace = np.angle((found[:, 1:] * found[:, :-1].conj()).sum(1)) / (2 * np.pi * 0.05)
    assert found.shape == (200, 4000)
    assert np.abs(pace - 1).max() <= 2.001e-3
    assert (pace - 1).std() == pytest.approx(2e-3 / math.sqrt(3), rel=0.1)


def test_carriers_that_differ_turn_the_frame():
    way = Channel(cfo=0.01, any_phase=True)
    found = turned(way, draws(2000), np.ones((2000, 64), complex))
    step = np.angle(found[:, 1] / found[:, 0]) / (2 * np.pi)
    assert np.abs(step).max() <= 0.01
    assert step.std() == pytest.approx(0.01 / math.sqrt(3), rel=0.05)
    assert abs(np.exp(1j * np.angle(found[:, 0])).mean()) < 0.07
    np.testing.assert_allclose(np.diff(np.unwrap(np.angle(found), axis=1), 2, axis=1), 0, atol=1e-9)


def test_frames_have_their_norm():
    made = make_signals("radioml2016", frames_per_cell=3, seed=5)
    magnitudes = np.hypot(made.X[:, 0].astype(float), made.X[:, 1])
    np.testing.assert_allclose(magnitudes.sum(1), 1, atol=1e-6)
    assert magnitudes.mean() == pytest.approx(1 / 128, abs=1e-9)
    assert made.X.shape == (11 * 20 * 3, 2, 128)
    assert made.X.dtype == np.float32
    made = make_signals("clean_snr", frames_per_cell=3, seed=5, snrs=[0, 10], length=200)
    np.testing.assert_allclose((made.X.astype(float) ** 2).sum(1).mean(1), 1, atol=1e-6)
    made = make_signals("rml22", frames_per_cell=1, seed=5)
    assert len(made.classes) == 10
    assert sorted(set(made.snr)) == list(range(-20, 22, 2))
    np.testing.assert_allclose(np.hypot(made.X[:, 0], made.X[:, 1]).sum(1), 1, atol=1e-5)


def test_label_snr_of_2016_is_half_of_the_real_one():
    way = RML16.channel
    for label, real in ((-10, -17.5), (0, 2.5), (18, 38.5)):
        clean = faded(draw_taps(way, draws(3000), 128), np.exp(2j * np.pi * draws(3000).uniform(135)), 128)
        noise = noisy(way, draws(3000), clean, label) - clean
        ratio = 10 * math.log10((np.abs(clean) ** 2).mean() / (np.abs(noise) ** 2).mean())
        assert ratio == pytest.approx(real, abs=0.25)


def test_published_files_have_unscaled_constellations_and_one_gain():
    # in dB above twice the label; measured on published frames: 4.6 to 5.6, and 11.5, 14.1, 20 for the denser ones
    way, sent = PROFILES["radioml2016_published"].channel, PROFILES["radioml2016_published"].waveform
    for name, expected in (("QPSK", 5.1), ("CPFSK", 5.1), ("PAM4", 5.1 + 7.0), ("QAM16", 15.1), ("QAM64", 5.1 + 16.2)):
        clean = faded(draw_taps(way, draws(400), 128), mod.MODULATIONS[name](draws(400), 135, sent), 128)
        noise = noisy(way, draws(400), 0 * clean, 0)
        ratio = 10 * math.log10((np.abs(clean) ** 2).mean() / (np.abs(noise) ** 2).mean())
        assert ratio == pytest.approx(expected, abs=0.8), name
    taps = draw_taps(way, draws(50), 128)
    np.testing.assert_allclose(np.abs(taps.sum(1)), 10 ** (5.1 / 20), rtol=1e-9)


def test_every_modulation_can_be_made_at_every_profile():
    for profile in PROFILES:
        made = make_signals(profile, frames_per_cell=1, seed=0, classes=list(mod.MODULATIONS), snrs=[10], length=64)
        assert np.isfinite(made.X).all()
        assert len(np.unique(made.X[:, 0, 0])) == len(made.classes)


@pytest.mark.parametrize("profile", list(PROFILES))
def test_a_frame_is_the_same_however_it_is_made(profile):
    found = PROFILES[profile]
    for name in ("QAM16", "WBFM", "AM-SSB", "GFSK", "AM-DSB"):
        whole = make_frames(found, name, 4, range(20), seed=9, length=100)
        parts = [make_frames(found, name, 4, [n], seed=9, length=100) for n in (7, 3)]
        assert np.array_equal(whole[7], parts[0][0])
        assert np.array_equal(whole[3], parts[1][0])
        assert np.array_equal(make_frames(found, name, 4, range(5, 12), seed=9, length=100), whole[5:12])
        assert not np.array_equal(make_frames(found, name, 4, [7], seed=10, length=100), parts[0])
        assert not np.array_equal(make_frames(found, name, 6, [7], seed=9, length=100), parts[0])
    alone = make_signals(profile, frames_per_cell=2, seed=9, classes=["QPSK"], snrs=[4])
    beside = make_signals(profile, frames_per_cell=4, seed=9, classes=["8PSK", "QPSK"], snrs=[0, 4])
    at = (beside.y == 1) & (beside.snr == 4)
    assert np.array_equal(beside.X[at][:2], alone.X)


def test_streams_of_different_frames_are_independent():
    values = Streams(0, "a", 0.0, range(300)).normal(400)
    assert np.abs(np.corrcoef(values) - np.eye(300)).max() < 0.28
    assert not np.array_equal(Streams(0, "a", 0.0, [1]).normal(3), Streams(0, "b", 0.0, [1]).normal(3))
    assert np.array_equal(Streams(0, "a", -0.0, [1]).normal(3), Streams(0, "a", 0.0, [1]).normal(3))


def test_fixed_channels_take_turns():
    still = replace(RML16, channel=replace(RML16.channel, noise="10^(-s/10)"))
    options = {"seed": 2, "length": 64, "fixed_channels": 2}
    frames = make_frames(still, "AM-DSB", 100, range(6), **options)
    turn = np.arctan2(frames[:, 1].mean(1), frames[:, 0].mean(1))  # the carrier's phase is the channel's
    np.testing.assert_allclose(turn[::2], turn[0], atol=1e-3)
    np.testing.assert_allclose(turn[1::2], turn[1], atol=1e-3)
    assert abs(turn[0] - turn[1]) > 0.01
    fresh = make_frames(still, "AM-DSB", 100, range(6), seed=2, length=64)
    assert len(np.unique(np.arctan2(fresh[:, 1].mean(1), fresh[:, 0].mean(1)).round(2))) > 4


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_files_hold_what_memory_would(tmp_path, suffix):
    if suffix == ".h5":
        pytest.importorskip("h5py")
    order = {"frames_per_cell": 130, "seed": 4, "classes": ["BPSK", "WBFM"], "snrs": [-2, 6], "length": 32}
    made = make_signals("clean_snr", **order)
    path = write_signals(tmp_path / f"a{suffix}", "clean_snr", **order)
    if suffix == ".npz":
        file = np.load(path, allow_pickle=False)
        found, classes = {name: file[name] for name in ("X", "y", "snr")}, file["classes"].tolist()
    else:
        import h5py

        with h5py.File(path) as file:
            found, classes = {name: file[name][()] for name in ("X", "y", "snr")}, file["classes"].asstr()[()].tolist()
    assert np.array_equal(found["X"], made.X)
    assert np.array_equal(found["y"], made.y)
    assert np.array_equal(found["snr"], made.snr)
    assert classes == ["BPSK", "WBFM"]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_several_processes_write_the_same_file(tmp_path):
    order = {"frames_per_cell": 300, "seed": 4, "classes": ["BPSK", "GFSK"], "snrs": [6], "length": 32}
    one = write_signals(tmp_path / "a.npz", **order)
    two = write_signals(tmp_path / "b.npz", **order, processes=2)
    assert np.array_equal(np.load(one)["X"], np.load(two)["X"])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"profile": "radioml2017"}, "did you mean 'radioml2016'"),
        ({"classes": ["QAM17"]}, "did you mean 'QAM16'"),
        ({"classes": ["BPSK", "BPSK"]}, "each once"),
        ({"classes": []}, "at least one"),
        ({"snrs": [float("nan")]}, "finite numbers in dB"),
        ({"snrs": [201]}, "between -200 and 200"),
        ({"frames_per_cell": 0}, "frames_per_cell"),
        ({"seed": -1}, "seed"),
        ({"length": 8}, "length"),
        ({"fixed_channels": -1}, "fixed_channels"),
        ({"profile": replace(RML16, norm="energy")}, "unknown norm"),
        ({"profile": replace(RML16, channel=Channel(noise="loud"))}, "unknown noise"),
        ({"profile": replace(RML16, channel=Channel(gains=()))}, "as many gains"),
    ],
)
def test_bad_orders_end_in_one_line(wrong, words):
    with pytest.raises(InputError, match=words):
        make_signals(**{"frames_per_cell": 1, "seed": 0, **wrong})


def test_files_of_other_kinds_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.npz"):
        write_signals(tmp_path / "a.csv", frames_per_cell=1, seed=0)
    with pytest.raises(InputError, match="processes"):
        write_signals(tmp_path / "a.npz", frames_per_cell=1, seed=0, processes=0)
    assert not list(tmp_path.iterdir())


def test_names_of_2018_are_those_of_the_same_modulations():
    order = {"frames_per_cell": 2, "seed": 0, "snrs": [10], "length": 32}
    made = make_signals("clean_snr", classes=["16QAM", "256QAM", "AM-DSB-WC"], **order)
    ours = make_signals("clean_snr", classes=["QAM16", "QAM256", "AM-DSB"], **order)
    assert made.classes == ("16QAM", "256QAM", "AM-DSB-WC")
    assert np.array_equal(made.X, ours.X)
    with pytest.raises(InputError, match="'QAM16' and '16QAM' are one modulation"):
        make_signals(classes=["QAM16", "16QAM"], **order)
    # what is left of the 24 has no recipe that is published
    cannot = [name for name in RML2018_CLASSES if name not in mod.MODULATIONS and name not in mod.ALIASES]
    assert cannot == ["64APSK", "128APSK", "FM"]


@pytest.mark.parametrize(("name", "points", "energy"), [("QAM32", 32, 20), ("QAM128", 128, 82), ("QAM256", 256, 170)])
def test_dense_constellations_have_the_energy_of_their_grids(name, points, energy):
    # squares: 2 (M - 1) / 3; crosses: 31 M / 48 - 2 / 3 (both of the odd whole numbers)
    found = mod.CONSTELLATIONS[name]
    assert len(set(found.tolist())) == points
    assert np.mean(np.abs(found) ** 2) == pytest.approx(energy)
