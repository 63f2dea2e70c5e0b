"""A site whose admin is django-unfold's."""
