"""Train a small network on handwritten digits with PyTorch, one process per replica.

Every replica of the PyTorchJob runs this file; ``MASTER_ADDR``, ``MASTER_PORT``, ``RANK`` and ``WORLD_SIZE`` tell it
who it is. Each has a copy of the network and its own share of the images; DistributedDataParallel averages the
gradients of all replicas in every step, so that the copies stay equal. Rank 0 measures the result on images that
nobody trained on.
"""

import argparse
import functools
import os

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

say = functools.partial(print, flush=True)  # a log line is worth most at once


def digits(seed):
    """Training and test images, the same split in every replica."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16.0, labels, test_size=0.2, stratify=labels, random_state=seed)
    train_x, test_x = (torch.tensor(part, dtype=torch.float32) for part in parts[:2])
    train_y, test_y = (torch.tensor(part) for part in parts[2:])
    return TensorDataset(train_x, train_y), TensorDataset(test_x, test_y)


def train(model, data, options):
    sampler = DistributedSampler(data, seed=options.seed)
    batches = DataLoader(data, batch_size=options.batch_size, sampler=sampler)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.learning_rate)
    say(f"training on {len(sampler)} of {len(data)} images as rank {dist.get_rank()} of {dist.get_world_size()}")
    for epoch in range(1, options.epochs + 1):
        sampler.set_epoch(epoch)  # another order in each epoch
        for images, labels in batches:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        say(f"epoch {epoch:2d}  loss {loss.item():.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=32, help="images in each replica's step")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--learning_rate", type=float, default=0.002)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    for name, alone in {"MASTER_ADDR": "localhost", "MASTER_PORT": "23456", "RANK": "0", "WORLD_SIZE": "1"}.items():
        os.environ.setdefault(name, alone)
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    training, test = digits(options.seed)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    train(model, training, options)
    if dist.get_rank() == 0:
        images, labels = test.tensors
        with torch.no_grad():
            accuracy = (model.module(images).argmax(dim=1) == labels).float().mean().item()
        say(f"test accuracy {accuracy:.4f} on {len(test)} images")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
