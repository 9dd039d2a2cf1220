"""Train a small network on handwritten digits with TensorFlow's ParameterServerStrategy, under one coordinator.

Every replica of the TFJob runs this file; ``TF_CONFIG`` tells it who it is. Variables live on the parameter servers;
the chief hands out steps to the workers, whoever is free, and stores a checkpoint after each round. The evaluator is no
part of the cluster: it judges each checkpoint on images that nobody trained on. Once it finds one good enough, the
chief ends, and with it the job.

A worker that is lost is missed by nobody: the coordinator gives its step to another.
"""

import argparse
import functools
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before the import: fewer notes about the processor

import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

PIXELS, HIDDEN, CLASSES = 64, 64, 10
VERDICT = "verdict.json"

say = functools.partial(print, flush=True)


def digits():
    images, labels = load_digits(return_X_y=True)
    return train_test_split((images / 16).astype("float32"), labels, test_size=0.2, stratify=labels, random_state=7)


class Network(tf.Module):
    def __init__(self):
        draw = functools.partial(tf.random.stateless_normal, stddev=0.1)
        self.hidden = tf.Variable(draw((PIXELS, HIDDEN), seed=(7, 0)))
        self.output = tf.Variable(draw((HIDDEN, CLASSES), seed=(7, 1)))
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)

    def scores(self, pixels):
        return tf.matmul(tf.nn.relu(tf.matmul(pixels, self.hidden)), self.output)


def serve(resolver):
    """A worker or parameter server: it does what it is told, until the job's end takes it away."""
    say(f"waits for steps as {resolver.task_type} {resolver.task_id}")
    server = tf.distribute.Server(
        resolver.cluster_spec(),
        job_name=resolver.task_type,
        task_index=resolver.task_id,
        protocol=resolver.rpc_layer or "grpc",
        start=True,
    )
    server.join()


def coordinate(resolver, options):
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    images, test_images, labels, _ = digits()
    with strategy.scope():
        network = Network()

    def shuffled():
        everything = tf.data.Dataset.from_tensor_slices((images, labels))
        return everything.shuffle(len(images)).repeat().batch(options.batch_size)

    @tf.function
    def step(batches):
        pixels, wanted = next(batches)
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, network.scores(pixels))
            loss = tf.reduce_mean(losses)
        variables = [network.hidden, network.output]
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(options.rate * gradient)
        network.step.assign_add(1)
        return loss

    batches = iter(coordinator.create_per_worker_dataset(shuffled))
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(network=network), options.checkpoints, max_to_keep=3)
    say(f"coordinates {len(resolver.cluster_spec().job_tasks('worker'))} workers")
    for number in range(1, options.rounds + 1):
        losses = [coordinator.schedule(step, args=(batches,)) for _ in range(options.steps)]
        coordinator.join()
        manager.save(checkpoint_number=number)
        say(f"round {number:2d}  step {int(network.step.numpy()):5d}  loss {float(losses[-1].fetch()):.4f}")
        if verdict(options)[1] >= options.goal:
            break
    # The evaluator is at its own pace: its last word is waited for, not its next one.
    deadline = time.monotonic() + options.patience
    judged, accuracy = verdict(options)
    while judged < number and accuracy < options.goal and time.monotonic() < deadline:
        time.sleep(0.2)
        judged, accuracy = verdict(options)
    say(f"test accuracy {accuracy:.4f} on {len(test_images)} images after round {judged}, says the evaluator")


def verdict(options):
    """The last round that the evaluator has judged, and how good it was."""
    file = options.checkpoints / VERDICT
    if not file.exists():
        return 0, 0.0
    found = json.loads(file.read_text())
    return found["round"], found["accuracy"]


def evaluate(options):
    _, images, _, labels = digits()
    network = Network()
    say(f"judges checkpoints on {len(images)} images")
    for path in tf.train.checkpoints_iterator(options.checkpoints, min_interval_secs=0, timeout=options.patience):
        tf.train.Checkpoint(network=network).restore(path).expect_partial()
        accuracy = float((network.scores(images).numpy().argmax(axis=1) == labels).mean())
        number = int(path.rpartition("-")[2])
        say(f"round {number:2d}  accuracy {accuracy:.4f}")
        fresh = options.checkpoints / f"{VERDICT}.new"
        fresh.write_text(json.dumps({"round": number, "accuracy": accuracy}))
        fresh.replace(options.checkpoints / VERDICT)  # a whole one at any moment
        if accuracy >= options.goal or number >= options.rounds:
            say("good enough")
            return


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=Path, required=True, help="a directory that all replicas share")
    parser.add_argument("--rounds", type=int, default=60, help="at most")
    parser.add_argument("--steps", type=int, default=50, help="of each round, of all workers together")
    parser.add_argument("--goal", type=float, default=0.93, help="accuracy that ends the training")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--patience", type=float, default=120, help="seconds to wait for the evaluator, or the chief")
    options = parser.parse_args()

    tf.config.threading.set_inter_op_parallelism_threads(2)
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if resolver.task_type == "evaluator":
        evaluate(options)
    elif resolver.task_type in ("worker", "ps"):
        serve(resolver)
    else:
        coordinate(resolver, options)


if __name__ == "__main__":
    main()
