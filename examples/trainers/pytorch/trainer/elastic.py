"""Train the network of ``task.py`` while replicas come and go: started by ``torchrun``, with a checkpoint an epoch.

When a replica is lost, or one more comes, torchrun ends the processes that are left, lets all that are there meet
again, and starts this file anew. So all it needs is to begin with the last checkpoint. Rank 0 writes it: to another
file first, which then takes the place of the old one, so that there is a whole one at any moment.
"""

import argparse
import functools
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from trainer.task import digits

say = functools.partial(print, flush=True)


def store(path, epoch, model, optimizer):
    fresh = path.with_suffix(".new")
    torch.save({"epoch": epoch, "model": model.module.state_dict(), "optimizer": optimizer.state_dict()}, fresh)
    fresh.replace(path)


def load(path, model, optimizer):
    """How many epochs the last checkpoint has seen; 0 if there is none."""
    if not path.exists():
        return 0
    found = torch.load(path)
    model.module.load_state_dict(found["model"])
    optimizer.load_state_dict(found["optimizer"])
    return found["epoch"]


def is_enough(path):
    """What rank 0 sees, so that all end after the same epoch."""
    seen = torch.tensor([path is not None and path.exists()])
    dist.broadcast(seen, 0)
    return seen.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="a file that all replicas reach")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--enough", type=Path, help="a file: once it is there, this epoch is the last one")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds after each epoch, to have time to watch")
    options = parser.parse_args()

    torch.manual_seed(7)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    training, test = digits(7)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
    done = load(options.checkpoint, model, optimizer)
    dist.barrier()  # nobody writes a checkpoint before everybody has read one
    say(f"begins with epoch {done + 1} as rank {dist.get_rank()} of {dist.get_world_size()}")
    sampler = DistributedSampler(training, seed=7)
    for epoch in range(done + 1, options.epochs + 1):
        sampler.set_epoch(epoch)
        for images, labels in DataLoader(training, batch_size=32, sampler=sampler):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        if dist.get_rank() == 0:
            say(f"epoch {epoch:2d}  loss {loss.item():.4f}")
            store(options.checkpoint, epoch, model, optimizer)
        if is_enough(options.enough):
            break
        time.sleep(options.pause)
    if dist.get_rank() == 0:
        images, labels = test.tensors
        with torch.no_grad():
            accuracy = (model.module(images).argmax(dim=1) == labels).float().mean().item()
        say(f"test accuracy {accuracy:.4f} on {len(test)} images")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
