"""What a text names: people, repositories, projects, tools. Precision first, no model.

Every pattern is bounded, so that the time is linear in the length of the text; of a long text the
beginning is read. What a rule is sure of takes its place in the text, so that no later one reads
it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .sentences import sentences
from .words import DEMONYM_ENDINGS, NO_NAMES

__all__ = ["NAMES_MAX", "Name", "names_in"]

NAMES_MAX = 16
_CHARS_MAX = 20_000
_NAME_CHARS_MAX = 64

_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s<>\"'`]{1,2000}", re.IGNORECASE)
_HOSTED = re.compile(
    r"(?:https?://)?\b(?:github|gitlab|bitbucket|codeberg)\.(?:com|org)[/:]"
    r"([\w.-]{1,39}/[\w.-]{1,99})[^\s<>\"'`]{0,500}"
)
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")
_DATE = re.compile(r"\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b|\b\d{1,2}:\d{2}(?::\d{2})?\b")
_PERSON = re.compile(r"(?<![\w@./-])@([A-Za-z][\w-]{1,38})(?![\w@/.-]*/)")
_QUOTED = re.compile(r"`([^`\n]{2,64})`")
_TERM = re.compile(r"[A-Za-z][\w.:+#/-]*")
_REPO = re.compile(r"(?<![\w/.:@~$-])([A-Za-z0-9][\w-]{0,38})/([A-Za-z0-9_][\w.-]{0,99})(?![\w/])")
_CAMEL = re.compile(
    r"\b[A-Z][a-z0-9]{1,30}(?:[A-Z]{1,3}[a-z0-9]{1,30}){1,4}\b|\b[A-Z][a-z]+[A-Z]{2}\b"
)
_SERVICE = re.compile(
    r"(?<![\w/.-])([a-z][a-z0-9]{1,30}(?:-[a-z0-9]{1,30}){0,4})-"
    r"(service|api|server|gateway|worker|proxy|backend|frontend|cli|sdk|agent|daemon|operator|"
    r"plugin|db)(?![\w-])"
)
_ACRONYM = re.compile(r"(?<![\w.'’&/-])[A-Z][A-Z0-9]{1,7}(?![\w'’&]|[-.]\w)")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9+#]*(?:\.js)?")
_CAPITALISED = re.compile(
    r"(?<![\w.'’@/#-])[A-Z][a-zà-öø-ÿ]{1,20}(?:[ -][A-Z][a-zà-öø-ÿ]{1,20}){0,2}(?![\w@/])"
)
_ENGLISH = re.compile(r"\b(?:the|and|of|to|with|is|for|are|at|from|have|by|my|I)\b")

# Before the slash of a path, or what stands beside a slash in prose.
_NO_OWNER = frozenset(
    "src lib libs test tests doc docs bin app apps dist build config scripts tools usr etc var tmp "
    "home opt dev assets static public data and or he she his him yes no input read client http "
    "https w n a".split()
)
_FILE = re.compile(
    r"\.(?:py|pyc|ts|tsx|jsx|md|rst|json|ya?ml|toml|txt|html?|css|java|cpp|hpp|sh|sql|csv|pdf|png|"
    r"jpe?g|gif|svg|lock|cfg|ini|log|xml|conf|env|zip|gz|tar|db)$",
    re.IGNORECASE,
)
_DISTINCT = re.compile(r"[-_.]|\d|[a-z][A-Z]")
_NO_SERVICE = frozenset(
    "self full customer in room food mobile client after pre post non multi single open public "
    "private user third first rest web soap side".split()
)
_TECH = {
    name.lower(): name
    for name in (
        "Python Rust Java Golang TypeScript JavaScript Kotlin Scala Haskell Elixir Erlang Ruby PHP "
        "Perl Django Flask FastAPI Angular Vue Svelte Node.js Next.js Vue.js Deno Docker "
        "Kubernetes Podman Helm Terraform Ansible Jenkins Nginx PostgreSQL Postgres MySQL MariaDB "
        "SQLite Redis Kafka RabbitMQ MongoDB Cassandra Elasticsearch OpenSearch ClickHouse DuckDB "
        "Snowflake BigQuery Airflow Spark Hadoop Grafana Prometheus OpenTelemetry Linux Ubuntu "
        "Debian Fedora macOS Windows Android iOS Git GitHub GitLab Bitbucket GraphQL gRPC Protobuf "
        "NumPy Pandas PyTorch TensorFlow Keras Jupyter OpenAI Anthropic Claude ChatGPT LangChain "
        "Kibana Vercel Netlify Heroku Cloudflare Webpack Vite Tailwind Redux Celery SQLAlchemy "
        "pytest etcd Consul Istio Envoy Wasm WebAssembly C++ C#"
    ).split()
}
# Also plain words: only with a capital, and not where a sentence begins.
_TECH_NAMES = frozenset(
    "Rust Flask Spark Windows Claude Envoy Consul Ruby Vue Helm Git Redux Celery".split()
)
_NO_ACRONYMS = frozenset(
    """
    AM PM OK ID NO YES AND OR NOT THE IS IT IN ON AT TO OF BY FOR WITH BUT ALL ANY NEW OLD TODO
    NOTE FIXME XXX FYI ASAP TBD TBA WIP AKA BTW IMO IMHO LOL OMG RSVP DIY VIP ETA EOD EOM PTO OOO
    EST EDT CST CDT MST MDT PST PDT CET CEST GMT UTC BST IST JST MON TUE WED THU FRI SAT SUN JAN
    FEB MAR APR MAY JUN JUL AUG SEP SEPT OCT NOV DEC BC AD BCE CE MR MRS MS DR US USA UK EU UN TV
    II III IV VI VII VIII IX XI XII PS NB RE CC BCC NA TLDR WARNING ERROR INFO DEBUG NULL NONE TRUE
    FALSE MUST NEVER ALWAYS ONLY DO DONT STOP WE HE SHE ME MY SO IF AS BE GO UP USER SELECT FROM
    """.split()
)
# Capitalised where nobody is named.
_NO_CAPITALISED = NO_NAMES | frozenset(
    """
    Mon Tue Wed Thu Fri Sat Sun Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Today Tomorrow
    Yesterday Spring Summer Autumn Winter This That These Those There Then They He She You Your Our
    His Her Its Their An In On At For With From By As If When Where While After Before Since What
    Who Why How Which Yes No Not Please Note Also However Because Thanks Hi Hello Dear Mr Mrs Ms Dr
    Prof Sir Internet Are Were Do Does Did Can Could Will Would Should May Might Must Use Never
    Always Ok Okay German Chinese Japanese Italian Portuguese Dutch Polish Russian Korean Arabic
    Hindi Turkish Greek Latin Swedish Danish Finnish Norwegian Czech Hebrew
    """.split()
)


class Name(NamedTuple):
    """What is named, as it is written, and what it is."""

    name: str
    type: str


def names_in(text: str) -> tuple[Name, ...]:
    """Return up to 16 names in the order of the rules, each once however it is written.

    `person` (`@name`), `repo` (`owner/name`), `project` (CamelCase, `x-service`, in backticks),
    `tech` (known tools, acronyms), `concept` (other capitalised names, in English). Dates, times,
    addresses and words that only begin a sentence are none.
    """
    found: dict[str, Name] = {}
    for one in _Text(text[:_CHARS_MAX]).names():
        name = one.name.strip("._-:/")
        if 2 <= len(name) <= _NAME_CHARS_MAX:
            found.setdefault(name.casefold(), Name(name, one.type))
            if len(found) == NAMES_MAX:
                break
    return tuple(found.values())


class _Text:
    """A text of which each rule takes away what it has read."""

    def __init__(self, text: str) -> None:
        self._text = text

    def names(self) -> Iterator[Name]:
        for match in self._taken(_HOSTED):
            yield Name(match[1].removesuffix(".git"), "repo")
        for pattern in (_URL, _EMAIL, _DATE):
            self._taken(pattern)
        yield from self._quoted()
        yield from (Name(match[1], "person") for match in self._taken(_PERSON))
        yield from self._repos()
        for match in self._taken(_SERVICE):
            if match[1] not in _NO_SERVICE:
                yield Name(match[0], "project")
        yield from self._tools()
        yield from (Name(match[0], "project") for match in self._taken(_CAMEL))
        yield from self._acronyms()
        yield from self._capitalised()

    def _quoted(self) -> Iterator[Name]:
        for match in self._taken(_QUOTED):
            if not _TERM.fullmatch(match[1]):
                continue
            if _is_repo(match[1]):
                yield Name(match[1], "repo")
            elif match[1].lower() in _TECH:
                yield Name(match[1], "tech")
            else:
                yield Name(match[1], "project")

    def _repos(self) -> Iterator[Name]:
        for match in self._taken(_REPO):
            if _is_repo(match[0].rstrip(".")):
                yield Name(match[0].rstrip("."), "repo")

    def _tools(self) -> Iterator[Name]:
        begins = self._beginnings()
        taken: list[tuple[int, int]] = []
        for match in _WORD.finditer(self._text):
            known = _TECH.get(match[0].lower())
            if known is None:
                continue
            if known in _TECH_NAMES and (match[0] != known or match.start() in begins):
                continue
            taken.append(match.span())
            yield Name(known, "tech")
        self._take(taken)

    def _acronyms(self) -> Iterator[Name]:
        words = re.findall(r"\b[A-Za-z]{2,}\b", self._text)
        if len(words) > 3 and sum(word.isupper() for word in words) * 2 > len(words):
            # Shouted: capitals say nothing.
            return
        for match in self._taken(_ACRONYM):
            if match[0] not in _NO_ACRONYMS and not match[0][1:].isdigit():
                yield Name(match[0], "tech")

    def _capitalised(self) -> Iterator[Name]:
        if not _ENGLISH.search(self._text):
            # Elsewhere other words have capitals.
            return
        begins = self._beginnings()
        matches = list(_CAPITALISED.finditer(self._text))
        words = len(re.findall(r"\b[A-Za-z]{3,}\b", self._text))
        capitals = sum(len(match[0].split()) - (match.start() in begins) for match in matches)
        if capitals * 5 > max(words, 4) * 3:
            # A title.
            return
        within = {match[0] for match in matches if match.start() not in begins}
        for match in matches:
            name = match[0]
            if match.start() in begins and name not in within:
                first, _, name = name.partition(" ")
                if not (name and first in _NO_CAPITALISED):
                    continue
            parts = [part for part in name.split() if part not in _NO_CAPITALISED]
            if parts and not parts[-1].removesuffix("s").endswith(DEMONYM_ENDINGS):
                yield Name(" ".join(parts), "concept")

    def _beginnings(self) -> set[int]:
        """Return where the first word of each sentence, line or quotation begins."""
        starts = {start for start, _ in sentences(self._text)}
        starts |= {match.end() for match in re.finditer(r"[\n\"“‘(:;•*>-]\s{0,4}", self._text)}
        found = set()
        for start in starts:
            word = _WORD.search(self._text, start, start + 40)
            if word is not None:
                found.add(word.start())
        return found

    def _taken(self, pattern: re.Pattern[str]) -> list[re.Match[str]]:
        found = list(pattern.finditer(self._text))
        self._take([match.span() for match in found])
        return found

    def _take(self, spans: list[tuple[int, int]]) -> None:
        # As long as before, and nothing that joins its neighbours to a sentence.
        for start, end in spans:
            gap = "," * (end - start)
            self._text = self._text[:start] + gap + self._text[end:]


def _is_repo(text: str) -> bool:
    owner, slash, name = text.partition("/")
    if not slash or not name or "/" in name or owner.lower() in _NO_OWNER or _FILE.search(name):
        return False
    if not any(letter.isalpha() for letter in owner) or not any(map(str.isalpha, name)):
        return False
    if owner.isupper() and name.isupper():
        # TCP/IP, CI/CD
        return False
    if owner.islower() and name[0].isupper() and len(name) > 2:
        return True
    return _DISTINCT.search(f"{owner} {name}") is not None
