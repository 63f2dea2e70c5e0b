"""What the tests of a site import: events as Nateq sends them, and their delivery to the site's receivers.

    from nateq_webhooks.testing import deliver, make_event

    class TicketsTest(TestCase):
        def test_a_ticket_is_opened(self):
            deliver(make_event("ticket.created", id="tkt_1", subject="Help"))

            assert Ticket.objects.get().number == "tkt_1"

Nothing is replaced by a double: the delivery is signed, verified and stored, and its runs are in the database. Works in
Django's `TestCase` and `TransactionTestCase` and under pytest-django alike. The names in `__all__` are public.
"""

from nateq_webhooks.errors import DeliveryRefusedError
from nateq_webhooks.testing.delivery import deliver
from nateq_webhooks.testing.events import make_event, sign

__all__ = ["DeliveryRefusedError", "deliver", "make_event", "sign"]
