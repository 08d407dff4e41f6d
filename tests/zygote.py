"""A process that has imported everything and forks a child for each trial: quicker than starting Python anew.

It reads orders from standard input, a line of JSON each: `code` to run, the `environment` to run it in (as it is, if
null), and files for its output. It tells the child's number when it has begun, and its exit code when it has ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    import transformers.models.llama.modeling_llama

    import jobs_options
    import tiny
    import untrigger.cli.push
    import untrigger.cli.screen
    import untrigger.cli.show
    import untrigger.jobs.attack
    import untrigger.jobs.evaluate
    import untrigger.jobs.purify
    import untrigger.jobs.push

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    del transformers, jobs_options, tiny, untrigger
    say(ready=True)
    for line in sys.stdin:
        order = json.loads(line)
        number = os.fork()
        if number == 0:
            run(order)
        say(pid=number)
        say(code=os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
    os._exit(0)  # torch takes its time to end


def run(order: dict) -> None:
    for descriptor, name in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), descriptor)
    if order["environment"] is not None:
        os.environ.clear()
        os.environ.update(order["environment"])
    code = 0
    try:
        exec(order["code"], {"__name__": "trial"})  # noqa: S102 - the tests' own code
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - a failure must not go on as a second zygote
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def say(**value: object) -> None:
    sys.__stdout__.write(json.dumps(value) + "\n")
    sys.__stdout__.flush()


if __name__ == "__main__":
    main()
