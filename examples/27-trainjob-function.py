"""A Python function as a TrainJob of two nodes, by Kubeflow's official SDK.

pip install kubeflow==0.5.0
KUBECONFIG=<data directory>/kubeconfig python examples/27-trainjob-function.py
"""

from kubeflow.trainer import CustomTrainer, TrainerClient


def train(epochs: int) -> None:
    """Runs in each pod: whatever it needs, it imports itself."""
    import os

    import torch
    import torch.distributed as dist
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(7)
    torch.set_num_threads(1)
    images, digits = load_digits(return_X_y=True)
    images, digits = torch.tensor(images / 16.0, dtype=torch.float32), torch.tensor(digits)
    test, mine = slice(0, 360), slice(360 + rank, None, world)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    print(f"training as rank {rank} of {world} on {os.environ['HOSTNAME']}", flush=True)
    for _ in range(epochs):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[mine]), digits[mine]).backward()
        optimizer.step()
    if rank == 0:
        right = (model.module(images[test]).argmax(dim=1) == digits[test]).float().mean().item()
        print(f"test accuracy {right:.4f} on 360 images", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    client = TrainerClient()
    trainer = CustomTrainer(
        func=train, func_args={"epochs": 150}, num_nodes=2, image="homeport-examples/digits-pytorch"
    )
    name = client.train(runtime="torch-distributed", trainer=trainer)
    client.wait_for_job_status(name, timeout=600)
    print("\n".join(client.get_job_logs(name)))
    client.delete_job(name)
