"""What each loss on logits costs: forward and backward as a ratio to torch's own `kl_div(log_softmax, softmax)`.

    python benchmarks/losses.py [--batch 256 --classes 1000] [--rounds 30] [--losses kd,nkd]

Each round times every loss and the expression, in an order drawn from the seed; a loss's ratio is taken within the
round. Aims: kd 1, nkd, dkd, dist and bdkd at most 2, uskd at most 4 (it ranks the classes).
"""

from __future__ import annotations

import argparse
import inspect
import os
import platform
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

import limbeck
from limbeck.losses import LOSSES

REFERENCE = "torch kl_div"
ON_LOGITS = "kd,nkd,dkd,dist,bdkd,uskd,lskd,wttm,wsld,ctkd,tf_kd,ps_kd,zipf_ls,dml,kdcl,one,switokd"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3, help="calls of each loss in a round")
    parser.add_argument("--losses", default=ON_LOGITS, help="names joined by commas")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    student = (3 * torch.randn(asked.batch, asked.classes)).requires_grad_()
    teacher = 3 * torch.randn(asked.batch, asked.classes)
    target = torch.randint(asked.classes, (asked.batch,))

    def plain() -> torch.Tensor:
        return functional.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean")

    def call(name: str) -> Callable[[], torch.Tensor]:
        loss = LOSSES[name]() if inspect.isclass(LOSSES[name]) else LOSSES[name]
        parameters = inspect.signature(getattr(loss, "forward", loss)).parameters
        takes_teacher = any(key in parameters for key in ("teacher", "weak", "dense"))
        others = [teacher] if takes_teacher else []
        handed = {"target": target, "progress": torch.tensor(0.5)}
        keywords = {key: value for key, value in handed.items() if key in parameters}
        return lambda: loss(student, *others, **keywords)

    works = {REFERENCE: plain, **{name: call(name) for name in asked.losses.split(",")}}

    def timed(work: Callable[[], torch.Tensor]) -> float:
        start = time.perf_counter()
        for _ in range(asked.repeats):
            student.grad = None
            work().backward()
        return (time.perf_counter() - start) / asked.repeats

    for work in works.values():
        timed(work)  # warm-up
    draw = random.Random(asked.seed)
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(asked.rounds):
        for name in draw.sample(list(works), len(works)):
            found[name].append(timed(works[name]))

    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, {asked.threads} threads used, "
        f"Python {platform.python_version()}, torch {torch.__version__}, limbeck {limbeck.__version__}"
    )
    print(f"forward and backward at [{asked.batch}, {asked.classes}], {asked.rounds} rounds, seed {asked.seed}")
    for name, seconds in found.items():
        ratios = [mine / reference for mine, reference in zip(seconds, found[REFERENCE], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:>14}: {statistics.median(seconds) * 1e3:7.2f} ms, ratio {middle:6.2f} (IQR {high - low:.2f})")


if __name__ == "__main__":
    main()
