"""Command-line options of the server."""

import argparse
import re

from common.files import expand
from common.text_input import read_all_lines


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for models, address, limits and API keys."""
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help="model folder, or a name on the Hugging Face Hub; may be repeated, with one model per direction (default: "
        "the included models)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=5000, help="port to listen on; 0 is any free one (default: 5000)")
    parser.add_argument(
        "--allow-origin", action="append", default=[], type=_origin, metavar="ORIGIN", help="web site whose pages may "
        "use the server, such as https://example.org; may be repeated (default: none but the page of the server)",
    )  # fmt: skip
    parser.add_argument(
        "--char-limit", type=int, default=5000, metavar="N", help="largest number of characters in a request "
        "(default: 5000)",
    )  # fmt: skip
    parser.add_argument(
        "--file-char-limit", type=int, default=100_000, metavar="N", help="largest number of characters in a file "
        "(default: 100000)",
    )  # fmt: skip
    parser.add_argument(
        "--queue", type=int, default=64, metavar="N", help="largest number of requests that wait; more are refused "
        "with status 429 (default: 64)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=float, default=60, metavar="SECONDS", help="largest time to answer a request (default: 60)"
    )
    parser.add_argument(
        "--batch-requests", type=int, default=32, metavar="N", help="largest number of requests that are translated "
        "together; 1 translates one after another (default: 32)",
    )  # fmt: skip
    parser.add_argument(
        "--api-key", action="append", default=[], metavar="KEY", help="key that clients must give; may be repeated. "
        "Other users of this machine can see it in the list of processes",
    )  # fmt: skip
    parser.add_argument("--api-key-file", type=expand, metavar="FILE", help="text file with one such key per line")


def _origin(text: str) -> str:
    if not re.fullmatch(r"https?://[^/*\s]+", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an origin; give scheme and host, such as https://example.org"
        )
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to 65535")
    return int(text)


def read_keys(args: argparse.Namespace) -> list[str]:
    """Return the API keys of the options, [] if clients need none."""
    lines = read_all_lines(args.api_key_file) if args.api_key_file else []
    return [key for key in (*args.api_key, *(line.strip() for line in lines)) if key]
