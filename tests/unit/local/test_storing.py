import pytest

from trunkline.local import storing
from trunkline.local.home import Home


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path / "home")
    made.make()
    return made


def test_it_is_the_own_directory_unless_another_is_asked_for(home):
    assert storing.choose(home, None) == home.store_url
    assert storing.choose(home, "s3://bucket/a") == "s3://bucket/a"


def test_what_it_came_up_with_stays(home):
    storing.keep(home, "s3://bucket/a")
    assert storing.choose(home, None) == "s3://bucket/a"
    assert storing.choose(home, "s3://bucket/a/") == "s3://bucket/a/"
    for other in ("s3://bucket/b", home.store_url):
        with pytest.raises(storing.AnotherStoreError, match="s3://bucket/a"):
            storing.choose(home, other)


def test_a_directory_with_objects_in_it_stays_and_moves_with_the_installation(home, tmp_path):
    storing.keep(home, home.store_url)
    (home.store / "objects").mkdir()
    with pytest.raises(storing.AnotherStoreError, match="copy all objects"):
        storing.choose(home, "s3://bucket")
    home.root.rename(tmp_path / "moved")
    moved = Home(tmp_path / "moved")
    assert storing.choose(moved, None) == moved.store_url
