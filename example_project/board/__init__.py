"""A ticket board that signal receivers build from the `ticket.*` events."""
