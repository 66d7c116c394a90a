"""Figures per minute of CPU time, by style: drawn as SVG and PNG, and finished in every format with a signature.

    python -m medillus_pipeline_tests.benchmarks.figures_per_minute [--figures 5]

One synthetic slice of 64² with its structures; each figure has another seed in its request, so that none is the same.
Generation is not in it (`sampling_speed.py`), nor the checks before a figure leaves.
"""

import argparse
import os
import time

from medillus_pipeline.illustration.figure import draw_figure
from medillus_pipeline.illustration.finished import finish
from medillus_pipeline_tests.illustration.finished_figures import KEY, MADE_AT
from medillus_pipeline_tests.illustration.scenes import request

STYLES = ("radiology", "textbook", "patient", "journal", "quiz")


def seconds(style: str, figures: int) -> tuple[float, float, int]:
    """CPU seconds of a figure drawn, and of one finished; bytes of all files of one."""
    drawn = finished = 0.0
    size = 0
    for seed in range(figures + 1):  # the first one imports, and is not counted
        began = time.process_time()
        figure = draw_figure(request(style=style, seed=seed))
        between = time.process_time()
        files = finish(figure, key=KEY, made_at=MADE_AT, model_verdict="passed").files
        ended = time.process_time()
        if seed:
            drawn, finished = drawn + between - began, finished + ended - between
            size = sum(map(len, files.values()))
    return drawn / figures, finished / figures, size


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="figures per minute, by style")
    parser.add_argument("--figures", type=int, default=5, help="figures of each style")
    count = parser.parse_args().figures
    print(f"{'style':<12}{'draw, CPU s':>14}{'finish, CPU s':>16}{'a minute':>12}{'kB':>8}")
    for style in STYLES:
        draw, complete, size = seconds(style, count)
        print(f"{style:<12}{draw:>14.2f}{complete:>16.2f}{60 / (draw + complete):>12.0f}{size / 1e3:>8.0f}")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
