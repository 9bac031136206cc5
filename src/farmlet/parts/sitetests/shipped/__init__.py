"""Tests that come with Farmlet, of what each site owes. They run at the sites: nothing but the standard library, Python 3.6."""
