"""Real servers for tests, each on free loopback ports with data in a folder of its own."""
