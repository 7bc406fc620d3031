"""Whether the model hub can be reached, found out in seconds: its own client tries again for minutes."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

SECONDS = 5.0


def only_local(path: str) -> bool:
    """True where ``path`` is a hub id and the hub cannot be reached: then only its cached copy can serve."""
    return not Path(path).exists() and not is_reachable()


@lru_cache(maxsize=1)
def is_reachable() -> bool:
    """One connection to the hub's host (or its mirror, ``HF_ENDPOINT``).

    Behind a proxy the client must find out by itself.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=SECONDS):
            return True
    except OSError:
        return False
