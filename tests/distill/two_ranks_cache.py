"""What each of two processes runs to fill and read a cache; a module of its own, since a spawned process imports it by name."""

import torch
import torch.distributed as dist
from cache_parts import MIXED, loader
from graph_parts import make_net, now
from torch.nn.parallel import DistributedDataParallel

from limbeck.distill import TeacherCache, distillation, fill_cache, use_caches
from limbeck.train import World


def run_rank(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    teacher, batches = make_net(1), loader(augment=MIXED, views=3, batch_size=6, rank=rank, world=2)
    cache = TeacherCache(f"{folder}/home", teacher, batches, data="digest")
    fill_cache(cache, teacher, batches, 3, world=World(rank, 2))
    objective = distillation("kd", student=make_net(2), teacher=teacher)
    passes = teacher.plain_passes
    use_caches(objective, {"teacher": cache})
    wrapped = DistributedDataParallel(objective, broadcast_buffers=False)
    read = {}
    for epoch in range(3):
        for batch in batches.epoch(epoch):
            wrapped(batch, now())["loss"].backward()
            said = objective.sources["teacher"](batch, {}).out
            read |= {(batch.view, int(index)): row for index, row in zip(batch.index, said, strict=True)}
    gradient = objective.deployable().classifier.weight.grad
    torch.save({"passes": passes, "read": read, "gradient": gradient}, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()
