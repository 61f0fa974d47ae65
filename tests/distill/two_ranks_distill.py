"""What each of two processes runs; a module of its own, since a spawned process imports it by name."""

import torch
import torch.distributed as dist
from graph_parts import make_batch, make_net, now
from torch.nn.parallel import DistributedDataParallel

from limbeck.distill import Distillation, Ema, Frozen, Learner, Memory, Term
from limbeck.distill.pause import Pause
from limbeck.types import Batch


def run_rank(rank, port, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    learner = Learner(make_net(1))
    sources = {"student": learner, "teacher": Frozen(make_net(2)), "mean": Ema(learner), "before": Memory(12, 5)}
    terms = [
        Term("task"),
        Term("kd"),
        Term("kd", teacher="before", name="old"),
        Term("kd", teacher="mean", name="slow"),
    ]
    objective = Distillation(sources, [*terms, Term("uskd", teacher="student/exit")])
    whole = make_batch(9)
    rows = slice(0, 5) if rank == 0 else slice(5, 9)  # ranks of different sizes
    batch = Batch(whole.index[rows], whole.inputs[rows], whole.target[rows])
    said = learner.network(batch.inputs).detach()
    wrapped = DistributedDataParallel(objective, broadcast_buffers=False)
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.1)
    for number in range(2):
        wrapped(batch, now())["loss"].backward()
        if number == 0:
            torch.save({"said": said, "index": batch.index}, f"{folder}/said{rank}.pt")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step()
        if number == 0:
            torch.save(objective.sources["before"].state_dict(), f"{folder}/memory{rank}.pt")
    torch.save({name: p.detach() for name, p in objective.named_parameters()}, f"{folder}/weights{rank}.pt")
    pause = Pause(lambda *_: torch.tensor([0.2 + 0.7 * rank]), lambda means: ("peer",) if means[0] > 0.5 else ())
    pause.note({}, batch, now())
    torch.save(pause.resting(), f"{folder}/resting{rank}.pt")
    dist.destroy_process_group()
