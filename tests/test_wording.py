"""Any broadcast gets words that fit, whatever its title and whatever is wrong with its template."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from announcer import budget
from announcer.facts import duration, hashtags, shorten
from announcer.network import Account, Card, Moment, Network, Post, Receipt, Repeat, graphemes
from announcer.wording import Facts, Templates, Wording, card, clean
from tests.rows import ROWS

AT = datetime(2026, 11, 23, 19, 15, tzinfo=UTC)
FACTS = Facts(
    channel="default",
    name="Kestrel Workshop",
    title="Fitting a dovetail drawer",
    summary="Woodwork by hand.",
    url="https://live.example.org/@kestrel",
    tags=("woodwork", "hand tools"),
    nsfw=False,
    started_at=AT,
)
OVER = replace(FACTS, ended_at=AT + timedelta(hours=2, minutes=5), peak_viewers=42)
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
GERMANY = "\U0001f1e9\U0001f1ea"
ZALGO = "z" + "\u0301\u0316" * 40
HOSTILE = [
    "{{7*7}}",
    "{% for x in range(9) %}x{% endfor %}",
    "{# gone #}",
    "${x} %s {0} %(title)s",
    "<script>alert(1)</script> &amp; [x](http://evil.example)",
]


class Plain(Network):
    """The contract's own way of counting: graphemes."""

    name = "plain"
    title = "Plain"
    repeat = Repeat.DOUBLES
    unit = "graphemes"
    usual_limit = 100

    def publish(self, post: Post) -> Receipt:
        return Receipt(post.key)

    def check(self) -> Account:
        return Account("@kestrel")


class Units(Plain):
    """Counts UTF-16 units; Markdown, with links in angle brackets."""

    usual_limit = 200

    def measure(self, text: str) -> int:
        return len(text.encode("utf-16-le")) // 2

    def escape(self, text: str) -> str:
        return super().escape("".join(f"\\{c}" if c in r"\*_~`|>#:<[]()-" else c for c in text))

    def link(self, url: str) -> str:
        return f"<{url}>"


class Weights(Plain):
    """Counts 2 for all that is not Latin, "…" too, and 23 for any word that is a link."""

    usual_limit = 140

    def measure(self, text: str) -> int:
        words = ["x" * 23 if word.startswith("https://") else word for word in text.split(" ")]
        return sum(1 if ord(c) < 0x1100 else 2 for c in " ".join(words))


class Bytes(Plain):
    usual_limit = 400

    def measure(self, text: str) -> int:
        return len(text.encode())


class Roomier(Plain):
    usual_limit = 150


FAKES = [Roomier(), Units(), Weights(), Bytes()]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path


def write(own: Path, **files: str | bytes) -> Path:
    """`live=...` writes live.txt, `mastodon__live_2=...` writes mastodon/live.2.txt."""
    for name, content in files.items():
        path = own / (name.replace("__", "/").replace("_", ".") + ".txt")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return own


def worded(own: Path | None, facts: Facts = FACTS, network: Network | None = None) -> Wording:
    return Templates(own).word(network or Plain(), "plain", Moment.LIVE, facts)


# What is said


@pytest.mark.parametrize(
    ("mood", "facts", "text"),
    [
        pytest.param(
            Moment.LIVE,
            FACTS,
            "🔴 Kestrel Workshop is live: Fitting a dovetail drawer\n\n"
            "https://live.example.org/@kestrel\n\n#woodwork #HandTools",
            id="live",
        ),
        pytest.param(
            Moment.LIVE,
            replace(FACTS, title="\u200b ", tags=()),
            "🔴 Kestrel Workshop is live\n\nhttps://live.example.org/@kestrel",
            id="live, with nothing to see in the title",
        ),
        pytest.param(
            Moment.LIVE,
            replace(FACTS, url="", nsfw=True, name=""),
            "🔴 The stream is live (mature content): Fitting a dovetail drawer\n\n"
            "#woodwork #HandTools",
            id="live, without a name or an address",
        ),
        pytest.param(
            Moment.ENDED,
            OVER,
            "Kestrel Workshop was live for 2 hours and 5 minutes: Fitting a dovetail drawer\n\n"
            "See you next time: https://live.example.org/@kestrel\n\n#woodwork #HandTools",
            id="ended",
        ),
        pytest.param(
            Moment.ENDED,
            replace(OVER, title="", tags=(), replay_url="https://tube.example/w/7"),
            "Kestrel Workshop was live for 2 hours and 5 minutes\n\n"
            "Watch it again: https://tube.example/w/7",
            id="ended, with a replay",
        ),
        pytest.param(
            Moment.ENDED,
            replace(FACTS, url="", title="", tags=()),
            "Kestrel Workshop was live\n\nSee you next time.",
            id="ended, and nothing is known",
        ),
    ],
)
def test_f05_the_shipped_words_read_well(mood: Moment, facts: Facts, text: str) -> None:
    network = Plain()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plain, "usual_limit", 500)
        wording = Templates(None).word(network, "plain", mood, facts)
    assert wording == Wording(text, f"shipped:{mood}.txt")


