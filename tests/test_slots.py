"""Two slots: whatever part of a change reached the file, the former content or the new one is found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartapp.session import UnreadableRecord
from cartapp.session.stores.slots import change, fresh, newest


def changed(file: bytes, content: bytes) -> bytes:
    found = change(file, newest(file), content)
    assert found is not None
    at, slot = found
    return file[:at] + slot + file[at + len(slot) :]


@given(st.binary(max_size=600), st.lists(st.binary(max_size=600), max_size=5))
def test_the_last_change_counts(first: bytes, later: list[bytes]) -> None:
    file = fresh(first)
    size = len(file)
    assert newest(file).content == first
    for content in later:
        fits = change(file, newest(file), content) is not None
        file = changed(file, content) if fits else fresh(content)
        assert newest(file).content == content
        assert len(file) >= size


def test_a_change_cut_short_anywhere_leaves_the_former_content() -> None:
    for file in (fresh(b"old" * 50), changed(fresh(b"older" * 20), b"old" * 50)):
        found = change(file, newest(file), b"new" * 40)
        assert found is not None
        at, slot = found
        for length in range(len(slot)):
            torn = file[:at] + slot[:length] + file[at + length :]
            assert newest(torn).content == b"old" * 50
        assert newest(changed(file, b"new" * 40)).content == b"new" * 40


def test_what_outgrows_its_slot_is_told() -> None:
    file = fresh(b"x" * 300)
    assert change(file, newest(file), b"x" * 496) is not None
    assert change(file, newest(file), b"x" * 497) is None


@pytest.mark.parametrize("file", [b"", b"garbage", b"\0" * 1024, b"\xff" * 1024])
def test_garbage_has_no_content(file: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        newest(file)
