"""Run inside an image by its own Python, with that image's packages and nothing of ours: it starts, and a notebook runs.

Prints one line of JSON: `{"python": {name: version}, "hub": version of jupyterhub or ""}`.
"""

import json
from importlib.metadata import distributions

import nbclient
import nbformat

book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6 * 7)")])
nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
said = [output.get("text", "") for output in book.cells[0].outputs]
if said != ["42\n"]:
    raise SystemExit(f"a notebook was to print 42 and said {said}")
found = {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"]}
print(json.dumps({"python": dict(sorted(found.items())), "hub": found.get("jupyterhub", "")}))
