"""DeepSpeed with ZeRO stage 1: each process keeps its share of the optimizer's state."""

import deepspeed
import digits
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

BATCH = 32

deepspeed.init_distributed("gloo")
training, test = digits.load()
model = digits.network()
engine, *_ = deepspeed.initialize(
    model=model,
    optimizer=torch.optim.Adam(model.parameters(), lr=0.002),
    config={
        "train_micro_batch_size_per_gpu": BATCH,
        "zero_optimization": {"stage": 1},
        "zero_allow_untested_optimizer": True,
    },
)
data = TensorDataset(*training)
sampler = DistributedSampler(data, seed=7)
batches = DataLoader(data, batch_size=BATCH, sampler=sampler)
digits.say(f"{len(batches)} batches as rank {dist.get_rank()} of {dist.get_world_size()}")
for epoch in range(20):
    sampler.set_epoch(epoch)
    for images, labels in batches:
        engine.backward(torch.nn.functional.cross_entropy(engine(images), labels))
        engine.step()
if dist.get_rank() == 0:
    digits.measure(engine.module, *test)
dist.barrier()
dist.destroy_process_group()
