"""``python -m nateq_webhooks.sandbox``: a local Nateq as a process of its own."""

import sys

from nateq_webhooks.sandbox.command_line import main

sys.exit(main())
