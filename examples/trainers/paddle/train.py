"""Handwritten digits in PaddlePaddle: collective training over gloo, started by ``paddle.distributed.launch``."""

from __future__ import annotations

import numpy
import paddle
import paddle.distributed as dist
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

EPOCHS, BATCH = 20, 32


def main() -> None:
    paddle.set_device("cpu")
    dist.init_parallel_env()
    rank, world = dist.get_rank(), dist.get_world_size()
    images, digits = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    images, test_images, digits, test_digits = train_test_split(images, digits, test_size=0.2, random_state=0)
    count = len(images) // world
    mine, wanted = images[rank::world][:count], digits[rank::world][:count]
    print(f"training on {count} of {len(images)} images as rank {rank} of {world}", flush=True)
    paddle.seed(0)
    network = paddle.nn.Sequential(paddle.nn.Linear(64, 64), paddle.nn.ReLU(), paddle.nn.Linear(64, 10))
    model = paddle.DataParallel(network)
    optimizer = paddle.optimizer.Adam(0.01, parameters=model.parameters())
    order = numpy.random.default_rng(rank)
    for epoch in range(1, EPOCHS + 1):
        shuffled = order.permutation(count)
        for begin in range(0, count - BATCH + 1, BATCH):
            chosen = shuffled[begin : begin + BATCH]
            scores = model(paddle.to_tensor(mine[chosen]))
            loss = paddle.nn.functional.cross_entropy(scores, paddle.to_tensor(wanted[chosen]))
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
        if rank == 0 and epoch % 5 == 0:
            print(f"epoch {epoch:3d} loss {float(loss):.4f}", flush=True)
    if rank == 0:
        found = network(paddle.to_tensor(test_images)).numpy().argmax(axis=1)
        print(f"test accuracy {(found == test_digits).mean():.3f} on {len(test_digits)} images", flush=True)


if __name__ == "__main__":
    main()
