"""Which Arrow types a contract has: those that a target holds exactly."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

SAME: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_float32,
    pa.types.is_float64,
    pa.types.is_decimal128,
    pa.types.is_date32,
    pa.types.is_time,
    pa.types.is_string,
    pa.types.is_binary,
)
"""Types that are kept as they are."""
TEXTS: tuple[Callable[[pa.DataType], bool], ...] = (pa.types.is_large_string, pa.types.is_string_view)
BYTES: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
    pa.types.is_binary_view,
)
LISTS: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
)


def column_type(type_: pa.DataType) -> pa.DataType | None:
    """The contract's type for a column of a file, None if no target holds it.

    Other encodings of the same values become the plain one, and a zoned instant becomes the same in UTC.
    """
    if pa.types.is_dictionary(type_):
        return column_type(type_.value_type)
    if pa.types.is_timestamp(type_):
        return pa.timestamp(type_.unit, "UTC" if type_.tz else None)
    if pa.types.is_nested(type_):
        return _nested(type_)
    if pa.types.is_float16(type_):
        return pa.float32()
    for kinds, plain in ((TEXTS, pa.string()), (BYTES, pa.binary())):
        if any(is_kind(type_) for is_kind in kinds):
            return plain
    return type_ if any(is_same(type_) for is_same in SAME) else None


def _nested(type_: pa.DataType) -> pa.DataType | None:
    """A list, struct or map whose inner types are all held."""
    if pa.types.is_map(type_):
        key, item = column_type(type_.key_type), column_type(type_.item_type)
        return pa.map_(key, item) if key and item else None
    if any(is_list(type_) for is_list in LISTS):
        value = column_type(type_.value_type)
        return pa.list_(value) if value else None
    if not pa.types.is_struct(type_):
        return None
    inner = {field.name: column_type(field.type) for field in type_}
    return pa.struct(list(inner.items())) if inner and all(inner.values()) else None
