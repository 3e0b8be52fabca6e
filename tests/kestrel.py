"""An evening at Kestrel Workshop, for the pages: ninety days of shows, and one that is on now."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from announcer.attempt import fingerprint
from announcer.outbox import DestinationMemory
from announcer.policy import State
from announcer.rollcall import KEPT, Found
from announcer.wiring import Parts
from tests.scenes import MINUTE, Scene, tried

OVERLAY = "the-overlay-of-the-docs"
EVENING = {
    "OWNCAST_URL": "https://live.kestrel.example",
    "OWNCAST_WEBHOOK_TOKEN": "a-token-that-nobody-guesses",
    "OWNCAST_ACCESS_TOKEN": "a-token-of-the-chat",
    "MASTODON_API_BASE_URL": "https://mastodon.example",
    "MASTODON_ACCESS_TOKEN": "made-up",
    "BLUESKY_IDENTIFIER": "kestrel.bsky.social",
    "BLUESKY_APP_PASSWORD": "made-up",
    "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/17/made-up-word",
    "X_CONSUMER_KEY": "made-up-1",
    "X_CONSUMER_SECRET": "made-up-2",
    "X_ACCESS_TOKEN": "made-up-3",
    "X_ACCESS_TOKEN_SECRET": "made-up-4",
    "ANNOUNCER_OVERLAY_TOKEN": OVERLAY,
    "ANNOUNCER_LOG_LEVEL": "error",
}
TITLES = (
    "Fitting a dovetail drawer",
    "Sharpening day: planes and chisels",
    "Glue-up of the oak carcass",
    "Questions and answers, with tea",
    "Turning a bowl from cherry",
    "Hand-cut mortises",
)
LINKS = {
    "mastodon": "https://mastodon.example/@kestrel/115600000000000001",
    "bluesky": "https://bsky.app/profile/kestrel.bsky.social/post/3m6abc",
    "discord": "https://discord.com/channels/1/2/3",
    "x": "https://x.com/kestrel/status/1990000000000000001",
    "owncast": "",
}
WHO = {
    "mastodon": Found(datetime.now(UTC), "", "@kestrel@mastodon.example", "https://m.example/@k"),
    "bluesky": Found(datetime.now(UTC), "", "kestrel.bsky.social", "https://bsky.app/profile/k"),
    "discord": Found(datetime.now(UTC), "", "#announcements", "https://discord.com/channels/1/2"),
    "owncast": Found(datetime.now(UTC), "", "Kestrel Workshop", "https://live.kestrel.example"),
}


def evening(parts: Parts, *, live: bool = True) -> None:
    """Ninety days of shows, and one that is on now."""
    scene, dice = Scene(parts.outbox), random.Random(7)  # the same every time
    picture = scene.picture()
    for day in range(2, 90, 3):
        ago = timedelta(days=day, hours=dice.random() * 3)
        lasted = timedelta(minutes=50 + dice.random() * 190)
        title, peak = dice.choice(TITLES), dice.randint(18, 160)
        show = scene.show(f"b{100 - day}", title, ago=ago, lasted=lasted, peak=peak)
        for name, link in LINKS.items():
            took = timedelta(seconds=31 + dice.random() * (5 if name != "x" else 30))
            if name == "x" and day == 5:
                made = [tried(show.began + took, "Refused", "402 the account has no credits left")]
                scene.post(show, name, State.FAILED, made=made, reason=made[0].reason)
                continue
            scene.post(show, name, link=link, made=[tried(show.began + took)])
    if not live:
        return
    show = scene.show("b101", "Fitting a dovetail drawer, second try", peak=64)
    bold = f"🔴 **{show.name}** is live: {show.title}\n<https://live.kestrel.example>"
    began = show.began
    told = began + timedelta(seconds=32)
    edits = [tried(told), tried(began + 12 * MINUTE, step="revise")]
    scene.post(
        show, "mastodon", link=LINKS["mastodon"], made=edits, picture=picture, alt="A drawer"
    )
    scene.post(show, "bluesky", link=LINKS["bluesky"], card=True)
    scene.post(show, "discord", text=bold, link=LINKS["discord"], made=edits)
    x = [tried(told, "TryLater", "503, the network is busy")] * 3
    words, soon = f"🔴 {show.name} is live: {show.title}", datetime.now(UTC) + 4 * MINUTE
    scene.post(show, "x", State.DUE, text=words, made=x, next_at=soon, reason=x[0].reason)
    chat = "The announcement of this stream is out. If you like, pass it on:\n\nMastodon: "
    scene.post(show, "owncast", text=chat + LINKS["mastodon"], made=[tried(told)])


def introduce(parts: Parts) -> None:
    """Every account has said who it is, but for one that does not get in."""
    for name, network in parts.settings.destinations.items():
        found = WHO.get(name.partition(".")[0]) or Found(
            datetime.now(UTC), "", problem="401: the access token is not valid", final=True
        )
        kept = replace(found, credentials=fingerprint(network)).kept()
        DestinationMemory(parts.outbox, name).put(KEPT, kept)
