"""What is mounted into every server: its start, and a word for JupyterLab. Nothing of farmlet is there: standard library only."""
