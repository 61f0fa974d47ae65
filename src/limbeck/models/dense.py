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

    The map and the layers after its mean are found by one trial pass, and held to the network: these layers on the mean
    of the map must give the network's own logits. It holds names, no modules.

    Args:
        network: any module that ends in a feature map, the mean over its positions, and layers on [N, C].
        inputs: a trial batch.

    Raises:
        InputError: the network is none of this kind.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
        >>> dense = DenseClassifier(net, torch.rand(2, 3, 8, 8))
        >>> dense.place, dense.layers
        ('0', ('3',))
        >>> tuple(dense(net, torch.rand(2, 4, 6, 6)).shape)
        (2, 5, 6, 6)
    """

    def __init__(self, network: nn.Module, inputs: Tensor) -> None:
        self.place, self.positions = "", CHANNELS_FIRST
        self.layers: tuple[str, ...] = ()
        modes = {module: module.training for module in network.modules()}
        network.eval()
        try:
            with torch.no_grad():
                feature, out = self._trial(network, inputs)
                for self.positions in (CHANNELS_FIRST, CHANNELS_LAST):
                    if feature is not None and self._explains(network, feature, out):
                        return
        finally:
            for module, mode in modes.items():
                module.training = mode
        raise InputError("the network's logits do not come from the mean of its last feature map")

    def __call__(self, network: nn.Module, feature: Tensor) -> Tensor:
        """Logits [N, K, H, W] of the map that `place` gave; layers that know two modes behave as in evaluation."""
        rows = feature.permute(0, 2, 3, 1) if self.positions == CHANNELS_FIRST else feature
        return self._classify(network, rows.flatten(0, 2)).unflatten(0, rows.shape[:3]).permute(0, 3, 1, 2)

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

    def _trial(self, network: nn.Module, inputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The last map of more than one position and the logits; notes the map's place and the layers after it."""
        maps: list[Tensor] = []
        layers: list[str] = []

        def watch(name: str, part: nn.Module, given: object, output: object) -> None:
            before, after = first_tensor(given), first_tensor(output)
            if after is not None and after.dim() == 4 and after[0, 0].numel() > 1:
                self.place, maps[:] = name, [after]
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
        return maps[0] if maps else None, out

    def _explains(self, network: nn.Module, feature: Tensor, out: Tensor | None) -> bool:
        try:
            made = self._classify(network, feature.mean(self.positions))
        except RuntimeError:  # layers that do not fit one after the other
            return False
        return out is not None and made.shape == out.shape and (made - out).abs().max() <= 0.01 * out.abs().max()
