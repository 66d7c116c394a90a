import threading
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from medillus_pipeline.dicom.deflate import GZIP, deflated


def pictures() -> list[bytes]:
    """Small ones, mostly black and white, as a soft-tissue window leaves them."""
    rng = np.random.default_rng(7)
    sizes = rng.integers(6, 40, (150, 2))
    return [
        ((rng.integers(0, 2000, (h, w)) - 899).clip(0, 349) * 255 // 349).astype(np.uint8).tobytes() for h, w in sizes
    ]


def at_many_addresses(make: Callable[[], list[bytes]]) -> list[list[bytes]]:
    """What `make` gives on stacks of different sizes, which lie at different addresses."""
    found: list[list[bytes]] = []
    before = threading.stack_size()
    try:
        for k in range(400):
            threading.stack_size((64 + k % 97 + 16 * (k // 97)) << 12)
            thread = threading.Thread(target=lambda: found.append(make()))
            thread.start()
            thread.join()
    finally:
        threading.stack_size(before)
    return found


@pytest.mark.parametrize("level", [1, 2])
def test_the_same_data_give_the_same_bytes_wherever_the_stream_lies_in_memory(level: int) -> None:
    wanted = pictures()
    streams: list[list[bytes]] = at_many_addresses(lambda: [deflated([data], level=level) for data in wanted])
    assert len(streams) == 400
    assert all(stream == streams[0] for stream in streams)
    assert [zlib.decompress(stream) for stream in streams[0]] == wanted


@pytest.mark.parametrize("sizes", [(0,), (1,), (7,), (8,), (9,), (3, 0, 5000), (0, 40), (400_000, 70_000)])
def test_parts_become_one_stream(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    parts = [rng.integers(0, 9, size, np.uint8).tobytes() for size in sizes]
    assert zlib.decompress(deflated(parts, level=1)) == b"".join(parts)
    assert zlib.decompress(deflated(map(memoryview, parts), level=2, bits=GZIP), GZIP) == b"".join(parts)
    assert deflated(parts, level=2, bits=GZIP)[4:8] == bytes(4)


def test_nothing_is_an_empty_stream() -> None:
    assert zlib.decompress(deflated([], level=1)) == b""
