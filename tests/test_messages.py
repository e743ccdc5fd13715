"""Messages: their English text, and how flashes keep them."""

import json
from datetime import timedelta
from typing import Any

import pytest

from cartapp.messages import FieldNames, Message, MessageError


@pytest.mark.parametrize(
    ("message", "english"),
    [
        (Message("Not found"), "Not found"),
        (Message("{braces} stay"), "{braces} stay"),
        (
            Message("At most {limit} of {product}", limit=10_000, product="{limit}%s"),
            "At most 10000 of {limit}%s",
        ),
        (Message("{unknown} of {limit}", limit=1), "{unknown} of 1"),
        (Message("Wait {time}", time=timedelta(seconds=1)), "Wait 1 second"),
        (Message("Wait {time}", time=timedelta(minutes=2)), "Wait 120 seconds"),
        (Message("{fields} is required", fields=FieldNames(["a"])), "a is required"),
        (Message("{fields} are required", fields=FieldNames("ab")), "a and b are required"),
        (Message("{fields} are required", fields=FieldNames("abc")), "a, b, and c are required"),
        (Message("Failed: {reason}", reason=Message("{limit} bytes", limit=1)), "Failed: 1 bytes"),
    ],
)
def test_english(message: Message, english: str) -> None:
    assert str(message) == english
    assert str(MessageError(message)) == english


def test_an_error_carries_its_template_and_values() -> None:
    error = MessageError("At most {limit}", limit=3)
    assert (str(error), error.message) == ("At most 3", Message("At most {limit}", limit=3))


@pytest.mark.parametrize(
    "message",
    [Message("Saved"), Message("Added: {product}", product="Lamp"), Message("{number} left", number=4)],
)
def test_a_flash_keeps_template_and_values(message: Message) -> None:
    assert Message.from_session(json.loads(json.dumps(message.to_session()))) == message


@pytest.mark.parametrize(
    ("stored", "english"),
    [
        ("Added to your cart: Desk Lamp", "Added to your cart: Desk Lamp"),
        ("{braces}", "{braces}"),
        (5, "5"),
        (None, "None"),
        ({"template": 1, "values": {}}, "{'template': 1, 'values': {}}"),
        ({"template": "{a}{b}", "values": {"a": None, "b": [1]}}, "None[1]"),
        ({"template": "{a.__class__}{0}", "values": {"a": "x"}}, "{a.__class__}{0}"),
    ],
)
def test_a_flash_of_an_earlier_version_or_another_writer_shows(stored: Any, english: str) -> None:
    assert str(Message.from_session(stored)) == english
