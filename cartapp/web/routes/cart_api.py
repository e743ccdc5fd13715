"""The cart as JSON. Every answer is the whole cart, as committed."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Body, Request

from cartapp.cart import Cart, CartItem
from cartapp.session import Session
from cartapp.session.fastapi import SessionDep

from ..answers import JSONAnswer, cart_answer
from ..inputs import NewItem, NewQuantity, ProductInPath
from ..outputs import PROBLEMS, CartAnswer
from ..routing import JSONRoute
from ..visitor import cart_of, change_cart, clear_cart

router = APIRouter(route_class=JSONRoute, strict_content_type=False, tags=["Cart"], responses=PROBLEMS)

_KEYBOARD = {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99, "quantity": 1}


@router.post("/api/cart/add", response_model=CartAnswer)
async def add_to_cart(
    request: Request,
    session: SessionDep,
    item: Annotated[NewItem, Body(openapi_examples={"keyboard": {"value": _KEYBOARD}})],
) -> JSONAnswer:
    """Put a product into the cart; of one that is there already, the quantity grows."""
    line = await _line(request, item)
    return await _changed(session, lambda cart: cart.add(line))


@router.get("/api/cart", response_model=CartAnswer)
async def show_cart(session: SessionDep) -> JSONAnswer:
    """The cart."""
    return cart_answer(cart_of(session))


@router.put("/api/cart/{product_id:product}", response_model=CartAnswer)
async def set_quantity(
    product_id: ProductInPath,
    session: SessionDep,
    wanted: Annotated[NewQuantity, Body(openapi_examples={"three": {"value": {"quantity": 3}}})],
) -> JSONAnswer:
    """Set how many there are of a product; 0 removes it."""
    return await _changed(session, lambda cart: cart.set_quantity(product_id, wanted.quantity))


@router.delete("/api/cart/{product_id:product}", response_model=CartAnswer)
async def remove_from_cart(product_id: ProductInPath, session: SessionDep) -> JSONAnswer:
    """Take a product out of the cart."""
    return await _changed(session, lambda cart: cart.remove(product_id))


@router.delete("/api/cart", response_model=CartAnswer)
async def empty_cart(session: SessionDep) -> JSONAnswer:
    """Empty the cart."""
    clear_cart(session)
    await session.save()
    return cart_answer(cart_of(session))


async def _changed(session: Session, change: Callable[[Cart], Cart]) -> JSONAnswer:
    change_cart(session, change)
    await session.save()
    return cart_answer(cart_of(session))


async def _line(request: Request, item: NewItem) -> CartItem:
    """The line to add: as the client describes it, or as the catalogue does where the shop is closed."""
    if request.app.state.settings.catalog == "open":
        return CartItem(item.product_id, item.name, item.price, item.quantity)
    product = await request.app.state.catalogue.product(item.product_id)
    return CartItem(product.id, product.name, product.price, item.quantity)
