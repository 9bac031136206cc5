# Written by Farmlet; all of it is in the settings beside it.
from farmlet.parts.notebooks.hub.configuration import configure

configure(get_config(), "{{ settings }}")  # type: ignore[name-defined]  # noqa: F821
