"""Reports and acknowledgements as bytes: they come back as they went, nothing else is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpbond import abi, wire
from mpbond.control_frames import (
    COUNTER_BYTES,
    MAX_NAME,
    MAX_TEXT,
    TAG_BYTES,
    Ack,
    ControlError,
    PathMark,
    PathReport,
    PathState,
    Report,
    View,
    decode,
    encode,
)

PATH = PathReport(3, PathState.UP, PathMark.SPARE | PathMark.ELIGIBLE, 1_500, 20, 0, 999_999)
VIEW = View("office", 4, "0.1.0", 3, 500, (PATH, PathReport(7, PathState.LINK_DOWN, PathMark.NONE)))

figures = st.none() | st.integers(0, 2**32 - 2)
path_reports = st.builds(
    PathReport,
    st.integers(0, 0xFFFF),
    st.integers(0, 255),
    st.integers(0, 7).map(PathMark),
    *[figures] * 4,
)
names = st.text(st.characters(categories=["L", "N", "P"]), max_size=15)
views = st.builds(
    View,
    names,
    st.integers(0, 255),
    names.map(lambda name: name[:3]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 60_000),
    st.lists(path_reports, max_size=abi.MAX_BOND_PATHS).map(tuple),
)


def joined(parts: list[bytes]) -> View:
    """The view that the parts of one report make."""
    found = [decode(part) for part in parts]
    assert all(isinstance(one, Report) for one in found)
    reports = [one for one in found if isinstance(one, Report)]
    return replace(reports[0].view, paths=tuple(path for one in reports for path in one.view.paths))


def test_the_bytes_of_a_report() -> None:
    """Frozen: another version's must be read, and ours by it."""
    (part,) = encode(VIEW, 0x01020304, 5, 9)
    assert part.hex() == (
        "01010001" "01020304" "0000000000000005" "00000009" "04060514" "00000003" "000001f4"
        "6f6666696365" "302e312e30"
        "0003" "03" "03" "000005dc" "00000014" "00000000" "000f423f"
        "0007" "04" "00" "ffffffff" "ffffffff" "ffffffff" "ffffffff"
    )  # fmt: skip


def test_the_bytes_of_an_ack() -> None:
    ack = Ack(path=2, number=0x01020304, part=5)
    assert ack.encode().hex() == "020100020102030405"
    assert decode(ack.encode()) == ack


@given(views, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 2))
def test_a_view_comes_back(view: View, number: int, made_ns: int, stall_us: int) -> None:
    parts = encode(view, number, made_ns, stall_us)
    assert joined(parts) == view
    for at, part in enumerate(parts):
        report = decode(part)
        assert isinstance(report, Report)
        assert (report.number, report.made_ns, report.stall_us) == (number, made_ns, stall_us)
        assert (report.part, report.parts) == (at, len(parts))


@given(views)
def test_every_part_fits_into_a_frame(view: View) -> None:
    longest = replace(view, policy="p" * 300, version="v" * 300)
    for part in encode(view, 1, 1) + encode(longest, 1, 1):
        assert len(part) <= MAX_TEXT
    assert wire.HEADER_LEN + COUNTER_BYTES + MAX_TEXT + TAG_BYTES == abi.HANDSHAKE_MAX


def test_a_long_name_is_cut_between_letters() -> None:
    view = joined(encode(replace(VIEW, policy="ä" * 100), 1, 1))
    assert view.policy == "ä" * (MAX_NAME // 2)


@given(st.binary(max_size=MAX_TEXT))
@example(b"")
@example(b"\x01")
@example(b"\x02\x01")
def test_garbage_is_refused_or_read_and_nothing_else(text: bytes) -> None:
    try:
        decode(text)
    except ControlError as error:
        assert error.reason == "control_malformed"


@given(st.data(), views)
def test_a_damaged_report_is_refused_or_read_and_nothing_else(data: st.DataObject, view: View) -> None:
    text = bytearray(data.draw(st.sampled_from(encode(view, 1, 1))))
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(text)))
    for damaged in (bytes(text), bytes(text[:cut])):
        try:
            decode(damaged)
        except ControlError as error:
            assert error.reason == "control_malformed"


GOOD = encode(VIEW, 1, 1)[0]


def changed(at: int, value: int, text: bytes = GOOD) -> bytes:
    return text[:at] + bytes([value]) + text[at + 1 :]


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("nothing", b""),
        ("an unknown kind", changed(0, 3)),
        ("cut within the head", GOOD[:24]),
        ("cut within the names", GOOD[:34]),
        ("cut within a path", GOOD[:-1]),
        ("part beyond the parts", changed(2, 1)),
        ("no parts", changed(3, 0)),
        ("more parts than there can be", changed(3, 129)),
        ("records shorter than ours", changed(23, 19)),
        ("records of no length", changed(23, 0)),
        ("a name longer than all", changed(21, 255)),
        ("a name that is no text", changed(32, 0xFF)),
        ("a name with a control character", changed(32, 0x1B)),
        ("a longer record, cut", changed(23, 22) + bytes(3)),
        ("a short ack", Ack(1, 2, 3).encode()[:-1]),
    ],
)
def test_refused(what: str, text: bytes) -> None:
    with pytest.raises(ControlError) as caught:
        decode(text)
    assert caught.value.reason == "control_malformed"


def test_what_a_later_version_adds_is_passed_over() -> None:
    """Longer records, a longer ack, another number of the format."""
    head, record = GOOD[:43], [GOOD[43:63], GOOD[63:83]]
    later = changed(23, 22, changed(1, 9, head)) + b"".join(one + b"\xaa\xbb" for one in record)
    found = decode(later)
    assert isinstance(found, Report) and found.view == VIEW
    assert decode(Ack(1, 2, 3).encode() + b"more") == Ack(1, 2, 3)


def test_states_by_name() -> None:
    assert [replace(PATH, state=code).state_name for code in (3, 4, 77)] == ["up", "link down", "state 77"]


def test_measurements_are_no_news() -> None:
    slower = replace(VIEW, paths=(replace(PATH, latency_us=9_999), VIEW.paths[1]))
    assert slower != VIEW and slower.essence == VIEW.essence
    other = replace(VIEW, paths=(replace(PATH, state=PathState.DOWN), VIEW.paths[1]))
    assert other.essence != VIEW.essence
    assert replace(VIEW, policy="x").essence != VIEW.essence
