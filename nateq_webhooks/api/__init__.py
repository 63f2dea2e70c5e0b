"""The site's own REST API, in the contract of Nateq's: what came, what ran, and how the webhooks are set up.

`path("api/", include("nateq_webhooks.api.urls"))` adds it; a site without that imports nothing of it.
"""
