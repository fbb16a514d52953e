import contextlib
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.worker_agent import protocol
from trunkline.worker_agent.protocol import Kind

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
KEY = st.text(st.characters(exclude_characters="\0=", exclude_categories=["Cs"]), min_size=1)


def one(data: bytes) -> protocol.Frame:
    (frame,) = protocol.Decoder().feed(data)
    return frame


@given(
    argv=st.lists(TEXT, min_size=1, max_size=5).map(tuple),
    env=st.dictionaries(KEY, TEXT, max_size=5),
    cwd=TEXT,
    umask=st.integers(0, 0o777),
    user=TEXT,
    number=st.integers(1, 2**32 - 1),
)
def test_a_recipe_comes_out_as_it_went_in(argv, env, cwd, umask, user, number):
    recipe = protocol.Recipe(argv, env, cwd, umask, protocol.RecipeFlag.INHERIT_ENV, user)
    frame = one(protocol.recipe(number, recipe))
    assert (frame.kind, frame.id) == (Kind.RECIPE, number)
    assert protocol.read_recipe(frame.payload) == recipe


@given(env=st.dictionaries(KEY, TEXT, max_size=5), number=st.integers(1, 2**32 - 1))
def test_a_command_comes_out_as_it_went_in(env, number):
    frame = one(protocol.spawn(number, 3, env))
    assert (frame.kind, frame.id) == (Kind.SPAWN, number)
    assert protocol.read_spawn(frame.payload) == (3, env)


def test_strings_with_bytes_that_are_no_text_come_out_as_they_went_in():
    odd = os.fsdecode(b"/bin/\xff\xfe")
    recipe = protocol.Recipe((odd, "x"), {odd: odd}, odd)
    assert protocol.read_recipe(one(protocol.recipe(1, recipe)).payload) == recipe
    assert protocol.read_spawn(one(protocol.spawn(1, 2, {"a": odd})).payload) == (2, {"a": odd})


@given(payloads=st.lists(st.binary(max_size=50), max_size=6), cuts=st.lists(st.integers(1, 40)))
def test_frames_come_out_however_the_stream_is_cut(payloads, cuts):
    stream = b"".join(
        protocol.frame(Kind.BYE, number, each) for number, each in enumerate(payloads)
    )
    decoder, found = protocol.Decoder(), []
    for size in [*cuts, len(stream)]:
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert [each.payload for each in found] == payloads
    assert [each.id for each in found] == list(range(len(payloads)))


@pytest.mark.parametrize("length", [0, 4, protocol.FRAME_MAX_BYTES + 1, 2**32 - 1])
def test_a_length_that_cannot_be_is_refused_before_anything_is_kept(length):
    with pytest.raises(protocol.ProtocolError):
        protocol.Decoder().feed(struct.pack("<IBI", length, 1, 1))


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_crashes(data):
    for read in (
        protocol.read_recipe,
        protocol.read_spawn,
        protocol.read_kill,
        protocol.read_chmod,
        protocol.read_open,
        protocol.read_hello,
        protocol.read_exited,
        protocol.read_pair,
    ):
        with contextlib.suppress(protocol.ProtocolError):
            read(data)
    with contextlib.suppress(protocol.ProtocolError):
        protocol.Decoder().feed(data)


def test_a_count_over_what_follows_is_refused_without_counting():
    payload = struct.pack("<II", 0, 0o022) + b"\0\0" + struct.pack("<I", 2**32 - 1)
    with pytest.raises(protocol.ProtocolError, match="more strings than bytes"):
        protocol.read_recipe(payload)
    with pytest.raises(protocol.ProtocolError, match="more strings than bytes"):
        protocol.read_spawn(struct.pack("<II", 0, 2**32 - 1))


def test_nul_in_an_argument_is_refused():
    with pytest.raises(protocol.NulError):
        protocol.recipe(1, protocol.Recipe(("a\0b",), {}))
    with pytest.raises(protocol.NulError):
        protocol.spawn(1, 1, {"a": "\0"})


def test_what_the_shim_says_comes_out_as_it_went_in():
    hello = protocol.Hello(20002, 3000, protocol.HelloFlag.TERMINATING)
    assert protocol.read_hello(one(protocol.hello(hello)).payload) == hello
    ended = protocol.Exited(0x0900, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert protocol.read_exited(one(protocol.exited(7, ended)).payload) == ended
    assert protocol.read_pair(one(protocol.pair(Kind.SPAWN, 1, -1, 2)).payload) == (-1, 2)
    assert protocol.read_kill(one(protocol.kill(3, 9)).payload) == 9
    opened = one(protocol.open_(3, "/pfs/out/a", 0, "me"))
    assert protocol.read_open(opened.payload) == (0, "/pfs/out/a", "me")
