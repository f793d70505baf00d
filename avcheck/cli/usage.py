"""Wrong usage in our own words: messages of Typer and the libraries below it are meant for
programmers.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

import typer

from avcheck.errors import UsageError

# Typer 0.29 exports only this subclass; its base class covers every wrong use of the command line.
WRONG_USAGE: type[Exception] = typer.BadParameter.__bases__[0]

# Messages of pydantic, which converts values for Typer, and what we say instead
_OUR_WORDS = (
    (r"Input should be a valid number\b.*", "must be a number"),
    (r"Input should be a valid integer\b.*", "must be a whole number"),
    (r"Input should be greater than or equal to (\S+)", r"must be at least \1"),
    (r"Input should be less than or equal to (\S+)", r"must be at most \1"),
    (r"Input should be a valid string\b.*", "must be plain text (UTF-8)"),
    (r"[Pp]ath '(.*)' is not readable\.", r"names \1, which cannot be read; check its permissions"),
    (r"Value error, (.*?) is not one of (.*?)\.?", r"is \1, not one of \2"),
)
_UNIT = re.compile("_(s|ms|mb)$")  # of a parameter, which its option does not name
_LONGER = {"memory": "memory_limit"}  # parameters whose options have longer names


def explain(error: Exception) -> str:
    """What is wrong with the command line, in one line of our own words."""
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "avcheck")
    return f"{_problem(error)} (see {command} --help)"


def message_of(error: UsageError, names: Mapping[str, str]) -> str:
    """The message of an error in terms of the command line: `--from` where the library says
    `start`. `names`: the command's options and arguments, by the parameter of its function.
    """
    parameter = _UNIT.sub("", error.parameter)
    return error.about(names.get(_LONGER.get(parameter, parameter), parameter))


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean ...?" with the known word that is nearest; "" if none is near. Dashes in
    front do not count.
    """
    by_name = {each.lstrip("-"): each for each in known}
    near = difflib.get_close_matches(word.lstrip("-"), by_name, n=1)
    return f"; did you mean {by_name[near[0]]}?" if near else ""


def _problem(error: Exception) -> str:
    option, parameter, context = (
        getattr(error, name, None) for name in ("option_name", "param", "ctx")
    )
    message = str(getattr(error, "message", "") or error)
    if hasattr(error, "possibilities"):
        known = (
            [name for each in context.command.get_params(context) for name in each.opts]
            if context
            else []
        )
        return f"there is no option {option}{nearest(str(option), known)}"
    if option and "requires" in message:
        return f"{option} needs a value"
    if option and "does not take" in message:
        return f"{option} takes no value"
    if parameter is not None and hasattr(error, "param_type"):
        return f"{parameter.metavar or parameter.name} is missing"
    if parameter is not None:
        return (
            f"{parameter.opts[0] if parameter.opts[0].startswith('-') else parameter.metavar} "
            f"{_in_our_words(message)}"
        )
    if match := re.fullmatch(r"Got unexpected extra argument\(s\) \((.*)\)", message, re.DOTALL):
        return f"unexpected argument: {match[1]}"
    return message


def _in_our_words(message: str) -> str:
    for pattern, ours in _OUR_WORDS:
        if (match := re.fullmatch(pattern, message, re.DOTALL)) is not None:
            return match.expand(ours)
    return "has a wrong value"