@pytest.mark.parametrize("network", [row.make() for row in ROWS], ids=lambda each: each.name)
def test_every_shipped_template_has_words_for_every_sample(network: Network) -> None:
    assert Templates(None).problems(network.name, network, limit=network.usual_limit) == []


def test_a_picture_is_described_in_plain_text() -> None:
    facts = replace(FACTS, title="*" * 150 + FAMILY * 100)
    wording = Templates(None).alt(Units(), "plain", facts)
    assert wording.text.startswith("A moment of the live stream of Kestrel Workshop, titled “***")
    assert Units().measure(wording.text) <= 1000


def test_the_chat_learns_of_the_posts() -> None:
    facts = replace(FACTS, posts=(("Mastodon", "https://social.example/@kestrel/7"),))
    chat = next(row.make() for row in ROWS if row.name == "owncast")
    wording = Templates(None).word(chat, "owncast", Moment.LIVE, facts)
    assert wording.text == (
        "The announcement of this stream is out. If you like, pass it on:\n\n"
        "Mastodon: https://social.example/@kestrel/7"
    )


def test_f05_the_card_shows_clean_text_and_never_an_empty_title() -> None:
    facts = replace(FACTS, title="\u202e\x00", name="Kestrel\u2028Workshop", summary="a\nb")
    assert card(facts) == Card(FACTS.url, "Kestrel Workshop", "a b", "Kestrel Workshop")


@pytest.mark.parametrize(
    ("ended", "text"),
    [
        (None, ""),
        (timedelta(seconds=-1), ""),
        (timedelta(seconds=59), "less than a minute"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(hours=1, seconds=59), "1 hour"),
        (timedelta(hours=2, minutes=5), "2 hours and 5 minutes"),
        (timedelta(days=1, hours=2, minutes=1), "26 hours and 1 minute"),
    ],
)
def test_a_duration_reads_like_speech(ended: timedelta | None, text: str) -> None:
    assert duration(replace(FACTS, ended_at=AT + ended if ended is not None else None)) == text


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        (("music",), "#music"),
        (("Just Chatting!", "lo-fi", "rock'n'roll"), "#JustChatting #LoFi #RockNRoll"),
        (("Music", "music", "MUSIC "), "#Music"),
        (("", "!!!", "2026", "###"), ""),
        (("#owncast", "@kestrel", "C++"), "#owncast #kestrel #C"),
        (("日本語", "हिन्दी", "öl farben"), "#日本語 #हिन्दी #ÖlFarben"),
    ],
)
def test_tags_become_hashtags_that_work(tags: tuple[str, ...], text: str) -> None:
    assert hashtags(tags) == text


