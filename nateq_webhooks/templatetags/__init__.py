"""Template tags of the admin's templates, in the package that Django looks for them in."""
