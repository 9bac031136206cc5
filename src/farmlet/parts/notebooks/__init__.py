"""Part `notebooks`: JupyterHub, and a server in a container for each member who wants one."""
