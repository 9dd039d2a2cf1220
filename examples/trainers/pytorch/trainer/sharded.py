"""Train a small network on handwritten digits with PyTorch's FSDP: each replica keeps a part of every layer.

``torchrun`` starts this file in every replica of the PyTorchJob: the variables ``PET_*`` tell it where the others are.
The parameters of a layer come together on each replica just for its turn, so that the network may be larger than what
one of them can hold.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from trainer.task import digits, say

EPOCHS, BATCH = 20, 32


def network():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def main():
    torch.manual_seed(7)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    mesh = dist.init_device_mesh("cpu", (world,))
    train_data, test_data = digits(7)
    images, labels = train_data.tensors
    count = len(images) // world
    images, labels = images[rank::world][:count], labels[rank::world][:count]
    model = network()
    for layer in model:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    own = sum(parameter.to_local().numel() for parameter in model.parameters() if isinstance(parameter, DTensor))
    every = sum(parameter.numel() for parameter in model.parameters())
    say(f"training on {count} of {len(train_data)} images as rank {rank} of {world}, with {own} of {every} parameters")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for epoch in range(1, EPOCHS + 1):
        order = torch.randperm(count)
        for begin in range(0, count - BATCH + 1, BATCH):
            chosen = order[begin : begin + BATCH]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
        if rank == 0 and epoch % 5 == 0:
            say(f"epoch {epoch:2d}  loss {loss.item():.4f}")
    test_images, test_labels = test_data.tensors
    with torch.no_grad():
        found = model(test_images).argmax(dim=1)  # all replicas: each has a part of every layer
    if rank == 0:
        say(f"test accuracy {(found == test_labels).float().mean():.3f} on {len(test_labels)} images")
    dist.barrier()  # or whoever is done first closes connections that the others still use
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
