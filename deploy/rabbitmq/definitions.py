"""Write RabbitMQ's definitions: Covaria's topology, and one user for each role with the least rights it can work with.

    python3 definitions.py SECRETS OUTPUT

SECRETS holds a file <user>_password for each user: submit, monitor, setup, gateway, worker_<stage>. The passwords
are written salted and hashed (SHA-256), as RabbitMQ keeps them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from pathlib import Path

from covaria.bus.topology import build_topology, definitions, permissions
from covaria.request.stages import STAGES
from covaria.settings import load_settings

VHOST = "covaria"


def password_hash(password: str, salt: bytes) -> str:
    """RabbitMQ's form: base64 of the salt (4 bytes) and SHA-256 of salt and password."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def users_and_rights() -> dict[str, dict[str, str]]:
    """User name -> configure, write and read rights."""
    rights = {f"worker_{stage}": permissions(stage)["worker"] for stage in STAGES}
    return rights | {role: permissions()[role] for role in ("submit", "monitor", "setup", "gateway")}


def make_definitions(secrets: Path) -> dict[str, object]:
    """Topology, users, permissions. Raises FileNotFoundError or ValueError where a password is missing or empty."""
    settings = load_settings()
    topology = build_topology(settings.retry_delays_s, settings.event_listeners, settings.pools)
    document = definitions(topology, VHOST)
    users, rights = [], []
    for user, right in users_and_rights().items():
        password = (secrets / f"{user}_password").read_text().strip()
        if not password:
            raise ValueError(f"{secrets / f'{user}_password'} is empty")
        hashed = password_hash(password, os.urandom(4))
        users.append(
            {"name": user, "password_hash": hashed, "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": []}
        )
        rights.append({"user": user, "vhost": VHOST, **right})
    return {**document, "users": users, "permissions": rights}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    target = Path(sys.argv[2])
    target.write_text(json.dumps(make_definitions(Path(sys.argv[1])), indent=2) + "\n")
    print(f"wrote {target}: topology and {len(users_and_rights())} users")
