"""A site with as little as possible: our app, and one that connects a receiver."""
