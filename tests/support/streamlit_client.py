"""Speak Streamlit's WebSocket protocol to a Nucleus server without a browser.

A client keeps what a browser would show: widgets by key, data of components, texts. It follows fragments that ask to be
rerun, as a browser does. Attacks and load tests use it, because they need many visitors, or one that does not behave.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

WidgetState = tuple[str, str, Any]
"""Id of a widget, field of its state's message, value."""

_VALUE_FIELDS = {
    "text_area": "string_value",
    "text_input": "string_value",
    "number_input": "int_value",
    "button_group": "string_array_value",
}


class StreamlitClient:
    """One visitor. Use as `async with StreamlitClient(url) as client`."""

    def __init__(self, url: str, query: str = "", cookie: str = "", host: str = "", follow: bool = True) -> None:
        """`host` is sent as Host and Origin in place of the URL's; `follow` reruns fragments as they ask."""
        parts = urlsplit(url)
        self._port = parts.port
        self._host = host or str(parts.hostname)
        self._cookie = cookie
        self._follow = follow
        self._page_hash = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._script_finished = asyncio.Event()
        self._socket: Any = None
        self.query = query
        self.session_id = ""
        self.closed = False
        self.widgets: dict[str, tuple[str, str]] = {}
        """Id and kind by key, and by `label:` and label."""
        self.components: dict[str, Any] = {}
        """Data by key."""
        self.element_count = 0
        self.errors: list[str] = []
        self.fragments: dict[str, asyncio.Task[None]] = {}
        """Fragments that are being followed; empty once nothing on the page changes by itself."""
        self.on_component: Callable[[str, Any], None] | None = None

    async def __aenter__(self) -> StreamlitClient:
        connection = socket.create_connection(("127.0.0.1", self._port))
        self._socket = await websockets.connect(
            f"ws://{self._host}:{self._port}/_stcore/stream",
            sock=connection,
            origin=f"http://{self._host}:{self._port}",  # type: ignore[arg-type]
            additional_headers={"Cookie": self._cookie} if self._cookie else {},
            subprotocols=["streamlit"],  # type: ignore[list-item]
            max_size=None,
            open_timeout=60,
            ping_interval=None,
        )
        self._tasks.append(asyncio.create_task(self._read()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed = True
        for task in [*self._tasks, *self.fragments.values()]:
            task.cancel()
        with contextlib.suppress(websockets.WebSocketException, OSError):
            await self._socket.close()

    async def send(self, message: BackMsg) -> None:
        await self._socket.send(message.SerializeToString())

    async def rerun(self, states: Sequence[WidgetState] = (), page: str | None = None, timeout: float = 120) -> float:
        """Run the script with these widget states, on `page` if given, and return the seconds until it has finished.
        Raises `TimeoutError`."""
        if page is not None:
            self._page_hash = ""
        message = self._rerun_message()
        if page is not None:
            message.rerun_script.page_name = page
        for widget_id, field, value in states:
            state = message.rerun_script.widget_states.widgets.add()
            state.id = widget_id
            if field.endswith("array_value"):
                getattr(state, field).data.extend(value)
            else:
                setattr(state, field, value)
        self._script_finished.clear()
        began = time.perf_counter()
        await self.send(message)
        await asyncio.wait_for(self._script_finished.wait(), timeout)
        return time.perf_counter() - began

    async def press(self, key: str, states: Sequence[WidgetState] = (), timeout: float = 120) -> float:
        """Press a button, once it is there, and return the seconds until the script has finished."""
        await self.wait_until(lambda: key in self.widgets, 20)
        return await self.rerun([(self.widgets[key][0], "trigger_value", True), *states], timeout=timeout)

    def state(self, key: str, value: Any) -> WidgetState:
        """Return the state that gives a widget this value."""
        widget_id, kind = self.widgets[key]
        return widget_id, _VALUE_FIELDS[kind], value

    async def wait_until(self, condition: Callable[[], object], timeout: float) -> None:
        """Wait for a condition on what has arrived. Raises `TimeoutError`."""
        until = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > until:
                raise TimeoutError
            await asyncio.sleep(0.05)

    def token_count(self, component: str = "playground.answer") -> int:
        """Return the number of tokens that the Playground's answer shows."""
        return len((self.components.get(component) or {}).get("cells", []))

    def _rerun_message(self, fragment: str = "") -> BackMsg:
        message = BackMsg()
        message.rerun_script.query_string = self.query
        message.rerun_script.page_script_hash = self._page_hash
        if fragment:
            message.rerun_script.fragment_id = fragment
            message.rerun_script.is_auto_rerun = True
        context = message.rerun_script.context_info
        context.url, context.locale, context.timezone = f"http://{self._host}:{self._port}/", "en-US", "UTC"
        return message

    async def _read(self) -> None:
        try:
            async for data in self._socket:
                message = ForwardMsg()
                message.ParseFromString(data)
                self._take(message)
        except websockets.ConnectionClosed:
            pass
        finally:
            self.closed = True
            self._script_finished.set()

    def _take(self, message: ForwardMsg) -> None:
        whole_page = not message.metadata.run.fragment_ids
        match message.WhichOneof("type"):
            case "script_finished" if whole_page:
                self._script_finished.set()
            case "new_session":
                if whole_page:  # ends whatever follows fragments, as in a browser
                    self._stop_following(list(self.fragments))
                self._page_hash = message.new_session.page_script_hash
                self.session_id = message.new_session.initialize.session_id or self.session_id
            case "page_info_changed":
                self.query = message.page_info_changed.query_string
            case "navigation":
                self._page_hash = message.navigation.page_script_hash or self._page_hash
            case "auto_rerun" if self._follow:
                name, interval = message.auto_rerun.fragment_id, message.auto_rerun.interval
                self._stop_following([name])
                self.fragments[name] = asyncio.create_task(self._rerun_fragment(name, interval))
            case "stop_auto_rerun":
                self._stop_following(message.stop_auto_rerun.fragment_ids)
            case "delta" if message.delta.WhichOneof("type") == "new_element":
                self._take_element(message.delta.new_element)

    def _stop_following(self, names: Sequence[str]) -> None:
        for name in names:
            if task := self.fragments.pop(name, None):
                task.cancel()

    async def _rerun_fragment(self, name: str, interval: float) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while not self.closed:
                await asyncio.sleep(interval)
                await self.send(self._rerun_message(name))

    def _take_element(self, element: Any) -> None:
        self.element_count += 1
        kind = element.WhichOneof("type")
        if kind is None:
            return
        content = getattr(element, kind)
        widget_id = getattr(content, "id", "")
        key = widget_id.split("-", 2)[-1].split("-", 1)[-1] if widget_id.startswith("$$") else widget_id
        if widget_id:
            self.widgets[key] = (widget_id, kind)
            if label := getattr(content, "label", ""):
                self.widgets.setdefault(f"label:{label}", (widget_id, kind))
        if kind == "alert":
            self.errors.append(content.body)
        if kind == "bidi_component":
            key = widget_id.split("-", 2)[-1].split("-", 1)[-1]
            which = content.WhichOneof("data")
            text = content.json if which == "json" else content.mixed.json if which == "mixed" else "null"
            self.components[key] = json.loads(text)
            if self.on_component:
                self.on_component(key, self.components[key])
