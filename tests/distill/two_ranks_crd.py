"""What each of two processes runs of CRD; a module of its own, since a spawned process imports it by name."""

import torch
import torch.distributed as dist
from graph_parts import make_batch, make_net
from torch.nn.parallel import DistributedDataParallel

from limbeck.distill import distillation
from limbeck.types import Batch


def make_objective():
    return distillation("crd", student=make_net(1), teacher=make_net(2), num_samples=12, negatives=8, momentum=0.25)


def run_rank(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.manual_seed(rank)
    objective = make_objective()
    wrapped = DistributedDataParallel(objective, broadcast_buffers=False)
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.1)
    whole = make_batch(9)
    rows = slice(0, 5) if rank == 0 else slice(5, 9)  # ranks of different sizes
    batch = Batch(whole.index[rows], whole.inputs[rows], whole.target[rows])
    for step in range(4):
        if step == 2 and rank == 1:  # nothing to contrast here, and yet the other process must not wait for ever
            batch = Batch(batch.index, batch.inputs, torch.full_like(batch.target, -1), labelled=False)
        seen = objective._observe(batch)
        said = objective.losses["crd"].student_embed(seen["student"].stages["stage2"].detach().flatten(1))
        torch.manual_seed(2 * step + rank)
        wrapped(batch, torch.tensor(step / 4))["loss"].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step()
        bank = {name: value.clone() for name, value in objective.losses["crd"].state_dict().items()}
        kept = {"bank": bank, "said": said.detach(), "index": batch.index, "target": batch.target}
        torch.save(kept, f"{folder}/step{step}_rank{rank}.pt")
    dist.destroy_process_group()
