"""The sentences that the program says when something is wrong, read from its source, for a page of the reference.

The page is compared by a test, so that a change of words is seen where it is reviewed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "farmlet"
ERRORS = ("FarmletError", "InputError")  # where, what, hint
FINDINGS = ("Failed",)  # what a check found


def read() -> dict[str, list[tuple[str, str]]]:
    """Message and hint by folder of the source (`parts/batch`), in the order of its files; what is worked out stands in `{}`."""
    found: dict[str, list[tuple[str, str]]] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        folder = "/".join(file.relative_to(SOURCE).parts[:-1][:2]) or "farmlet"
        for one in sentences(ast.parse(file.read_text(encoding="utf-8"))):
            if one not in found.setdefault(folder, []):
                found[folder].append(one)
    return {folder: messages for folder, messages in found.items() if messages}


def sentences(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The messages of one module that are written out where they are raised."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id in ERRORS and len(node.args) > 1:
            message, hint = node.args[1], node.args[2] if len(node.args) > 2 else None
        elif node.func.id in FINDINGS and node.args:
            message, hint = node.args[0], None
        else:
            continue
        if words := text(message):
            yield words, text(hint)


def text(node: ast.expr | None) -> str:
    """A literal text, with names in braces for what is filled in; empty where the text is made elsewhere."""
    match node:
        case ast.Constant(value=str(words)):
            return words
        case ast.JoinedStr(values=values):
            return "".join(
                one.value if isinstance(one, ast.Constant) else f"{{{ast.unparse(one.value)}}}"
                for one in values
                if isinstance(one, ast.Constant | ast.FormattedValue)
            )
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return text(left) + text(right)
        case ast.IfExp(body=body, orelse=orelse):
            return " *or* ".join(filter(None, (text(body), text(orelse))))
    return ""
