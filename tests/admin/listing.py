"""What the pages of the admin's lists show."""

import re
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user
from django.contrib.messages.storage.fallback import FallbackStorage
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import resolve

LIST = "/admin/nateq_webhooks/delivery/"
RUNS = "/admin/nateq_webhooks/run/"


def later(moment: datetime, seconds: float) -> datetime:
    """Return a moment so many seconds later."""
    return moment + timedelta(seconds=seconds)


def listed(client: Client, query: str = "", url: str = LIST) -> Any:
    """Return the list that a page shows, without rendering the page: that takes longer than all the rest."""
    request = RequestFactory().get(f"{url}?{query}")
    request.session = client.session
    request.user = get_user(request)
    request._messages = FallbackStorage(request)  # type: ignore[attr-defined]
    view, arguments, named = resolve(url)
    response = view(request, *arguments, **named)
    assert response.status_code == 200, response.status_code
    return response.context_data["cl"]


def pks(client: Client, query: str = "", url: str = LIST) -> list[int]:
    """Return the keys of the rows that a page shows."""
    return [row.pk for row in listed(client, query, url).result_list]


def link(client: Client, query: str, rel: str, url: str = LIST) -> str | None:
    """Return the query of the page that a link on a page leads to."""
    found = [each.url for each in listed(client, query, url).page_links() if each.rel == rel]
    return found[0].removeprefix("?") if found else None


def statements(client: Client, query: str, url: str = LIST) -> list[str]:
    """Return the SQL of a page."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(f"{url}?{query}").status_code == 200
    return questions(captured)


_LIMIT_BEFORE = re.compile(r"^SET STATEMENT max_statement_time=[0-9.]+ FOR ")
_OF_A_LIMIT = re.compile(
    r"SAVEPOINT|RELEASE SAVEPOINT|SELECT (setting, )?set_config\('statement_timeout'", re.IGNORECASE
)


def questions(captured: CaptureQueriesContext) -> list[str]:
    """Return the SQL of what was asked, without what PostgreSQL and MariaDB take to limit the time of it."""
    asked = (_LIMIT_BEFORE.sub("", entry["sql"].replace("`", '"')) for entry in captured.captured_queries)
    return [sql for sql in asked if not _OF_A_LIMIT.match(sql)]
