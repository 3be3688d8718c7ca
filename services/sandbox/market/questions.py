"""What the synthetic markets ask: questions that read like real ones, by subject, with the fees of their category."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from services.sandbox.market.chance import Chance

Pace = Literal["long", "match", "day", "quarter_hour"]


@dataclass(frozen=True, slots=True)
class Subject:
    """One place in the market, taken by one question after the other."""

    name: str
    pace: Pace
    fee_rate: str
    depth: float
    """Scale of the sizes in its book."""
    volatility: float = 1.0
    negative_risk: bool = False


SUBJECTS = (
    Subject("bitcoin_above", "long", "0.07", 1.6),
    Subject("bitcoin_quarter", "quarter_hour", "0.07", 1.2, 1.6),
    Subject("soccer", "match", "0.03", 1.4, 1.3),
    Subject("basketball", "match", "0.03", 1.2, 1.4),
    Subject("election_a", "long", "0.04", 2.2, negative_risk=True),
    Subject("election_b", "long", "0.04", 1.8, negative_risk=True),
    Subject("temperature", "day", "0.05", 0.8, 1.2),
    Subject("ceasefire", "long", "0", 1.8),
    Subject("central_bank", "long", "0.05", 2.4, 0.8),
    Subject("box_office", "long", "0.05", 0.9),
    Subject("release", "long", "0.04", 1.0),
    Subject("esports", "match", "0.03", 0.8, 1.6),
    Subject("mention", "long", "0.04", 0.06),
    Subject("ether_above", "long", "0.07", 1.2, 1.2),
)


@dataclass(frozen=True, slots=True)
class Question:
    """The words of one market."""

    text: str
    outcomes: tuple[str, str]
    event: str


_CLUBS = (
    "Arsenal",
    "Liverpool",
    "Real Madrid",
    "Barcelona",
    "Bayern Munich",
    "Inter",
    "Paris Saint-Germain",
    "Benfica",
    "Ajax",
    "Porto",
)
_TEAMS = ("Celtics", "Knicks", "Lakers", "Nuggets", "Thunder", "Bucks", "Mavericks", "Heat", "Suns", "Warriors")
_ESPORTS = ("Team Spirit", "Natus Vincere", "FaZe", "Vitality", "G2", "MOUZ", "Falcons", "The MongolZ")
_CITIES = ("London", "New York City", "Dallas", "Seoul", "Ankara", "Buenos Aires", "Toronto", "Madrid")
_FILMS = (
    "Avatar: Fire and Ash",
    "The Mandalorian & Grogu",
    "Toy Story 5",
    "Supergirl",
    "The Odyssey",
    "Dune: Part Three",
)
_CANDIDATES = (
    ("Gavin Newsom", "Alexandria Ocasio-Cortez"),
    ("JD Vance", "Marco Rubio"),
    ("Josh Shapiro", "Pete Buttigieg"),
)
_PARTIES = ("Democratic", "Republican", "Democratic")
_WORDS = ("tariff", "Bitcoin", "inflation", "Artificial Intelligence", "shutdown", "golf")
_RELEASES = ("GPT-6", "GTA VI", "DeepSeek V5")
_REGIONS = (("Russia", "Ukraine"), ("Israel", "Hezbollah"), ("Sudan", "the RSF"), ("Thailand", "Cambodia"))


_EASTERN = timedelta(hours=5)


def _day(moment: datetime, days: int = 0) -> str:
    later = moment + timedelta(days=days)
    return f"{later:%B} {later.day}"


def ask(subject: Subject, chance: Chance, starts: datetime, ends: datetime) -> Question:
    """Return the question a subject asks for a life from `starts` to about `ends`."""
    yes_no = ("Yes", "No")
    name, day = subject.name, _day(ends)
    if name in {"bitcoin_above", "ether_above"}:
        coin, level = (
            ("Bitcoin", 1000 * chance.whole(92, 138)) if name[0] == "b" else ("Ethereum", 100 * chance.whole(29, 58))
        )
        return Question(
            f"Will the price of {coin} be above ${level:,} on {day}?", yes_no, f"{coin} above ___ on {day}?"
        )
    if name == "bitcoin_quarter":
        begin, end = starts - _EASTERN, ends - _EASTERN
        words = f"Bitcoin Up or Down - {_day(begin)}, {begin:%-I:%M%p}-{end:%-I:%M%p} ET"
        return Question(words, ("Up", "Down"), words)
    if name in {"soccer", "basketball", "esports"}:
        names = {"soccer": _CLUBS, "basketball": _TEAMS, "esports": _ESPORTS}[name]
        first = chance.whole(0, len(names) - 1)
        home, away = names[first], names[(first + chance.whole(1, len(names) - 1)) % len(names)]
        if name == "soccer":
            return Question(f"Will {home} win on {starts:%Y-%m-%d}?", yes_no, f"{home} vs. {away}")
        title = f"{home} vs. {away}" if name == "basketball" else f"Counter-Strike: {home} vs {away} (BO3)"
        return Question(title, (home, away), title)
    if name in {"election_a", "election_b"}:
        turn = chance.whole(0, len(_CANDIDATES) - 1)
        who = _CANDIDATES[turn][name == "election_b"]
        event = f"{_PARTIES[turn]} Presidential Nominee 2028"
        return Question(f"Will {who} win the 2028 {_PARTIES[turn]} presidential nomination?", yes_no, event)
    if name == "temperature":
        city, degrees = chance.choice(_CITIES), chance.whole(4, 29)
        event = f"Highest temperature in {city} on {day}?"
        return Question(f"Will the highest temperature in {city} be {degrees}°C or higher on {day}?", yes_no, event)
    if name == "ceasefire":
        one, other = chance.choice(_REGIONS)
        return Question(f"{one} x {other} ceasefire by {day}?", yes_no, f"{one} x {other} ceasefire by...?")
    if name == "central_bank":
        event = f"Fed decision in {ends:%B}?"
        return Question(
            f"Will the Fed decrease interest rates by 25 bps after the {ends:%B %Y} meeting?", yes_no, event
        )
    if name == "box_office":
        film, gross = chance.choice(_FILMS), chance.whole(60, 210)
        return Question(
            f"Will “{film}” gross more than ${gross}m on its opening weekend?", yes_no, f"“{film}” opening weekend"
        )
    if name == "release":
        thing = chance.choice(_RELEASES)
        return Question(f"Will {thing} be released by {day}?", yes_no, f"{thing} released by...?")
    word = chance.choice(_WORDS)
    return Question(
        f"Will Trump say “{word}” during the press briefing on {day}?", yes_no, f"What will Trump say on {day}?"
    )
