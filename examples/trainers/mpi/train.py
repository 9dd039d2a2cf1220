"""Handwritten digits over MPI: every process has a part of the images, and the gradients are summed by Allreduce."""

from __future__ import annotations

import socket

import numpy
from mpi4py import MPI
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

STEPS, RATE = 200, 0.5


def main() -> None:
    world = MPI.COMM_WORLD
    rank, size = world.Get_rank(), world.Get_size()
    images, digits = load_digits(return_X_y=True)
    images, test_images, digits, test_digits = train_test_split(images / 16, digits, test_size=0.2, random_state=0)
    mine, wanted = images[rank::size], numpy.eye(10)[digits[rank::size]]
    where = socket.gethostname()
    print(f"training on {len(mine)} of {len(images)} images as rank {rank} of {size} on {where}", flush=True)
    weights = numpy.zeros((64, 10))
    for number in range(1, STEPS + 1):
        scores = numpy.exp(mine @ weights)
        likelihoods = scores / scores.sum(axis=1, keepdims=True)
        gradient = numpy.ascontiguousarray(mine.T @ (likelihoods - wanted))
        world.Allreduce(MPI.IN_PLACE, gradient)
        weights -= RATE * gradient / len(images)
        if number % 50 == 0:
            total = world.allreduce(-(wanted * numpy.log(likelihoods)).sum())
            if rank == 0:
                print(f"step {number:4d} loss {total / len(images):.4f}", flush=True)
    if rank == 0:
        found = (test_images @ weights).argmax(axis=1)
        print(f"test accuracy {(found == test_digits).mean():.3f} on {len(test_digits)} images", flush=True)


if __name__ == "__main__":
    main()
