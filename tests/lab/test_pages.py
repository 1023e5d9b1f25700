"""A page needs nothing but itself, and nothing that it shows can take it over."""

from __future__ import annotations

import json
import re

import plotly.graph_objects as go
import pytest
from jinja2 import DictLoader, UndefinedError

from slm_lightning.lab import pages

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture
def template(monkeypatch):
    """Renders the block ``content`` of a page."""

    def render(content: str, **context) -> str:
        environment = pages._environment().overlay()
        files = {"page": '{% extends "base.html.j2" %}{% block content %}' + content + "{% endblock %}"}
        base = pages._environment().loader
        environment.loader = DictLoader(
            files | {name: base.get_source(environment, name)[0] for name in base.list_templates()}
        )
        monkeypatch.setattr(pages, "_environment", lambda: environment)
        return pages.render("page", **context)

    return render


def test_a_page_needs_nothing_from_elsewhere(template):
    page = template("<p>{{ text }}</p>", text="a < b")
    assert "<p>a &lt; b</p>" in page
    assert page.count("plotly.js v") == 1
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)


def test_text_is_never_markup(template):
    page = template("<p title='{{ text }}'>{{ text }}</p>", text=HOSTILE + "'")
    assert HOSTILE not in page
    assert "<img" not in page


def test_no_text_in_a_figure_ends_its_script():
    fig = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name=HOSTILE, text=["<!--", HOSTILE]))
    place = pages.figure(fig)
    assert place.count("<") == 4  # two elements
    (data,) = re.findall(r'<script type="application/json">(.*)</script>', place, re.DOTALL)
    assert json.loads(data)["data"][0]["name"] == HOSTILE


def test_a_figure_keeps_its_height_and_is_not_escaped(template):
    fig = go.Figure(layout={"height": 321})
    assert '<div class="plot" style="height:321px">' in template("{{ figure(fig) }}", fig=fig)


def test_the_same_context_gives_the_same_bytes(template):
    figs = [go.Figure(go.Scatter(y=[1, 2])), go.Figure(go.Scatter(y=[1, 2]))]
    pages_ = {template("{{ figure(fig) }}{{ 1e7 | number }}", fig=fig) for fig in figs}
    assert len(pages_) == 1


def test_what_a_template_misses_is_an_error(template):
    with pytest.raises(UndefinedError, match="missing"):
        template("{{ missing }}")
