"""`python -m benchmarks NAME [--json]`: one measurement, as lines or as one JSON object."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform

NAMES = (
    *("best_of_n", "class_load", "concurrency", "decode", "page", "repetition", "samplers", "start", "stream_probe"),
    "techniques",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = importlib.import_module(f"benchmarks.{arguments.name}").measure()
    result["machine"] = describe_machine()
    if arguments.json:
        print(json.dumps(result, indent=1))
    else:
        for name, value in result.items():
            print(f"{name}: {value}")


def describe_machine() -> dict[str, object]:
    import torch

    return {"cores": os.cpu_count(), "processor": platform.machine(), "torch": torch.__version__}


main()