# Text from Owncast is data


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("  Fitting\r\na\tdovetail\u2028drawer\x0b ", "Fitting a dovetail drawer"),
        ("a\x00b\x1b[31mc\ufffed\ud800e", "ab[31mcde"),
        ("evil\u202egpj.exe\u2066x\u2069", "evilgpj.exex"),
        ("e\x00\u0301", "é"),
        (f"{FAMILY}{GERMANY}❤\ufe0f", f"{FAMILY}{GERMANY}❤\ufe0f"),
        ("שלום \u200fעולם", "שלום \u200fעולם"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        (ZALGO, "ź" + "\u0316" * 4 + "\u0301" * 3),
        ("a" + "\u0344" * 8, "ä" + "\u0301\u0308" * 4),
        ("a " + "\U0001f468\u200d" * 99, "a \ufffd"),
        ("\u200b\u200d\u0301 \t", ""),
        (FAMILY * 300, FAMILY * 199 + "…"),
    ],
    ids=[
        "one line",
        "controls and surrogates",
        "bidi overrides",
        "composed after dropping",
        "emoji stay whole",
        "right to left stays",
        "joiners of Persian stay",
        "stacked accents",
        "accents that stack when normalised",
        "an endless family",
        "nothing to see",
        "200 graphemes",
    ],
)
def test_f02_f03_f04_a_title_is_cleaned(raw: str, text: str) -> None:
    assert clean(raw) == text


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("dovetail", 8, "dovetail"),
        ("dovetail", 7, "doveta…"),
        ("a drawer", 3, "a…"),
        ("drawer", 1, ""),
        ("drawer", 0, ""),
        (FAMILY * 3, 2, FAMILY + "…"),
        ("see https://a.example/b and more", 12, "see…"),
        ("see https://a.example/b and more", 24, "see https://a.example/b…"),
        ("see example.com/x now", 9, "see…"),
        ("https://a.example/b", 12, ""),
        ("one. Two. Three", 7, "one. T…"),
    ],
)
def test_f02_a_title_is_cut_at_an_edge(text: str, most: int, short: str) -> None:
    assert shorten(text, most) == short


@pytest.mark.parametrize("title", HOSTILE)
def test_f06_a_title_is_never_a_template(title: str, own: Path) -> None:
    write(own, live="{{ title }}|{{ tags[0] }}|{% for tag in tags %}{{ tag }}{% endfor %}")
    assert worded(own, replace(FACTS, title=title, tags=(title,)), Bytes()) == Wording(
        f"{title}|{title}|{title}", "own:live.txt"
    )


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("**{{ title }}**", r"**\*a\***"),
        ("{{ title|upper }}", r"\*A\*"),
        ("{{ 'now: ' ~ title }}", r"now\: \*a\*"),
        ("{% set x %}*{{ title }}*{% endset %}{{ x }}", r"*\*a\**"),
        ("{% macro m() %}*{{ title }}*{% endmacro %}{{ m() }}", r"*\*a\**"),
        ("{% set x = title %}{{ x }}", r"\*a\*"),
        ("{{ tags|join(' + ') }}", r"woodwork + hand tools"),
        ("{{ url }}", "<https://live.example.org/@kestrel>"),
        ("{{ 'on ' ~ url }}", "on <https://live.example.org/@kestrel>"),
        ("{{ hashtags }}", "#woodwork #HandTools"),
        ("{{ peak_viewers }} {{ ended_at }}{{ duration }}.", "."),
        ("{{ started_at.strftime('%H') }} {{ started_at.timestamp()|int }}", "19 1795461300"),
        ("{{ 'adults' if nsfw }}{{ 'all' if not nsfw }}", "all"),
        ("{{ summary }} {{ channel }}", "Woodwork by hand. default"),
    ],
)
def test_f07_values_are_escaped_once_and_our_own_never(own: Path, template: str, text: str) -> None:
    write(own, live=template)
    wording = worded(own, replace(FACTS, title="*a*"), Units())
    assert wording == Wording(text, "own:live.txt")


def test_values_are_escaped_where_there_is_no_address_at_all(own: Path) -> None:
    write(own, live="{{ title }}")
    assert worded(own, replace(FACTS, title="*a*", url=""), Units()).text == r"\*a\*"


def test_f01_a_mention_in_a_title_pings_nobody_and_a_handle_in_our_address_stays() -> None:
    text = worded(None, replace(FACTS, title="duo with @ada")).text
    assert "@\u200bada" in text
    assert "/@kestrel" in text


# Which template


