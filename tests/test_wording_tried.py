"""Words on trial: as if a template held them, without touching it, and what is wrong with them."""

from dataclasses import replace
from pathlib import Path

import pytest

from announcer.facts import SAMPLES, Facts
from announcer.fitting import Dialect, fit
from announcer.network import Moment
from announcer.sandbox import BadTemplate
from announcer.wording import ALT, Fault, Templates, faults
from tests.test_wording import FACTS, Plain, Units, own, write

__all__ = ["own"]

MUSIC = "plain.music"


def said(templates: Templates, keep: str = "", facts: Facts = FACTS) -> tuple[str, str]:
    """By the account for music: the text, and the template."""
    wording = templates.word(Plain(), MUSIC, Moment.LIVE, facts, keep=keep)
    return wording.text, wording.template


# As if


@pytest.mark.parametrize("name", ["live.txt", "plain/live.txt", f"{MUSIC}/live.txt"])
def test_words_are_tried_where_no_folder_is_set_at_all(name: str) -> None:
    assert said(Templates(None).trying(name, "Tried")) == ("Tried", f"own:{name}")


def test_words_are_tried_in_a_folder_that_is_not_there_yet(own: Path) -> None:
    tried = Templates(own / "new").trying("live.txt", "Tried")
    assert said(tried) == ("Tried", "own:live.txt")
    assert tried.word(Plain(), MUSIC, Moment.ENDED, FACTS).problem == "", "a trial misses nothing"


def test_a_trial_takes_the_place_of_the_file_and_leaves_it(own: Path) -> None:
    templates = Templates(write(own, live="Kept"))
    assert said(templates.trying("live.txt", "Tried")) == ("Tried", "own:live.txt")
    assert said(templates) == ("Kept", "own:live.txt")
    assert [file.read_text() for file in own.iterdir()] == ["Kept"]


def test_who_has_a_more_special_file_is_not_on_trial(own: Path) -> None:
    templates = Templates(write(own, live="Shared", plain__live="Plain's"))
    assert said(templates.trying("live.txt", "Tried")) == ("Plain's", "own:plain/live.txt")
    assert said(templates.trying(f"{MUSIC}/live.txt", "Tried"))[0] == "Tried"
    assert said(templates.trying("other/live.txt", "Tried"))[0] == "Plain's"
    assert said(templates.trying("ended.txt", "Tried"))[0] == "Plain's"


def test_a_variant_on_trial_has_its_turn(own: Path) -> None:
    tried = Templates(write(own, live="Zero", live_2="Two")).trying("live.1.txt", "Tried")
    assert said(tried, keep="own:live.1.txt") == ("Tried", "own:live.1.txt")
    assert tried.used(MUSIC, Plain(), Moment.LIVE) == [
        "own:live.txt",
        "own:live.1.txt",
        "own:live.2.txt",
    ]


def test_the_first_variant_on_trial_comes_first(own: Path) -> None:
    """There is no turn for descriptions of a picture: the first is used."""
    templates = Templates(write(own, alt_1="One"))
    assert templates.trying("alt.txt", "Tried").alt(Plain(), MUSIC, FACTS).text == "Tried"
    assert templates.trying("alt.2.txt", "Tried").alt(Plain(), MUSIC, FACTS).text == "One"


def test_what_is_used_is_of_one_place(own: Path) -> None:
    templates = Templates(write(own, live="a", plain__live_1="b", plain__live="c", ended="d"))
    assert templates.used(MUSIC, Plain(), Moment.LIVE) == [
        "own:plain/live.txt",
        "own:plain/live.1.txt",
    ]
    assert templates.used("other", Plain(), Moment.ENDED) == ["own:ended.txt"]
    assert templates.used("other", Plain(), ALT) == ["shipped:alt.txt"]
    assert Templates(own / "none").used("other", Plain(), "live") == ["shipped:live.txt"]
    assert Templates(own / "none", own / "none").used("other", Plain(), "live") == []


