"""The group of the commands: `avcheck PATH...` is `avcheck check PATH...`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from avcheck.cli.options import GENERAL, Version
from avcheck.cli.usage import WRONG_USAGE, message_of, nearest
from avcheck.cli.values import spare_pydantic
from avcheck.errors import UsageError

_Function = TypeVar("_Function", bound=Callable[..., Any])
CONTEXT = {"help_option_names": ["-h", "--help"]}
RESULTS, TRAINING = "Saved results", "Training and measuring"  # panels of the commands

# The module of each command, in the order of the help.
_MODULES = {
    **{name: name for name in ("check", "compare", "demo", "evidence", "fix", "help")},
    **dict.fromkeys(("merge", "show", "diff"), "results"),
    **dict.fromkeys(("train", "eval", "ablate"), "lab"),
    **{name: name for name in ("signal", "watch")},
}


class _Plain:
    """Help without Python's type names: a flag takes nothing, and an argument's name says what it
    is. Values that are already right skip pydantic.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for each in params:
            spare_pydantic(each)
            if getattr(each, "is_flag", False):
                each.metavar = ""
            elif each.param_type_name == "argument":
                each.display_type_rich = _no_type
                if each.required:  # Typer 0.29 puts it in braces, which stand for a choice
                    each._usage_display_name = partial(_in_usage, each)
            if each.name == "help":
                each.rich_help_panel = GENERAL
        return params


def _in_usage(argument: Any) -> str:
    """Replaces a required argument's `_usage_display_name`."""
    return f"{argument.display_name_raw}{'' if argument.nargs == 1 else '...'}"


def _no_type(ctx: Any) -> None:
    """Replaces a parameter's `display_type_rich`."""


def was_set(ctx: Any, name: str) -> bool:
    """Whether the value of a parameter comes from a settings file or an environment variable."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "DEFAULT_MAP"


class Command(_Plain, TyperCommand):
    """One of the commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer does, but every error knows the command that it is about."""
        try:
            return list(super().parse_args(ctx, args))
        except WRONG_USAGE as error:
            if getattr(error, "ctx", None) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run it. Where an error of the library names a parameter, the option is named instead, or
        the setting that gave its value.
        """
        try:
            return super().invoke(ctx)
        except UsageError as error:
            names = {each.name: _named(ctx, each) for each in self.params}
            raise UsageError(message_of(error, names)) from error


def _named(ctx: Any, parameter: Any) -> str:
    """What a parameter is called where its value was given."""
    if parameter.param_type_name != "option":
        return str(parameter.metavar)
    name: str = parameter.opts[0]
    if not was_set(ctx, parameter.name):
        return name
    from avcheck.cli.config import place_of

    return place_of(name.removeprefix("--"), os.environ, ctx.params.get("config_file"))


class _Commands(Mapping[str, Any]):
    """The commands by name, each imported and built when it is asked for: building all of them
    takes longer than finding out that a file is no video.
    """

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            import_module(f"avcheck.cli.{_MODULES[name]}")  # which registers it
            self._built[name] = typer.main.get_command_from_info(
                next(each for each in app.registered_commands if _name_of(each) == name),
                pretty_exceptions_short=app.pretty_exceptions_short,
                rich_markup_mode=app.rich_markup_mode,
            )
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in _MODULES

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


def _name_of(command: Any) -> str:
    return command.name or str(command.callback.__name__)


class DefaultGroup(_Plain, TyperGroup):
    """A group with a default command: `avcheck film.mp4` means `avcheck check film.mp4`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()  # type: ignore[assignment]  # in place of those built already

    default = "check"
    own_options = frozenset(
        {"-h", "--help", "--version", "--install-completion", "--show-completion"}
    )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front when the first word is neither a command nor an option
        of the group. Raises UsageError for a mistyped command.
        """
        if args and args[0] not in self.commands and args[0] not in self.own_options:
            if not ctx.resilient_parsing:  # else a shell asks for completions
                _refuse_mistyped(args[0])
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """What may come first: a command, an option of the group, or an option of the default
        command.
        """
        items = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            command = self.commands[self.default]
            known = {item.value for item in items}
            inside = command.make_context(self.default, [], parent=ctx, resilient_parsing=True)
            return items + [
                item
                for item in command.shell_complete(inside, incomplete)
                if item.value not in known
            ]
        # With no items, the shell itself looks for files.
        return items + [type(items[0])(name) for name in _files(incomplete)] if items else []


def _refuse_mistyped(word: str) -> None:
    """Raise UsageError for a word that is no file and nearly a command."""
    if word.isalpha() and not os.path.lexists(word) and (hint := nearest(word, _MODULES)):
        raise UsageError(f"there is no file and no command {word!r}{hint}")


def _files(beginning: str) -> list[str]:
    """The files and directories of the working directory whose names begin with `beginning`, hidden
    ones only if that is not empty.
    """
    names = [f"{path.name}{'/' if path.is_dir() else ''}" for path in sorted(Path().iterdir())]
    return [
        name
        for name in names
        if name.startswith(beginning) and not (name.startswith(".") and not beginning)
    ]


class App(typer.Typer):
    """Typer, with this command's look for each of its commands."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[_Function], _Function]:
        """As in Typer; `settings` override the look."""
        return super().command(name, **{"cls": Command, "context_settings": CONTEXT, **settings})


app = App(
    cls=DefaultGroup,
    context_settings=CONTEXT,
    subcommand_metavar="PATH... | COMMAND [ARGS]...",
    epilog=(
        "`avcheck film.mp4` is short for `avcheck check film.mp4`; `avcheck help check` lists its "
        "options. "
        "A file or directory named like a command needs a `./` in front.\n\n"
        "Exit codes: 0 nothing out of sync, 1 something out of sync, 2 wrong usage or a file that "
        "could not be judged, "
        "3 a bug in avcheck, 130 interrupted; the highest wins. `--fail-on` changes what is a 1 "
        "or 2."
    ),
    rich_markup_mode="markdown",
)


@app.callback()
def group(version: Version = False) -> None:
    """Check whether the sound of a video is in sync with its picture, and by how much it is off."""
