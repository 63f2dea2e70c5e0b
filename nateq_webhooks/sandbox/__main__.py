"""``python -m nateq_webhooks.sandbox``: a local Nateq in a separate process."""

import sys

from nateq_webhooks.sandbox.command_line import main

sys.exit(main())
