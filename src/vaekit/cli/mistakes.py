"""What the parser of the command line refuses, in words: what was given, what was expected, what to do."""

import inspect
from typing import Any, get_args

from cyclopts import CoercionError, CycloptsError, MissingArgumentError, RepeatArgumentError, UnusedCliTokensError
from cyclopts.exceptions import ConsumeMultipleError

WANTED = {int: "a whole number", float: "a number", bool: "yes or no"}
TOO_FEW = (MissingArgumentError, ConsumeMultipleError)
SHOWN = 3  # words that are too many


def in_words(error: CycloptsError) -> str:
    """One message; of mistakes that are not told here, in the parser's own words."""
    told = str(error).strip()
    if isinstance(error, UnusedCliTokensError):
        told = too_many(error)
    elif isinstance(error, MissingArgumentError) and type(error) in TOO_FEW and error.argument:
        told = too_few(error)
    elif isinstance(error, RepeatArgumentError):
        told = f"{error.token.keyword} was given more than once, and holds one value. Give it once."
    elif isinstance(error, CoercionError) and error.token and (wanted := wanted_of(error.target_type)):
        name = error.token.keyword or (error.argument.name if error.argument else "a value")
        told = f"{name} {error.token.value!r} was given; {wanted} was expected. Give one."
    return f"{told} See {command_of(error)} --help."


def command_of(error: CycloptsError) -> str:
    return " ".join(["vaekit", *(error.command_chain or ())])


def usage(error: CycloptsError) -> str:
    """The command with all that it cannot do without."""
    words = [command_of(error)]
    for its in inspect.signature(error.target).parameters.values() if error.target else ():
        if its.kind is inspect.Parameter.POSITIONAL_ONLY:
            words.append(its.name.upper())
        elif its.default is inspect.Parameter.empty and its.kind is inspect.Parameter.KEYWORD_ONLY:
            words.append(f"--{its.name} {its.name.upper()}")
    return " ".join(words)


def too_many(error: UnusedCliTokensError) -> str:
    words = error.unused_tokens or []
    shown = ", ".join(map(repr, words[:SHOWN])) + (f" and {len(words) - SHOWN:,} more" if len(words) > SHOWN else "")
    return (
        f"{shown} {'are' if len(words) > 1 else 'is'} too many: expected {usage(error)}, then options. Leave out what is too "
        "many; what has spaces or a * in it goes into quotes."
    )


def too_few(error: MissingArgumentError) -> str:
    assert error.argument is not None
    count = error.argument.token_count()[0]
    given = error.keyword or next((its.keyword for its in reversed(error.argument.tokens) if its.keyword), None)
    if given:
        got = len(error.tokens_so_far) % max(count, 1)
        had = f"{got} of {count} values" if got else "no value" if count < 2 else f"none of {count} values"
        return f"{given} was given {had}. Write {' '.join([given, *['VALUE'] * max(count, 1)])}."
    near = str(error).partition(" Did you mean ")[2].partition("?")[0]
    hint = f" Did you mean {near}?" if near else ""
    return f"{command_of(error)} needs {error.argument.name}, which was not given.{hint} Write {usage(error)}."


def wanted_of(kind: Any) -> str:
    """What values of a type are, in words; "" where the parser's own words say more."""
    kinds = get_args(kind) or (kind,)
    known = [WANTED[each] for each in kinds if each in WANTED]
    words = [repr(choice) for each in kinds for choice in get_args(each) if isinstance(choice, str)]
    return " or ".join([*words, *known]) if known else ""
