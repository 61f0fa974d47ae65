"""What timm and torchvision call our families, which of those networks have published weights, and which widths exist.

Not here: parsing a name and making its table (`names`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["PUBLISHED_WIDTHS", "TIMM", "TORCHVISION", "Known", "library_names", "published_weights", "weighted_widths"]


@dataclass(frozen=True)
class Known:
    """What a name of ours stands for.

    Attributes:
        family: key of `MODELS`.
        width: multiplier.
        weights: where `pretrained = true` takes its weights from; None = nobody published any.
        conventions: fields of the table that this spelling changes.
        rule: what the width does (`families.widths`).
    """

    family: str
    width: float = 1.0
    weights: str | None = None
    conventions: dict[str, Any] = field(default_factory=dict)
    rule: str = "paper"


def timm(family: str, width: float = 1.0, weights: str | None = None, **conventions: Any) -> Known:
    """A network of timm: built by its rule, with its batch-norm eps and padding."""
    return Known(family, width, f"timm:{weights}" if weights else None, conventions, rule="timm")


PLAIN = {"bn_eps": 1e-5}  # of timm's own trainings; those converted from TensorFlow keep its 1e-3, and pad as it does
SAME = {"padding": "same"}

# timm's spellings build timm's networks. Where two have the same name, the family's own comes first, and timm's weights
# bring their eps.
TIMM: dict[str, Known] = {
    "mobilenetv1_100": timm("mobilenet_v1", 1.0, "mobilenetv1_100"),
    "mobilenetv1_125": timm("mobilenet_v1", 1.25, "mobilenetv1_125"),
    "mobilenetv2_035": timm("mobilenet_v2", 0.35),
    "mobilenetv2_050": timm("mobilenet_v2", 0.5, "mobilenetv2_050"),
    "mobilenetv2_075": timm("mobilenet_v2", 0.75),
    "mobilenetv2_100": timm("mobilenet_v2", 1.0, "mobilenetv2_100"),
    "mobilenetv2_140": timm("mobilenet_v2", 1.4, "mobilenetv2_140"),
    "mobilenetv3_large_075": timm("mobilenet_v3_large", 0.75, "tf_mobilenetv3_large_075", **PLAIN),
    "mobilenetv3_large_100": timm("mobilenet_v3_large", 1.0, "mobilenetv3_large_100", **PLAIN),
    "mobilenetv3_small_050": timm("mobilenet_v3_small", 0.5, "mobilenetv3_small_050", **PLAIN),
    "mobilenetv3_small_075": timm("mobilenet_v3_small", 0.75, "mobilenetv3_small_075", **PLAIN),
    "mobilenetv3_small_100": timm("mobilenet_v3_small", 1.0, "mobilenetv3_small_100", **PLAIN),
    "mobilenetv3_rw": timm("mobilenet_v3_rw", 1.0, "mobilenetv3_rw"),
    "tf_mobilenetv3_large_075": timm("mobilenet_v3_large", 0.75, "tf_mobilenetv3_large_075", **SAME),
    "tf_mobilenetv3_large_100": timm("mobilenet_v3_large", 1.0, "tf_mobilenetv3_large_100", **SAME),
    "tf_mobilenetv3_small_075": timm("mobilenet_v3_small", 0.75, "tf_mobilenetv3_small_075", **SAME),
    "tf_mobilenetv3_small_100": timm("mobilenet_v3_small", 1.0, "tf_mobilenetv3_small_100", **SAME),
    "tf_mobilenetv3_large_minimal_100": timm(
        "mobilenet_v3_large_minimal", 1.0, "tf_mobilenetv3_large_minimal_100", **SAME
    ),
    "tf_mobilenetv3_small_minimal_100": timm(
        "mobilenet_v3_small_minimal", 1.0, "tf_mobilenetv3_small_minimal_100", **SAME
    ),
    "mobilenetv4_conv_small_035": timm("mobilenet_v4_conv_small", 0.35),
    "mobilenetv4_conv_small_050": timm("mobilenet_v4_conv_small", 0.5, "mobilenetv4_conv_small_050"),
    "mobilenetv4_conv_small": timm("mobilenet_v4_conv_small", 1.0, "mobilenetv4_conv_small"),
    "mobilenetv4_conv_medium": timm("mobilenet_v4_conv_medium", 1.0, "mobilenetv4_conv_medium"),
    "semnasnet_050": timm("mnasnet_a1", 0.5, **PLAIN),
    "semnasnet_075": timm("mnasnet_a1", 0.75, "semnasnet_075", **PLAIN),
    "semnasnet_100": timm("mnasnet_a1", 1.0, "semnasnet_100", **PLAIN),
    "semnasnet_140": timm("mnasnet_a1", 1.4, **PLAIN),
    "mnasnet_050": timm("mnasnet_b1", 0.5, **PLAIN),
    "mnasnet_075": timm("mnasnet_b1", 0.75, **PLAIN),
    "mnasnet_100": timm("mnasnet_b1", 1.0, "mnasnet_100", **PLAIN),
    "mnasnet_140": timm("mnasnet_b1", 1.4, **PLAIN),
    "mnasnet_small": timm("mnasnet_small", 1.0, "mnasnet_small"),
    "efficientnet_b0": timm("efficientnet_b0", 1.0, "efficientnet_b0"),
    "efficientnet_lite0": timm("efficientnet_lite0", 1.0, "efficientnet_lite0"),
    "tf_efficientnet_b0": timm("efficientnet_b0", 1.0, "tf_efficientnet_b0", **SAME),
    "tf_efficientnet_lite0": timm("efficientnet_lite0", 1.0, "tf_efficientnet_lite0", **SAME),
    "fbnetc_100": timm("fbnet_c", 1.0, "fbnetc_100"),
    "spnasnet_100": timm("single_path_nas", 1.0, "spnasnet_100"),
}
# torchvision's names, all of them with weights.
TORCHVISION: dict[str, Known] = {
    name: Known(family, width, f"torchvision:{name}", conventions, rule="torchvision")
    for name, family, width, conventions in (
        ("mobilenet_v2", "mobilenet_v2", 1.0, {}),
        ("mobilenet_v3_large", "mobilenet_v3_large", 1.0, {}),
        ("mobilenet_v3_small", "mobilenet_v3_small", 1.0, {}),
        ("mnasnet0_5", "mnasnet_b1", 0.5, PLAIN),
        ("mnasnet0_75", "mnasnet_b1", 0.75, PLAIN),
        ("mnasnet1_0", "mnasnet_b1", 1.0, PLAIN),
        ("mnasnet1_3", "mnasnet_b1", 1.3, PLAIN),
        ("efficientnet_b0", "efficientnet_b0", 1.0, {}),
    )
}
# The widths that the papers or libraries publish; `family_NNN` takes any other percentage too.
PUBLISHED_WIDTHS: dict[str, tuple[float, ...]] = {
    "mobilenet_v1": (0.25, 0.5, 0.75, 1.25),
    "mobilenet_v2": (0.35, 0.5, 0.75, 1.4),
    "mobilenet_v3_large": (0.35, 0.5, 0.75, 1.25),
    "mobilenet_v3_small": (0.35, 0.5, 0.75, 1.25),
    "mobilenet_v4_conv_small": (0.35, 0.5),
    "mnasnet_a1": (0.35, 0.5, 0.75, 1.4),
    "mnasnet_b1": (0.5, 0.75, 1.3, 1.4),
}


def library_names(family: str, width: float = 1.0) -> list[str]:
    """What the libraries call a family at a width, such as `timm:semnasnet_100`; those with weights of their own first."""
    found = [
        (known.weights != name, name)
        for library, table in (("timm", TIMM), ("torchvision", TORCHVISION))
        for name, known in ((f"{library}:{key}", known) for key, known in table.items())
        if (known.family, known.width) == (family, width)
    ]
    return [name for _, name in sorted(found, key=lambda pair: pair[0])]


def published_weights(family: str, width: float) -> str | None:
    """The library's weights that fit a family at a width best: timm's, plain ones before those from TensorFlow."""
    found = [
        known.weights
        for known in (*TIMM.values(), *TORCHVISION.values())
        if (known.family, known.width) == (family, width) and known.weights
    ]
    return found[0] if found else None


def weighted_widths(family: str) -> list[float]:
    """The widths of a family that somebody published weights for."""
    return sorted(
        {known.width for known in (*TIMM.values(), *TORCHVISION.values()) if known.family == family and known.weights}
    )
