"""What a run says of its machine."""

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch

import leukospike
from leukospike.environment import describe_environment, peak_memory_mb

STATUS = Path("/proc/self/status")


def test_environment_names_versions_and_threads():
    environment = describe_environment()
    assert environment["leukospike"] == metadata.version("leukospike")
    assert environment["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()
    assert environment["processor"]
    assert json.loads(json.dumps(environment)) == environment


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells it a second way")
def test_peak_memory_is_what_linux_says():
    [line] = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")]
    kibibytes = int(line.split()[1])
    assert peak_memory_mb() == pytest.approx(kibibytes * 1024 / 1e6, abs=5)


def test_package_states_its_version_and_no_unknown_name():
    assert leukospike.__version__ == metadata.version("leukospike")
    with pytest.raises(AttributeError, match="module 'leukospike' has no attribute 'no_such_name'"):
        _ = leukospike.no_such_name
