"""OAuth login with authlib, against a provider in the same process. Run: uvicorn examples.oauth:app

authlib keeps `state` and the PKCE verifier in `request.session`. Starlette's own middleware puts them into a
signed cookie. Here they stay on the server, and are removed once used.
"""

import secrets
from urllib.parse import urlencode

from authlib.integrations.starlette_client import OAuth  # type: ignore[import-untyped]
from fastapi import FastAPI, Form, Request
from fastapi.responses import RedirectResponse, Response

from cartapp.session import SessionMiddleware, open_store, session_of

app = FastAPI()
app.add_middleware(SessionMiddleware, store=open_store("memory://"))

provider = FastAPI()
app.mount("/provider", provider)
codes: dict[str, str] = {}


@provider.get("/authorize")
async def authorize(redirect_uri: str, state: str) -> RedirectResponse:
    """Issue a code. A real provider asks its user first."""
    code = secrets.token_urlsafe()
    codes[code] = "ada"
    return RedirectResponse(f"{redirect_uri}?{urlencode({'code': code, 'state': state})}")


@provider.post("/token")
async def token(code: str = Form()) -> dict[str, str]:
    return {"access_token": codes.pop(code), "token_type": "Bearer"}


def client(request: Request) -> OAuth:
    base = str(request.base_url)
    oauth = OAuth()
    oauth.register(
        "local",
        client_id="shop",
        authorize_url=f"{base}provider/authorize",
        access_token_url=f"{base}provider/token",
        client_kwargs={"code_challenge_method": "S256"},
    )
    return oauth


@app.get("/")
async def home(request: Request) -> dict[str, str | None]:
    return {"user": session_of(request).user_id}


@app.get("/login")
async def log_in(request: Request) -> Response:
    response: Response = await client(request).local.authorize_redirect(request, request.url_for("callback"))
    return response


@app.get("/callback")
async def callback(request: Request) -> RedirectResponse:
    granted = await client(request).local.authorize_access_token(request)
    session_of(request).log_in(granted["access_token"])  # a real client asks the provider for the user
    return RedirectResponse("/")
