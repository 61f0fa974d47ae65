"""The values that the papers' authors use for each kind of data, by method. What becomes of them is `methods`'."""

from __future__ import annotations

__all__ = ["PRESETS"]

PRESETS: dict[str, dict[str, dict[str, float]]] = {
    "at": {
        "cifar100": {"ce": 1.0, "at": 1000.0},
        "imagenet": {"ce": 1.0, "at": 1000.0},
    },
    "byot": {
        "cifar100": {"ce": 0.9, "kd": 0.1, "byot": 1e-6 * 128, "temperature": 3.0},
    },
    "crd": {
        "cifar100": {"ce": 1.0, "crd": 0.8, "kd": 0.0, "kd_temperature": 4.0},
        "cifar100_kd": {"ce": 1.0, "crd": 0.8, "kd": 1.0, "kd_temperature": 4.0},
        "imagenet": {"ce": 1.0, "crd": 0.8, "kd": 0.0, "kd_temperature": 4.0},
    },
    "cs_kd": {
        "cifar100": {"ce": 1.0, "cs_kd": 1.0, "temperature": 4.0},
        "fine_grained": {"ce": 1.0, "cs_kd": 3.0, "temperature": 4.0},
    },
    "ctkd": {
        "cifar100": {"ce": 0.1, "ctkd": 0.9, "lowest": 1.0, "span": 20.0, "ramp": 10 / 240},
    },
    "cwd": {
        "cityscapes": {"ce": 1.0, "cwd": 50.0, "temperature": 4.0},
        "cityscapes_logits": {"ce": 1.0, "cwd": 3.0, "temperature": 4.0},
    },
    "dist": {
        "cifar100": {"ce": 1.0, "dist": 2.0, "temperature": 4.0, "beta": 1.0, "gamma": 1.0},
        "imagenet": {"ce": 1.0, "dist": 2.0, "temperature": 1.0, "beta": 1.0, "gamma": 1.0},
    },
    "dkd": {
        "cifar100": {"ce": 1.0, "temperature": 4.0, "alpha": 1.0, "beta": 8.0, "warmup": 20 / 240},
        "cifar100_wide": {"ce": 1.0, "temperature": 4.0, "alpha": 1.0, "beta": 6.0, "warmup": 20 / 240},
        "cifar100_resnet": {"ce": 1.0, "temperature": 4.0, "alpha": 1.0, "beta": 2.0, "warmup": 20 / 240},
        "imagenet": {"ce": 1.0, "temperature": 1.0, "alpha": 1.0, "beta": 0.5, "warmup": 0.0},
        "imagenet_mobilenet": {"ce": 1.0, "temperature": 1.0, "alpha": 1.0, "beta": 2.0, "warmup": 0.0},
        "cifar100_lskd": {
            "ce": 1.0,
            "temperature": 2.0,
            "alpha": 9.0,
            "beta": 72.0,
            "warmup": 20 / 240,
            "standardise": True,
        },
        "cifar100_vgg_lskd": {
            "ce": 1.0,
            "temperature": 2.0,
            "alpha": 15.0,
            "beta": 30.0,
            "warmup": 20 / 240,
            "standardise": True,
        },
        "cifar100_wide_lskd": {
            "ce": 1.0,
            "temperature": 2.0,
            "alpha": 12.0,
            "beta": 24.0,
            "warmup": 20 / 240,
            "standardise": True,
        },
        "cifar100_resnet56_lskd": {
            "ce": 1.0,
            "temperature": 3.0,
            "alpha": 18.0,
            "beta": 36.0,
            "warmup": 20 / 240,
            "standardise": True,
        },
    },
    "fitnet": {
        "cifar100": {"ce": 1.0, "fitnet": 100.0},
    },
    "kd": {
        "cifar100": {"ce": 0.1, "kd": 0.9, "temperature": 4.0},
        "imagenet": {"ce": 0.5, "kd": 0.5, "temperature": 1.0},
        "cityscapes": {"ce": 1.0, "kd": 1.0, "temperature": 1.0},
    },
    "kdcl": {
        "cifar100": {"ce": 0.5, "kdcl": 0.5, "temperature": 4.0},
    },
    "lskd": {
        "cifar100": {"ce": 0.1, "lskd": 9.0, "temperature": 2.0},
        "cifar100_wide": {"ce": 0.1, "lskd": 9.0, "temperature": 3.0},
        "cifar100_resnet110_resnet20": {"ce": 0.1, "lskd": 12.0, "temperature": 4.0},
        "cifar100_resnet50_mobilenet_v2": {"ce": 0.1, "lskd": 1.0, "temperature": 3.0},
        "imagenet": {"ce": 1.0, "lskd": 9.0, "temperature": 2.0},
    },
    "mgd": {
        "imagenet": {"ce": 1.0, "mgd": 7e-5, "masked": 0.15},
        "cityscapes": {"ce": 1.0, "mgd": 2e-5, "masked": 0.75},
        "coco": {"ce": 1.0, "mgd": 2e-5, "masked": 0.65},
    },
    "nkd": {
        "imagenet": {"ce": 1.0, "nkd": 1.0, "temperature": 1.0, "gamma": 1.5},
        "imagenet_vit": {"ce": 1.0, "nkd": 1.0, "temperature": 1.0, "gamma": 1.0},
        "cifar100": {"ce": 1.0, "nkd": 1.0, "temperature": 3.0, "gamma": 3.5},
    },
    "odkd": {
        "coco": {"ce": 1.0, "odkd": 1.0, "regression": 0.5, "background_weight": 1.5},
    },
    "one": {
        "cifar100": {"ce": 1.0, "one": 1.0, "temperature": 3.0, "ramp": 80 / 300},
    },
    "pkd": {
        "coco": {"ce": 1.0, "pkd": 10.0},
    },
    "ps_kd": {
        "cifar100": {"alpha": 0.8},
    },
    "reviewkd": {
        "cifar100": {"ce": 1.0, "reviewkd": 5.0, "warmup": 20 / 240},
        "cifar100_resnet20": {"ce": 1.0, "reviewkd": 0.6, "warmup": 20 / 240},
        "cifar100_resnet32": {"ce": 1.0, "reviewkd": 1.0, "warmup": 20 / 240},
        "cifar100_shufflenet_v2": {"ce": 1.0, "reviewkd": 8.0, "warmup": 20 / 240},
        "imagenet": {"ce": 1.0, "reviewkd": 1.0, "warmup": 1 / 100},
        "imagenet_mobilenet": {"ce": 1.0, "reviewkd": 8.0, "warmup": 1 / 100},
    },
    "rkd": {
        "cifar100": {"ce": 1.0, "rkd": 1.0, "distance": 25.0, "angle": 50.0},
    },
    "skd": {
        "radio": {"share": 0.7, "temperature": 4.0, "features": 0.0},
    },
    "sp": {
        "cifar100": {"ce": 1.0, "sp": 3000.0},
    },
    "tf_kd": {
        "cifar100_resnet18": {"ce": 0.9, "tf_kd": 0.1 * 100 / 100, "temperature": 20.0},
        "cifar100_googlenet": {"ce": 0.9, "tf_kd": 0.1 * 50 / 100, "temperature": 40.0},
        "cifar100_mobilenet_v2": {"ce": 0.05, "tf_kd": 0.95 / 100, "temperature": 40.0},
        "cifar100_shufflenet_v2": {"ce": 0.05, "tf_kd": 0.95 / 100, "temperature": 10.0},
    },
    "tf_kd_self": {
        "cifar100_resnet18": {"ce": 0.05, "kd": 0.95 * 50 / 100, "temperature": 6.0},
        "cifar100_densenet121": {"ce": 0.1, "kd": 0.9 * 50 / 100, "temperature": 20.0},
        "cifar100_googlenet": {"ce": 0.6, "kd": 0.4 * 50 / 100, "temperature": 20.0},
        "cifar100_mobilenet": {"ce": 0.05, "kd": 0.95 / 100, "temperature": 20.0},
        "cifar100_resnext29": {"ce": 0.1, "kd": 0.9 * 100 / 100, "temperature": 20.0},
    },
    "uskd": {
        "imagenet": {"ce": 1.0, "alpha": 1.0, "beta": 0.1, "mu": 0.005},
        "cifar100": {"ce": 1.0, "alpha": 0.1, "beta": 0.1, "mu": 0.1},
    },
    "wsld": {
        "cifar100": {"ce": 1.0, "wsld": 2.25, "temperature": 4.0},
        "imagenet": {"ce": 1.0, "wsld": 2.5, "temperature": 2.0},
    },
    "wttm": {
        "cifar100": {"ce": 1.0, "wttm": 4.0, "gamma": 0.2},
        "cifar100_ttm": {"ce": 1.0, "wttm": 45.0, "gamma": 0.1, "weighted": False},
    },
    "zipf_ls": {
        "cifar100": {"ce": 1.0, "zipf_ls": 0.1, "upsample": 2},
        "tiny_imagenet": {"ce": 1.0, "zipf_ls": 1.0, "upsample": 2},
        "imagenet": {"ce": 1.0, "zipf_ls": 0.1, "upsample": 1},
    },
}
"""Method -> data set -> the values that the authors' configurations hold for it (mdistiller's for `kd`, CIRKD's for its
`cityscapes`, where each pixel is a sample; those of common re-implementations for `kdcl` and `byot`).

The feature weight of `byot` is 1e-6 there, of a sum over batches of 128.

Of `dkd`, mdistiller names one beta per pair of networks: 8 for resnet32x4 as the teacher, and for resnet50 or WRN-40-2
with a student of another family; 6 (`cifar100_wide`) for VGG13, and WRN-40-2 within its family; 2 (`cifar100_resnet`)
for resnet56 and resnet110. Its warm-up of 20 epochs of 240, 1 of 100 on ImageNet, is a share of the training here.

The presets of `lskd`, and those of `dkd` that end in it, are of the logs of logit standardisation. `lskd`: `cifar100`, but
for VGG13, resnet32x4 with a WRN, and WRN-40-2 with MobileNetV2 (`cifar100_wide`), and the pairs named. `dkd`: resnet32x4
(`cifar100_lskd`), VGG13 and resnet110 with resnet32 (`cifar100_vgg_lskd`), WRN-40-2 within its family, resnet56.

`tf_kd` and `tf_kd_self` are named by the student. Their authors take the mean over the 100 classes, too, times a
multiplier of 1, 50 or 100: the weights here hold both. `cifar100` of `wttm` is what its authors give beside CRD, for
VGG13 to VGG8; `cifar100_ttm`, for the same pair, is TTM alone. `zipf_ls` ranks by enlarged maps where they are small.

`cifar100` of `fitnet`, `at`, `sp`, `rkd` and `crd` are the command lines of RepDistiller, CRD's published comparison
(`cifar100_kd` its CRD+KD), which mdistiller keeps, `imagenet` of `at` and `crd` mdistiller's. Those of `reviewkd` are the
authors' command lines, by student, and mdistiller's on ImageNet for ResNet34 to ResNet18, and ResNet50 to MobileNetV1
(`imagenet_mobilenet`). `mgd` is its authors' configuration. `cwd` was published for segmentation: 50 on feature maps in
the paper, 3 on the maps of logits in its authors' command line; nothing is published for classification.

`coco` of `mgd` and `pkd` are the configurations of one-stage detectors (RetinaNet), at each of their maps; `odkd`'s are of
the paper, where half of the classes' loss is the teacher's: as much as the labels', and their sum is 2 here, not 1.
"""
