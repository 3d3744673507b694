"""On what machine, and with what software, a figure was made."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import torch


def peak_memory_mb() -> float:
    """Return the most memory this process has held, in 10^6 bytes; 0 where the system does not tell."""
    try:
        import resource  # not on Windows
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def describe_environment() -> dict[str, str | int | None]:
    """Describe the machine and software behind the figures."""
    return {
        "leukospike": metadata.version("leukospike"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    """Return the processor's name, which Linux keeps in a file of its own."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
