"""The servers that benchmarks/issuer.py compares, and the client that asks them."""
