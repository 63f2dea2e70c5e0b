"""Where a person may be quoted: every column of this package's tables that has text, JSON or bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.apps import apps
from django.db import models, router
from django.db.models import Q, QuerySet

from nateq_webhooks.models import AuditEntry, OtherContent, Rejection, Replay, Run, RunTry
from nateq_webhooks.models.hold import Hold
from nateq_webhooks.models.idempotent_answer import IdempotentAnswer
from nateq_webhooks.models.run import MAX_ERROR_CHARS, MAX_TRACEBACK_CHARS


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTable:
    """A table whose texts are blanked where they quote the person."""

    model: type[models.Model]
    columns: Mapping[str, int | None]
    "Text and JSON columns; the number of characters at which a text was cut, None if it never is."
    moment: str = ""
    "The column with the time of the row, for `since`."
    delivery: str = ""
    "The path to the delivery it belongs to."
    body: str = ""
    "A column with a body of its own, which is emptied if it meets the criteria or quotes the person."
    worth_reading: Q = field(default_factory=Q)
    batch_size: int = 500
    "Rows that are read at a time: fewer where a row may be large."

    @property
    def name(self) -> str:
        """The name of the model, in lower case."""
        return str(self.model._meta.model_name)

    @property
    def is_of_runs(self) -> bool:
        """Whether it has what the receivers of a delivery raised."""
        return self.model in (Run, RunTry)

    @property
    def all_columns(self) -> list[str]:
        """The columns to read."""
        return [*self.columns, *([self.body] if self.body else [])]

    def rows(self, alias: str) -> QuerySet[Any]:
        """Return the rows that may have text."""
        rows: QuerySet[Any] = self.model._meta.base_manager.using(alias).filter(self.worth_reading)
        return rows


TEXT_TABLES: Final[Sequence[TextTable]] = (
    TextTable(
        model=Run,
        columns={"error": MAX_ERROR_CHARS, "traceback": MAX_TRACEBACK_CHARS},
        moment="created_at",
        delivery="delivery",
        worth_reading=~Q(error="", traceback=""),
    ),
    TextTable(
        model=RunTry,
        columns={"error": MAX_ERROR_CHARS},
        moment="finished_at",
        delivery="run__delivery",
        worth_reading=~Q(error=""),
    ),
    TextTable(
        model=OtherContent,
        columns={"event": None},
        moment="received_at",
        delivery="delivery",
        body="body",
        batch_size=10,
    ),
    TextTable(model=Replay, columns={"reason": 500, "filters": None}, moment="created_at"),
    TextTable(model=Rejection, columns={"hint": None, "header_names": None}, moment="received_at"),
    TextTable(model=IdempotentAnswer, columns={"document": None}, moment="created_at", batch_size=20),
    TextTable(model=Hold, columns={"reason": 500}),
    TextTable(model=AuditEntry, columns={"target": 255, "details": None}, moment="at"),
)

KEPT: Final[Mapping[str, Mapping[str, str]]] = {
    "Webhook": dict.fromkeys(
        ("name", "secret", "events", "organization_id", "signature_header", "nateq_id", "registration", "claim"),
        "set up by the site",
    ),
    "Secret": {"secret": "set up by the site"},
    "ApiKey": dict.fromkeys(
        ("name", "key_hash", "hint", "scopes", "organization_id", "allowed_addresses"), "set up by the site"
    ),
    "EventType": dict.fromkeys(("name", "description"), "Nateq's catalogue"),
    "Delivery": {
        "identity": "a hash, so that a repeat is recognized",
        "content_hash": "a hash, so that a repeat is recognized",
        "notes": "codes",
        "status": "a code",
        "remote_addr": "the sender's, Nateq's",
        "secret_id": "part of a hash of the secret",
        "content_change": "a code",
    },
    "OtherContent": {
        "content_hash": "a hash, so that a repeat is recognized",
        "remote_addr": "the sender's, Nateq's",
        "secret_id": "part of a hash of the secret",
    },
    "Attempt": {"remote_addr": "the sender's, Nateq's"},
    "UnredactedBody": {"body": "deleted with the content of its delivery"},
    "RemovedDelivery": dict.fromkeys(("identity", "reason"), "a hash and a code"),
    "Run": {"receiver": "a name in the code", "status": "a code"},
    "Replay": {"by": "who did it", "receivers": "names in the code", "organization_id": "whose deliveries a key sees"},
    "Rejection": {"reason": "a code", "remote_addr": "of a request that was refused"},
    "Hold": {"scope": "a webhook's key and a receiver's name", "paused_by": "who did it"},
    "OrderLock": dict.fromkeys(("key", "head_key"), "a hash; deleted when the run is dropped"),
    "Heartbeat": {"name": "a worker"},
    "FailureAcknowledgement": {"key": "a hash", "receiver": "a name in the code", "by": "who did it"},
    "IdempotentAnswer": dict.fromkeys(("name", "request"), "a hash"),
    "AuditEntry": {"action": "a code", "source": "a code", "actor": "who did it"},
    "HourlyCount": {"numbers": "numbers"},
    "RetentionProgress": {"key": "a hash", "left": "keys of rows"},
    "ErasureProgress": {"key": "a keyed hash", "position": "keys of rows", "counts": "numbers"},
}
"""The other columns that could have text, and why an erasure leaves them alone."""


def text_tables() -> list[TextTable]:
    """Return the tables to look through, and the admin's history of this package's rows if the admin is installed."""
    tables = list(TEXT_TABLES)
    if apps.is_installed("django.contrib.admin"):
        from django.contrib.admin.models import LogEntry

        of_ours = Q(content_type__app_label="nateq_webhooks")
        columns = {"object_repr": 200, "change_message": None}
        tables.append(TextTable(model=LogEntry, columns=columns, moment="action_time", worth_reading=of_ours))
    return tables


def database_of(table: TextTable, alias: str) -> str:
    """Return the database of a table: the admin's history may be in another one than the deliveries."""
    return alias if table.model._meta.app_label == "nateq_webhooks" else router.db_for_write(table.model)


def table_label(name: str) -> str:
    """Return the plural name of a table of a report."""
    labels = {table.name: table.model._meta.verbose_name_plural for table in text_tables()}
    return str(labels.get(name) or apps.get_model("nateq_webhooks", name)._meta.verbose_name_plural)