@pytest.mark.parametrize(
    ("files", "used"),
    [
        ([], "shipped:live.txt"),
        (["live"], "own:live.txt"),
        (["live", "plain__live"], "own:plain/live.txt"),
        (["live", "plain__live", "plain.music__live"], "own:plain.music/live.txt"),
        (["other__live", "ended"], "shipped:live.txt"),
        (["live_x", "live_1_2", "lively"], "shipped:live.txt"),
    ],
)
def test_the_most_special_template_is_used(own: Path, files: list[str], used: str) -> None:
    write(own, **dict.fromkeys(files, "Hello"))
    wording = Templates(own).word(Plain(), "plain.music", Moment.LIVE, FACTS)
    assert (wording.template, wording.problem) == (used, "")


def test_a_network_s_shipped_words_yield_to_any_of_the_operator_s_own(own: Path) -> None:
    discord = next(row.make() for row in ROWS if row.name == "discord")
    word = Templates(None).word(discord, "discord", Moment.LIVE, FACTS)
    assert word.template == "shipped:discord/live.txt"
    write(own, live="Hello")
    assert Templates(own).word(discord, "discord", Moment.LIVE, FACTS).text == "Hello"


def variants_in_turn(templates: Templates, dice: list[float]) -> Iterator[str]:
    last = ""
    for throw in dice:
        last = templates.word(Plain(), "plain", Moment.LIVE, FACTS, last=last, dice=throw).template
        yield last


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_f12_no_variant_is_used_twice_running(
    tmp_path_factory: pytest.TempPathFactory, dice: list[float]
) -> None:
    own = write(tmp_path_factory.mktemp("own"), live="a", live_1="b", live_2="c")
    used = list(variants_in_turn(Templates(own), dice))
    assert all(one != next_one for one, next_one in pairwise(used))


def test_dice_reach_every_variant(own: Path) -> None:
    write(own, live_1="a", live_2="b", live_10="c")
    words = [
        Templates(own).word(Plain(), "plain", Moment.LIVE, FACTS, dice=dice).text
        for dice in (0.0, 0.5, 0.999, 1.0)
    ]
    assert words == ["a", "b", "c", "c"]


def test_the_only_variant_is_used_again(own: Path) -> None:
    write(own, live_1="a")
    wording = Templates(own).word(Plain(), "plain", Moment.LIVE, FACTS, last="own:live.1.txt")
    assert wording == Wording("a", "own:live.1.txt")


def test_a_broken_variant_leaves_the_floor_to_another(own: Path) -> None:
    write(own, live_1="{{ oops", live_2="b")
    wording = worded(own)
    assert (wording.text, wording.template) == ("b", "own:live.2.txt")
    assert wording.problem.startswith("own:live.1.txt line 1: ")


# A template can not lose a post

