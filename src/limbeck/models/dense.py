"""A classifier at every position of its network's last feature map, for networks that average that map. The maps
themselves are shown by `observe` and `tap`.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.models.tap import first_tensor

__all__ = ["DenseClassifier"]

CHANNELS_FIRST, CHANNELS_LAST = (2, 3), (1, 2)  # the axes of the positions


class DenseClassifier:
    """What a network would say of each position of its last feature map alone.

    The map and the layers after its mean are found by a trial pass, and held to the network: these layers on the mean
    of the map must give the network's own logits. It holds names, no modules.

    Args:
        network: any module that ends in a feature map, the mean over its positions, and layers on [N, C].
        inputs: a trial batch.

    Attributes:
        place: the name of the map.
        stages: the same, where it is a stage that `observe` shows; else empty.
        parts: the same, where it is a part of the module that `tap` shows; else empty.
        layers: the parts that follow the mean, in order.

    Raises:
        InputError: the network is none of this kind.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
        >>> dense = DenseClassifier(net, torch.rand(2, 3, 8, 8))
        >>> dense.parts, dense.layers
        (('0',), ('3',))
        >>> tuple(dense(net, torch.rand(2, 4, 6, 6)).shape)
        (2, 5, 6, 6)
    """

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        modes = {module: module.training for module in network.modules()}
        network.eval()
        try:
            with torch.no_grad():
                self.place, self.positions = self._find(network, inputs)
        finally:
            for module, mode in modes.items():
                module.training = mode
        is_stage = hasattr(network, "observe") and self.place in network.stage_names
        self.stages, self.parts = ((self.place,), ()) if is_stage else ((), (self.place,))

    def __call__(self, network: nn.Module, feature: Tensor) -> Tensor:
        """Logits [N, K, H, W] of the map of that name; layers that know two modes behave as in evaluation."""
        rows = feature.permute(0, 2, 3, 1) if self.positions == CHANNELS_FIRST else feature
        return self._classify(network, rows.flatten(0, 2)).unflatten(0, rows.shape[:3]).permute(0, 3, 1, 2)

    def _find(self, network: nn.Module, inputs: Tensor) -> tuple[str, tuple[int, int]]:
        """The name of the map and the axes of its positions; notes the layers after it."""
        maps: dict[str, Tensor] = {}
        layers: list[str] = []

        def watch(name: str, part: nn.Module, given: object, output: object) -> None:
            before, after = first_tensor(given), first_tensor(output)
            if after is not None and after.dim() == 4 and after[0, 0].numel() > 1:
                maps.clear()
                maps[name] = after
                layers.clear()
            elif before is not None and before.dim() == 2 and not any(True for _ in part.children()):
                layers.append(name)

        handles = [part.register_forward_hook(partial(watch, name)) for name, part in network.named_modules() if name]
        try:
            out = first_tensor(network(inputs))
        finally:
            for handle in handles:
                handle.remove()
        self.layers = tuple(layers)
        if hasattr(network, "observe"):  # what follows the last part may be a function, such as an activation
            shown = network.observe(inputs, network.stage_names).stages
            maps |= {name: feature for name, feature in shown.items() if feature.dim() == 4}
        for name, feature in reversed(maps.items()):
            for positions in (CHANNELS_FIRST, CHANNELS_LAST):
                if self._explains(network, feature.mean(positions), out):
                    return name, positions
        raise InputError("the network's logits do not come from the mean of its last feature map")

    def _explains(self, network: nn.Module, pooled: Tensor, out: Tensor | None) -> bool:
        try:
            made = self._classify(network, pooled)
        except RuntimeError:  # layers that do not fit one after the other
            return False
        return out is not None and made.shape == out.shape and bool((made - out).abs().max() <= 0.01 * out.abs().max())

    def _classify(self, network: nn.Module, rows: Tensor) -> Tensor:
        for name in self.layers:
            layer = network.get_submodule(name)
            mode = layer.training
            layer.eval()  # no dropout, and positions must not move running statistics
            try:
                rows = layer(rows)
            finally:
                layer.train(mode)
        return rows
