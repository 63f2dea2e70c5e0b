"""The sender's part: sign and post like Nateq, and try again until a delivery is acknowledged."""

import http.client
import itertools
import json
import random
import sys
import time
from dataclasses import dataclass

from nateq_webhooks.protocol.examples import example_envelope
from nateq_webhooks.protocol.signatures import sign

MOST_ATTEMPTS = 600


@dataclass(frozen=True)
class Sender:
    """Who sends to one webhook of the site."""

    port: int
    path: str
    secret: str

    def deliver(self, delivery_id: str, *, number: int = 1) -> int:
        """Send one delivery like Nateq: the same id, `attempt` counting up, until a 2xx; return the last attempt."""
        for attempt in itertools.count(1):
            if self.post(delivery_id, attempt, number=number):
                return attempt
            if attempt > MOST_ATTEMPTS:
                sys.exit(f"{delivery_id} was never acknowledged")
            time.sleep(random.uniform(0.05, 0.3))
        raise AssertionError

    def post(self, delivery_id: str, attempt: int, *, number: int = 1) -> bool:
        """Send one attempt; say whether it was acknowledged."""
        document = example_envelope("ticket.created", number=number, delivery_id=delivery_id, attempt=attempt)
        body = json.dumps(document).encode()
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"Content-Type": "application/json", "X-Nateq-Signature": sign(body, self.secret)}
            client.request("POST", self.path, body, headers)
            return client.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            client.close()
