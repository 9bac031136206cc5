"""The facility file: names, rights, the resolved model and the loader. Pure: nothing here touches a node.

`names`, `rights` and `sizes` need the standard library only and run on nodes too; `model` and `load` need the extra
`deploy` (pydantic, ruamel.yaml).
"""
