"""What each of two processes runs of every method; a module of its own, since a spawned process imports it by name."""

import torch
import torch.distributed as dist
from every_method_parts import make_loader, make_objective
from torch.nn.parallel import DistributedDataParallel

from limbeck.distill import METHODS


def run_rank(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    for method in METHODS:
        objective = make_objective(method)
        wrapped = DistributedDataParallel(objective, broadcast_buffers=False)
        optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.01)
        batches = make_loader(objective, rank=rank, world=2).epoch(0)
        for number, batch in zip(range(2), batches):
            torch.manual_seed(number * 2 + rank)
            wrapped(batch, torch.tensor(number / 2))["loss"].backward()
            objective.after_backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            objective.after_step()
        kept = {name: p.detach() for name, p in objective.named_parameters() if p.requires_grad}
        torch.save(kept, f"{folder}/{method}{rank}.pt")
    dist.destroy_process_group()
