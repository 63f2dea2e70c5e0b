"""The proof that a site's owner keeps control of the queue: replays, pauses, order, and sites without a worker.

    python -m tests.control --database postgresql replay pause order ack

starts a database of its own, and for each scenario web workers, task workers, senders and management commands as
processes of their own, kills some of them, and then counts. See `--help`.
"""
