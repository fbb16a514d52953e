from trunkline.contracts.messages import DatumInput, DatumTask, JobTicket
from trunkline.contracts.spec import Transform
from trunkline.worker_agent import environment


def made(path: str = "/d/x", *, env: dict[str, str] | None = None, pfs: str = "/pfs"):
    ticket = JobTicket(
        job="1" * 32, version=1, code_hash="c", transform=Transform(cmd=("x",), env=env or {})
    )
    given = DatumInput(name="images", path=path, commit="abc", files=())
    task = DatumTask(
        pipeline="edges", job="1" * 32, index=4, datum="d1", fingerprint="f", inputs=(given,)
    )
    return environment.of({"PATH": "/bin"}, ticket, task, pfs=pfs, worker="w1")


def test_an_input_is_named_by_what_its_glob_matched():
    assert made("/d/x")["images"] == "/pfs/images/d/x"
    assert made("/d/")["images"] == "/pfs/images/d"
    assert made("/")["images"] == "/pfs/images"
    assert made("/d", pfs="/home/w1/pfs")["images"] == "/home/w1/pfs/images/d"


def test_the_spec_s_variables_stand_above_what_is_inherited_and_below_the_datum_s():
    env = made(env={"PATH": "/mine", "images": "no", "PACH_JOB_ID": "no"})
    assert env["PATH"] == "/mine"
    assert env["images"] == "/pfs/images/d/x"
    assert env["PACH_JOB_ID"] == "1" * 32


def test_only_harmless_variables_are_inherited():
    given = {
        "PATH": "/usr/bin",
        "LANG": "de_DE.UTF-8",
        "LC_ALL": "C",
        "TRUNKLINE_DATA_URL": "nats://user:password@host",
        "TRUNKLINE_STORE": "s3://bucket",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "NATS_URL": "nats://host",
    }
    assert environment.base(given) == {
        "PATH": "/usr/bin",
        "HOME": "/tmp",
        "LANG": "de_DE.UTF-8",
        "LC_ALL": "C",
    }
