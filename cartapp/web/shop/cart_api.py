"""The cart as JSON. Every response is the whole cart, as committed."""

from functools import partial
from typing import Annotated

from fastapi import Body, FastAPI
from starlette.convertors import StringConvertor, register_url_convertor

from cartapp.cart import Cart, CartItem, NotInCart, Offers

from ..deps import CatalogueDep, SessionDep
from ..hot_route import HotRoute
from ..json_response import MsgspecResponse, cart_response
from ..schemas.requests import CartItemCreate, ProductIdPath, QuantityUpdate
from ..schemas.responses import ERRORS, CartResponse
from .session_data import change_cart, remove_cart


class _ProductPath(StringConvertor):
    """Any segment but `add`: on `/api/cart/add`, PUT and DELETE are 405."""

    regex = "(?!add$)[^/]+"


register_url_convertor("product", _ProductPath())

_KEYBOARD = {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99, "quantity": 1}


async def add_to_cart(
    session: SessionDep,
    catalogue: CatalogueDep,
    body: Annotated[CartItemCreate, Body(openapi_examples={"keyboard": {"value": _KEYBOARD}})],
) -> MsgspecResponse:
    """Add a product to the cart, or increase its quantity."""
    offers = await catalogue.get_offers(session, body.product_id)
    if catalogue.is_closed:
        item = await catalogue.create_item(offers, body.product_id, body.quantity)
    else:
        item = CartItem(body.product_id, body.name, body.price, body.quantity)
    # A cart that seems full may hold products that are no longer sold.
    change_cart(session, lambda cart: cart.without_unsold_if_full(offers).add(item))
    await session.save()
    return cart_response(await catalogue.get_cart(session, offers))


async def show_cart(session: SessionDep, catalogue: CatalogueDep) -> MsgspecResponse:
    """Show the cart."""
    return cart_response(await catalogue.get_cart(session))


async def set_quantity(
    product_id: ProductIdPath,
    session: SessionDep,
    catalogue: CatalogueDep,
    body: Annotated[QuantityUpdate, Body(openapi_examples={"three": {"value": {"quantity": 3}}})],
) -> MsgspecResponse:
    """Set the quantity of a product; 0 removes it."""
    offers = await catalogue.get_offers(session, product_id)
    change_cart(session, lambda cart: _sold(cart, offers, product_id).set_quantity(product_id, body.quantity))
    await session.save()
    return cart_response(await catalogue.get_cart(session, offers))


async def remove_from_cart(
    product_id: ProductIdPath, session: SessionDep, catalogue: CatalogueDep
) -> MsgspecResponse:
    """Remove a product from the cart."""
    offers = await catalogue.get_offers(session, product_id)
    change_cart(session, lambda cart: _sold(cart, offers, product_id).remove(product_id))
    await session.save()
    return cart_response(await catalogue.get_cart(session, offers))


async def clear_cart(session: SessionDep, catalogue: CatalogueDep) -> MsgspecResponse:
    """Clear the cart."""
    remove_cart(session)
    await session.save()
    return cart_response(await catalogue.get_cart(session))


def _sold(cart: Cart, offers: Offers, product_id: int) -> Cart:
    """Return the cart. Raises `NotInCart` for a product that is no longer sold: no response shows it.

    Called as a part of the change: on a session that has ended, the response is 409 and not 404.
    """
    if product_id in offers and offers[product_id] is None:
        raise NotInCart
    return cart


def register(app: FastAPI) -> None:
    """Add the routes to the application itself: an included router is matched twice a request."""
    add = partial(
        app.router.add_api_route,
        response_model=CartResponse,
        responses=ERRORS,
        tags=["Cart"],
        route_class_override=HotRoute,
    )
    add("/api/cart", show_cart, methods=["GET"])
    add("/api/cart", clear_cart, methods=["DELETE"])
    add("/api/cart/{product_id:product}", set_quantity, methods=["PUT"])
    add("/api/cart/{product_id:product}", remove_from_cart, methods=["DELETE"])
    add("/api/cart/add", add_to_cart, methods=["POST"])
