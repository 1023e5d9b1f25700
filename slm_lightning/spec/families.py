"""Families of environments, told by the beginning of their ids; no library has to be installed."""

from __future__ import annotations

import re

_OLD_ATARI_GAMES = """
    Adventure AirRaid Alien Amidar Assault Asterix Asteroids Atlantis BankHeist BattleZone BeamRider
    Berzerk Bowling Boxing Breakout Carnival Centipede ChopperCommand CrazyClimber Defender
    DemonAttack DoubleDunk ElevatorAction Enduro FishingDerby Freeway Frostbite Gopher Gravitar Hero
    IceHockey Jamesbond JourneyEscape Kangaroo Krull KungFuMaster MontezumaRevenge MsPacman
    NameThisGame Phoenix Pitfall Pong Pooyan PrivateEye Qbert Riverraid RoadRunner Robotank Seaquest
    Skiing Solaris SpaceInvaders StarGunner Tennis TimePilot Tutankham UpNDown Venture VideoPinball
    WizardOfWor YarsRevenge Zaxxon
"""
OLD_ATARI_GAMES = frozenset(_OLD_ATARI_GAMES.split())
"""Games whose ids once did without ``ALE/``."""

OLD_ATARI_ID = re.compile(r"([A-Z][A-Za-z]*?)(?:NoFrameskip|Deterministic)?-v([04])")

OLDEST = {
    **dict.fromkeys(("Pendulum", "FrozenLake", "FrozenLake8x8"), (1, 1)),
    **dict.fromkeys(("LunarLander", "LunarLanderContinuous", "CarRacing"), (3, 3)),
    **dict.fromkeys(("BipedalWalker", "BipedalWalkerHardcore"), (3, 3)),
    **dict.fromkeys(("HalfCheetah", "Hopper", "Swimmer", "Walker2d", "Ant", "Humanoid"), (4, 5)),
    **dict.fromkeys(("HumanoidStandup", "Reacher", "Pusher"), (4, 5)),
    **dict.fromkeys(("InvertedPendulum", "InvertedDoublePendulum"), (4, 5)),
}
"""By environment, the oldest version that Gymnasium still makes and the newest."""


def atari_id(name: str) -> str | None:
    """The id of the same Atari game as it is written today, ``ALE/<Game>-v5``; None for any other
    environment. ``PongNoFrameskip-v4`` is Pong."""
    if name.startswith("ALE/"):
        return name
    old = OLD_ATARI_ID.fullmatch(name)
    return f"ALE/{old[1]}-v5" if old and old[1] in OLD_ATARI_GAMES else None


def gone(name: str) -> str:
    """Why an environment that SLM Lab once ran exists no more; empty for any other."""
    if name.startswith("Roboschool"):
        return "Roboschool is no longer maintained and never was ported to Gymnasium"
    if re.fullmatch(r"\w+BulletEnv-v\d+", name):
        return "PyBullet's environments were never ported to Gymnasium"
    return ""


def successor(name: str) -> str | None:
    """The id that replaces one of Gymnasium's which it no longer makes; None for any other."""
    found = re.fullmatch(r"(\w+)-v(\d+)", name)
    oldest, newest = OLDEST.get(found[1], (0, 0)) if found else (0, 0)
    return f"{found[1]}-v{newest}" if found and int(found[2]) < oldest else None


def default_backend(name: str) -> str:
    """The backend that runs an id where ``env.backend`` names none."""
    if atari_id(name):
        return "atari"
    return "playground" if name.startswith("playground/") else "gymnasium"
