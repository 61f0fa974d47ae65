"""Pictures of architectures: a column for every block, with what it is beneath. They draw what they are given.

The idea of a row of blocks with their kernels and resolutions is that of the figures of MnasNet (arXiv 1807.11626).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from limbeck.report.searching import Drawn, Layer
from limbeck.report.svg import Canvas

__all__ = ["BLOCKS", "network_picture", "network_text", "widest_of"]

BLOCKS = {  # block -> colour number, short name beneath the column, name in the legend
    "conv": (4, "conv", "convolution"),
    "separable": (3, "sep", "depthwise, then 1×1"),
    "inverted": (2, "inv", "inverted residual"),
    "fused": (0, "fuse", "fused inverted residual"),
    "linear": (1, "full", "fully connected (not to scale)"),
}
HEADS, PITCH, TALLEST, TOP, LINE = 74, 31, 64, 18, 13
FLAT = 9.0  # of fully connected layers, whose widths are of another kind and would dwarf the others


def network_picture(network: Drawn, *, title: str, widest: int, before: Drawn | None = None) -> Markup | None:
    """Draw a network; None without blocks.

    A column is as tall as the square root of its channels: pale what a block has inside, solid what leaves it.

    Args:
        network: what to draw.
        title: read out, and shown on hover.
        widest: channels of the tallest column, as `widest_of`; the same for networks that stand beside each other.
        before: the same blocks with other widths, drawn as outlines: what it was made from.
    """
    layers = network.layers
    if not layers:
        return None
    facts = [(name, texts) for name, texts in _facts(layers) if any(texts)]
    ground = TOP + TALLEST
    height = ground + 6 + LINE * len(facts) + 24
    canvas = Canvas(HEADS + PITCH * len(layers) + 4, height, label=title, text=network_text(network))

    def tall(channels: int, layer: Layer) -> float:
        return FLAT if layer.block == "linear" else max(2.0, TALLEST * math.sqrt(channels / max(widest, 1)))

    earlier = before.layers if before is not None and len(before.layers) == len(layers) else [None] * len(layers)
    for place, (layer, old) in enumerate(zip(layers, earlier, strict=True)):
        left = HEADS + PITCH * place
        middle, colour = left + PITCH / 2, BLOCKS.get(layer.block, BLOCKS["linear"])[0]
        group = canvas.add("g", tip=_tip(layer, place, old), is_reachable=False)
        inside, leaving = layer.hidden_channels or 0, layer.out_channels
        top = ground - tall(max(inside, leaving), layer)
        if inside:
            canvas.add(
                "rect",
                x=left + 2,
                width=PITCH - 4,
                y=ground - tall(inside, layer),
                height=tall(inside, layer),
                class_=f"inside h{colour} model",
                within=group,
            )
        canvas.add(
            "rect",
            x=left + 8,
            width=PITCH - 16,
            y=ground - tall(leaving, layer),
            height=tall(leaving, layer),
            class_=f"h{colour} model",
            within=group,
        )
        if old is not None:
            for was, now, edge in ((old.hidden_channels or 0, inside, 2), (old.out_channels, leaving, 8)):
                if was != now:
                    canvas.add(
                        "rect",
                        x=left + edge,
                        width=PITCH - 2 * edge,
                        y=ground - tall(was, layer),
                        height=tall(was, layer),
                        class_="was",
                        within=group,
                    )
                    top = min(top, ground - tall(was, layer))
        canvas.add("text", text=str(leaving), x=middle, y=top - 4, class_="tick mid", within=group)
        for line, (_, texts) in enumerate(facts):
            canvas.add(
                "text", text=texts[place], x=middle, y=ground + 4 + LINE * (line + 1), class_="fact mid", within=group
            )
    canvas.add("line", x1=HEADS, x2=HEADS + PITCH * len(layers), y1=ground, y2=ground, class_="axis")
    canvas.add("text", text="channels", x=0, y=ground - 4, class_="tick")
    for line, (name, _) in enumerate(facts):
        canvas.add("text", text=name, x=0, y=ground + 4 + LINE * (line + 1), class_="tick")
    canvas.add("text", text="map", x=0, y=height - 4, class_="tick")
    place = 0
    for size, same in groupby(layers, key=_size):
        count = len(list(same))
        left, right = HEADS + PITCH * place + 3, HEADS + PITCH * (place + count) - 3
        if size:
            canvas.add("line", x1=left, x2=right, y1=height - 17, y2=height - 17, class_="step")
            side = size.partition("×")[0]
            fits = 6.6 * len(size) <= right - left or size != f"{side}×{side}"
            text = size if fits else f"{side}²"  # a map that is one column wide
            canvas.add("text", text=text, x=(left + right) / 2, y=height - 4, class_="tick mid")
        place += count
    return canvas.markup()


def widest_of(networks: Sequence[Drawn]) -> int:
    """The most channels of any block, whatever is not drawn to scale left out."""
    layers = [layer for network in networks for layer in network.layers if layer.block != "linear"]
    return max((max(layer.out_channels, layer.hidden_channels or 0) for layer in layers), default=1)


def network_text(network: Drawn) -> str:
    """The same for those who cannot see it: block by block."""
    return "; ".join(_tip(layer, place, None).replace("\n", ", ") for place, layer in enumerate(network.layers))


def _facts(layers: Sequence[Layer]) -> list[tuple[str, list[str]]]:
    """What stands beneath the columns, line by line; a line that would be empty is left out by the caller."""
    return [
        ("block", [BLOCKS.get(layer.block, ("", layer.block[:5], ""))[1] for layer in layers]),
        ("kernel", [_kernel(layer) for layer in layers]),
        ("inside", [str(layer.hidden_channels) if layer.hidden_channels else "" for layer in layers]),
        ("squeeze", ["SE" if layer.squeeze_channels else "" for layer in layers]),
        ("skip", [{"identity": "+", "pool": "avg"}.get(layer.skip or "", "") for layer in layers]),
    ]


def _kernel(layer: Layer) -> str:
    sides = [side for side in (layer.start_kernel_size, layer.kernel_size) if side]
    return "·".join(map(str, sides)) + ("↓" if (layer.stride or 1) > 1 else "")


def _size(layer: Layer) -> str:
    if layer.block == "linear" or layer.height is None or layer.width is None:
        return ""
    return str(layer.width) if layer.height == 1 and layer.width > 1 else f"{layer.height}×{layer.width}"


def _tip(layer: Layer, place: int, old: Layer | None) -> str:
    what = BLOCKS.get(layer.block, (0, "", layer.block))[2]
    lines = [f"{'stem' if place == 0 else f'block {place}'}: {what}"]
    inside = f"{layer.hidden_channels} channels inside, " if layer.hidden_channels else ""
    lines.append(f"{inside}{layer.out_channels} out")
    if old is not None and (old.hidden_channels, old.out_channels) != (layer.hidden_channels, layer.out_channels):
        lines.append(f"was {f'{old.hidden_channels} inside, ' if old.hidden_channels else ''}{old.out_channels} out")
    if layer.kernel_size:
        stride = f", stride {layer.stride}" if (layer.stride or 1) > 1 else ""
        lines.append(f"kernel {_kernel(layer).removesuffix('↓')}{stride}")
    if layer.squeeze_channels:
        lines.append(f"squeeze-excite of {layer.squeeze_channels}")
    if layer.skip in ("identity", "pool"):
        lines.append("adds its input" if layer.skip == "identity" else "adds averages of its input")
    if _size(layer):
        lines.append(f"map {_size(layer)}")
    return "\n".join(lines)
