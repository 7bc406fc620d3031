"""How long ``attune --help`` takes, each time in a fresh process: the median and the range, in seconds.

    python bench/startup.py [--runs 15] [-- sft --help]

What is timed is the whole process, from before it starts until after it has ended. The first run, which may
write bytecode, is not counted. The aim: a median under 0.5 s on two cores.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("words", nargs="*", default=["--help"])
    options = parser.parse_args()
    command = [sys.executable, "-m", "attune", *options.words]
    python_alone = [sys.executable, "-c", "pass"]
    seconds(command)
    # Alternating, so that a busy moment of the machine falls on both.
    times, floor = zip(*((seconds(command), seconds(python_alone)) for _ in range(options.runs)), strict=True)
    print(
        json.dumps(
            {
                "command": " ".join(["attune", *options.words]),
                "runs": options.runs,
                "median_seconds": round(statistics.median(times), 3),
                "min_seconds": round(min(times), 3),
                "max_seconds": round(max(times), 3),
                "python_alone_median_seconds": round(statistics.median(floor), 3),
                "python": platform.python_version(),
                "platform": f"{platform.system()} {platform.machine()}",
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
