"""Handwritten digits in JAX: one program on several processes, each with a part of every batch."""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

STEPS, RATE = 200, 0.5


def loss(weights: dict[str, jax.Array], images: jax.Array, digits: jax.Array) -> jax.Array:
    hidden = jnp.tanh(images @ weights["in"])
    likelihoods = jax.nn.log_softmax(hidden @ weights["out"])
    return -jnp.take_along_axis(likelihoods, digits[:, None], axis=1).mean()


@jax.jit
def step(weights: dict[str, jax.Array], images: jax.Array, digits: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
    value, gradients = jax.value_and_grad(loss)(weights, images, digits)
    return jax.tree.map(lambda weight, gradient: weight - RATE * gradient, weights, gradients), value


def main() -> None:
    if "COORDINATOR_ADDRESS" in os.environ:  # a JAXJob
        jax.distributed.initialize(
            f"{os.environ['COORDINATOR_ADDRESS']}:{os.environ['COORDINATOR_PORT']}",
            num_processes=int(os.environ["NUM_PROCESSES"]),
            process_id=int(os.environ["PROCESS_ID"]),
        )
    else:  # a TrainJob
        jax.distributed.initialize(
            os.environ["JAX_COORDINATOR_ADDRESS"],
            num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
            process_id=int(os.environ["JAX_PROCESS_ID"]),
        )
    rank, world = jax.process_index(), jax.process_count()
    images, digits = load_digits(return_X_y=True)
    images, test_images, digits, test_digits = train_test_split(images / 16, digits, test_size=0.2, random_state=0)
    count = len(images) // world
    part = slice(rank * count, (rank + 1) * count)
    print(f"training on {count} of {len(images)} images as process {rank} of {world}, {jax.device_count()} devices")

    mesh = Mesh(numpy.array(jax.devices()), ("batch",))
    split, everywhere = NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())
    mine = images[part].astype("float32"), digits[part].astype("int32")
    batch = [jax.make_array_from_process_local_data(split, data) for data in mine]
    one, two = jax.random.split(jax.random.key(0))
    weights = {"in": jax.random.normal(one, (64, 64)) * 0.1, "out": jax.random.normal(two, (64, 10)) * 0.1}
    weights = jax.tree.map(
        lambda weight: jax.make_array_from_process_local_data(everywhere, numpy.asarray(weight)), weights
    )
    for number in range(1, STEPS + 1):
        weights, value = step(weights, *batch)
        if rank == 0 and number % 50 == 0:
            print(f"step {number:4d} loss {float(value):.4f}")
    if rank == 0:
        own = jax.tree.map(lambda weight: numpy.asarray(weight.addressable_data(0)), weights)
        found = (numpy.tanh(test_images @ own["in"]) @ own["out"]).argmax(axis=1)
        print(f"test accuracy {(found == test_digits).mean():.3f} on {len(test_digits)} images")
    jax.distributed.shutdown()


if __name__ == "__main__":
    main()
