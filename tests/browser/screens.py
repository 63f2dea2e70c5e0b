"""The screens of the admin that are ours: a name for each, and where it is."""

from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from tests.browser.scene import CUSTOMER, Scene

_ADMIN: Final = "/admin/nateq_webhooks"


def _delivery(scene: Scene, page: str) -> str:
    return f"{_ADMIN}/delivery/{scene.dead.pk}/{page}"


def _webhook(scene: Scene, page: str) -> str:
    return f"{_ADMIN}/webhook/{scene.webhook.pk}/{page}"


SCREENS: Final[dict[str, Callable[[Scene], str]]] = {
    "dashboard": lambda scene: f"{_ADMIN}/",
    "webhooks": lambda scene: f"{_ADMIN}/webhook/",
    "new webhook": lambda scene: f"{_ADMIN}/webhook/add/",
    "webhook": lambda scene: _webhook(scene, "change/"),
    "test event": lambda scene: _webhook(scene, "test/"),
    "pause": lambda scene: _webhook(scene, "pause/"),
    "new secret": lambda scene: _webhook(scene, "secret/"),
    "sent by Nateq": lambda scene: _webhook(scene, "sent/"),
    "at Nateq": lambda scene: _webhook(scene, "remote/"),
    "deliveries": lambda scene: f"{_ADMIN}/delivery/",
    "deliveries filtered": lambda scene: f"{_ADMIN}/delivery/?status__exact=dead",
    "delivery found": lambda scene: f"{_ADMIN}/delivery/?q=dlv_live_0",
    "no delivery": lambda scene: f"{_ADMIN}/delivery/?q=dlv_none",
    "delivery": lambda scene: _delivery(scene, "change/"),
    "payload": lambda scene: _delivery(scene, "payload/"),
    "payload search": lambda scene: _delivery(scene, f"payload/?find={CUSTOMER}"),
    "payload bytes": lambda scene: _delivery(scene, "payload/?bytes=0"),
    "replay of one": lambda scene: _delivery(scene, "replay/?which=all"),
    "replay of many": lambda scene: f"{_ADMIN}/delivery/replay-many/?status=dead",
    "erase": lambda scene: f"{_ADMIN}/delivery/erase/?deliveries={scene.dead.pk}",
    "export": lambda scene: f"{_ADMIN}/delivery/export/?status=dead",
    "runs": lambda scene: f"{_ADMIN}/run/",
    "run": lambda scene: f"{_ADMIN}/run/{scene.run.pk}/change/",
    "retry of runs": lambda scene: f"{_ADMIN}/run/retry/?{urlencode({'receiver': scene.run.receiver})}",
    "receivers": lambda scene: f"{_ADMIN}/run/receivers/",
    "receiver": lambda scene: f"{_ADMIN}/run/receiver/?{urlencode({'name': scene.run.receiver})}",
    "audit log": lambda scene: f"{_ADMIN}/auditentry/",
    "rejections": lambda scene: f"{_ADMIN}/rejection/",
    "rejection": lambda scene: f"{_ADMIN}/rejection/{scene.rejection.pk}/change/",
    "API keys": lambda scene: f"{_ADMIN}/apikey/",
    "new API key": lambda scene: f"{_ADMIN}/apikey/add/",
    "API key": lambda scene: f"{_ADMIN}/apikey/{scene.key.pk}/change/",
    "replays": lambda scene: f"{_ADMIN}/replay/",
    "replay under way": lambda scene: f"{_ADMIN}/replay/{scene.under_way.pk}/change/",
    "replay": lambda scene: f"{_ADMIN}/replay/{scene.replay.pk}/change/",
}
