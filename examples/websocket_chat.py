"""A chat that counts the messages of each session. Run: uvicorn examples.websocket_chat:app

A WebSocket cannot set a cookie, so the page starts the session.
"""

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse

from cartapp.session import SessionMiddleware, open_store
from cartapp.session.fastapi import SessionDep

PAGE = """<!doctype html><title>Chat</title><ul id="messages"></ul><input id="text" autofocus>
<script>
const socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/chat`)
socket.onmessage = event => {
  const message = document.createElement("li")
  message.textContent = event.data
  messages.append(message)
}
text.onchange = () => { socket.send(text.value); text.value = "" }
</script>"""

app = FastAPI()
app.add_middleware(SessionMiddleware, store=open_store("memory://"))
connected: set[WebSocket] = set()


@app.get("/")
async def page(session: SessionDep) -> HTMLResponse:
    session.setdefault("sent", 0)
    return HTMLResponse(PAGE)


@app.websocket("/chat")
async def chat(websocket: WebSocket, session: SessionDep) -> None:
    await websocket.accept()
    connected.add(websocket)
    try:
        while True:
            text = await websocket.receive_text()
            session.modify("sent", lambda sent: sent + 1, 0)
            await session.save()  # a WebSocket saves only by save(); other tabs may send at the same time
            for each in connected.copy():
                await each.send_text(f"{session['sent']}: {text}")
    except WebSocketDisconnect:
        pass
    finally:
        connected.discard(websocket)
