"""Hypothesis strategies for COSEM data."""

from __future__ import annotations

from hypothesis import strategies as st

from blathy.cosem import axdr
from blathy.cosem.axdr import DataType, TypeDescription

_INTEGERS = {
    DataType.DOUBLE_LONG: (-(2**31), 2**31 - 1),
    DataType.DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1),
    DataType.BCD: (0, 255),
    DataType.INTEGER: (-128, 127),
    DataType.LONG: (-(2**15), 2**15 - 1),
    DataType.UNSIGNED: (0, 255),
    DataType.LONG_UNSIGNED: (0, 2**16 - 1),
    DataType.LONG64: (-(2**63), 2**63 - 1),
    DataType.LONG64_UNSIGNED: (0, 2**64 - 1),
    DataType.ENUM: (0, 255),
    DataType.DELTA_INTEGER: (-128, 127),
    DataType.DELTA_LONG: (-(2**15), 2**15 - 1),
    DataType.DELTA_DOUBLE_LONG: (-(2**31), 2**31 - 1),
    DataType.DELTA_UNSIGNED: (0, 255),
    DataType.DELTA_LONG_UNSIGNED: (0, 2**16 - 1),
    DataType.DELTA_DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1),
}

VALUES: dict[DataType, st.SearchStrategy] = {
    DataType.NULL_DATA: st.none(),
    DataType.DONT_CARE: st.none(),
    DataType.BOOLEAN: st.booleans(),
    DataType.BIT_STRING: st.text("01", max_size=40),
    DataType.FLOATING_POINT: st.floats(width=32, allow_nan=False),
    DataType.FLOAT32: st.floats(width=32, allow_nan=False),
    DataType.FLOAT64: st.floats(allow_nan=False),
    DataType.OCTET_STRING: st.binary(max_size=300),
    DataType.VISIBLE_STRING: st.text(st.characters(max_codepoint=255), max_size=20),
    DataType.UTF8_STRING: st.text(max_size=20),
    DataType.DATE_TIME: st.binary(min_size=12, max_size=12),
    DataType.DATE: st.binary(min_size=5, max_size=5),
    DataType.TIME: st.binary(min_size=4, max_size=4),
    **{kind: st.integers(*limits) for kind, limits in _INTEGERS.items()},
}


def of_type(kind: DataType) -> st.SearchStrategy[axdr.Data]:
    return VALUES[kind].map(lambda value: axdr.Data(kind, value))


SIMPLE = st.sampled_from(sorted(VALUES)).flatmap(of_type)
_SIZED = sorted(set(VALUES) - {DataType.NULL_DATA, DataType.DONT_CARE})


@st.composite
def described(draw: st.DrawFn, description: TypeDescription) -> axdr.Data:
    """A value of the described type."""
    if description.type is DataType.ARRAY:
        inner = description.elements[0]
        return axdr.array_of([draw(described(inner)) for _ in range(description.repeat)])
    if description.type is DataType.STRUCTURE:
        return axdr.structure(*[draw(described(each)) for each in description.elements])
    return draw(of_type(description.type))


DESCRIPTIONS = st.recursive(
    st.sampled_from(_SIZED).map(TypeDescription),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(
            lambda each: TypeDescription(DataType.STRUCTURE, tuple(each))
        ),
        st.builds(
            lambda element, repeat: TypeDescription(DataType.ARRAY, (element,), repeat),
            inner,
            st.integers(1, 3),
        ),
    ),
    max_leaves=6,
)


@st.composite
def compact_arrays(draw: st.DrawFn) -> axdr.Data:
    description = draw(DESCRIPTIONS)
    return axdr.compact_array(description, draw(st.lists(described(description), max_size=4)))


DATA = st.recursive(
    SIMPLE | compact_arrays(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5).map(axdr.array_of),
        st.lists(inner, max_size=5).map(lambda each: axdr.structure(*each)),
    ),
    max_leaves=12,
)
