import os
import sys
from pathlib import Path

import pytest

# `narrow_networks` is shared by the tests of this room, and by worker processes.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _skip_fsync(monkeypatch):
    """What a killed process had written, the system still has: only a power cut needs the disk, and no test cuts it."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
