"""Cart and money: comparison with a model of plain dicts, exact cents, limits."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartapp.cart import (
    MAX_LINES,
    MAX_PRICE,
    MAX_QUANTITY,
    Cart,
    CartFull,
    CartItem,
    InvalidPrice,
    NotInCart,
    Offer,
    amount_from_cents,
    cents_from_decimal,
)

ids = st.integers(1, 6)
items = st.builds(
    CartItem, ids, st.text(min_size=1, max_size=20), st.integers(0, MAX_PRICE), st.integers(1, MAX_QUANTITY)
)
changes = st.one_of(
    st.tuples(st.just("add"), items),
    st.tuples(st.just("set"), ids, st.integers(0, MAX_QUANTITY)),
    st.tuples(st.just("remove"), ids),
    st.tuples(st.just("clear")),
)


def changed(cart: Cart, change: tuple[object, ...]) -> Cart:
    match change:
        case ("add", CartItem() as item):
            return cart.add(item)
        case ("set", int(product), int(quantity)):
            return cart.set_quantity(product, quantity)
        case ("remove", int(product)):
            return cart.remove(product)
    return cart.clear()


def expected(lines: dict[int, CartItem], change: tuple[object, ...]) -> dict[int, CartItem] | None:
    """Apply the change to a dict of lines; return None if the cart must reject it."""
    match change:
        case ("add", CartItem() as item):
            first = lines.get(item.product_id, item)
            quantity = item.quantity + (first.quantity if item.product_id in lines else 0)
            if quantity > MAX_QUANTITY:
                return None
            return {**lines, item.product_id: CartItem(item.product_id, first.name, first.price, quantity)}
        case ("set", int(product), int(quantity)) if product in lines:
            if quantity == 0:
                return {key: line for key, line in lines.items() if key != product}
            line = lines[product]
            return {**lines, product: CartItem(product, line.name, line.price, quantity)}
        case ("remove", int(product)) if product in lines:
            return {key: line for key, line in lines.items() if key != product}
        case ("clear",):
            return {}
    return None


@given(st.lists(changes, max_size=30))
def test_cart_matches_a_model_of_plain_dicts(history: list[tuple[object, ...]]) -> None:
    cart, lines = Cart(), dict[int, CartItem]()
    for change in history:
        expected_lines = expected(lines, change)
        if expected_lines is None:
            with pytest.raises((CartFull, NotInCart)):
                changed(cart, change)
            continue
        cart, lines = changed(cart, change), expected_lines
        assert cart.items == tuple(lines.values())  # in order of addition
        assert cart.unique_items == len(lines)
        assert cart.item_count == sum(line.quantity for line in lines.values())
        assert cart.total == sum(line.price * line.quantity for line in lines.values())


@given(st.lists(items, max_size=20))
def test_cart_round_trips_through_the_session(lines: list[CartItem]) -> None:
    cart = Cart(tuple({line.product_id: line for line in lines}.values()))
    kept = json.loads(json.dumps(cart.to_session()))
    assert Cart.from_session(kept) == cart


@given(items, items)
def test_adding_again_keeps_the_first_name_and_price(first: CartItem, second: CartItem) -> None:
    again = CartItem(first.product_id, second.name, second.price, 1)
    if first.quantity < MAX_QUANTITY:
        (line,) = Cart((first,)).add(again).items
        assert (line.name, line.price, line.quantity) == (first.name, first.price, first.quantity + 1)


def test_line_is_limited_to_10000_items() -> None:
    full = Cart().add(CartItem(1, "Pin", 1, MAX_QUANTITY))
    with pytest.raises(CartFull, match="10000"):
        full.add(CartItem(1, "Pin", 1, 1))
    with pytest.raises(CartFull, match="10000"):
        full.set_quantity(1, MAX_QUANTITY + 1)
    with pytest.raises(CartFull, match="10000"):
        Cart().add(CartItem(1, "Pin", 1, MAX_QUANTITY + 1))


def test_cart_is_limited_to_200_lines() -> None:
    cart = Cart()
    for product in range(1, MAX_LINES + 1):
        cart = cart.add(CartItem(product, "Pin", 1, 1))
    with pytest.raises(CartFull, match="200"):
        cart.add(CartItem(MAX_LINES + 1, "Pin", 1, 1))
    assert cart.add(CartItem(MAX_LINES, "Pin", 1, 1)).item_count == MAX_LINES + 1


def test_missing_product_raises() -> None:
    changes: list[tuple[object, ...]] = [("set", 1, 0), ("set", 1, 5), ("remove", 1)]
    for change in changes:
        with pytest.raises(NotInCart, match=r"^Product not in cart$"):
            changed(Cart(), change)


@given(st.integers(0, MAX_PRICE * MAX_QUANTITY * MAX_LINES))
def test_amounts_print_exactly(cents: int) -> None:
    assert Decimal(json.dumps(amount_from_cents(cents))) == Decimal(cents).scaleb(-2)


@given(st.integers(0, MAX_PRICE))
def test_cents_round_trip(cents: int) -> None:
    assert cents_from_decimal(Decimal(cents).scaleb(-2)) == cents
    assert cents_from_decimal(Decimal(json.dumps(amount_from_cents(cents)))) == cents


@given(st.integers(0, MAX_PRICE - 1), st.integers(3, 400), st.integers(1, 9))
def test_fractions_of_a_cent_are_rejected(cents: int, place: int, digit: int) -> None:
    whole, fraction = f"{Decimal(cents).scaleb(-2):.2f}".split(".")
    with pytest.raises(InvalidPrice):
        cents_from_decimal(Decimal(f"{whole}.{fraction.ljust(place - 1, '0')}{digit}"))


@pytest.mark.parametrize(
    "amount", ["-0.01", "-1", "1000000.01", "1E+999999999", "1E-999999999", "NaN", "sNaN", "Infinity"]
)
def test_invalid_prices(amount: str) -> None:
    with pytest.raises(InvalidPrice):
        cents_from_decimal(Decimal(amount))


def test_sum_is_exact_where_floats_are_not() -> None:
    cart = Cart().add(CartItem(1, "Sticker", 10, 3))
    assert json.dumps(0.1 * 3) == "0.30000000000000004"
    assert json.dumps(amount_from_cents(cart.total)) == "0.3"


offers = st.dictionaries(
    ids, st.none() | st.builds(Offer, st.text(min_size=1, max_size=20), st.integers(0, MAX_PRICE))
)


@given(st.lists(items, max_size=6, unique_by=lambda item: item.product_id), offers)
def test_c12c_cart_with_current_names_and_prices(
    lines: list[CartItem], known: dict[int, Offer | None]
) -> None:
    cart = Cart(tuple(lines))
    expected = []
    for item in lines:
        offer = known.get(item.product_id)
        if offer is not None:
            expected.append(CartItem(item.product_id, offer.name, offer.price, item.quantity))
        elif item.product_id not in known:
            expected.append(item)
    present = cart.with_offers(known)
    assert list(present.items) == expected
    assert present.with_offers(known) == present
    assert present.unsold_names(known) == present.repriced_names(known) == []
    assert len(cart.unsold_names(known)) == len(lines) - len(expected)
    prices = {item.product_id: item.price for item in lines}
    assert cart.repriced_names(known) == [one.name for one in expected if one.price != prices[one.product_id]]


def test_c12c_unsold_products_make_room_in_a_full_cart() -> None:
    full = Cart(tuple(CartItem(number, "A", 1, 1) for number in range(1, MAX_LINES + 1)))
    gone = {1: None, 2: Offer("B", 2)}
    assert full.without_unsold_if_full(gone).items == full.items[1:]  # at the stored prices
    assert full.without_unsold_if_full({}) == full
    assert full.remove(3).without_unsold_if_full(gone) == full.remove(3)
