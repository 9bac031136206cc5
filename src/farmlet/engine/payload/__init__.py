"""Programs that `apply` and `plan` run ON a node: standard library only, they import nothing of ours."""
