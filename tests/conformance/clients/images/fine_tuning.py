"""The initializer and the trainer of ``TrainingClient.train``, as far as their arguments, volumes and variables go."""

import argparse
import json
import os
import time
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("model_provider", "model_provider_parameters", "dataset_provider", "dataset_provider_parameters"):
    parser.add_argument(f"--{name}")
for name in ("model_uri", "transformer_type", "num_labels", "model_dir", "dataset_dir", "lora_config"):
    parser.add_argument(f"--{name}")
parser.add_argument("--training_parameters")
given = parser.parse_args()
if given.model_provider:
    asked = {"model": given.model_provider_parameters, "dataset": given.dataset_provider_parameters}
    for place, parameters in asked.items():
        Path("/workspace", place).mkdir(exist_ok=True)
        fresh = Path("/workspace", place, "asked.new")
        fresh.write_text(parameters)
        fresh.replace(fresh.with_suffix(".json"))
    hub = os.environ["HF_ENDPOINT"]
    print(f"fetched by {given.model_provider} and {given.dataset_provider} from {hub}", flush=True)
else:
    files = [Path(place, "asked.json") for place in (given.model_dir, given.dataset_dir)]
    # Only the master has an initializer. Real workers wait for it where they all meet.
    while not all(file.exists() for file in files):
        time.sleep(0.1)
    model, data = (json.loads(file.read_text()) for file in files)
    rank = int(json.loads(given.lora_config)["r"])
    who = f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"
    print(f"tunes {model['model_uri']} ({given.transformer_type}) on {data['repo_id']}, r={rank}, as {who}", flush=True)
