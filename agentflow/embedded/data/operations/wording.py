# ruff: noqa: E501, PLR2004, SIM905 - word lists stand in lines
"""What is written in a description, made short: names of functions, summaries, and wishes in the imperative."""

from __future__ import annotations

import re

_VERBS = frozenset(
    "list get retrieve fetch return find search create add delete remove update modify change edit set send cancel upload download start stop "
    "check calculate compute convert generate validate verify export import copy move rename archive restore publish unpublish enable disable "
    "register unregister subscribe unsubscribe invite assign unassign approve reject accept decline close open reopen lock unlock refund charge "
    "pay transfer book reserve order track estimate translate analyze detect extract summarize compare merge split resize rotate crop schedule "
    "reschedule pause resume restart reboot reset revoke renew grant request report submit post comment rate review vote like follow unfollow "
    "block unblock mute unmute join leave attach detach link unlink connect disconnect deploy install uninstall clone sync synchronize refresh "
    "trigger run execute query look show display count record log save store replace duplicate mark unmark tag untag label notify remind share "
    "unshare apply redeem activate deactivate suspend terminate complete finish confirm authorize capture void ping scan parse encode decode "
    "render draw predict recommend suggest match classify rank filter sort watch monitor test preview play skip seek buy sell trade lookup "
    "associate disassociate provision purge clear empty describe read view obtain determine insert append put exchange redirect resend retry "
    "forward reply claim release issue allocate increase decrease set modify stream browse locate identify measure recover undo withdraw deposit".split()
)  # fmt: skip
"""Words that a wish may begin with."""
_ALSO_NOUNS = frozenset(
    "link record log filter test review report request comment order charge schedule post show sort rate grant share trade play stream claim issue "
    "reply vote like ping monitor replicate copy count measure search process query view preview export import change purchase exchange split block "
    "release rank match present approach watch".split()
)
"""Of these, only what has an article behind it is taken for a verb."""
_NOISE = frozenset(
    "deprecated beta internal experimental endpoint endpoints api apis legacy webhook todo etc json xml http https post/put obsolete "
    "payload boilerplate sdk oauth jwt cors schema schemas html php soap regex your you this specify specifies null".split()
)
_LEADS = re.compile(
    r"^(this |the )?((end ?point|method|api|operation|call|service|resource|request|action|function) )?(here )?"
    r"(allows? (you |users? |the user |one |us )?to|is used to|can be used to|lets you|enables you to|used to|use to|use this to|will) ",
    re.IGNORECASE,
)
_TAILS = re.compile(
    r"( by (its |their |the |an? )?((unique|internal|specific) )?(\w+ )?(id|ids|name|names|identifier|uuid|code|slug|key|number)( or (id|name|slug|code))?"
    r"| (with|using|from|for|matching) (the|a|an) (specified|given|provided|supplied|following|matching|requested) (\w+ )?(id|ids|name|parameters|criteria|filters?|identifier|key|values?|fields?)"
    r"| (specified|identified|given|provided) by .*| based (up)?on .*| using .*| given .*| in the (specified|given) \w+ group| according to .*"
    r"| that match(es)? .*| (with|by) (id|name|identifier|filters?|pagination)| in json.*| as json.*| with optional .*| so that .*|,? optionally .*|,? filtered by .*|,? including .*| matching .*)$",
    re.IGNORECASE,
)
_VAGUE = re.compile(r"\b(the|an?) (specified|specific|given|provided|requested|supplied|particular|existing|single|current|certain|selected|individual) ", re.IGNORECASE)  # fmt: skip
_BARE_VAGUE = re.compile(r"\b(specified|given|provided|supplied) ", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[^\x20-\x7e]|[\[\]|@{}:;<>=#*\"\\/_$%^~+!?&]|\d{3}|\b[vV]\d")
_MOST_SUMMARY, _LEAST_SUMMARY = 80, 9
_MOST_NAME = 40


def words_of(name: str) -> list[str]:
    """Split a name at its signs and capitals."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def first_sentence(text: str) -> str:
    """Give the first sentence of a text without marks of HTML or Markdown."""
    text = re.sub(r"<[^>]+>|[`*]", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = (
        " ".join(re.sub(r"\([^)]*\)", " ", text).replace("\u2019", "'").split()).replace(" .", ".").replace(" ,", ",")
    )
    return re.split(r"(?<=\w\w)[.;] |\.$|\n| - | -- |e\.g\.|i\.e\.|, for example", text)[0].strip(" .,:-")


def imperative(word: str) -> str | None:
    """Give the base form of a verb that summaries begin with, or None."""
    word = word.lower()
    for base in (word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"):
        if base in _VERBS:
            return base
    return None


def summarize(text: str) -> tuple[str, str] | None:
    """Make a summary and a wish of what a description says, or give None where it says nothing that can be wished for."""
    said = first_sentence(text)
    said = _LEADS.sub("", said)
    head, _, rest = said.partition(" ")
    verb = imperative(head)
    if verb is None or not rest or not _LEAST_SUMMARY <= len(said) <= _MOST_SUMMARY or _FORBIDDEN.search(said):
        return None
    if verb in _ALSO_NOUNS and not re.match(
        r"(an?|the|all|for|your|one|new|existing|specified)\b", rest, re.IGNORECASE
    ):
        return None
    if _NOISE & set(re.findall(r"[\w/']+", said.lower())) or said.isupper():
        return None
    wish = _wish(verb, rest)
    if wish is None:
        return None
    return f"{said[0].upper()}{said[1:]}.", wish


def _wish(verb: str, rest: str) -> str | None:
    """Say what is done, without how it is picked: that is said by the arguments."""
    if re.match(r"(and|or|&|,)\b|[a-z]+ and [a-z]+ (a|the)\b", rest):
        return None
    if rest.startswith("for ") and verb not in ("search", "look", "register", "check"):
        return None
    if rest.startswith("of "):
        return None if verb != "list" else _wish(verb, rest.removeprefix("of "))
    for _ in range(2):
        rest = _TAILS.sub("", rest)
    rest = _VAGUE.sub(lambda match: f"{match[1].lower()} " if match[1].lower() == "the" else "a ", rest)
    rest = " ".join(_BARE_VAGUE.sub("", rest).split()).strip(" ,")
    rest = re.sub(r"\b([Aa]) (?=[aeioAEIO])", r"\1n ", rest)
    rest = re.sub(r"\b[A-Z][a-z]+\b", lambda match: match[0].lower(), rest)
    if len(rest) < 4 or rest.split()[-1].lower() in ("a", "an", "the", "of", "for", "by", "with", "to", "in", "and", "or"):  # fmt: skip
        return None
    if rest in (
        "list",
        "a list",
        "all",
        "data",
        "item",
        "items",
        "results",
        "information",
        "details",
        "resource",
        "an object",
    ):
        return None
    return f"{'get' if verb in ('return', 'obtain') else verb} {rest}"


def describe(text: str, words: list[str], most: int = 56) -> str:
    """Make the description of an argument: a short first sentence, or the words of its name."""
    said = first_sentence(re.sub(r"^\W*(Required|Optional)\W+", "", text))
    said = re.split(r", | \(", said)[0] if len(said) > most else said
    said = said.strip(" .,:-")
    if not 3 < len(said) <= most or _FORBIDDEN.search(said.replace("/", "").replace("_", "")):
        said = " ".join(words)
    return f"{said[0].upper()}{said[1:]}."


def function_name(operation: str, method: str, path: str) -> str | None:
    """Make a function's name of an operation's, or of its method and path."""
    operation = operation.strip()
    if "." in operation:
        operation = "_".join(operation.split(".")[-2:])
    name = re.sub(r"[^A-Za-z0-9]+", "_", operation).strip("_")
    if (
        len(words_of(name)) < 2
        or len(name) > _MOST_NAME
        or re.search(r"\d{2}|_\d", name)
        or "controller" in name.lower()
    ):
        steps = [step for step in path.split("/") if re.fullmatch(r"[A-Za-z_-]{3,}", step)]
        name = "_".join([method, *steps[-2:]]).replace("-", "_")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or len(name) > _MOST_NAME or len(words_of(name)) < 2:
        return None
    if "_" in name or name.isupper():
        return re.sub(r"_+", "_", "_".join(words_of(name))) if re.search(r"[A-Z]", name) else re.sub(r"_+", "_", name)
    return name[0].lower() + name[1:]
