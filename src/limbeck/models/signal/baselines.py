"""The networks that modulation recognisers are compared with, layer for layer as the benchmark has them.

Weights start as Keras starts them: torch's own start leaves some of these at the accuracy of guessing. Frames are of unit
power here, and raw in the benchmark, which costs it some points.

Not here: transformers (`clst`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.models.signal.network import Keep, SignalNetwork

__all__ = ["AmrResNet", "Mcldnn", "PetCgdnn", "VtCnn2"]


def same(kernel_size: int) -> tuple[int, int]:
    """Zeros before and after an axis that Keras's `same` puts: the odd one goes to the end."""
    return (kernel_size - 1) // 2, kernel_size // 2


class SameConv(nn.Module):
    """A convolution over I, Q and time that keeps their size, also with even kernels."""

    def __init__(self, in_channels: int, channels: int, kernel_size: tuple[int, int]) -> None:
        super().__init__()
        self.pads = (*same(kernel_size[1]), *same(kernel_size[0]))
        self.conv = nn.Conv2d(in_channels, channels, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, T] -> [N, C', H, T]."""
        return self.conv(F.pad(x, self.pads))


def draw_as_keras(network: nn.Module) -> None:
    """Weights uniform after Glorot, recurrent ones orthogonal, biases 0 but 1 at the gates with which LSTMs forget."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LSTM | nn.GRU):
            for name, value in layer.named_parameters():
                if "bias" in name:
                    nn.init.zeros_(value)
                    if isinstance(layer, nn.LSTM) and "bias_ih" in name:
                        nn.init.ones_(value.data[layer.hidden_size : 2 * layer.hidden_size])
                elif "weight_hh" in name:
                    for gate in value.data.split(layer.hidden_size):
                        nn.init.orthogonal_(gate)
                else:  # Keras holds all gates in one matrix, and counts its columns
                    bound = (6 / sum(value.shape)) ** 0.5
                    nn.init.uniform_(value, -bound, bound)


class Baseline(SignalNetwork):
    """What the baselines share: one size of frames, a classifier without dropout of its own."""

    classifier: nn.Linear

    @property
    def last_layer(self) -> nn.Module:
        """The classifier."""
        return self.classifier

    def macs(self) -> int:
        """Multiply-accumulates of one frame; torch's counter does not see into recurrent layers."""
        counted, hooks = [super().macs()], []

        def count(layer: Any, given: tuple[Tensor, ...], _: Any) -> None:
            weights = sum(value.numel() for name, value in layer.named_parameters() if "weight" in name)
            counted.append(weights * given[0].shape[1])

        recurrent = [layer for layer in self.modules() if isinstance(layer, nn.LSTM | nn.GRU)]
        training = self.training
        hooks = [layer.register_forward_hook(count) for layer in recurrent]
        try:
            self.eval()
            with torch.no_grad():
                self(torch.zeros(1, *self.sample_shape, device=self.mean.device))
        finally:
            self.train(training)
            for hook in hooks:
                hook.remove()
        return sum(counted)


class VtCnn2(Baseline):
    """Two convolutions, two dense layers.

    **Source:** O'Shea, Corgan, Clancy 2016, arXiv 1602.04105; with the widths of AMR-Benchmark's CNN1.

    Args:
        name: as in `SignalNetwork`.
        dropout: after each layer but the last.
        owns: as in `SignalNetwork`.
    """

    def __init__(self, name: str, *, dropout: float = 0.5, **owns: Any) -> None:
        super().__init__(name, stages=2, options={"dropout": dropout}, any_length=False, **owns)
        self.conv1, self.conv2 = SameConv(1, 50, (1, 8)), nn.Conv2d(50, 50, (2, 8))
        self.dense = nn.Linear(50 * (self.input_size[1] - 7), 256)
        self.classifier = nn.Linear(256, self.num_classes)
        self.dropout = nn.Dropout(dropout)
        draw_as_keras(self)

    def features(self, frames: Tensor, keep: Keep) -> Tensor:
        """The dense layer's output."""
        x = keep("stage1", F.relu(self.conv1(frames.unsqueeze(1))))
        x = keep("stage2", F.relu(self.conv2(self.dropout(x))))
        return self.dropout(F.relu(self.dense(self.dropout(x).flatten(1))))


class AmrResNet(Baseline):
    """Two convolutions around which the frame itself is added, two more, two dense layers.

    **Source:** AMR-Benchmark's ResNet, after Liu, Yang, El Gamal 2017, arXiv 1712.00443.

    Args:
        name: as in `SignalNetwork`.
        dropout: before and after the dense layer.
        owns: as in `SignalNetwork`.
    """

    def __init__(self, name: str, *, dropout: float = 0.6, **owns: Any) -> None:
        super().__init__(name, stages=2, options={"dropout": dropout}, any_length=False, **owns)
        self.conv1, self.conv2 = SameConv(1, 256, (1, 3)), SameConv(256, 256, (2, 3))
        self.conv3, self.conv4 = SameConv(256, 80, (1, 3)), SameConv(80, 80, (1, 3))
        self.dense = nn.Linear(80 * 2 * self.input_size[1], 128)
        self.classifier = nn.Linear(128, self.num_classes)
        self.dropout = nn.Dropout(dropout)
        draw_as_keras(self)

    def features(self, frames: Tensor, keep: Keep) -> Tensor:
        """The dense layer's output."""
        frame = frames.unsqueeze(1)
        x = keep("stage1", F.relu(self.conv2(F.relu(self.conv1(frame))) + frame))
        x = keep("stage2", F.relu(self.conv4(F.relu(self.conv3(x)))))
        return self.dropout(F.relu(self.dense(self.dropout(x.flatten(1)))))


class Mcldnn(Baseline):
    """I with Q, I, and Q, each convolved; then joined, convolved over both, two LSTMs over time, dense layers.

    **Source:** Xu et al. 2020, "A Spatiotemporal Multi-Channel Learning Framework for Automatic Modulation Recognition";
    as in AMR-Benchmark.

    Args:
        name: as in `SignalNetwork`.
        dropout: after each dense layer but the last.
        owns: as in `SignalNetwork`.
    """

    def __init__(self, name: str, *, dropout: float = 0.5, **owns: Any) -> None:
        super().__init__(name, stages=3, options={"dropout": dropout}, any_length=True, **owns)
        self.both = SameConv(1, 50, (2, 8))
        self.real, self.imaginary = nn.Conv1d(1, 50, 8), nn.Conv1d(1, 50, 8)
        self.alone, self.joined = SameConv(50, 50, (1, 8)), nn.Conv2d(100, 100, (2, 5))
        self.lstm1, self.lstm2 = nn.LSTM(100, 128, batch_first=True), nn.LSTM(128, 128, batch_first=True)
        self.dense1, self.dense2 = nn.Linear(128, 128), nn.Linear(128, 128)
        self.classifier = nn.Linear(128, self.num_classes)
        self.dropout = nn.Dropout(dropout)
        draw_as_keras(self)

    def features(self, frames: Tensor, keep: Keep) -> Tensor:
        """The second dense layer's output."""
        both = F.relu(self.both(frames.unsqueeze(1)))
        past = F.pad(frames, (7, 0))  # these two look back only
        alone = torch.stack([F.relu(self.real(past[:, :1])), F.relu(self.imaginary(past[:, 1:]))], 2)
        x = keep("stage1", torch.cat([both, F.relu(self.alone(alone))], 1))
        x = keep("stage2", F.relu(self.joined(x)))
        steps = x.squeeze(2).transpose(1, 2)  # [N, T, C]: time first, by a permutation and not by a reshape
        steps, (last, _) = self.lstm2(self.lstm1(steps)[0])
        keep("stage3", steps.transpose(1, 2))
        x = self.dropout(F.selu(self.dense1(last[0])))
        return self.dropout(F.selu(self.dense2(x)))


class PetCgdnn(Baseline):
    """A phase worked out of the whole frame, by which the frame is turned back; two convolutions, a GRU.

    **Source:** Zhang et al. 2021, "An Efficient Deep Learning Model for Automatic Modulation Recognition Based on
    Parameter Estimation and Transformation"; as in AMR-Benchmark.

    Args:
        name: as in `SignalNetwork`.
        owns: as in `SignalNetwork`.
    """

    def __init__(self, name: str, **owns: Any) -> None:
        super().__init__(name, stages=3, options={}, any_length=False, **owns)
        self.angle = nn.Linear(2 * self.input_size[1], 1)
        self.conv1, self.conv2 = nn.Conv2d(1, 75, (2, 8)), nn.Conv1d(75, 25, 5)
        self.gru = nn.GRU(25, 128, batch_first=True)
        self.classifier = nn.Linear(128, self.num_classes)
        draw_as_keras(self)

    def turn(self, frames: Tensor) -> Tensor:
        """Frames turned by minus the phase that `angle` finds: I cos + Q sin, Q cos - I sin."""
        angle = self.angle(frames.flatten(1))
        cos, sin = angle.cos(), angle.sin()
        real, imaginary = frames[:, 0], frames[:, 1]
        return torch.stack([real * cos + imaginary * sin, imaginary * cos - real * sin], 1)

    def features(self, frames: Tensor, keep: Keep) -> Tensor:
        """The GRU's last state."""
        x = keep("stage1", F.relu(self.conv1(self.turn(frames).unsqueeze(1))))
        x = keep("stage2", F.relu(self.conv2(x.squeeze(2))))
        steps, last = self.gru(x.transpose(1, 2))
        keep("stage3", steps.transpose(1, 2))
        return last[0]
