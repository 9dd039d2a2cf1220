"""Train a small network on handwritten digits with TensorFlow's MultiWorkerMirroredStrategy.

Every worker of the TFJob runs this file; ``TF_CONFIG`` tells it who it is and where the others are. Each has a copy of
the network and its own share of the images, and all sum up their gradients in every step.
"""

import functools
import json
import os

import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

EPOCHS, BATCH, RATE = 30, 32, 0.2

say = functools.partial(print, flush=True)


def main():
    task = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {"index": 0})
    tf.config.threading.set_inter_op_parallelism_threads(2)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    rank, world = task["index"], strategy.num_replicas_in_sync
    images, digits = load_digits(return_X_y=True)
    parts = train_test_split((images / 16).astype("float32"), digits, test_size=0.2, random_state=7)
    images, test_images, digits, test_digits = parts
    count = len(images) // world
    mine = tf.data.Dataset.from_tensor_slices((images[rank::world][:count], digits[rank::world][:count]))
    batches = mine.shuffle(count, seed=rank).batch(BATCH, drop_remainder=True)
    say(f"training on {count} of {len(images)} images as worker {rank} of {world}")
    with strategy.scope():
        hidden = tf.Variable(tf.random.stateless_normal((64, 64), seed=(7, 0), stddev=0.1))
        output = tf.Variable(tf.random.stateless_normal((64, 10), seed=(7, 1), stddev=0.1))

    def scores(pixels):
        return tf.matmul(tf.nn.relu(tf.matmul(pixels, hidden)), output)

    def step(pixels, labels):
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores(pixels))
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [hidden, output])
        context = tf.distribute.get_replica_context()
        for variable, gradient in zip((hidden, output), context.all_reduce("MEAN", gradients), strict=True):
            variable.assign_sub(RATE * gradient)
        return loss

    @tf.function
    def together(pixels, labels):
        losses = strategy.run(step, args=(pixels, labels))
        return strategy.reduce("MEAN", losses, axis=None)

    for epoch in range(1, EPOCHS + 1):
        for pixels, labels in batches:
            loss = together(pixels, labels)
        if rank == 0 and epoch % 5 == 0:
            say(f"epoch {epoch:2d}  loss {float(loss):.4f}")
    if rank == 0:
        found = scores(test_images).numpy().argmax(axis=1)
        say(f"test accuracy {(found == test_digits).mean():.3f} on {len(test_digits)} images")


if __name__ == "__main__":
    main()
