"""The table of contents of an exported bundle."""

import json

MANIFEST = "cpkit-bundle.json"
SCHEMA = 1


def contents(text: str) -> tuple[str, ...]:
    """What a bundle holds, in words; nothing when the manifest cannot be read."""
    try:
        items = json.loads(text)["contents"]
        return tuple(f"{item['product']} {item['version']} ({item['arch']})" for item in items)
    except (ValueError, KeyError, TypeError):
        return ()
