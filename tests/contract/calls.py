"""Every call of the client, under the name that the sandbox gives its operation."""

from collections.abc import Callable
from typing import Final
from uuid import uuid4

from nateq_webhooks.client import NateqClient
from tests.contract.conftest import EVENTS
from tests.contract.servers import SITE

Made = Callable[[NateqClient, str], object]

CALLS: Final[dict[str, Made]] = {
    "events": lambda client, _: client.webhooks.events(),
    "list": lambda client, _: client.webhooks.list(),
    "create": lambda client, _: client.webhooks.create(url=f"{SITE}/nateq/{uuid4()}/", events=EVENTS),
    "get": lambda client, id: client.webhooks.get(id),
    "update": lambda client, id: client.webhooks.update(id, is_active=False),
    "delete": lambda client, id: client.webhooks.delete(id),
    "rotate_secret": lambda client, id: client.webhooks.rotate_secret(id),
    "logs": lambda client, id: list(client.webhooks.logs(id)),
}

READS: Final = ["events", "list", "get", "logs"]
WRITES: Final = ["create", "update", "delete", "rotate_secret"]
ABOUT_ONE: Final = ["get", "update", "delete", "rotate_secret", "logs"]