BROKEN: dict[str, tuple[str | bytes, str]] = {
    "a syntax error": ("Hello\n\n{% if %}", "own:live.txt line 3: Expected an expression"),
    "an unclosed block": ("{% if title %}Hello", "own:live.txt line 1: Unexpected end"),
    "an unknown variable": (
        "Hello\n{{ titel }}",
        "own:live.txt line 2: unknown variable 'titel' (did you mean 'title'?); known are channel,",
    ),
    "an unknown attribute": ("\n{{ title.foo }}", "own:live.txt line 2: 'str object' has no"),
    "what there is only later": ("{{ ended_at.year }}", "own:live.txt line 1: 'None' has no"),
    "no such filter": ("{{ title|shout }}", "own:live.txt line 1: No filter named 'shout'"),
    "a way out": ("{{ title.__class__ }}", "own:live.txt line 1: access to attribute"),
    "another file": ("{% include '/etc/passwd' %}", "own:live.txt line 1: no loader"),
    "a division by zero": ("{{ 1 / 0 }}", "own:live.txt line 1: division by zero"),
    "nothing": ("", "own:live.txt: says nothing"),
    "nothing to see": (" \n\u200b\u200d\n", "own:live.txt: says nothing"),
    "more than fits": ("x" * 101, "own:live.txt: is too long even without a title: 101 of 100"),
    "10 MB": ("x" * 10_000_000, "own:live.txt: is larger than 64 KiB"),
    "Latin-1": ("Hello\nGrüße".encode("latin-1"), "own:live.txt line 2: is not UTF-8"),
    "UTF-16": ("Hello".encode("utf-16"), "own:live.txt line 1: is not UTF-8"),
    "a range for ever": ("{% for i in range(10**9) %}x{% endfor %}", "own:live.txt line 1: Range"),
    "loops for ever": (
        "{% for a in title %}" * 20 + "{% endfor %}" * 20,
        "own:live.txt line 1: does not come to an end",
    ),
    "twice itself for ever": (
        "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(99) }}",
        "own:live.txt line 1: does not come to an end",
    ),
    "itself for ever": (
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "own:live.txt line 1: maximum recursion depth",
    ),
    "too many words": (
        "{% for i in range(9999) %}{{ title }}{% endfor %}",
        "own:live.txt: makes an endless text",
    ),
    "a gigabyte": ("{{ 'a' * 10**9 }}", "own:live.txt line 1: this use of *"),
    "a gigabyte by padding": ("{{ 'a'.ljust(10**9) }}", "own:live.txt line 1: access to"),
    "a gigabyte by filter": ("{{ 'a'|center(1000000000) }}", "own:live.txt line 1: No filter"),
    "a gigabyte by format": ("{{ '%999999999d' % 1 }}", "own:live.txt line 1: this use of %"),
    "a gigabyte by the format of a text": (
        "{{ '{:>999999999}'.format(1) }}",
        "own:live.txt line 1: access to",
    ),
    "terabytes by joining": (
        "{% set a = range(9999)|join %}{{ range(9999)|join(a) }}",
        "own:live.txt line 1: makes too much",
    ),
    "terabytes by a text's own joining": (
        "{% set a = range(9999)|join %}{{ a.join(range(9999)) }}",
        "own:live.txt line 1: makes too much",
    ),
    "terabytes by replacing": (
        "{% set a = range(9999)|join %}{{ a|replace('1', a)|replace('2', a) }}",
        "own:live.txt line 1: makes too much",
    ),
    "terabytes by a text's own replacing": (
        "{% set a = range(9999)|join %}{{ a.replace('1', a).replace('2', a) }}",
        "own:live.txt line 1: makes too much",
    ),
    "terabytes by replacing again and again": (
        "{{ range(9999)|map('replace', '1', 'x' * 9999)|map('replace', 'x', 'y' * 9999)|list }}",
        "own:live.txt line 1: makes too much",
    ),
    "terabytes while it is compiled": (
        f"{{{{ '{'a' * 9999}'|replace('a', '{'b' * 9999}') }}}}",
        "own:live.txt line 1: makes too much",
    ),
    "twice as much each time by a tilde": (
        "{% set a = title %}" + "{% set a = a ~ a %}" * 40,
        "own:live.txt line 1: makes too much",
    ),
    "twice as much each time by a plus": (
        "{% set a = title %}" + "{% set a = a + a %}" * 40,
        "own:live.txt line 1: makes too much",
    ),
    "twice as much each time by a block": (
        "{% set a %}x{% endset %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40,
        "own:live.txt line 1: makes too much",
    ),
    "a list that is in another twice, and so on": (
        "{% set a = [title] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
        "own:live.txt line 1: makes too much",
    ),
    "names that are in others twice, and so on": (
        "{% set a = namespace(x=1) %}" + "{% set a = namespace(x=a, y=a) %}" * 40 + "{{ a }}"
        "{{ a.z }}",
        "own:live.txt line 1: 'announcer.budget.ShortNamespace object' has no",
    ),
    "long lists in a long list": (
        "{% set a = [" + "range(9999)|list," * 200 + "] %}",
        "own:live.txt line 1: makes too much",
    ),
    "slices of a long text": (
        "{% set t = range(9999)|join %}{% set a = [" + "t[1:]," * 200 + "] %}",
        "own:live.txt line 1: makes too much",
    ),
    "a number without end": ("{{ 9 ** 9 ** 9 ** 9 }}", "own:live.txt line 1: this use of **"),
    "depth without end": ("{{ " + "(" * 9999, "own:live.txt: can not be compiled"),
}


@pytest.mark.parametrize(("content", "problem"), BROKEN.values(), ids=BROKEN.keys())
def test_f09_f10_a_broken_template_gives_way_to_the_shipped_one(
    own: Path, content: str | bytes, problem: str
) -> None:
    wording = worded(write(own, live=content))
    assert (wording.text, wording.template) == (worded(None).text, "shipped:live.txt")
    assert wording.problem.startswith(problem)


