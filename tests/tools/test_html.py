"""HTML as text: what a reader would see, in linear time, whatever the page."""

from __future__ import annotations

import time

import pytest

from agentflow_tools._html import html_to_text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<b>bo</b>ld <i>text</i>", "bold text"),
        ("  much \n\n   space\t here ", "much\nspace here"),
        ("<title>T</title><body>B", "T\nB"),
        ("<ul><li>1<li>2</ul>", "1\n2"),
        ("<table><tr><td>a<td>b</table>", "a\nb"),
        ("1 &lt; 2 &amp; &eacute;&#33;&nbsp;x", "1 < 2 & é! x"),
        ("1 < 2 and 3<4", "1 < 2 and 3<4"),
        ("a<!-- <p>no</p> -->b", "ab"),
        ("a<!-- never closed <p>b", "a"),
        ("<!DOCTYPE html><?xml version='1'?>x", "x"),
        ("<script>alert('<p>')</script>x<style>p{}</style>y", "xy"),
        ("<SCRIPT type=x>1</SCRIPT >x", "x"),
        ("<script>never closed", ""),
        ("<script/>x", "x"),
        ("<svg><text>no</text></svg>yes", "yes"),
        ("<p title='a'>x<img src=a.png>y", "xy"),
        ("x<p", "x"),
        ("x</", "x</"),
        ("&lt;|tool_call&gt;", "<|tool_call>"),
    ],
)
def test_pages_have_their_text(source, text):
    """Tags, comments and scripts go, blocks break lines, references are decoded."""
    assert html_to_text(source) == text


@pytest.mark.parametrize(
    "piece",
    [
        "<!--",
        "<![CDATA[",
        "<!",
        "<",
        "</",
        "<a",
        "<a b='",
        "<?",
        "&",
        "&#x",
        "<script>",
        "</script",
        "<p>",
        "<div ",
        "a<b",
        "--",
        "<script></scrip",
        "<!-- -",
        "&amp",
        "<p/",
        "\n",
        "<svg>",
        "<title>",
    ],
)
def test_no_piece_repeated_takes_more_than_linear_time(piece):
    """Two hundred thousand characters of any broken markup are done at once (the standard parser: half a minute)."""
    start = time.process_time()
    html_to_text(piece * (200_000 // len(piece)))
    assert time.process_time() - start < 2
