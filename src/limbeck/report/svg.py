"""Drawing on a plane: scales, ticks, axes and escaped SVG elements. No knowledge of what is drawn.

Charts are our own SVG and not Plotly figures: a page that must work from disk would carry the whole of plotly.js,
4.8 MB, where these charts take some 10 kB each, print crisply, follow the reader's light or dark theme by CSS, and read
well without any script.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup

from limbeck.report.numerals import three

__all__ = ["Canvas", "Scale"]


@dataclass(frozen=True)
class Scale:
    """A value axis: values in [low, high] onto pixels from `start` to `stop`, linear or logarithmic."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    @classmethod
    def around(
        cls,
        values: list[float],
        start: float,
        stop: float,
        *,
        log: bool = False,
        floor: float | None = None,
        ceiling: float | None = None,
    ) -> Scale:
        """Fit a scale to values with a little air on both sides, within [floor, ceiling].

        Example:
            >>> Scale.around([2.0, 4.0], 0, 100).low
            1.84
        """
        low, high = min(values), max(values)
        if log:
            low, high = math.log(low), math.log(high)
        air = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
        low, high = low - air, high + air
        if log:
            low, high = math.exp(low), math.exp(high)
        low = low if floor is None else max(floor, low)
        high = high if ceiling is None else min(ceiling, high)
        return cls(low, high, start, stop, log)

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values inside the scale.

        Example:
            >>> Scale(0, 1, 0, 100).ticks()
            [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        """
        if self.log and self.high / self.low >= 5:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for leads in ((1, 2, 5), (1, 3), (1,)):
                found = [lead * 10.0**k for k in range(first, last + 1) for lead in leads]
                found = [value for value in found if self.low <= value <= self.high]
                if len(found) <= count + 2:
                    break
            return found
        rough = (self.high - self.low) / count
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(lead * unit for lead in (1, 2, 5, 10) if lead * unit >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(k * step, 12) + 0.0 for k in range(first, last + 1)]


class Canvas:
    """An SVG drawing that is built element by element; every text and attribute is escaped by the XML writer.

    Args:
        width: in units of the drawing, pixels at its natural size.
        height: likewise.
        label: what it is, in a line.
        text: all that it shows, in words: then it is one image to those who listen, and keeps its natural size.
    """

    def __init__(self, width: int, height: int, *, label: str, text: str | None = None) -> None:
        self.width, self.height = width, height
        # a group and not an image: the marks inside can be reached by keyboard and carry their own names
        shape = {"viewBox": f"0 0 {width} {height}", "role": "group", "aria-label": label, "class": "chart"}
        if text is not None:  # an image that is read out as a whole, at its own size
            shape |= {"role": "img", "class": "chart picture", "width": str(width), "height": str(height)}
        self.root = ElementTree.Element("svg", shape)
        if text is not None:
            ElementTree.SubElement(self.root, "title").text = label
            ElementTree.SubElement(self.root, "desc").text = text

    def add(
        self,
        tag: str,
        *,
        text: str | None = None,
        tip: str | None = None,
        is_reachable: bool = True,
        within: ElementTree.Element | None = None,
        **attributes: object,
    ) -> ElementTree.Element:
        """Append an element; `class_` stands for `class` and `_` for `-`; numbers are written with one decimal.

        Args:
            tag: `circle`, `path`, ...
            text: its text.
            tip: shown on hover and focus, and read out; may have several lines.
            is_reachable: whether the keyboard stops at a tip; not inside an image that is read out as a whole.
            within: a group to append it to; None = the drawing.
            attributes: of the element; None leaves one out.
        """
        element = ElementTree.SubElement(self.root if within is None else within, tag)
        for name, value in attributes.items():
            if value is not None:
                written = f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
                element.set(name.rstrip("_").replace("_", "-"), written)
        if text is not None:
            element.text = text
        if tip is not None:
            if is_reachable:
                element.set("tabindex", "0")
                element.set("role", "img")
                element.set("aria-label", tip.replace("\n", "; "))
            ElementTree.SubElement(element, "title").text = tip  # what a reader without scripts sees
        return element

    def axes(self, x: Scale, y: Scale, *, x_title: str, y_title: str, x_unit: float = 1, y_unit: float = 1) -> None:
        """Draw a light grid, tick labels (values divided by the unit) and the axis titles."""
        left, right, bottom, top = x.start, x.stop, y.start, y.stop
        for value in y.ticks(5):
            at = y(value)
            self.add("line", x1=left, x2=right, y1=at, y2=at, class_="grid")
            self.add("text", text=tick_text(value / y_unit), x=left - 6, y=at + 4, class_="tick end")
        for value in x.ticks(6):
            at = x(value)
            self.add("line", x1=at, x2=at, y1=top, y2=bottom, class_="grid")
            self.add("text", text=tick_text(value / x_unit), x=at, y=bottom + 16, class_="tick mid")
        self.add("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis")
        self.add("text", text=x_title, x=(left + right) / 2, y=bottom + 34, class_="title mid")
        self.add("text", text=y_title, x=4, y=14, class_="title")

    def markup(self) -> Markup:
        """The finished element, safe to place in a page."""
        return Markup(ElementTree.tostring(self.root, encoding="unicode"))  # the XML writer has escaped it


def tick_text(value: float) -> str:
    """Write a tick without trailing zeros.

    Example:
        >>> tick_text(0.2), tick_text(1000.0), tick_text(97.5)
        ('0.2', '1000', '97.5')
    """
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    text = three(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def path(points: list[tuple[float, float]]) -> str:
    """The `d` of a polyline through points."""
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