@pytest.mark.parametrize(("content", "problem"), BROKEN.values(), ids=BROKEN.keys())
def test_f08_f09_f10_a_template_that_breaks_keeps_its_last_good_words_here(
    own: Path, content: str | bytes, problem: str
) -> None:
    templates = Templates(write(own, live="{{ name }}!", ended="Over!"))
    templates.word(Plain(), "plain", Moment.LIVE, FACTS)
    write(own, live=content)
    wording = templates.word(Plain(), "plain", Moment.LIVE, FACTS)
    assert (wording.text, wording.template) == ("Kestrel Workshop!", "own:live.txt")
    assert wording.problem.startswith(problem)
    assert wording.problem.endswith("; its last good version is used")
    write(own, live="Mended")
    assert templates.word(Plain(), "plain", Moment.LIVE, FACTS) == Wording("Mended", "own:live.txt")


def test_f09_a_template_that_computes_for_long_gives_way_too(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "SECONDS", -1.0)
    wording = worded(write(own, live="{% for i in range(99) %}{{ i }}{% endfor %}"))
    assert wording.problem.startswith("own:live.txt line 1: does not come to an end")


def test_a_text_that_is_honest_stays_within_its_budget(own: Path) -> None:
    words = (
        "{% set mark = namespace(seen=false) %}{% for tag in tags %}"
        "{% if tag|length > 3 %}{% set mark.seen = true %}{% endif %}{% endfor %}"
        "{{ name|upper ~ '!' }} {{ title[:3] + '…' }} {{ tags|map('replace', 'o', '0')|join('+') }}"
        "{{ ' long' if mark.seen }} {{ ', '.join(tags) }} {{ title.replace('a', 'A')|title }}"
    )
    wording = worded(write(own, live=words))
    assert not wording.problem
    assert wording.template == "own:live.txt"


def test_what_the_check_at_the_start_found_good_is_remembered(own: Path) -> None:
    templates = Templates(write(own, live="Hello"))
    assert templates.problems("plain", Plain()) == []
    write(own, live="{{ oops")
    assert templates.word(Plain(), "plain", Moment.LIVE, FACTS).text == "Hello"


def test_f09_a_folder_that_went_away_is_told_and_its_words_stay(own: Path) -> None:
    folder = own / "templates"
    folder.mkdir()
    templates = Templates(write(folder, live="Hello"))
    templates.word(Plain(), "plain", Moment.LIVE, FACTS)
    folder.rename(own / "elsewhere")
    wording = templates.word(Plain(), "plain", Moment.LIVE, FACTS)
    assert wording.text == "Hello"
    assert "own:live.txt: can not be read (No such file or directory)" in wording.problem


def test_a_template_that_was_deleted_on_purpose_is_not_missed(own: Path) -> None:
    templates = Templates(write(own, live="Hello"))
    templates.word(Plain(), "plain", Moment.LIVE, FACTS)
    (own / "live.txt").unlink()
    wording = templates.word(Plain(), "plain", Moment.LIVE, FACTS)
    assert (wording.template, wording.problem) == ("shipped:live.txt", "")


def test_a_folder_named_like_a_template_is_told(own: Path) -> None:
    (own / "live.txt").mkdir()
    wording = worded(own)
    assert (wording.template, wording.problem) == (
        "shipped:live.txt",
        "own:live.txt: is not a file",
    )


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (FACTS, "https://live.example.org/@kestrel"),
        (replace(FACTS, url=""), "Kestrel Workshop"),
        (replace(FACTS, url="https://live.example.org/" + "x" * 100), "Kestrel Workshop"),
        (replace(FACTS, url="", name="very " * 99), "very " * 19 + "very…"),
    ],
)
def test_without_any_template_the_link_is_said_or_else_the_name(
    tmp_path: Path, facts: Facts, text: str
) -> None:
    wording = Templates(tmp_path, tmp_path).word(Plain(), "plain", Moment.LIVE, facts)
    assert wording == Wording(text, "", "there is no template", broken=True)


