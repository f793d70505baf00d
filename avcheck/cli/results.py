"""`avcheck merge`, `avcheck show` and `avcheck diff`: commands for saved results."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from avcheck import render
from avcheck.batch.checkpoint import Merged
from avcheck.cli import options as opt
from avcheck.cli.gate import ExitCode
from avcheck.cli.group import RESULTS, app
from avcheck.cli.require import format_of, require_one_title
from avcheck.cli.screen import Output, complain, write_results
from avcheck.errors import UsageError
from avcheck.record.changes import changes_between
from avcheck.record.report import Report
from avcheck.render.output import Guard, parse_targets

Results = Annotated[
    Path,
    typer.Argument(
        metavar="RESULTS", help="Results in JSON lines, as written by --resume or --format jsonl."
    ),
]


@app.command(rich_help_panel=RESULTS)
def merge(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="Results in JSON lines, as written by --resume or --format jsonl."
        ),
    ],
    fail_on: opt.FailOns = None,
    exit_zero: opt.ExitZero = False,
    output_format: opt.OutputFormat = None,
    as_json: opt.AsJson = False,
    outputs: opt.Outputs = None,
    force: opt.Force = False,
    quiet: opt.Quiet = False,
) -> None:
    """Put the results of several runs (shards, or repeated runs) together: the newest record for
    each path.

    Output and exit code are those of one run over all the files; 2 also if the last line of a file
    is cut short or a record in it is damaged.
    """
    form = format_of(as_json, output_format)
    gate = opt.gate_of(fail_on, exit_zero)
    targets = parse_targets(outputs or (), force=force)
    Guard(targets).refuse_all(files)
    merged = _read(files)
    require_one_title(form, outputs, merged.titles)
    strict = gate.undecidable_fails
    with Output(
        form, quiet=quiet, detailed=False, targets=targets, force=force, strict=strict
    ) as output:
        for result in merged:
            output.emit(result)
        output.finish(len(merged))
    if len(merged) == 1 and not quiet:
        complain(render.summary(output.verdicts), prefix="")
    raise typer.Exit(_code(output.code(gate), merged))


@app.command(rich_help_panel=RESULTS)
def show(
    results: Results,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Only these, by path or name.", show_default=False),
    ] = None,
    fail_on: opt.FailOns = None,
    exit_zero: opt.ExitZero = False,
    output_format: opt.OutputFormat = None,
    as_json: opt.AsJson = False,
    outputs: opt.Outputs = None,
    force: opt.Force = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> None:
    """Show saved results as the check showed them: a table for a single file, a line for each of
    several; or as a page.

    The exit code is that of the check.
    """
    form = format_of(as_json, output_format)
    gate = opt.gate_of(fail_on, exit_zero)
    targets = parse_targets(outputs or (), force=force)
    Guard(targets).refuse(results)
    merged = _read([results])
    chosen = _chosen(merged, names, results) if names else merged
    titles = len({each.path for each in chosen}) if names else merged.titles
    require_one_title(form, outputs, titles)
    output = Output(
        form,
        quiet=quiet,
        detailed=verbose or (len(chosen) == 1 and not quiet),
        every_row=verbose,
        single=len(chosen) == 1 and bool(names),
        targets=targets,
        force=force,
        strict=gate.undecidable_fails,
    )
    with output:
        for report in chosen:
            output.emit(report)
        output.finish(len(chosen))
    raise typer.Exit(_code(output.code(gate), merged))


@app.command(rich_help_panel=RESULTS)
def diff(
    old: Annotated[
        Path, typer.Argument(metavar="OLD", help="Results of the earlier run, in JSON lines.")
    ],
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="Results of the later run, in JSON lines.")
    ],
    fail_on: opt.FailOns = None,
    exit_zero: opt.ExitZero = False,
    as_json: Annotated[
        bool, opt.option("--json", panel=opt.OUTPUT, help="A list of the changes, for programs.")
    ] = False,
    quiet: Annotated[
        bool, opt.option("--quiet", "-q", panel=opt.OUTPUT, help="Show only what became worse.")
    ] = False,
) -> None:
    """Show what changed between two runs, and fail if something became worse.

    A file is worse if it fails now and did not fail in the same way before, or is new and fails.
    The exit code is then that of a check: 1 or 2, by --fail-on. Files that failed before in the
    same way, and files that are gone, do not count.
    """
    gate = opt.gate_of(fail_on, exit_zero)
    before, after = _read([old]), _read([new])
    changes = changes_between(before, after, {kind.verdict for kind in gate.fail_on})
    shown = [change for change in changes if change.kind == "worse" or not quiet]
    write_results(
        render.changes_json(shown)
        if as_json
        else "".join(f"{render.change_line(each)}\n" for each in shown)
    )
    if not quiet:
        titles = len({report.path for report in after})
        summary = render.changes_summary(changes, len(before), len(after), titles)
        complain(summary, prefix="")
    worse = [
        change.after for change in changes if change.kind == "worse" and change.after is not None
    ]
    code = gate.exit_code(Counter(report.verdict for report in worse))
    if all(report.verdict == "error" for report in after):  # a run that judged no file fails
        code = max(code, ExitCode.NOT_JUDGED)
    if any(report.is_bug for report in worse):
        code = ExitCode.BUG
    raise typer.Exit(_code(_code(code, before), after))


def _read(files: list[Path]) -> Merged:
    merged = Merged(files)
    for warning in merged.warnings:
        complain(warning)
    if not len(merged):
        raise UsageError(f"there is no record in {', '.join(map(str, files))}")
    return merged


def _code(code: ExitCode, merged: Merged) -> ExitCode:
    return max(code, ExitCode.NOT_JUDGED) if merged.incomplete else code


def _chosen(merged: Merged, names: list[str], results: Path) -> list[Report]:
    """The reports whose path is, or ends with, one of the names. Raises UsageError for a name that
    fits none.
    """
    fits = dict.fromkeys(names, False)
    chosen = []
    for report in merged:
        meant = [
            name
            for name in names
            if report.path == name or report.path.endswith(f"/{name.removeprefix('./')}")
        ]
        fits.update(dict.fromkeys(meant, True))
        chosen += [report] if meant else []
    for name, does_fit in fits.items():
        if not does_fit:
            raise UsageError(f"there is no {name} in {results}")
    return chosen
