"""How a node is made and reached: containers, SSH hosts, this host, and a fake for tests."""
