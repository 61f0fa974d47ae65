"""Distillation losses, and losses of points: one file per paper, plain callables on tensors. No networks, no weights of terms.

A loss takes the student's tensor first, then the teacher's (detached on entry), then keywords: `target`, `index`,
`progress` where it needs them, and hyper-parameters with the paper's defaults. It returns a scalar, the mean over the
batch, in float32 or better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from limbeck.losses.asmnet import asmnet
from limbeck.losses.at import at
from limbeck.losses.bdkd import bdkd
from limbeck.losses.byot import byot
from limbeck.losses.checks import check_options, loss_options
from limbeck.losses.crd import Crd
from limbeck.losses.cross_entropy import cross_entropy
from limbeck.losses.ctkd import Ctkd
from limbeck.losses.cwd import Cwd
from limbeck.losses.dist import dist
from limbeck.losses.dkd import dkd
from limbeck.losses.dml import dml
from limbeck.losses.fitnet import FitNet
from limbeck.losses.kd import kd
from limbeck.losses.kdcl import kdcl
from limbeck.losses.landmark_errors import landmark_l1, landmark_l2, landmark_main, landmark_smooth_l1
from limbeck.losses.landmark_kd import LandmarkKd, assistive, released_main
from limbeck.losses.lskd import lskd, standardise
from limbeck.losses.mgd import Mgd
from limbeck.losses.nkd import nkd
from limbeck.losses.one import one
from limbeck.losses.pkd import pkd
from limbeck.losses.ps_kd import ps_kd
from limbeck.losses.reviewkd import ReviewKd
from limbeck.losses.rkd import rkd
from limbeck.losses.skd import SkdFeatures, skd
from limbeck.losses.sp import sp
from limbeck.losses.switokd import switokd
from limbeck.losses.tf_kd import tf_kd
from limbeck.losses.uskd import uskd
from limbeck.losses.wing import adaptive_wing, wing
from limbeck.losses.wsld import wsld
from limbeck.losses.wttm import wttm
from limbeck.losses.zipf_ls import zipf_ls

__all__ = [
    "LOSSES",
    "Crd",
    "Ctkd",
    "Cwd",
    "FitNet",
    "LandmarkKd",
    "Mgd",
    "ReviewKd",
    "SkdFeatures",
    "adaptive_wing",
    "asmnet",
    "assistive",
    "at",
    "bdkd",
    "byot",
    "check_options",
    "cross_entropy",
    "dist",
    "dkd",
    "dml",
    "kd",
    "kdcl",
    "landmark_l1",
    "landmark_l2",
    "landmark_main",
    "landmark_smooth_l1",
    "loss_options",
    "lskd",
    "nkd",
    "one",
    "pkd",
    "ps_kd",
    "released_main",
    "rkd",
    "skd",
    "sp",
    "standardise",
    "switokd",
    "tf_kd",
    "uskd",
    "wing",
    "wsld",
    "wttm",
    "zipf_ls",
]

LOSSES: dict[str, Callable[..., Any]] = {
    "adaptive_wing": adaptive_wing,
    "asmnet": asmnet,
    "assistive": assistive,
    "at": at,
    "bdkd": bdkd,
    "byot": byot,
    "crd": Crd,
    "cross_entropy": cross_entropy,
    "ctkd": Ctkd,
    "cwd": Cwd,
    "dist": dist,
    "dkd": dkd,
    "dml": dml,
    "fitnet": FitNet,
    "kd": kd,
    "kdcl": kdcl,
    "landmark_kd": LandmarkKd,
    "landmark_l1": landmark_l1,
    "landmark_l2": landmark_l2,
    "landmark_main": landmark_main,
    "landmark_smooth_l1": landmark_smooth_l1,
    "lskd": lskd,
    "mgd": Mgd,
    "nkd": nkd,
    "one": one,
    "pkd": pkd,
    "ps_kd": ps_kd,
    "released_main": released_main,
    "reviewkd": ReviewKd,
    "rkd": rkd,
    "skd": skd,
    "skd_features": SkdFeatures,
    "sp": sp,
    "switokd": switokd,
    "tf_kd": tf_kd,
    "uskd": uskd,
    "wing": wing,
    "wsld": wsld,
    "wttm": wttm,
    "zipf_ls": zipf_ls,
}
"""Name -> loss; the signature is the option schema (`loss_options`)."""
