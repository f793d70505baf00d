"""What is shown of a URL: nothing that gives access, and enough to tell it from another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avcheck.batch.discovery import Selection, Shard, discover
from avcheck.batch.remote import shown, without_secrets
from avcheck.cli.app import main
from avcheck.errors import UsageError

SIGNED = "https://films.example/a/late.mp4?id=7&X-Amz-Signature={}&X-Amz-Expires=60"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("film.mp4", "film.mp4"),
        ("s3://bucket/a #1 @home.mp4", "s3://bucket/a #1 @home.mp4"),
        (
            "abfs://films@place.dfs.core.windows.net/a.mp4",
            "abfs://films@place.dfs.core.windows.net/a.mp4",
        ),
        ("https://x:8080/a.mp4#access_token=S3CRET", "https://x:8080/a.mp4"),
        ("https://x/a.mp4?token=S3CRET", "https://x/a.mp4?redacted"),
        ("https://x/a.mp4?sv=2024&se=2026&sp=r&sig=S3CRET", "https://x/a.mp4?redacted"),
        ("https://:S3CRET@x/a.mp4", "https://redacted@x/a.mp4"),
        ("https://x:S3CRET?S3CRET@y/a.mp4", "https://redacted?redacted-*"),
        ("https://user:S3CRET@x/a.mp4?S3CRET", "https://redacted-*@x/a.mp4?redacted-*"),
        ("sftp://user:S3C@RET@x/a.mp4", "sftp://redacted-*@x/a.mp4"),
        (
            "simplecache::https://user:S3CRET@x/a.mp4?sig=S3CRET",
            "simplecache::https://redacted-*@x/a.mp4?redacted",
        ),
        ("https://us::S3CRET@x/a.mp4", "https://us::redacted-*"),
        ("https://user:1/S3CRET@x/a.mp4", "https://redacted-*@x/a.mp4"),
        ("https://user:/S3C@RET@x/a.mp4?id=7", "https://redacted-*@x/a.mp4?redacted-*"),
        ("https://x:8080/films/a.mp4?of=ann@home", "https://x:8080/films/a.mp4?redacted-*"),
        ("https://x/@ann/a.mp4", "https://x/@ann/a.mp4"),
        ("https://user:pw'S3CRET@x/a.mp4?sig=S3CRET", "https://redacted-*@x/a.mp4?redacted"),
        ("https://x/it's.mp4", "https://x/it's.mp4"),
    ],
)
def test_what_is_shown_of_a_url(url: str, expected: str) -> None:
    text = shown(url)
    assert re.sub("-[0-9a-f]{12}", "-*", text) == expected
    assert shown(text) == text
    assert (
        without_secrets(f"cannot read {text}: no such file; see ({text}).")
        == f"cannot read {text}: no such file; see ({text})."
    )
    assert "S3C" not in without_secrets(f"cannot read {url}: no such file")
    assert "S3C" not in without_secrets(
        f"Auth failed for {url.replace('/a.mp4', '')} and {url.rpartition('?')[2]}", url
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cfg https://u:pw'S3CRET@host/f?sig=S3CRET", "cfg https://redacted-*@host/f?redacted"),
        (
            "no 'https://x/f?sig=S3CRET', no 'https://x/g'.",
            "no 'https://x/f?redacted', no 'https://x/g'.",
        ),
        ("['https://x/f','https://u:S3CRET@x/g']", "['https://x/f','https://redacted-*@x/g']"),
        ("from 'https://x/f'", "from 'https://x/f'"),
    ],
)
def test_a_quote_ends_no_url_in_a_text(text: str, expected: str) -> None:
    assert re.sub("-[0-9a-f]{12}", "-*", without_secrets(text)) == expected


def test_a_url_is_the_same_however_it_is_signed() -> None:
    assert shown(SIGNED.format("aaaa")) == shown(SIGNED.format("bbbb").replace("=60", "=90"))
    assert shown(SIGNED.format("aaaa")) != shown(SIGNED.format("aaaa").replace("id=7", "id=8"))
    assert (
        shown("sftp://ann:1@x/a.mp4")
        == shown("sftp://ann:2@x/a.mp4")
        != shown("sftp://bob:1@x/a.mp4")
    )
    urls = [SIGNED.format(number) for number in range(9)]
    assert {len(discover([url], selection=Selection(shard=Shard(1, 4))).files) for url in urls} in (
        {0},
        {1},
    )


def test_no_url_is_left_out_for_looking_like_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = ["https://h/dl?token=S3CRET1", "https://h/dl?token=S3CRET2"]
    # Every machine is given the same, so none may go on
    for shard in (
        None,
        Shard(1, 2),
        Shard(2, 2),
    ):
        with pytest.raises(
            UsageError,
            match=r"two URLs differ only in their secrets, so both are recorded as https://h/dl\?redacted",
        ):
            discover(urls, selection=Selection(shard=shard))
    monkeypatch.chdir(tmp_path)
    assert main([*urls, "--resume", "r.jsonl"]) == 2
    out, err = capsys.readouterr()
    assert (
        out == ""
        and err.count("\n") == 1
        and "a results file of its own" in err
        and "S3CRET" not in err
    )
    same = [urls[0], urls[0], f"{urls[0]}#end", "https://h/dl?token=1&id=2"]
    assert discover(same).files == [same[0], same[3]]
