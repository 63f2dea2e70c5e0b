"""The settings of the test suite, with a retention."""

from tests.settings import *  # noqa: F403 - the same, and more
from tests.settings import NATEQ_WEBHOOKS

NATEQ_WEBHOOKS = NATEQ_WEBHOOKS | {"RETENTION": {"delivery": 30}}
