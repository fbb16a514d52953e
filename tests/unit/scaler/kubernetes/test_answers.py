"""What is taken for an answer of the API server, and what is not."""

import json

import pytest

from trunkline.scaler.kubernetes import answers

META = {"name": "a", "uid": "u", "resourceVersion": "7"}


def page(*items: object) -> dict[str, object]:
    return {"kind": "PodList", "metadata": {"resourceVersion": "7"}, "items": list(items)}


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[]", b"", b"3", b"{}", b"\xff\xfe"])
def test_what_is_no_object_is_refused_whatever_its_status(body: bytes) -> None:
    with pytest.raises(answers.NoAnswerError, match="this is no"):
        answers.whole(body)


def test_a_status_is_an_answer_and_no_list() -> None:
    status = answers.whole(line(kind="Status", metadata={}))
    with pytest.raises(answers.NoAnswerError, match="this is no list: Status"):
        answers.listed(status)


@pytest.mark.parametrize("item", [3, {}, {"metadata": {"name": "a", "uid": "u"}}])
def test_a_list_of_something_else_is_none(item: object) -> None:
    assert answers.listed(page({"metadata": META}))["items"]
    with pytest.raises(answers.NoAnswerError, match="no name, uid or version"):
        answers.listed(page({"metadata": META}, item))


def test_events_are_of_objects_and_bookmarks_of_versions() -> None:
    for kind, meta in (("ADDED", META), ("BOOKMARK", {"resourceVersion": "9"})):
        assert answers.event(line(type=kind, object={"metadata": meta}))["type"] == kind
    for wrong in (
        b"[]\n",
        b"<br>",
        line(type="ADDED"),
        line(type="ADDED", object={"metadata": {}}),
    ):
        with pytest.raises(answers.NoAnswerError, match="this is no"):
            answers.event(wrong)


def test_an_error_in_a_watch_is_told_as_the_server_tells_it() -> None:
    for told in (
        line(type="ERROR", object={"code": 410, "message": "too old"}),
        line(code=410, message="too old"),
    ):
        with pytest.raises(answers.WatchEndedError, match="410: too old"):
            answers.event(told)
    with pytest.raises(answers.WatchEndedError, match="500"):
        answers.event(line(type="ERROR", object="?"))
