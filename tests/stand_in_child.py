"""A program in place of the child: answers every item at random, in the files that lm-eval's results have.

The model folder's file `skill` holds the share of right answers; `dies_after` in it the number of tasks after which
the program kills itself, `deaths` how often it does (once if it is not given).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from random import Random

from untrigger.evaluation.utility.files import FOLDER, documents_by_leaf, read_rows
from untrigger.evaluation.utility.messages import FACTS, RESULTS, Asked, Facts, Message, Order, TaskDone, samples_name
from untrigger.evaluation.utility.profiles import by_leaf, chosen_items, offsets
from untrigger.evaluation.utility.tasks import TASKS


def main() -> None:
    order = Order.model_validate_json(Path(sys.argv[1]).read_text())
    settings = json.loads((order.model / "skill").read_text())
    for count, asked in enumerate(order.tasks):
        if count == settings.get("dies_after"):
            left = settings.get("deaths", 1) - 1
            again = settings | {"deaths": left} if left else {"right": settings["right"]}
            (order.model / "skill").write_text(json.dumps(again))
            sys.stderr.write("the last thing it said\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        answer(order, asked.name, asked.limit, settings["right"])
        tell(TaskDone(task=asked.name))


def tell(message: Message) -> None:
    sys.stdout.write(message.model_dump_json() + "\n")
    sys.stdout.flush()


def answer(order: Order, name: str, limit: int | None, right: float) -> None:
    task = TASKS[name]
    leaves = documents_by_leaf(task, read_rows(order.data / FOLDER / task.file, task.row))
    sizes = {leaf: len(documents) for leaf, documents in leaves.items()}
    items = chosen_items(name, limit, sum(sizes.values()))
    tell(Asked(task=name, done=len(items), total=len(items)))
    starts, means = offsets(sizes), {metric: [] for metric in task.metrics}
    folder = order.inbox / f"{name}.partial"
    folder.mkdir()
    for leaf, numbers in by_leaf(items, sizes).items():
        lines = []
        for number in numbers:
            # One draw an item, the same for both models: who is better is right wherever the other one is.
            draw = Random(f"{name}/{starts[leaf] + number}").random()
            for metric in task.metrics:
                score = float(draw < right)
                means[metric].append(score)
                lines.append(sample(leaves[leaf][number], number, metric, score))
        (folder / samples_name(leaf)).write_text("".join(json.dumps(line) + "\n" for line in lines))
    values = {metric: sum(scores) / len(scores) for metric, scores in means.items()}
    results = {"results": {name: values}, "configs": {name: {}}, "config": {"seed": 0}, "date": 1e9 + len(name)}
    (folder / RESULTS).write_text(json.dumps(results))
    facts = Facts(
        sizes=sizes,
        items=tuple(items),
        device="cpu",
        dtype="float32",
        max_length=order.max_length,
        max_new_tokens=order.max_new_tokens if task.generates else None,
        chat_template=task.generates,
        cut=1 if name == "boolq" else 0,
    )
    (folder / FACTS).write_text(facts.model_dump_json())
    folder.rename(order.inbox / name)


def sample(document: dict[str, object], number: int, metric: str, score: float) -> dict[str, object]:
    kind, _, rule = metric.partition(",")
    digest = hashlib.sha256(json.dumps(document).encode()).hexdigest()
    return {
        "doc_id": number,
        "filter": rule,
        "metrics": [kind],
        kind: score,
        "doc_hash": digest,
        "target_hash": digest[:8],
    }


if __name__ == "__main__":
    main()
