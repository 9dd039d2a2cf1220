"""Hugging Face Accelerate: the loop stays that of one process."""

import digits
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

accelerator = Accelerator(cpu=True)
training, test = digits.load()
model = digits.network()
optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
batches = DataLoader(TensorDataset(*training), batch_size=32, shuffle=True)
model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
digits.say(f"{len(batches)} batches as process {accelerator.process_index} of {accelerator.num_processes}")
for _ in range(20):
    for images, labels in batches:
        optimizer.zero_grad()
        accelerator.backward(torch.nn.functional.cross_entropy(model(images), labels))
        optimizer.step()
if accelerator.is_main_process:
    digits.measure(accelerator.unwrap_model(model), *test)
accelerator.end_training()
