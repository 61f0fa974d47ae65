import sys
from pathlib import Path

# `drawn_weights` is shared by the tests of this room.
sys.path.insert(0, str(Path(__file__).parent))
