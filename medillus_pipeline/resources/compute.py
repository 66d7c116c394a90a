"""How much of the machine one step may use."""

import dagster as dg
from pydantic import Field

from medillus_pipeline.settings import Settings


class ComputeResource(dg.ConfigurableResource):
    """Processes and threads within one step."""

    workers: int = Field(ge=1, le=256, description="Worker processes within one step.")
    threads: int = Field(ge=1, le=256, description="Threads of torch within one step.")

    @classmethod
    def of(cls, settings: Settings) -> "ComputeResource":
        """The resource that these settings describe."""
        return cls(workers=settings.workers, threads=settings.threads)

    def use_torch_threads(self) -> None:
        """Bound torch's intra-operation threads in this process."""
        import torch

        torch.set_num_threads(self.threads)
