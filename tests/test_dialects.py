"""A text as its readers see it: no marks left over, and nothing that a stranger wrote is markup."""

import html
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from announcer.network import ZERO_WIDTH_SPACE, Dialect, Network
from announcer.networks import available
from announcer.web.dialects import read
from tests.test_pages import HOSTILE

LOOKALIKES = str.maketrans("∗ˍ∼‵｀", "*_~``")
"""What takes the place of a sign where a network has no way to escape it."""
OURS = re.compile(r"</?(?:strong|em|u|s|code)>|<span class=\"(?:link|tag)\">|</span>")


def words(text: str, dialect: Dialect) -> str:
    """What a browser shows of it."""
    plain = OURS.sub("", str(read(text, dialect)))
    assert "<" not in plain
    return html.unescape(plain)


@pytest.mark.parametrize(
    ("dialect", "text", "shown"),
    [
        ("plain", "**a** <b> _c_ &amp;", "**a** &lt;b&gt; _c_ &amp;amp;"),
        ("plain", "see https://a.example/x.", 'see <span class="link">https://a.example/x</span>.'),
        ("plain", "#oak and a#b", '<span class="tag">#oak</span> and a#b'),
        ("plain", "@\u200beveryone", "@everyone"),
        ("markdown", "🔴 **Kestrel** is live", "🔴 <strong>Kestrel</strong> is live"),
        ("markdown", r"5 \* 3 \*\* 2 \_x\_", "5 * 3 ** 2 _x_"),
        ("markdown", r"**a \*\* b**", "<strong>a ** b</strong>"),
        ("markdown", "*a* _b_ ~~c~~", "<em>a</em> <em>b</em> <s>c</s>"),
        ("markdown", "__d__ `e*f*`", "<u>d</u> <code>e*f*</code>"),
        ("markdown", "**a _b_ c**", "<strong>a <em>b</em> c</strong>"),
        ("markdown", "snake_case_name 2*3*4", "snake_case_name 2*3*4"),
        ("markdown", "<https://a.example/?b=1&c=2>", '<span class="link">https://a.example/?b=1&amp;c=2</span>'),
        ("markdown", "[the stream](https://a.example)", '<span class="link">the stream</span>'),
        ("markdown", "[x](javascript:alert(1))", "[x](javascript:alert(1))"),
        ("markdown", "<@&118642> hi", '<span class="tag">@</span> hi'),
        ("markdown", "&lt;b&gt;", "&amp;lt;b&amp;gt;"),
        ("chat", "a&#42;b&#60;i&#62; &amp; **c**", "a*b&lt;i&gt; &amp; <strong>c</strong>"),
        ("mrkdwn", "*b* _i_ ~s~ &lt;!h&gt;", "<strong>b</strong> <em>i</em> <s>s</s> &lt;!h&gt;"),
        ("mrkdwn", "<https://a.example|here>", '<span class="link">here</span>'),
        ("mrkdwn", "<https://b.example>", '<span class="link">https://b.example</span>'),
        ("mrkdwn", "<!channel>", '<span class="tag">@channel</span>'),
        ("html", "<b>a</b> <i>b &amp; c</i>", "<strong>a</strong> <em>b &amp; c</em>"),
        ("html", '<a href="javascript:alert(1)">x</a>', '<span class="link">x</span>'),
        ("html", "<b>a<i>b</b>c", "<strong>a<em>b</em></strong>c"),
        ("html", "<script>alert(1)</script>", "alert(1)"),
        ("html", "<img src=x onerror=alert(1)>y", "y"),
        ("html", "&lt;b&gt; 1 < 2", "&lt;b&gt; 1 &lt; 2"),
    ],
)  # fmt: skip
def test_marks_become_what_they_mean(dialect: str, text: str, shown: str) -> None:
    assert read(text, Dialect(dialect)) == shown


@pytest.mark.parametrize("network", available(), ids=lambda network: network.title)
def test_what_a_network_escapes_is_shown_as_it_was_written(network: type[Network]) -> None:
    """Else its `dialect` is not the one that it speaks."""
    title = (
        r"5 * 3 ** 2_x_ ~~a~~ `b` <i> & \ @all #oak (c) [d] ||e|| 1. f! 100% =g= {h} | &lt; &#42;"
    )
    escaped = network.escape(network.model_construct(), title)
    assert words(escaped, network.dialect).translate(LOOKALIKES) == title


@pytest.mark.parametrize("dialect", list(Dialect))
@given(text=st.text(st.sampled_from("ab<>&\"'*_~`[]()\\/#@:.;!| \n\u200bhttps"), max_size=60))
@settings(max_examples=150, deadline=None)
def test_nothing_becomes_markup_but_ours(dialect: Dialect, text: str) -> None:
    shown = str(read(text, dialect))
    rest = OURS.sub("", shown)
    assert "<" not in rest
    assert ">" not in rest
    assert '"' not in rest
    assert ZERO_WIDTH_SPACE not in shown
    opened = re.findall(r"<(\w+)", shown)
    assert sorted(opened) == sorted(re.findall(r"</(\w+)", shown))


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_hostile_text_is_words(dialect: Dialect) -> None:
    shown = OURS.sub("", str(read(f"**{HOSTILE}** <{HOSTILE}>", dialect)))
    assert "<" not in shown


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize(
    "part",
    ["**", "*a", "_", "[", "<", "<b>", "`", "~~a", "\\", "&#", "[a](", "https://", "#", "<b><i>"],
)
def test_a_text_of_marks_takes_no_time(dialect: Dialect, part: str) -> None:
    text, begun = part * (10_000 // len(part)), time.perf_counter()
    read(text, dialect)
    assert time.perf_counter() - begun < 2
