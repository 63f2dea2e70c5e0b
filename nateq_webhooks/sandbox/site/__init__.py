"""The Django site of the sandbox's process, with settings, models, pages and an API of its own."""
