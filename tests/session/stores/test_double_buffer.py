"""Two slots: after a partial write a reader finds the old content or the new one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartapp.session import UnreadableRecord
from cartapp.session.stores.file.double_buffer import change, current_slot, new_file


def changed(file: bytes, content: bytes) -> bytes:
    found = change(file, current_slot(file), content)
    assert found is not None
    at, slot = found
    return file[:at] + slot + file[at + len(slot) :]


@given(st.binary(max_size=600), st.lists(st.binary(max_size=600), max_size=5))
def test_the_last_change_counts(first: bytes, later: list[bytes]) -> None:
    file = new_file(first)
    size = len(file)
    assert current_slot(file).content == first
    for content in later:
        fits = change(file, current_slot(file), content) is not None
        file = changed(file, content) if fits else new_file(content)
        assert current_slot(file).content == content
        assert len(file) >= size


def test_a_change_cut_short_anywhere_leaves_the_former_content() -> None:
    for file in (new_file(b"old" * 50), changed(new_file(b"older" * 20), b"old" * 50)):
        found = change(file, current_slot(file), b"new" * 40)
        assert found is not None
        at, slot = found
        for length in range(len(slot)):
            torn = file[:at] + slot[:length] + file[at + length :]
            assert current_slot(torn).content == b"old" * 50
        assert current_slot(changed(file, b"new" * 40)).content == b"new" * 40


def test_content_larger_than_its_slot_is_reported() -> None:
    file = new_file(b"x" * 300)
    assert change(file, current_slot(file), b"x" * 496) is not None
    assert change(file, current_slot(file), b"x" * 497) is None


@pytest.mark.parametrize("file", [b"", b"garbage", b"\0" * 1024, b"\xff" * 1024])
def test_garbage_has_no_content(file: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        current_slot(file)
