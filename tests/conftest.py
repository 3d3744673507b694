"""What several test folders share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Give the folder of real images: LEUKOSPIKE_DATA, or shared/data beside the project."""
    named = os.environ.get("LEUKOSPIKE_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set LEUKOSPIKE_DATA to their folder")
    return folder
