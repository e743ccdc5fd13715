"""sqladmin with its login in the session of the application. Run: uvicorn examples.admin_panel:app

sqladmin adds Starlette's SessionMiddleware around its routes; it would hide the application's session.
"""

from sqladmin import Admin, ModelView
from sqladmin.authentication import AuthenticationBackend
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import StaticPool
from starlette.applications import Starlette
from starlette.requests import Request

from cartapp.session import Session, SessionMiddleware, open_store

PASSWORD = "correct horse battery staple"
"""An example. A real application stores password hashes."""


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class ProductView(ModelView, model=Product):
    column_list = ("id", "name")


class Login(AuthenticationBackend):
    """Login to the panel with the session of the application."""

    def __init__(self) -> None:
        super().__init__("")
        self.middlewares = []  # without Starlette's SessionMiddleware

    async def login(self, request: Request) -> bool:
        form = await request.form()
        if form.get("password") != PASSWORD:
            return False
        session: Session = request.scope["session"]
        session.log_in(str(form.get("username")))
        return True

    async def logout(self, request: Request) -> bool:
        request.scope["session"].destroy()
        return True

    async def authenticate(self, request: Request) -> bool:
        return request.scope["session"].user_id is not None


engine = create_engine("sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool)
Base.metadata.create_all(engine)

app = Starlette()
app.add_middleware(SessionMiddleware, store=open_store("memory://"))
Admin(app, engine, authentication_backend=Login()).add_view(ProductView)
