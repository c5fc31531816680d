import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from study_folders import make_run, make_study


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """For tests in which nobody looks at the clips."""
    return make_run(tmp_path_factory.mktemp("runs") / "small", frames=3, size=(32, 48))


@pytest.fixture(scope="session")
def made_study(tmp_path_factory, run_folder):
    """A star of three methods, eight sources: read only."""
    folder = tmp_path_factory.mktemp("studies") / "tiny"
    make_study(folder, run_folder)
    return folder


@pytest.fixture
def study_folder(tmp_path, made_study):
    """A copy of the study that a test may write to."""
    import shutil

    return shutil.copytree(made_study, tmp_path / "study")
