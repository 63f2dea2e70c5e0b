"""The proof that nothing acknowledged is lost and no receiver's effect is doubled, whatever is killed when.

    python -m tests.faults --database postgresql --dispatch worker --deliveries 2000

starts a database, a broker, web workers and task workers of its own, sends deliveries like Nateq, kills processes at
random with SIGKILL, restarts the database and empties the broker, and then counts. See `--help`.
"""
