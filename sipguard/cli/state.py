"""Where the service keeps its state, as every command that reads it finds it."""

import argparse
import os
from pathlib import Path
from typing import Final

DEFAULT_STATE: Final = "/var/lib/sipguard"
STATE_VARIABLE: Final = "SIPGUARD_STATE"


def add_state_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--state-dir``."""
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        type=Path,
        default=Path(os.environ.get(STATE_VARIABLE) or DEFAULT_STATE),
        help=f"the service's state directory (default: ${STATE_VARIABLE}, or {DEFAULT_STATE})",
    )
