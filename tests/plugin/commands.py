"""Run commands of cbalign in one process, and print what each returned: `python commands.py '[["ls"], …]'`."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout


def run(words: list[str]) -> dict[str, object]:
    from cbalign.cli import main

    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main.main(words)
        except SystemExit as done:
            code = done.code
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    print(json.dumps([run(words) for words in json.loads(sys.argv[1])]))
