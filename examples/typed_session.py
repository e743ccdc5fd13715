"""The session as attributes of a class. Run: uvicorn examples.typed_session:app"""

from typing import Annotated

from fastapi import FastAPI

from cartapp.session import SessionMiddleware, open_store
from cartapp.session.fastapi import typed


class Reader:
    language: str = "en"
    visits: int = 0


app = FastAPI()
app.add_middleware(SessionMiddleware, store=open_store("memory://"), data=Reader)

ReaderDep = Annotated[Reader, typed(Reader)]


@app.get("/")
async def show(reader: ReaderDep) -> dict[str, str | int]:
    reader.visits += 1
    return {"language": reader.language, "visits": reader.visits}


@app.put("/language/{language}")
async def choose(reader: ReaderDep, language: str) -> dict[str, str]:
    reader.language = language
    return {"language": reader.language}
