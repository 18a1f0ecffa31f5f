"""Versions and machine that produced a result."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("catdog", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy", "pillow")


def environment() -> dict[str, Any]:
    """Describe versions and machine, as JSON values."""
    cpuinfo = Path("/proc/cpuinfo")  # Linux; elsewhere, `platform` knows the processor's name
    name = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "machine": {
            "system": platform.platform(),
            "processor": name[1] if name else platform.processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }
