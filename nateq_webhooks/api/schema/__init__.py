"""The OpenAPI description of this API: a table of its operations, and what drf-spectacular makes of it.

Only `generator` imports drf-spectacular (the extra `openapi`), and only when somebody asks for the schema.
"""
