"""Handwritten digits, as tensors: what the launchers' examples have in common."""

import functools

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

say = functools.partial(print, flush=True)


def load():
    """Training and test images and digits, the same split in every process."""
    images, digits = load_digits(return_X_y=True)
    parts = train_test_split(images / 16.0, digits, test_size=0.2, stratify=digits, random_state=7)
    train_x, test_x = (torch.tensor(part, dtype=torch.float32) for part in parts[:2])
    train_y, test_y = (torch.tensor(part) for part in parts[2:])
    return (train_x, train_y), (test_x, test_y)


def network():
    torch.manual_seed(7)
    torch.set_num_threads(1)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def measure(model, images, digits):
    with torch.no_grad():
        right = (model(images).argmax(dim=1) == digits).float().mean().item()
    say(f"test accuracy {right:.4f} on {len(digits)} images")
