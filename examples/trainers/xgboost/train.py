"""Handwritten digits by trees that all replicas grow together: XGBoost's collective training.

The master starts the tracker by which the replicas find each other; each trains on a part of the images.
"""

from __future__ import annotations

import os
import socket
import time

import xgboost
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from xgboost import collective
from xgboost.tracker import RabitTracker

MINUTES = 5
"""How long replicas wait for each other."""


def address(name: str) -> str:
    """The tracker wants an address; a name is known once its pod runs."""
    end = time.monotonic() + 60 * MINUTES
    while True:
        try:
            return socket.gethostbyname(name)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def main() -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    host, port = address(os.environ["MASTER_ADDR"]), int(os.environ["MASTER_PORT"])
    tracker = None
    if rank == 0:
        tracker = RabitTracker(n_workers=world, host_ip=host, port=port, sortby="task")
        tracker.start()
    images, digits = load_digits(return_X_y=True)
    images, test_images, digits, test_digits = train_test_split(images, digits, test_size=0.2, random_state=0)
    mine = xgboost.DMatrix(images[rank::world], digits[rank::world])
    with collective.CommunicatorContext(
        dmlc_tracker_uri=host, dmlc_tracker_port=port, dmlc_task_id=f"{rank:04d}", dmlc_retry=60 * MINUTES
    ):
        print(f"training on {mine.num_row()} of {len(images)} images as rank {rank} of {world}")
        settings = {"objective": "multi:softmax", "num_class": 10, "max_depth": 4, "eta": 0.3, "nthread": 1}
        seen = [(mine, "train")]
        model = xgboost.train(settings, mine, num_boost_round=20, evals=seen, verbose_eval=5 if rank == 0 else False)
    if tracker is not None:
        tracker.wait_for(timeout=60 * MINUTES)
        found = model.predict(xgboost.DMatrix(test_images))
        print(f"test accuracy {(found == test_digits).mean():.3f} on {len(test_digits)} images")


if __name__ == "__main__":
    main()
