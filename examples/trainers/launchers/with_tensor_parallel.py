"""Tensor parallelism as Megatron-LM has it: a column-parallel layer, then a row-parallel one, on all processes."""

import digits
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (dist.get_world_size(),))
(images, labels), test = digits.load()
model = parallelize_module(digits.network(), mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
own = sum(parameter.to_local().numel() for parameter in model.parameters())
digits.say(f"{own} weights here as rank {dist.get_rank()} of {dist.get_world_size()}")
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, foreach=False)
for _ in range(100):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
with torch.no_grad():  # all processes take part, also in measuring
    found = model(test[0]).argmax(dim=1)
if dist.get_rank() == 0:
    digits.say(f"test accuracy {(found == test[1]).float().mean().item():.4f} on {len(found)} images")
dist.barrier()  # or whoever is done first closes connections that the others still use
dist.destroy_process_group()
