"""Folders as XML (RFC 4918) and as pages; names are percent-encoded. §4."""

from __future__ import annotations

import html
import re
import urllib.parse

from dcache.namespace import Namespace


def write_html(names: Namespace, path: str) -> bytes:
    links = "".join(f'<a href="{urllib.parse.quote(one)}">{html.escape(one)}</a>\n' for one in names.list_folder(path))
    return f'<!DOCTYPE html><title>File Listing</title><img src="/.webdav/static/logo.png">{links}'.encode()


def write_multistatus(names: Namespace, path: str, deep: bool, asked: bytes) -> bytes:
    """Of the properties asked for the quota's are not there."""
    absent = re.findall(rb"quota-(?:available|used)-bytes", asked)
    inner = [path] + [f"{path.rstrip('/')}/{one}" for one in (names.list_folder(path) if deep else ())]
    rows = "".join(_write_row(names, one, sorted({word.decode() for word in absent})) for one in inner)
    return f'<?xml version="1.0" encoding="utf-8"?>\n<d:multistatus xmlns:d="DAV:">{rows}</d:multistatus>'.encode()


def _write_row(names: Namespace, path: str, absent: list[str]) -> str:
    found = names.entries[path]
    slash = "/" if found.folder and path != "/" else ""
    kind = "<d:resourcetype><d:collection/></d:resourcetype>" if found.folder else "<d:resourcetype/>"
    size = "" if found.folder or found.length is None else f"<d:getcontentlength>{found.length}</d:getcontentlength>"
    name = f"<d:displayname>{html.escape(path.rpartition('/')[2])}</d:displayname>"
    there = f"<d:propstat><d:prop>{kind}{size}{name}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>"
    if absent:
        there += f"<d:propstat><d:prop>{''.join(f'<d:{one}/>' for one in absent)}</d:prop>"
        there += "<d:status>HTTP/1.1 404 Not Found</d:status></d:propstat>"
    return f"<d:response><d:href>{urllib.parse.quote(path)}{slash}</d:href>{there}</d:response>"
