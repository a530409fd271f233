"""From the first person to the third, and back: stored sentences are read by the same grammar."""

from __future__ import annotations

import re

from .words import PAST_VERBS

__all__ = ["first_person", "others", "third_person"]

_OTHERS = {
    "i": "they", "me": "them", "my": "their", "mine": "theirs", "myself": "themselves",
    "we": "they", "us": "them", "our": "their", "ours": "theirs", "ourselves": "themselves",
    "i am": "they are", "i was": "they were", "i have": "they have",
}  # fmt: skip
_PRONOUN = re.compile(
    r"\b(?:i (?:am|was|have)|i|me|my|mine|myself|we|us|our|ours|ourselves)\b", re.IGNORECASE
)
_UNCHANGED = frozenset("will can must should may might shall was had did could would never".split())
_IRREGULAR = {"am": "is", "have": "has", "do": "does", "go": "goes", "are": "are"}
_BACK = {
    "is": "am", "has": "have", "does": "do", "lives": "live", "works": "work", "likes": "like",
    "loves": "love", "enjoys": "enjoy", "hates": "hate", "dislikes": "dislike", "prefers": "prefer",
    "adores": "adore", "detests": "detest", "eats": "eat", "drinks": "drink", "drives": "drive",
    "speaks": "speak", "comes": "come", "goes": "go", "resides": "reside", "favors": "favor",
    "favours": "favour", "smokes": "smoke", "cannot": "cannot", "was": "was", "used": "used",
    "moved": "moved", "lived": "lived", "worked": "worked", "grew": "grew", "joined": "joined",
    "left": "left", "quit": "quit", "got": "got", "became": "became", "turned": "turned",
    "no": "no", "stopped": "stopped", "started": "started", "relocated": "relocated",
    "doesn't": "do not", "isn't": "am not", "can't": "cannot", "went": "went", "took": "took",
    "gave": "gave", "accepted": "accepted", "never": "never", "uses": "use", "now": "now",
    "wants": "want",
}  # fmt: skip
# The verb behind an adverb: "no longer works".
_SECOND = re.compile(r"^((?:no longer|never|now|still|also|really|always) )(\w+)\b")


def third_person(clause: str, who: str) -> str | None:
    """Return a normalised first-person clause as a sentence about `who`, or None.

    The speaker becomes their name, and `they` where it comes again.
    """
    subject, _, rest = clause.partition(" ")
    if subject in ("my", "our"):
        return f"{who}'s {others(rest)}"
    verb, _, after = rest.partition(" ")
    if subject == "we":
        return f"{who} and others {verb} {others(after)}".strip()
    if subject != "I" or not verb:
        return None
    return f"{who} {_third(verb)} {others(after)}".strip()


def others(text: str) -> str:
    """Return the text with the speaker's pronouns in the third person."""
    return _PRONOUN.sub(lambda match: _OTHERS[match[0].casefold()], text)


def _third(verb: str) -> str:
    word = verb.casefold()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _UNCHANGED or word in PAST_VERBS or word.endswith("ed"):
        return word
    if word.endswith(("s", "sh", "ch", "x", "z")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


def first_person(sentence: str) -> tuple[str, str] | None:
    """Return the subject and the sentence as its subject would say it, or None.

    The subject is casefolded; `user` for a sentence without one ("Prefers aisle seats").
    """
    text = sentence.strip()
    if re.match(r"(?:I|my|we|our)\b", text, re.IGNORECASE):
        return "user", text
    words = text.split(" ", 4)
    for taken in (0, 1, 2, 3):
        if len(words) <= taken:
            return None
        head = " ".join(words[:taken])
        verb = words[taken].casefold() if taken == 0 else words[taken]
        if taken and re.search(r"['\u2019]s$", head):
            owner = _subject(re.sub(r"['\u2019]s$", "", head))
            return (owner, " ".join(["my", *words[taken:]])) if owner else None
        if verb in _BACK:
            subject = "user" if taken == 0 else _subject(head)
            rest = _SECOND.sub(
                lambda match: f"{match[1]}{_BACK.get(match[2], match[2])}", " ".join(words[taken:])
            )
            said = f"I {_BACK[verb]}{rest[len(verb) :]}"
            return (subject, said) if subject else None
    return None


def _subject(head: str) -> str | None:
    folded = head.casefold()
    if folded in ("user", "the user", "this user"):
        return "user"
    if folded in ("he", "she", "they", "it", "who", "this", "that", "there", "what"):
        return None
    named = all(word[:1].isupper() for word in head.split())
    return folded if named and not folded.startswith(("the ", "a ", "my ")) else None
