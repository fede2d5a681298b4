"""A tiny model folder, and clients of a server that has it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serve.api import create_app
from tests.serve.small_service import make_service
from tests.tiny_model import make_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("serve") / "model")


@pytest.fixture(scope="session")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(create_app(make_service(folder), "1"), raise_server_exceptions=False) as client:
        yield client
