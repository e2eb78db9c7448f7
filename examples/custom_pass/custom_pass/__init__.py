"""A graphrewrite pass in a package of its own."""
