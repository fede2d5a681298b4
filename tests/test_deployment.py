"""Containerfile, compose.yaml and the systemd unit fit the project: files, commands, options and ports exist."""

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from paper_transformer.__main__ import COMMANDS
from transformer import serve

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTAINERFILE = (ROOT / "Containerfile").read_text().replace("\\\n", "")
COMPOSE = (ROOT / "compose.yaml").read_text()
UNIT = (ROOT / "deploy" / "paper-transformer.service").read_text()
COPIED = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]


def instructions(name: str) -> list[str]:
    """Return the arguments of all instructions of the Containerfile with this name."""
    return re.findall(rf"^ *{name} +(.+)$", CONTAINERFILE, re.MULTILINE)


def read_command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the options of a `paper-transformer serve` command. Exits if an option does not exist."""
    program, command, *options = words
    assert Path(program).name in PROJECT["project"]["scripts"]
    assert COMMANDS[command][0] == "transformer/serve.py"
    monkeypatch.setattr(sys, "argv", ["serve", *options])
    return serve.parse_args()


def test_image_contains_all_files_that_wheel_needs() -> None:
    folders = {folder for name, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()}
    files = {"pyproject.toml", "constraints.txt", "build_wheel.py", "MANIFEST.in"}
    files |= {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    assert set(COPIED) == folders | files
    assert all((ROOT / name).exists() for name in COPIED)


def test_containerfile_installs_extras_that_exist() -> None:
    [extras] = re.findall(r'"\.\[([\w,]+)\]"', CONTAINERFILE)
    assert {"serve"} <= set(extras.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()


def test_containerfile_starts_server_as_user_without_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    [words], [user], [port] = instructions("ENTRYPOINT"), instructions("USER"), instructions("EXPOSE")
    args = read_command(json.loads(words), monkeypatch)
    assert (args.host, args.port) == ("0.0.0.0", int(port))
    assert all(int(number) >= 1000 for number in user.split(":"))


def test_health_check_of_image_reads_route_of_server() -> None:
    [check], [port] = instructions("HEALTHCHECK"), instructions("EXPOSE")
    words = check.partition(" CMD ")[2]
    _, option, program = json.loads(words)
    compile(program, "health check", "exec")
    assert option == "-c"
    [path] = re.findall(rf"http://127\.0\.0\.1:{port}(/\w+)", program)
    assert f'"{path}"' in (ROOT / "serve" / "api.py").read_text()


@pytest.mark.parametrize(
    "text", [COMPOSE, re.sub(r"^( *)# (command|secrets|  )", r"\1\2", COMPOSE, flags=re.MULTILINE)]
)
def test_compose_fits_image(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = yaml.safe_load(text)
    service, [port] = content["services"]["translator"], instructions("EXPOSE")
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
    read_command(["paper-transformer", "serve", *service.get("command", [])], monkeypatch)
    assert set(service.get("secrets", [])) == set(content.get("secrets", {}))
    assert service["environment"]["OMP_NUM_THREADS"] == str(service["cpus"])
    args = " ".join(service.get("command", []))
    assert all(f"/run/secrets/{name}" in args for name in content.get("secrets", {}))


def test_systemd_unit_starts_server(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = re.findall(r"^(?:# )?ExecStart=(.+)$", UNIT, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert read_command(shlex.split(command), monkeypatch).host == "127.0.0.1"
    [stop] = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert int(stop) > read_command(shlex.split(commands[0]), monkeypatch).timeout


def test_service_names_page_that_exists() -> None:
    for text in (CONTAINERFILE, COMPOSE, UNIT):
        [page] = re.findall(r"docs/[\w-]+\.md", text)
        assert (ROOT / page).is_file()
