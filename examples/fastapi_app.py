from fastapi import FastAPI

from cartapp.session import SessionMiddleware, open_store
from cartapp.session.fastapi import SessionDep

app = FastAPI()
app.add_middleware(SessionMiddleware, store=open_store("memory://"))


@app.get("/")
async def visit(session: SessionDep) -> dict[str, int]:
    return {"visits": session.modify("visits", lambda visits: visits + 1, 0)}