def test_a_byte_order_mark_and_line_ends_of_windows_are_fine(own: Path) -> None:
    write(own, live=b"\xef\xbb\xbfHello\r\n\r\n\r\n\r\n{{ name }}  \r\n\r\n")
    assert worded(own) == Wording("Hello\n\nKestrel Workshop", "own:live.txt")


# Length


@pytest.mark.parametrize(
    ("name", "title", "summary", "text"),
    [
        pytest.param("n" * 30, "t" * 30, "s" * 38, "n" * 30 + "t" * 30 + "s" * 38, id="all fits"),
        pytest.param(
            "n" * 30, "t" * 60, "s" * 38, "n" * 30 + "t" * 29 + "…" + "s" * 38, id="the title first"
        ),
        pytest.param(
            "n" * 30, "t" * 60, "s" * 90, "n" * 30 + "s" * 67 + "…", id="then the summary"
        ),
        pytest.param("n" * 150, "t" * 60, "s" * 90, "n" * 97 + "…", id="then the name"),
    ],
)
def test_f11_parts_get_shorter_in_a_fixed_order(
    own: Path, name: str, title: str, summary: str, text: str
) -> None:
    write(own, live="{{ name }}{{ title }}{{ summary }}#x")
    facts = replace(FACTS, name=name, title=title, summary=summary)
    assert worded(own, facts) == Wording(f"{text}#x", "own:live.txt")


def test_tags_that_can_not_fit_leave_whole_and_are_told(own: Path) -> None:
    write(own, live="{{ name }} {{ hashtags }}")
    facts = replace(FACTS, name="Ada", tags=tuple(f"{'a' * 28}{n}" for n in range(6)))
    wording = worded(own, facts)
    assert wording.text == f"A… #{'a' * 28}0 #{'a' * 28}1 #{'a' * 28}2"
    assert wording.problem == "own:live.txt: no room for 3 of the tags"


def test_no_address_in_a_title_is_cut_in_two(own: Path) -> None:
    write(own, live="{{ title }}" + "x" * 80)
    text = worded(own, replace(FACTS, title="with https://guest.example.com/channel")).text
    assert text == "with…" + "x" * 80


@pytest.mark.parametrize("network", FAKES, ids=lambda each: type(each).__name__)
def test_f05_a_title_of_100000_characters_fits(network: Network) -> None:
    for title in ("x" * 100_000, ZALGO * 1200, FAMILY * 14_000, "a" + "\u0301\u0316" * 50_000):
        wording = worded(None, replace(FACTS, title=title), network)
        assert network.measure(wording.text) <= network.usual_limit
        assert wording.problem == ""
        assert "…" in wording.text or title.startswith("a")  # one letter, with accents


# Any text at all

PIECES = [FAMILY, GERMANY, ZALGO, "\u202e", "שלום", "日本語", "@ada", "https://a.example/x", "a.b"]
TEXTS = st.lists(
    st.text(st.characters(exclude_categories=()), max_size=60)
    | st.sampled_from([*PIECES, *HOSTILE])
).map("".join)
BROADCASTS = st.builds(
    replace,
    st.sampled_from([FACTS, OVER, replace(OVER, replay_url="https://tube.example/w/7_a")]),
    name=TEXTS,
    title=TEXTS,
    summary=TEXTS,
    tags=st.lists(st.sampled_from(["music", "just chatting", "日本語", "!!", ""])).map(tuple),
)


@given(TEXTS)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert graphemes(once) <= 200
    once.encode()


@given(TEXTS, st.integers(0, 100))
def test_a_shortened_text_is_never_longer_than_wished(text: str, most: int) -> None:
    short = shorten(text, most)
    assert graphemes(short) <= most
    assert short == text or text.startswith(short.removesuffix("…"))


