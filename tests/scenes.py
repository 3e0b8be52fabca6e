"""A stage for pages: broadcasts, posts and what became of them, put there without playing them."""

import io
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from PIL import Image, ImageDraw
from werkzeug.serving import WSGIRequestHandler, make_server

from announcer import wiring
from announcer.content import Content
from announcer.network import Card, Moment, Picture
from announcer.outbox import Outbox, Try
from announcer.outbox.records import values_of
from announcer.outbox.schema import broadcasts, pictures, posts, tries
from announcer.policy import Broadcast, Entry, State
from announcer.web import create_app
from announcer.wiring import Parts

MINUTE = timedelta(minutes=1)
HOME = "https://live.kestrel.example"


def tried(at: datetime, outcome: str = "delivered", reason: str = "", step: str = "publish") -> Try:
    return Try(at, 0.42, step, outcome, reason)


class Scene:
    """What stands in the database *box*, at the time *now*."""

    def __init__(self, box: Outbox, now: datetime | None = None) -> None:
        self.box, self.now = box, now or datetime.now(UTC)

    def show(
        self,
        id: str = "b1",  # noqa: A002  # its name
        title: str = "Fitting a dovetail drawer",
        *,
        ago: timedelta = 42 * MINUTE,
        lasted: timedelta | None = None,
        channel: str = "default",
        peak: int | None = None,
    ) -> Broadcast:
        """One that began so long *ago*, and is live if it has not *lasted*."""
        began = self.now - ago
        stopped = began + lasted if lasted is not None else None
        made = Broadcast(
            id=id,
            channel=channel,
            began=began,
            since=began,
            seen=stopped or self.now,
            stopped=stopped,
            name="Kestrel Workshop",
            title=title,
            peak_viewers=peak,
        )
        self._put(broadcasts, values_of(made))
        return made

    def post(
        self,
        show: Broadcast,
        destination: str,
        state: State = State.SETTLED,
        *,
        text: str = "",
        link: str = "",
        made: Sequence[Try] | None = None,
        moment: Moment = Moment.LIVE,
        picture: str = "",
        alt: str = "",
        card: bool = False,
        extra: Mapping[str, Any] | None = None,
        **entry: Any,
    ) -> Entry:
        """What stands in the row; *link* is that of its receipt, and it is up if it is settled."""
        up = state is State.SETTLED
        values: dict[str, Any] = {
            "wanted": moment,
            "shown": moment if up else None,
            "next_at": show.began,
            "until": show.began + 30 * MINUTE,
        }
        one = Entry(
            key=f"{show.id}/{moment}/{destination}",
            broadcast=show.id,
            channel=show.channel,
            moment=moment,
            destination=destination,
            state=state,
            **values | entry,
        )
        if made is None:
            made = [tried(show.began + timedelta(seconds=33))] if up else []
        if made:
            one = replace(one, tries=len(made))
        behind = Card(HOME, show.title, "Woodwork, slowly and with sharp tools.", show.name)
        content = Content(
            text or f"🔴 {show.name} is live: {show.title}\n\n{HOME}\n\n#woodwork",
            "live.txt",
            moment.mood,
            behind if card else None,
            show.began,
            show.began,
            picture,
            alt,
        )
        receipt = json.dumps({"id": "7", "url": link, "extra": {}, **(extra or {})})
        row = values_of(one) | {
            "content": content.frozen() if text or up else None,
            "receipt": receipt if up or one.shown else None,
            "lease_until": 0,
            "changed": self.now.timestamp(),
        }
        self._put(posts, row)
        for each in made:
            told = {"post": one.key, "destination": destination, "at": each.at.timestamp()}
            more = {name: getattr(each, name) for name in ("took", "step", "outcome", "reason")}
            self._put(tries, told | more)
        return one

    def picture(self) -> str:
        """The digest of one, of a workbench in the evening."""
        image = Image.new("RGB", (640, 360), "#2b2118")
        draw = ImageDraw.Draw(image)
        for y in range(240):
            draw.line((0, y, 640, y), (60 + y // 4, 44 + y // 6, 34 + y // 9))
        draw.rectangle((0, 240, 640, 360), "#8a5a2b")
        for x in range(-60, 640, 80):
            draw.line((x, 360, x + 70, 240), "#7a4d22", 3)
        draw.rectangle((180, 150, 460, 262), "#c08a4e", "#5e3a17", 4)
        draw.rectangle((196, 172, 444, 246), "#d9a566", "#5e3a17", 3)
        draw.ellipse((308, 198, 332, 222), "#3a2410")
        draw.polygon([(500, 60), (560, 60), (590, 130), (470, 130)], "#f3d9a0")
        data = io.BytesIO()
        image.save(data, "JPEG", quality=80)
        made = Picture(data.getvalue(), 640, 360)
        row = {"digest": made.digest, "at": self.now.timestamp(), "width": 640, "height": 360}
        self._put(pictures, row | {"data": made.data})
        return made.digest

    def _put(self, table: sa.Table, row: Mapping[str, Any]) -> None:
        with self.box.writing("scene") as connection:
            connection.execute(sa.insert(table), row)


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        return


@contextmanager
def served(settings: Mapping[str, str]) -> Iterator[tuple[Parts, str]]:
    """The pages at an address, with nothing behind them that would send."""
    # An open page may still be reading when the folder goes.
    with tempfile.TemporaryDirectory(prefix="pages-", ignore_cleanup_errors=True) as folder:
        database = {"ANNOUNCER_DATABASE_URL": f"sqlite:///{folder}/announcer.db"}
        parts = wiring.assemble(wiring.read({**settings, **database}))
        server = make_server(
            "127.0.0.1", 0, create_app(parts), threaded=True, request_handler=_Quiet
        )
        server.daemon_threads = True  # type: ignore[attr-defined]  # a page may be open
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield parts, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            parts.stop(1)
            parts.outbox.engine.dispose()