def test_broken_words_on_trial_give_way_and_say_why(own: Path) -> None:
    tried = Templates(write(own, live="Kept")).trying("plain/live.txt", "Hello\n{{ titel }}")
    wording = tried.word(Plain(), MUSIC, Moment.LIVE, FACTS)
    assert (wording.text, wording.template, wording.broken) == ("Kept", "own:live.txt", True)
    assert wording.problem.startswith("own:plain/live.txt line 2: unknown variable 'titel'")


class Silent(Plain):
    def limit(self) -> int:
        raise AssertionError("it would ask its server")


def test_a_trial_fits_the_limit_it_is_given_and_asks_nobody(own: Path) -> None:
    long = replace(FACTS, title="a long title " * 20)
    tried = Templates(own).trying("live.txt", "{{ title }}")
    assert 20 < len(tried.word(Silent(), "plain", Moment.LIVE, long, limit=30).text) <= 30


# What is wrong

KNOWN = (
    "channel, duration, ended_at, hashtags, name, nsfw, peak_viewers, posts, replay_url, "
    "started_at, summary, tags, title, url"
)


@pytest.mark.parametrize(
    ("source", "kind", "expected"),
    [
        pytest.param("{{ name }} {{ url }}", "live", [], id="all is well"),
        pytest.param("{{ duration }}, {{ ended_at.year }}", "ended", [], id="known by the end"),
        pytest.param(
            "Hello\n{{ oops",
            "live",
            [Fault(2, "unexpected end of template, expected 'end of print statement'.")],
            id="syntax",
        ),
        pytest.param(
            "\n\n{{ titel }}",
            "live",
            [Fault(3, f"unknown variable 'titel' (did you mean 'title'?); known are {KNOWN}")],
            id="a misspelt variable",
        ),
        pytest.param(
            "{{ name }}\n{{ ended_at.year }}",
            "live",
            [Fault(2, "'None' has no attribute 'year'")],
            id="not known while it is live",
        ),
        pytest.param(
            "{{ title }}", "live", [Fault(0, "says nothing", ("without a title",))], id="empty"
        ),
        pytest.param("x" * 101, "live", [Fault(0, "is too long even without a title: 101 of 100")]),
        pytest.param("x" * 101, "alt", [], id="there is room for a description"),
        pytest.param(
            "x" * 1001,
            "alt",
            [Fault(0, "is too long even without a title: 1001 of 1000")],
            id="a description that is too long",
        ),
        pytest.param(
            "{% if not url %}{{ 1 / 0 }}{% endif %}\n{% if not title %}{{ title.x.y }}{% endif %}x",
            "live",
            [
                Fault(1, "division by zero", ("without an address",)),
                Fault(2, "'str object' has no attribute 'x'", ("without a title",)),
            ],
            id="two, each for one sample, by line",
        ),
    ],
)
def test_faults_are_told_by_line_and_sample(source: str, kind: str, expected: list[Fault]) -> None:
    assert faults(source, kind, Plain(), 100) == expected


def test_faults_are_counted_as_the_network_counts() -> None:
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 8
    assert faults(family, "live", Plain(), 10) == []
    assert faults(family, "live", Units(), 10)[0].words.startswith("is too long")


def test_every_sample_is_tried() -> None:
    seen = {fault.samples for fault in faults("{{ 'x' if title else '' }}", "live", Plain(), 100)}
    assert seen == {("without a title",)}
    assert len(SAMPLES) == 5


def test_what_is_hopelessly_long_is_not_measured() -> None:
    """One library takes a second for 60,000 characters, and a search measures many times."""
    measured: list[int] = []

    def measure(text: str) -> int:
        measured.append(len(text))
        return len(text)

    place = Dialect(measure, 300, str, str)
    with pytest.raises(BadTemplate, match="is too long even without a title: 60000 of 300"):
        fit("x" * 60_000, FACTS, place)
    assert not measured
    assert fit("{{ url }}" + "x" * 200, FACTS, place)[1] == 0
    address = "https://live.example.org/" + "x" * 2_000
    counts_23 = Dialect(lambda text: len(text) - len(address) + 23, 300, str, str)
    assert fit("{{ url }}", replace(FACTS, url=address), counts_23)[0] == address
