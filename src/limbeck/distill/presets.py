"""The values that the papers' authors use for each kind of data, by method. What becomes of them is `methods`'."""

from __future__ import annotations

__all__ = ["PRESETS"]

PRESETS: dict[str, dict[str, dict[str, float]]] = {
    "dist": {
        "cifar100": {"ce": 1.0, "dist": 2.0, "temperature": 4.0, "beta": 1.0, "gamma": 1.0},
        "imagenet": {"ce": 1.0, "dist": 2.0, "temperature": 1.0, "beta": 1.0, "gamma": 1.0},
    },
    "dkd": {
        "cifar100": {"ce": 1.0, "temperature": 4.0, "alpha": 1.0, "beta": 8.0, "warmup": 20 / 240},
        "cifar100_wide": {"ce": 1.0, "temperature": 4.0, "alpha": 1.0, "beta": 6.0, "warmup": 20 / 240},
        "cifar100_resnet": {"ce": 1.0, "temperature": 4.0, "alpha": 1.0, "beta": 2.0, "warmup": 20 / 240},
        "imagenet": {"ce": 1.0, "temperature": 1.0, "alpha": 1.0, "beta": 0.5, "warmup": 1 / 100},
        "imagenet_mobilenet": {"ce": 1.0, "temperature": 1.0, "alpha": 1.0, "beta": 2.0, "warmup": 1 / 100},
    },
    "kd": {
        "cifar100": {"ce": 0.1, "kd": 0.9, "temperature": 4.0},
        "imagenet": {"ce": 0.5, "kd": 0.5, "temperature": 1.0},
    },
    "kdcl": {
        "cifar100": {"ce": 0.5, "kdcl": 0.5, "temperature": 4.0},
    },
    "lskd": {
        "cifar100": {"ce": 0.1, "lskd": 9.0, "temperature": 2.0},
        "imagenet": {"ce": 1.0, "lskd": 9.0, "temperature": 2.0},
    },
    "nkd": {
        "imagenet": {"ce": 1.0, "nkd": 1.0, "temperature": 1.0, "gamma": 1.5},
        "imagenet_vit": {"ce": 1.0, "nkd": 1.0, "temperature": 1.0, "gamma": 1.0},
        "cifar100": {"ce": 1.0, "nkd": 1.0, "temperature": 3.0, "gamma": 3.5},
    },
    "ps_kd": {
        "cifar100": {"alpha": 0.8},
    },
    "uskd": {
        "imagenet": {"ce": 1.0, "alpha": 1.0, "beta": 0.1, "mu": 0.005},
        "cifar100": {"ce": 1.0, "alpha": 0.1, "beta": 0.1, "mu": 0.1},
    },
}
"""Method -> data set -> the values that the authors' configurations hold for it (mdistiller's for `kd`, those of a
common re-implementation for `kdcl`).

Of `dkd`, mdistiller names one beta per pair of networks: 8 for resnet32x4 as the teacher, and for resnet50 or WRN-40-2
with a student of another family; 6 (`cifar100_wide`) for VGG13, and WRN-40-2 within its family; 2 (`cifar100_resnet`)
for resnet56 and resnet110. Its warm-up of 20 epochs of 240, 1 of 100 on ImageNet, is a share of the training here.
"""
