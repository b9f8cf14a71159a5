"""A heavy import and a small network: what a cold start and an instance's memory are with torch in them."""

import torch
from cog import BaseRunner, Input


class Runner(BaseRunner):
    def setup(self) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.network = torch.nn.Sequential(
            torch.nn.Linear(256, 512),
            torch.nn.ReLU(),
            torch.nn.Linear(512, 512),
            torch.nn.ReLU(),
            torch.nn.Linear(512, 1),
        ).eval()

    def run(self, seed: int = Input(description="Seed of the random input", default=1, ge=0)) -> float:
        noise = torch.randn(1, 256, generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            return float(self.network(noise))
