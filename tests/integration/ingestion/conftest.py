"""A rig that the tests of this folder share; those that starve it or kill it for long have one of their own."""

from collections.abc import Iterator

import pytest

from tests.support.ingest_rig import Rig, running_rig


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    home = tmp_path_factory.mktemp("ingest") / "home"
    with running_rig(home, TALLY_INGEST_SLOW_AFTER_SECONDS="1") as rig:
        yield rig
        rig.assert_log_is_clean()
