"""What JupyterHub gets of ours: log-in, servers, configuration. It runs in an environment of its own, that of JupyterHub."""
