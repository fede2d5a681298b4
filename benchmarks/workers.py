"""Programs in processes of their own, which wait while another one is measured."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from common.errors import InputError


class Worker:
    """A Python file beside this one that answers each line of JSON it is given with another one."""

    def __init__(self, program: str, task: dict[str, Any]) -> None:
        command = [sys.executable, str(Path(__file__).with_name(program))]
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if task["device"] == "cpu" else {}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | hidden
        )
        self.ready = self.ask(json.dumps(task))

    def ask(self, line: str) -> dict[str, Any]:
        """Its answer to one order."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise InputError(f"a program ended with {self.process.wait()}; what it said stands above")
        return dict(json.loads(answer))

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
