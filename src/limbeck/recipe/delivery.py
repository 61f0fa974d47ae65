"""The sections on what follows training: calibration, files, timings, and the honest comparisons."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from limbeck.recipe.section import Section

__all__ = ["Baselines", "Calibrate", "Export", "Measure"]


class Calibrate(Section):
    """`[calibrate]`: confidence calibration on validation; of landmarks, error bars."""

    method: Literal["temperature", "none"] = "temperature"
    bins: int = Field(15, ge=2)
    coverage: float = Field(
        0.9, gt=0, lt=1, description="of landmarks: share of points that their error bars are to hold"
    )


class Export(Section):
    """`[export]`: the files that are handed over."""

    exporter: str = Field(
        "onnx", description="or package.module:name, with the keywords of `limbeck.export.export_onnx`"
    )
    preprocess: Literal["uint8", "float32"] = Field(
        "uint8", description="uint8: picture in, normalisation in the graph"
    )
    output: Literal["probabilities", "classes"] = Field(
        "probabilities", description="of segmentation: of every class, or the most probable class alone (bytes)"
    )
    nms: Literal["inside", "outside"] = Field(
        "inside", description="of detection: boxes are chosen in the graph, or by whoever reads every anchor's"
    )
    int8: Literal["try", "require", "off"] = Field(
        "try", description="try: withheld and marked when it fails its gate; require: then exit 3"
    )
    calibration_pictures: int = Field(256, ge=8, description="training pictures for int8 ranges")
    int8_ranges: Literal["minmax", "percentile"] = Field(
        "minmax",
        description="of activations: all that was seen, or 99.9 % of it, where rare large values cost precision",
    )
    tolerance: float = Field(1e-3, gt=0, description="fp32 gate: largest difference of probabilities")
    max_int8_drop: float = Field(
        0.01, ge=0, description="int8 gate: largest loss of the primary metric that is tolerated"
    )


class Measure(Section):
    """`[measure]`: how the exported files are timed on the budget's target and on further ones."""

    targets: tuple[str, ...] = Field((), description="beside budget.target")
    warmup: int = Field(30, ge=0)
    runs: int = Field(300, ge=20)


class Baselines(Section):
    """`[baselines]`: the honest comparisons that are part of a run."""

    plain: bool = Field(True, description="the same student, trained as long without distillation")
    off_the_shelf: str | None = Field(
        None,
        description="a ready pretrained network (timm:NAME ...), fine-tuned as long; auto = the best within the budget",
    )
