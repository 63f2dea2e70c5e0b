"""Nateq's contract for Django REST framework: views, parameters, parsers and errors that every such API shares.

It imports no models, and none of the site's settings for Django REST framework apply to it.
"""
