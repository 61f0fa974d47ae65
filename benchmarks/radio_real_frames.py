"""Whether generated frames are like RadioML's: a network that has only seen the former is tested on the latter.

    python benchmarks/radio_real_frames.py --real rml2016_10b_subset.npz
    python benchmarks/radio_real_frames.py --real ... --network clst_s --frames 400 --epochs 20 --fixed-channels 1

Trains on frames of the profile (the 10 classes of 2016.10b, all its SNRs) and prints the accuracy on generated frames it
has not seen and on the real ones, by band of SNR and by class. One thread.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch.nn import functional

from limbeck.data.radio import PROFILES, Signals, make_signals, read_signals
from limbeck.models import create_model

BANDS = ((-20, -12), (-10, -2), (0, 8), (10, 18))


def train(network: torch.nn.Module, data: Signals, *, epochs: int, batch: int, seed: int) -> None:
    """AdamW, one cycle, each frame turned by a phase of its own."""
    generator = torch.Generator().manual_seed(seed)
    X, y = torch.from_numpy(data.X), torch.from_numpy(data.y)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-3)
    steps = len(y) // batch * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(y), generator=generator)
        for start in range(0, len(y) // batch * batch, batch):
            rows = order[start : start + batch]
            angle = 2 * torch.pi * torch.rand(batch, 1, generator=generator)
            real, imaginary = X[rows].unbind(1)
            turned = torch.stack(
                [real * angle.cos() - imaginary * angle.sin(), real * angle.sin() + imaginary * angle.cos()], 1
            )
            loss = functional.cross_entropy(network(turned), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def predict(network: torch.nn.Module, data: Signals) -> np.ndarray:
    """[N] class indices."""
    network.eval()
    with torch.no_grad():
        pieces = [
            network(torch.from_numpy(np.array(data.X[i : i + 1024]))).argmax(1) for i in range(0, len(data), 1024)
        ]
    return torch.cat(pieces).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", required=True, help="a file of frames that `read_signals` takes")
    parser.add_argument("--network", default="kd_cnn")
    parser.add_argument("--profile", default="radioml2016", choices=list(PROFILES))
    parser.add_argument("--frames", type=int, default=200, help="per class and SNR")
    parser.add_argument("--fixed-channels", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    real = read_signals(options.real)
    rows = []
    for seed in range(options.seeds):
        order = {
            "classes": real.classes,
            "snrs": sorted(set(real.snr.tolist())),
            "fixed_channels": options.fixed_channels,
        }
        made = make_signals(options.profile, frames_per_cell=options.frames, seed=seed, **order)
        unseen = make_signals(options.profile, frames_per_cell=20, seed=1000 + seed, **order)
        torch.manual_seed(seed)
        network = create_model(options.network, num_classes=len(real.classes))
        start = time.perf_counter()
        train(network, made, epochs=options.epochs, batch=options.batch, seed=seed)
        print(f"seed {seed}: {len(made):,} frames, {options.epochs} epochs, {time.perf_counter() - start:.0f} s")
        for name, data in (("generated", unseen), ("real", real)):
            right = predict(network, data) == data.y
            bands = [right[(data.snr >= low) & (data.snr <= high)].mean() for low, high in BANDS]
            high = data.snr >= 10
            classes = [right[high & (data.y == i)].mean() for i in range(len(real.classes))]
            rows.append((seed, name, right.mean(), bands, classes))
    print(f"\n{'seed':5}{'frames':10}{'all':>6}" + "".join(f"{f'{low}..{high}':>10}" for low, high in BANDS) + " dB")
    for seed, name, overall, bands, _ in rows:
        print(f"{seed:<5}{name:10}{100 * overall:6.1f}" + "".join(f"{100 * band:10.1f}" for band in bands))
    print(f"\n{'10..18 dB':15}" + "".join(f"{name:>8}" for name in real.classes))
    for seed, name, _, _, classes in rows:
        print(f"{seed:<5}{name:10}" + "".join(f"{100 * value:8.0f}" for value in classes))


if __name__ == "__main__":
    main()
