"""Every record keeps to the schema that is shipped, and says nothing that the schema does not
describe.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from avcheck.batch.failed import error_report
from avcheck.checker import _reason
from avcheck.cli.app import main
from avcheck.media import open_media
from avcheck.record.detail import BlockPlaces, Detail, MediaFacts, SegmentDetail
from avcheck.record.edits import Edit
from avcheck.record.report import (
    PRESETS,
    SCHEMA_VERSION,
    BlockResult,
    Degraded,
    ErrorCode,
    Listened,
    PictureFacts,
    Report,
    Segment,
    Stretch,
    Tolerance,
    Track,
    UndecidableCode,
)
from avcheck.render import to_json
from avcheck.verdict.judge import Judgement
from tests.support import fake_scan

SCHEMA: dict[str, Any] = json.loads(
    (resources.files("avcheck") / "schema" / f"record-{SCHEMA_VERSION}.schema.json").read_text(
        encoding="utf-8"
    )
)

REASON_CODES = [each["const"] for each in SCHEMA["$defs"]["reason_code"]["oneOf"]]
# Fields that came later: records without them must stay valid, so the schema asks for none of
# these.
ADDED = {
    "closer_look_cut",
    "reach_s",
    "detail",
    "edits",
    "elapsed_s",
    "measured_by",
    "measuring_error_ms",
    "picture",
    "reason_code",
    "reference",
    "signal",
    "jump_intervals_s",
    "stretches",
    "part_s",
    "audio_path",
    "audio_clock",
    "records",
    "title_summary",
    "listened",
}
ADDED_TO_DEGRADED = {"unseen_s", "unseen_bytes"}


def closed(schema: Any) -> Any:
    """The schema without the room that it leaves for later releases: no further fields, no further
    kinds of reason.
    """
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if "reason_code" in result.get("properties", {}):
        result["properties"]["reason_code"]["enum"] = [*REASON_CODES, None]
    return (
        {**result, "additionalProperties": False} if "object" in schema.get("type", ()) else result
    )


OPEN = Draft202012Validator(SCHEMA)
CLOSED = Draft202012Validator(closed(SCHEMA))

DETAIL = Detail(
    (-40.0, 0.0, 40.0),
    (
        SegmentDetail(
            0.0,
            2.0,
            (3.25, -1.5, None),
            9,
            5,
            (BlockPlaces(0.0, ((4, 2, 0.75), (3, 2, 0.125))), BlockPlaces(1.0, ())),
        ),
    ),
    MediaFacts("QuickTime / MOV", "h264", 1920, 1080, 90, 23.976, "aac", 0.0, None),
)
RECORDS = {
    "in sync": Report(
        "a.mp4", "in_sync", offset_ms=0.0, confidence=1.0, duration_s=3.0, audio_track=0
    ),
    "out of sync": Report(
        "\udcff.mp4",
        "out_of_sync",
        offset_ms=-120.0,
        confidence=0.97,
        tolerance=Tolerance(10, 20.5),
        container_offset_ms=-23.2,
        drift_ms_per_min=3.5,
        jumps_s=(12.0,),
        jump_intervals_s=((10.0, 14.0),),
        edits=(Edit("removed", "both", 12.0, 12.0, 12.0, 17.0),),
        stretches=(Stretch(0.0, 10.0, 3.0, 3.0), Stretch(14.0, 20.0, -100.0, -120.0)),
        duration_s=20.0,
        sampled_s=10.0,
        listened=Listened(10.0, 4.0),
        audio_track=None,
        segments=(Segment(0.0, 10.0, -120.0, 0.9), Segment(10.0, 20.0, None, 0.1)),
        blocks=(BlockResult(0.0, 0.75, -118.0), BlockResult(1.0, 0.25, None)),
        degraded=Degraded(3, 0.5, 1.5, True, ("two edits",), ((3.0, 9.0), (12.5, 13.0))),
        detail=DETAIL,
        audio_tracks=(Track(0, "eng", "", "aac", True),),
        picture=PictureFacts(1920, 1080, "30000/1001", 0.0, "01:00:00;00"),
        model_sha256="0a" * 32,
        file_size=1234,
        file_mtime_ns=1_700_000_000_000_000_001,
        settings_sha256="0b" * 32,
        elapsed_s=1.5,
        checked_at="2026-03-01T12:00:00.000Z",
        avcheck_version="0.1.0",
    ),
    "undecidable": Report(
        "a.mp4", "undecidable", reason="silence", reason_code="silent", confidence=0.2
    ),
    "borderline": Report(
        "a.mp4",
        "undecidable",
        reason="near",
        reason_code="borderline",
        offset_ms=50.0,
        confidence=0.9,
    ),
    "error": Report("a.mp4", "error", reason="no video stream", reason_code="no_video"),
    "error of a path": error_report(
        "gone.mp4", "no such file or directory", PRESETS["film"], code="missing"
    ),
    "error with unreadable weights": error_report(
        "a.mp4", "no audio stream", PRESETS["film"], Path("gone.safetensors"), code="no_audio"
    ),
}


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["properties"]["schema_version"] == {"const": SCHEMA_VERSION}


def test_the_schema_describes_exactly_the_fields_there_are() -> None:
    record = RECORDS["out of sync"].to_record()
    described = SCHEMA["properties"]
    assert set(described) == set(record) == set(SCHEMA["required"]) | ADDED
    assert not ADDED & set(SCHEMA["required"])
    for name, added in (("tolerance", set()), ("degraded", ADDED_TO_DEGRADED)):
        assert (
            set(described[name]["properties"])
            == set(record[name])
            == set(described[name]["required"]) | added
        )
        assert not added & set(described[name]["required"])
    facts = {field.name for field in dataclasses.fields(PictureFacts)}
    assert set(described["picture"]["properties"]) == facts
    assert set(described["picture"]["required"]) == facts
    for name, kind in (
        ("segments", Segment),
        ("blocks", BlockResult),
        ("stretches", Stretch),
        ("edits", Edit),
    ):
        fields = {field.name for field in dataclasses.fields(kind)}
        assert (
            set(described[name]["items"]["properties"])
            == fields
            == set(described[name]["items"]["required"])
        )


def test_every_kind_of_reason_is_described_once() -> None:
    codes = [*get_args(UndecidableCode), *get_args(ErrorCode)]
    assert codes == REASON_CODES
    assert len(set(codes)) == len(codes)
    record = json.loads(to_json(RECORDS["error"]))
    assert all(CLOSED.is_valid({**record, "reason_code": code}) for code in codes)
    assert not CLOSED.is_valid({**record, "reason_code": "a_new_kind"})


def test_the_schema_describes_exactly_the_fields_of_the_detail() -> None:
    described = SCHEMA["properties"]["detail"]
    segment = described["properties"]["segments"]["items"]
    for schema, kind in (
        (described, Detail),
        (segment, SegmentDetail),
        (segment["properties"]["blocks"]["items"], BlockPlaces),
        (described["properties"]["media"], MediaFacts),
    ):
        fields = {field.name for field in dataclasses.fields(kind)}
        assert set(schema["properties"]) == fields == set(schema["required"])


def test_the_detail_comes_back_from_its_record() -> None:
    record = json.loads(to_json(RECORDS["out of sync"]))
    assert Report.from_record(record).detail == DETAIL
    assert Report.from_record({**record, "detail": None}).detail is None


@pytest.mark.parametrize(
    "change",
    [
        {"offsets_ms": [0.0]},  # and three values of fit
        {"media": None},
        {"segments": [{"start_s": 0.0}]},
        {"offsets_ms": [0.0, "40", 80.0]},
    ],
)
def test_a_damaged_detail_is_refused(change: dict[str, Any]) -> None:
    record = json.loads(to_json(RECORDS["out of sync"]))
    with pytest.raises(ValueError, match="not a record"):
        Report.from_record({**record, "detail": {**record["detail"], **change}})


@pytest.mark.parametrize("name", RECORDS)
def test_records_keep_to_it(name: str) -> None:
    CLOSED.validate(json.loads(to_json(RECORDS[name])))


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_what_the_command_prints_keeps_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    fake_scan.stand_in(monkeypatch)
    monkeypatch.chdir(tmp_path)
    names = [
        "good.mp4",
        "late.mp4",
        "unsure.mp4",
        "broken.mp4",
        "raises.mp4",
        "bug.mp4",
        "huge.mp4",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert main(["--no-config", "--format", form, *names, "gone.mp4"]) == 3
    text = capsys.readouterr().out
    records = json.loads(text) if form == "json" else [json.loads(row) for row in text.splitlines()]
    assert {record["verdict"] for record in records} == {
        "in_sync",
        "out_of_sync",
        "undecidable",
        "error",
    }
    for record in records:
        CLOSED.validate(record)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("in sync", {"schema_version": 2}),
        ("in sync", {"verdict": "fine"}),
        ("in sync", {"offset_ms": None, "offset_text": None}),
        ("in sync", {"reason": "because"}),
        ("in sync", {"reason_code": "silent"}),
        ("undecidable", {"reason_code": "Silent!"}),
        (
            "out of sync",
            {
                "degraded": {
                    **json.loads(to_json(RECORDS["out of sync"]))["degraded"],
                    "unseen_s": [[3.0]],
                }
            },
        ),
        ("in sync", {"confidence": 1.5}),
        ("in sync", {"offset_ms": "0"}),
        ("in sync", {"sampled_s": 0}),
        ("in sync", {"audio_track": -1}),
        ("in sync", {"audio_track": 0.5}),
        ("in sync", {"model_sha256": "abc"}),
        ("in sync", {"tolerance": {"early_ms": 1}}),
        ("in sync", {"blocks": [{"start_s": 0}]}),
        ("out of sync", {"offset_text": None}),
        ("undecidable", {"reason": None}),
        ("undecidable", {"offset_text": "sound early"}),
        ("error", {"reason": ""}),
        ("out of sync", {"stretches": [{"start_s": 0.0, "end_s": 10.0}]}),
        ("out of sync", {"jump_intervals_s": [[10.0]]}),
        ("in sync", {"detail": {"offsets_ms": []}}),
        ("in sync", {"detail": []}),
        ("error", {"offset_ms": 3.0, "offset_text": "sound early by 3 ms"}),
    ],
)
def test_what_is_wrong_is_refused(name: str, change: dict[str, Any]) -> None:
    record = json.loads(to_json(RECORDS[name]))
    assert OPEN.is_valid(record)
    assert not OPEN.is_valid({**record, **change})


def test_no_field_may_be_missing() -> None:
    record = json.loads(to_json(RECORDS["in sync"]))
    for key in record.keys() - ADDED:
        less = copy.deepcopy(record)
        del less[key]
        assert not OPEN.is_valid(less), key


def test_fields_of_later_releases_are_passed_over() -> None:
    record = json.loads(to_json(RECORDS["in sync"]))
    record["thumbnail"] = record["tolerance"]["source"] = "new"
    assert OPEN.is_valid(record)
    error = json.loads(to_json(RECORDS["error"]))
    newer = {**error, "reason_code": "a_new_kind", "measured_by": "a_new_way"}
    assert OPEN.is_valid(newer)
    assert Report.from_record(newer).to_record()["measured_by"] == "a_new_way"


@pytest.mark.parametrize("name", RECORDS)
def test_older_records_stay_valid(name: str) -> None:
    record = json.loads(to_json(RECORDS[name]))
    for key in ADDED:
        del record[key]
    for key in ADDED_TO_DEGRADED:
        del record["degraded"][key]
    OPEN.validate(record)
    older = Report.from_record(record)
    assert (older.reason, older.offset_ms, older.jumps_s) == (
        record["reason"],
        record["offset_ms"],
        tuple(record["jumps_s"]),
    )
    assert (
        older.reason_code,
        older.stretches,
        older.jump_intervals_s,
        older.degraded.unseen_s,
    ) == (None, (), (), ())


def test_what_was_judged_has_no_reason(clip: Callable[..., Path]) -> None:
    with open_media(clip("film.mp4")) as media:
        judged = Judgement("in_sync", None, 4.0, 0.9)
        assert _reason(judged, media.info, cut=False, chosen=False) is None
