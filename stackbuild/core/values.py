"""Values that cost little to define, as JSON trees. Knows none of them.

What every command, or every start of a container, imports is made of NamedTuples: to define one takes a tenth of a
millisecond, a frozen dataclass seven tenths, and the module `dataclasses` itself eight milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """A NamedTuple as a JSON object by the names of its fields, and so all in it; other tuples become lists."""
    if hasattr(value, "_asdict"):
        return {name: plain(one) for name, one in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    return value
