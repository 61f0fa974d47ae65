"""The sections on pictures: where they come from, and how they are changed at random."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from limbeck.recipe.section import Section

__all__ = ["Augment", "Data"]


class Data(Section):
    """`[data]`: where the pictures come from and how they are split."""

    name: str = Field(
        "folder",
        description="digits, folder, table, cifar10, cifar100, tiny_imagenet, imagenet, hub, masks, cityscapes, "
        "voc_segmentation, radio, radioml2016, radioml2018, signals, sigmf ..., or package.module:name",
    )
    path: str | None = Field(None, description="folder, table file (train) or hub name")
    validation_path: str | None = Field(None, description="table file of the validation split")
    test_path: str | None = Field(None, description="table file of the test split")
    image_column: str = Field("image", description="column of a table that holds a path or encoded bytes")
    label_column: str = Field("label", description="column of a table that holds a class name or index")
    group_by: str | None = Field(None, description="column whose values (a product, a person) never cross splits")
    unlabelled: str | None = Field(None, description="folder of unlabelled pictures that join distillation")
    image_size: int | tuple[int, int] | None = Field(
        None, description="pixels (side, or height and width); None = looked up from the data"
    )
    fit: Literal["crop", "squash", "pad"] = Field(
        "crop", description="how a picture of another shape becomes image_size"
    )
    validation: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of the training pictures held out for selection; 0 = train on all, take the last epoch",
    )
    test: float = Field(0.2, gt=0, lt=1, description="share held out for test where the data has no test split")
    limit: int | None = Field(None, ge=1, description="use only so many training pictures, stratified")
    limit_per_cell: int | None = Field(
        None, ge=1, description="of signals: use only so many training frames of each class and SNR"
    )
    sampling: Literal["natural", "balanced"] = "natural"
    class_weights: Literal["none", "balanced"] = "none"
    seed: int = Field(
        0, ge=0, description="of the split; apart from the run's seed, so that seeds are compared on the same pictures"
    )
    workers: int = Field(
        0, ge=0, description="processes that read and augment; the batches are the same for any number"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="further options of the reader")


class Augment(Section):
    """`[augment]`: random changes of training pictures, each a pure function of (seed, view, index)."""

    crop: Literal["none", "shift", "resized", "scaled", "ssd", "turned"] = Field(
        "shift",
        description="shift = pad by padding and crop back; resized = random resized crop; scaled = zoom in or out and crop; "
        "ssd = SSD's crop, for boxes; turned = turned by turn, enlarged by zoom, moved by padding",
    )
    padding: float = Field(0.125, ge=0, le=0.5, description="share of the side, for crop = shift or turned")
    scale: tuple[float, float] = Field((0.35, 1.0), description="area range, for crop = resized")
    zoom: tuple[float, float] = Field((0.5, 2.0), description="range of the factor, for crop = scaled or turned")
    turn: float = Field(0.0, ge=0, le=180, description="degrees to either side, for crop = turned")
    flip: bool = Field(True, description="horizontal")
    rand_augment: tuple[int, int] | None = Field(
        None, description="operations, and magnitude from 0 to 30, of torchvision's RandAugment"
    )
    auto_augment: str | None = Field(
        None,
        description="a learned policy: imagenet, cifar10 or svhn; or any of timm's, such as timm:rand-m9-mstd0.5, whose "
        "magnitudes go to 10",
    )
    erase: float = Field(0.0, ge=0, le=1, description="probability of random erasing")
    gamma: tuple[float, float] | None = Field(None, description="range of the exponent of brightness, such as [0.5, 2]")
    blur: float = Field(0.0, ge=0, description="greatest standard deviation of a Gaussian blur, in pixels")
    noise: float = Field(
        0.0, ge=0, le=1, description="greatest standard deviation of noise, as a share of the full range"
    )
    mixup: float = Field(0.0, ge=0, description="alpha; 0 = off")
    cutmix: float = Field(0.0, ge=0, description="alpha; 0 = off")
    rotate: Literal["none", "quarter", "any"] = Field(
        "none", description="the phase of signals: by a quarter turn, or by any angle"
    )
