import http.server
import threading

import pytest

from trunkline.storage import clouds, urls
from trunkline.storage.store import open_store


@pytest.fixture
def old_bucket(monkeypatch):
    """The URL of a bucket that answers a put on a condition with 501; and what it was asked."""
    asked = []

    class Old(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self._answer(404)

        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(501 if self.headers["If-None-Match"] else 200)

        def _answer(self, status):
            asked.append((self.command, status))
            self.send_response(status)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Old) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "x")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        yield "s3://bucket", asked
        server.shutdown()


async def test_a_bucket_that_knows_no_condition_is_asked_first_from_then_on(old_bucket):
    url, asked = old_bucket
    store = open_store(url)
    await store.put(b"1")
    assert asked[-2:] == [("HEAD", 404), ("PUT", 200)]
    asked.clear()
    await store.put(b"2")
    assert asked == [("HEAD", 404), ("PUT", 200)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no section\n",
        "[default]\naws_access_key_id = TOPSECRET\n",
        "[other]\naws_access_key_id = TOPSECRET\naws_secret_access_key = TOPSECRET\n",
        "[default]\nTOPSECRET\n",
    ],
)
def test_a_shared_file_without_the_profiles_keys_is_refused_and_not_quoted(tmp_path, text):
    (tmp_path / "c").write_text(text)
    named = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "c")}
    with pytest.raises(ValueError, match=r"no key under \[default\]") as refused:
        clouds.shared_credentials(named)
    assert "TOPSECRET" not in str(refused.value)


def test_a_shared_file_that_is_not_there_is_told_unless_keys_are_in_the_environment(tmp_path):
    named = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    with pytest.raises(ValueError, match="cannot be read"):
        clouds.shared_credentials(named)
    assert clouds.shared_credentials({**named, "AWS_ACCESS_KEY_ID": "k"}) == {}
    assert clouds.shared_credentials({}) == {}


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:TOPSECRET@bucket/x",
        "s3://bucket/x?secret=TOPSECRET",
        "az://key:TOPSECRET@container/x",
        "abfss://container:TOPSECRET@account.dfs.core.windows.net/x",
    ],
)
def test_credentials_in_the_url_of_a_bucket_are_refused(url):
    with pytest.raises(urls.InvalidStoreUrlError, match="environment") as refused:
        urls.backend(url)
    assert "TOPSECRET" not in str(refused.value)
