"""Small networks with weights away from their start."""

from __future__ import annotations

import torch

from limbeck.models import Head, Row, Table, TableNetwork, build


def small_table(**changes) -> Table:
    known = {
        "name": "small",
        "stem": Row("conv", 16, stride=2),
        "rows": (
            Row("inverted", 16, expansion=1.0, activation="hard_swish"),
            Row("inverted", 24, expansion=4.0, stride=2, repeats=3, se_ratio=0.25),
            Row("fused", 32, expansion=2.0, stride=2),
            Row("separable", 32),
            Row("inverted", 40, expansion=3.0, kernel_size=5, start_kernel_size=3, skip="pool"),
        ),
        "head": Head(conv_channels=48, feature_channels=32, activation="hard_swish"),
        "num_classes": 5,
        "input_size": (32, 32),
    }
    return Table(**(known | changes))


def trained_like(table: Table, seed: int = 0) -> TableNetwork:
    """Every weight and statistic drawn: no two channels are alike."""
    torch.manual_seed(seed)
    network = build(table)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var") or ("norm.weight" in name):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point():
                value.normal_(0, 0.3)
    return network.eval()


def tiny_table() -> Table:
    """Few widths, so that an adaptation is over in a second."""
    return small_table(
        rows=(
            Row("inverted", 16, expansion=1.0),
            Row("inverted", 24, expansion=2.0, stride=2, repeats=2, se_ratio=0.25),
        ),
        head=Head(conv_channels=16),
        input_size=(16, 16),
    )


def tune(network: TableNetwork, index: int, seed: int) -> float:
    """Stands for a short training: a pure function of what it is given, which changes the weights."""
    draw = torch.Generator().manual_seed(1000 * seed + index)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1 + 0.01 * torch.rand((), generator=draw))
    return judge(network)


def judge(network: TableNetwork) -> float:
    """Stands for an accuracy: falls with the channels, differs with the weights."""
    size = sum(float(parameter.detach().abs().sum()) for parameter in network.parameters())
    return 1 - 1 / (1 + 0.01 * size)


def mega_macs(tables: list[Table]) -> list[float]:
    """Stands for a device."""
    return [table.macs() / 1e6 for table in tables]
