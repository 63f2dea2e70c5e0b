"""The API client, over real HTTP against a server that says what a test has written down."""
