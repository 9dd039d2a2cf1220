"""Train a small network on handwritten digits with TensorFlow, parameter servers and workers.

Every replica of the TFJob runs this file; ``TF_CONFIG`` tells it who it is. Variables live on the parameter servers.
Each worker has its own graph and its own share of the images, computes gradients and applies them without waiting for
the others (asynchronous between-graph training). The leader (a Chief or Master, else worker 0) initialises the
variables and measures the result on images that nobody trained on.

A worker that restarts joins again where the others are; if a parameter server restarts, every worker's call fails, the
workers end with an error, and ``restartPolicy: OnFailure`` brings them back.
"""

import argparse
import functools
import json
import os
import signal
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before the import: fewer notes about the processor

import numpy as np
import tensorflow.compat.v1 as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

say = functools.partial(print, flush=True)  # a log line is worth most at once

PIXELS, CLASSES, HIDDEN = 64, 10, 64
REPORT_EVERY = 100


class Role:
    """Which replica this process is, as TF_CONFIG has it. Without TF_CONFIG: a cluster of one worker."""

    def __init__(self, config):
        self.cluster = config.get("cluster") or {"worker": ["localhost:0"]}
        task = config.get("task") or {"type": "worker", "index": 0}
        self.job, self.index = task["type"], int(task["index"])
        trainers = [job for job in ("chief", "master", "worker") if job in self.cluster]
        self.trainers = [(job, index) for job in trainers for index in range(len(self.cluster[job]))]
        self.serves = (self.job, self.index) not in self.trainers
        self.leads = (self.job, self.index) == self.trainers[0]

    @property
    def number(self):
        """This trainer's place among all trainers."""
        return self.trainers.index((self.job, self.index))


def digits(role, seed):
    """This trainer's share of the training images, and all test images."""
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        (images / 16.0).astype(np.float32), labels, test_size=0.2, stratify=labels, random_state=seed
    )
    share = slice(role.number, None, len(role.trainers))
    return (train_x[share], train_y[share]), (test_x, test_y)


class Model:
    """The graph that every trainer builds alike, so that their variables are the same ones on the servers."""

    def __init__(self, role, seed, learning_rate):
        self.x = tf.placeholder(tf.float32, [None, PIXELS])
        self.y = tf.placeholder(tf.int64, [None])
        weights = tf.glorot_uniform_initializer(seed=seed)
        hidden = tf.nn.relu(
            self.x @ tf.get_variable("hidden/weights", [PIXELS, HIDDEN], initializer=weights)
            + tf.get_variable("hidden/biases", [HIDDEN], initializer=tf.zeros_initializer())
        )
        logits = hidden @ tf.get_variable("output/weights", [HIDDEN, CLASSES], initializer=weights) + tf.get_variable(
            "output/biases", [CLASSES], initializer=tf.zeros_initializer()
        )
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=self.y, logits=logits)
        self.loss = tf.reduce_mean(losses)
        self.accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), self.y), tf.float32))
        self.step = tf.train.get_or_create_global_step()
        self.train = tf.train.AdamOptimizer(learning_rate).minimize(self.loss, global_step=self.step)

        arrived = tf.get_variable("arrived", [len(role.trainers)], tf.bool, tf.zeros_initializer(), trainable=False)
        self.arrive = tf.scatter_update(arrived, [role.number], [True])
        self.all_arrived = tf.reduce_all(arrived)
        self.ready = tf.equal(tf.size(tf.report_uninitialized_variables()), 0)
        self.initialise = tf.global_variables_initializer()


def wait_for(session, truth, what, timeout):
    """Ask the parameter servers until `truth` holds. They have no call that would wait for it."""
    deadline = time.monotonic() + timeout
    while not session.run(truth):
        if time.monotonic() > deadline:
            raise SystemExit(f"gave up after {timeout} s of waiting for {what}")
        time.sleep(0.05)


def train(role, server, options):
    (train_x, train_y), (test_x, test_y) = digits(role, options.seed)
    # A trainer sees the servers and itself only: it need not wait for a peer that restarts or has finished.
    filters = ["/job:ps", f"/job:{role.job}/task:{role.index}"]
    device = tf.train.replica_device_setter(
        cluster=tf.train.ClusterSpec(role.cluster), worker_device=f"/job:{role.job}/task:{role.index}"
    )
    with tf.Graph().as_default(), tf.device(device):
        model = Model(role, options.seed, options.learning_rate)
        config = tf.ConfigProto(device_filters=filters, intra_op_parallelism_threads=1)
        with tf.Session(server.target, config=config) as session:
            if role.leads and not session.run(model.ready):
                session.run(model.initialise)
            wait_for(session, model.ready, "the variables", options.patience)
            session.run(model.arrive)
            wait_for(session, model.all_arrived, "the other workers", options.patience)
            say(f"training on {len(train_x)} images, worker {role.number + 1} of {len(role.trainers)}")

            draw = np.random.default_rng((options.seed, role.number))
            mine, step = 0, session.run(model.step)
            while step < options.training_steps:
                batch = draw.choice(len(train_x), options.batch_size, replace=False)
                feed = {model.x: train_x[batch], model.y: train_y[batch]}
                fetches = [model.train, model.step, model.loss, model.accuracy]
                _, step, loss, accuracy = session.run(fetches, feed)
                mine += 1
                if mine % REPORT_EVERY == 0:
                    say(f"step {step:5d}  loss {loss:.4f}  accuracy {accuracy:.3f}")
            say(f"done: {mine} of {options.training_steps} steps ran here")
            if role.leads:
                accuracy = session.run(model.accuracy, {model.x: test_x, model.y: test_y})
                say(f"test accuracy {accuracy:.4f} on {len(test_x)} images")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--training_steps", type=int, default=1500, help="steps of all workers together")
    parser.add_argument("--learning_rate", type=float, default=0.002)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--patience", type=int, default=300, help="seconds to wait for the other replicas at the start")
    options = parser.parse_args()

    role = Role(json.loads(os.environ.get("TF_CONFIG") or "{}"))
    if role.serves:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # before TensorFlow's threads start: they inherit it
    server = tf.train.Server(role.cluster, job_name=role.job, task_index=role.index)
    if role.serves:
        say(f"serving variables as {role.job} {role.index}")
        signal.sigwait([signal.SIGTERM])  # how the job ends its servers once the workers are done (cleanPodPolicy)
        say("the job has ended")
    else:
        train(role, server, options)


if __name__ == "__main__":
    main()
