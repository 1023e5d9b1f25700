"""What counts as a secret, and what does not."""

from __future__ import annotations

import pytest

from slm_lightning.redact import redact, redact_arguments


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("HF_TOKEN=abc123", "abc123"),
        ("--hub-token=abc", "abc"),
        ("token = 'x y z'", "x y z"),
        ('"password": "p w"', "p w"),
        ("password: correcthorse", "correcthorse"),
        ("def f(api_key: str = 'q1w2')", "q1w2"),
        ("aws_secret_access_key = wJalrXUtnFEMI", "wJalrXUtnFEMI"),
        ("clone https://bob:pw@host/repo.git", "bob:pw"),
        ("postgresql://me:pw@db/mlflow", "pw@"),
        ("hf_abcdefghijklmnop", "abcdefgh"),
        ("(ghp_0123456789abcdef)", "0123"),
        ("github_pat_11ABCDEFG_xyz", "11ABC"),
        ("id AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
        ("sk-proj-abcdefghijklmnop", "abcdef"),
    ],
)
def test_secrets_go(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redact(text)
    assert "[redacted]" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "slm-lightning run specs/ppo/cartpole.json --seed 3",
        "max_tokens=500",
        "tokenizer = load(path)",
        "token = get_token()",
        "self.token = token",
        "def f(token: str | None = None):",
        "api_key = os.environ['KEY']",
        "sorted(rows, key=len)",
        "obs_key: pixels",
        "git@github.com:group/repo.git",
        "risk-adjusted-return-of-the-portfolio",
        "password:\n  next line",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


def test_nested_data_is_redacted_by_name_and_shape() -> None:
    spec = {
        "env": {"name": "Web-v0", "auth_token": "x", "max_token": 5, "urls": ["https://a:b@c/"]},
        "meta.key": "y",
        "obs_key": "pixels",
        "empty": {"password": ""},
    }
    assert redact(spec) == {
        "env": {
            "name": "Web-v0",
            "auth_token": "[redacted]",
            "max_token": 5,
            "urls": ["https://[redacted]@c/"],
        },
        "meta.key": "[redacted]",
        "obs_key": "pixels",
        "empty": {"password": ""},
    }


def test_arguments_hide_the_value_after_a_secret_name() -> None:
    arguments = ["run", "--token", "abc", "--seed", "3", "--set", "env.key=v", "-s", "password=p=q"]
    assert redact_arguments(arguments) == [
        *("run", "--token", "[redacted]", "--seed", "3"),
        *("--set", "env.key=[redacted]", "-s", "password=[redacted]"),
    ]


@pytest.mark.parametrize("piece", ["token", "key: ", "a.b-", "://", "sk_", "tokens=( "])
def test_hostile_text_comes_back(piece: str) -> None:
    """A pattern that tries every way to read the blanks or the names would need hours."""
    text = piece * 100_000 + " " * 1_000_000 + "!"
    assert redact(text) == text
