"""Django with its own sessions: on Redis through its cache, in its database (SQLite), or in files."""

import json
import os
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from benchmarks.shop import cart_json, visits_json, with_product, with_quantity

BACKEND = "django.contrib.sessions.backends."


def sessions(url: str) -> dict[str, Any]:
    """The settings that choose where the sessions are."""
    kind, _, place = url.partition("://")
    if kind == "redis":
        cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
        return {"SESSION_ENGINE": BACKEND + "cache", "CACHES": {"default": cache}}
    if kind == "file":
        Path(place).mkdir()
        return {"SESSION_ENGINE": BACKEND + "file", "SESSION_FILE_PATH": place}
    options = {
        "transaction_mode": "IMMEDIATE",
        # The journal of cartapp's own SQLite store: the same promises, and faster than Django's default.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": place, "OPTIONS": options}
    return {"SESSION_ENGINE": BACKEND + "db", "DATABASES": {"default": database | {"CONN_MAX_AGE": None}}}


settings.configure(
    DEBUG=False,
    SECRET_KEY="benchmark-benchmark-benchmark-benchmark-benchmark-01",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=[  # those of `startproject` that an interface in JSON has a use for
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    SESSION_COOKIE_AGE=1800,
    **sessions(os.environ["BENCH_SESSIONS"]),
)
django.setup()
if settings.SESSION_ENGINE == BACKEND + "db":
    call_command("migrate", verbosity=0)


@require_GET
def ping(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@require_GET
def show(request: HttpRequest) -> JsonResponse:
    return JsonResponse(cart_json(request.session.get("cart", [])))


@require_POST
def add(request: HttpRequest) -> JsonResponse:
    cart = with_product(request.session.get("cart", []), json.loads(request.body))
    request.session["cart"] = cart
    return JsonResponse(cart_json(cart))


@require_http_methods(["PUT"])
def set_quantity(request: HttpRequest, product_id: int) -> JsonResponse:
    quantity = json.loads(request.body)["quantity"]
    cart = with_quantity(request.session.get("cart", []), product_id, quantity)
    if cart is None:
        raise Http404("Product not in cart")
    request.session["cart"] = cart
    return JsonResponse(cart_json(cart))


@require_GET
def visits(request: HttpRequest) -> JsonResponse:
    count = request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse(visits_json(count))


urlpatterns = [
    path("ping", ping),
    path("api/cart", show),
    path("api/cart/add", add),
    path("api/cart/<int:product_id>", set_quantity),
    path("visit-counter", visits),
]
app = get_wsgi_application()
