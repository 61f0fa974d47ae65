import sys
from pathlib import Path

# Worker processes must be able to import the toy search by name.
sys.path.insert(0, str(Path(__file__).parent))
