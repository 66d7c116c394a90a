"""How much of the machine one step may use, or which cluster it sends its work to."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

import dagster as dg
from pydantic import Field

from medillus_pipeline.settings import Settings


class ComputeResource(dg.ConfigurableResource):
    """Processes and threads within one step; a Dask cluster in place of the processes, where one is named."""

    workers: int = Field(ge=1, le=256, description="Worker processes within one step.")
    threads: int = Field(ge=1, le=256, description="Threads of torch within one step.")
    cluster: str = Field(default="", description="dask://host:port of a cluster; empty: processes of this machine.")

    @classmethod
    def of(cls, settings: Settings) -> "ComputeResource":
        """The resource that these settings describe."""
        return cls(workers=settings.workers, threads=settings.threads, cluster=settings.compute)

    @contextmanager
    def executor(self, *, restricted: bytes | None = None) -> Iterator[Executor | None]:
        """What shares a step's work: the cluster, or None, for which functions start `workers` processes themselves.

        `restricted` is the pseudonym key where tasks hold identified values: they then travel encrypted under a key
        derived from it. Tasks that are not done when the block ends are cancelled. Raises ConfigurationError for a
        cluster that must not be used as it is, TransientError for one that does not answer.
        """
        if not self.cluster:
            yield None
            return
        from medillus_pipeline.resources.dask_cluster import dask_executor
        from medillus_pipeline.resources.parcels import Envelope

        envelope = Envelope() if restricted is None else Envelope.sealed_with(restricted)
        with dask_executor(self.cluster, envelope) as executor:
            yield executor

    def use_torch_threads(self) -> None:
        """Bound torch's intra-operation threads in this process."""
        import torch

        torch.set_num_threads(self.threads)