@pytest.mark.parametrize("network", FAKES, ids=lambda each: type(each).__name__)
@settings(deadline=None, max_examples=50)
@given(facts=BROADCASTS, mood=st.sampled_from([Moment.LIVE, Moment.ENDED]))
def test_any_broadcast_fits_and_the_link_and_the_hashtags_are_whole(
    tmp_path_factory: pytest.TempPathFactory, network: Network, facts: Facts, mood: Moment
) -> None:
    own = write(
        tmp_path_factory.mktemp("own"),
        live="{{ name }}: {{ title }}\n{{ summary }}\n {{ url }} {{ hashtags }}",
    )
    for templates in (Templates(None), Templates(own)):
        wording = templates.word(network, "plain", mood, facts)
        assert network.measure(wording.text) <= network.usual_limit
        assert wording.problem == ""
        link = facts.replay_url if mood is Moment.ENDED and facts.replay_url else facts.url
        assert network.link(link) in wording.text.split()
        assert set(hashtags(facts.tags).split()) <= set(wording.text.split())


@pytest.mark.parametrize("network", [row.make() for row in ROWS], ids=lambda each: each.name)
@settings(deadline=None, max_examples=50)
@given(facts=BROADCASTS, mood=st.sampled_from([Moment.LIVE, Moment.ENDED]))
def test_f02_f03_f05_any_title_fits_every_network_s_limit_as_the_network_counts(
    network: Network, facts: Facts, mood: Moment
) -> None:
    with pytest.MonkeyPatch.context() as patch:  # some would ask their server
        patch.setattr(type(network), "limit", lambda self: self.usual_limit)
        wording = Templates(None).word(network, network.name, mood, facts)
    assert network.measure(wording.text) <= network.usual_limit
    assert wording.problem == ""
    wording.text.encode()


@pytest.mark.parametrize("network", [row.make() for row in ROWS], ids=lambda each: each.name)
@pytest.mark.parametrize(
    "url",
    [
        "https://live.example.org:8443/deep/er",
        "https://[2001:db8::1]:8080",
        "https://b\u00fccher.example/\u00fc",
        "https://xn--bcher-kva.example",
        "https://live.example.org./",
        "https://live.example.org/a_(b)~*c*",
        "http://192.168.1.5:8080",
        "https://live.example.org/?a=1&b=2#c",
    ],
)
def test_f13_any_address_stays_whole_and_fits(network: Network, url: str) -> None:
    facts = replace(
        FACTS, title="x" * 9999, url=url, posts=(("Elsewhere", "https://elsewhere.example/1"),)
    )
    own = Templates(None)
    with pytest.MonkeyPatch.context() as patch:  # some would ask their server
        patch.setattr(type(network), "limit", lambda self: self.usual_limit)
        wording = own.word(network, network.name, Moment.LIVE, facts)
    # Who watches the chat is there already, and a push is opened by a tap.
    if not network.told_last and network.name != "ntfy":
        assert network.link(url) in wording.text.split()
    assert network.measure(wording.text) <= network.usual_limit
    assert wording.problem == ""


# What `announcer check` says


def test_f10_f11_the_check_names_file_line_and_sample(own: Path) -> None:
    write(
        own,
        live="Hello\n{{ titel }} {{ nam }}",
        ended="{{ title }}",
        alt="{{ url }}",
        plain__live="{% if not title %}{{ 'x' * 200 }}{% endif %}Hello",
        plain__live_1="{% endif %}",
        other__live="{{ oops",
    )
    known = (
        "channel, duration, ended_at, hashtags, name, nsfw, peak_viewers, posts, replay_url, "
        "started_at, summary, tags, title, url"
    )
    assert Templates(own).problems("plain", Plain()) == [
        "own:plain/live.txt: is too long even without a title: 205 of 100 (without a title)",
        "own:plain/live.1.txt line 1: Encountered unknown tag 'endif'.",
        "own:live.txt line 2: unknown variables 'nam' (did you mean 'name'?), 'titel' (did you "
        f"mean 'title'?); known are {known}",
        "own:ended.txt: says nothing (without a title)",
        "own:alt.txt: says nothing (without an address)",
    ]


def test_the_check_counts_with_the_limit_it_is_given(own: Path) -> None:
    write(own, live="x" * 60)
    assert Templates(own).problems("plain", Plain(), limit=50)[0] == (
        "own:live.txt: is too long even without a title: 60 of 50"
    )
    assert Templates(own).problems("plain", Plain()) == []


def test_the_check_tells_that_the_folder_is_not_there(own: Path) -> None:
    problems = Templates(own / "typo").problems("plain", Plain())
    assert problems[0] == "own:live.txt: can not be read (No such file or directory)"
