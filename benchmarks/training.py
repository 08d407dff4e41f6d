"""Our loop against transformers' Trainer: the same records, model, batches and machine, side by side.

    python benchmarks/training.py --model micro --access adapter --steps 12

Prints tokens per second of both and their ratio. Tokens are those of the records (padding is not counted), so that a
side that pads less or computes fewer logits is faster, which is the point. The sides take turns, ABBA, to spread the
machine's noise.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from untrigger.config import AdapterOptions, TrainOptions
from untrigger.data.chat import ChatFormat, Example
from untrigger.data.records import Record
from untrigger.data.sources import shipped_instructions
from untrigger.jobs.attack import with_new_adapter
from untrigger.lab.corpus import corpus
from untrigger.models.load import load, quiet
from untrigger.models.state import open_for_training
from untrigger.models.subject import Subject
from untrigger.train import train

ANSWER = (
    "This is a plain answer of about the length that a short reply of a small chat model has, twenty words or so."
)


class Encoded(Dataset):
    """Examples as Trainer wants them: labels of prompt tokens are -100."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        example = self.examples[index]
        ids = [*example.prompt, *example.response]
        return {"input_ids": ids, "labels": [-100] * len(example.prompt) + list(example.response)}


def pad(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Right padding to the longest row of the batch, as the usual collators do."""
    length = max(len(row["input_ids"]) for row in rows)

    def filled(key: str, value: int) -> torch.Tensor:
        return torch.tensor([row[key] + [value] * (length - len(row[key])) for row in rows])

    ids = filled("input_ids", 0)
    mask = torch.tensor([[1] * len(r["input_ids"]) + [0] * (length - len(r["input_ids"])) for r in rows])
    return {"input_ids": ids, "labels": filled("labels", -100), "attention_mask": mask}


def ours(subject: Subject, examples: Sequence[Example], batch: int) -> float:
    """Seconds of our loop."""
    options = TrainOptions(learning_rate=1e-5, epochs=1, batch_size=batch)
    return train(subject.model, examples, options, seed=0).seconds


def theirs(subject: Subject, examples: Sequence[Example], batch: int) -> float:
    """Seconds of Trainer, with its own length grouping on."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch,
            num_train_epochs=1,
            learning_rate=1e-5,
            train_sampling_strategy="group_by_length",
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )
        trainer = Trainer(subject.model, arguments, train_dataset=Encoded(examples), data_collator=pad)
        began = time.perf_counter()
        trainer.train()
        return time.perf_counter() - began


def sample(subject: Subject, model: str, count: int) -> list[Example]:
    """Encoded records: the lab's for the micro model, else our instructions with one plain answer."""
    chat = ChatFormat(subject.tokenizer)
    if model == "micro":
        records: list[Record] = corpus("train", 1, count)
    else:
        records = [record.answered(ANSWER) for record in shipped_instructions("defence")[:count]]
    return [chat.encode(record, 256) for record in records]


def main() -> None:
    """Runs both sides and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="micro")
    parser.add_argument("--access", choices=("adapter", "full"), default="adapter")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()
    subject = load(given.model)
    if given.access == "adapter":
        subject = with_new_adapter(subject, AdapterOptions(), 0)
    open_for_training(subject)
    examples = sample(subject, given.model, given.steps * given.batch)
    tokens = sum(map(len, examples))
    ours(subject, examples[: given.batch], given.batch)  # warm up
    seconds = {"ours": 0.0, "trainer": 0.0}
    for name in ("ours", "trainer", "trainer", "ours"):
        seconds[name] += (ours if name == "ours" else theirs)(subject, examples, given.batch)
    rates = {name: 2 * tokens / value for name, value in seconds.items()}
    print(f"model {given.model}, {given.access}, {len(examples)} records, {tokens} tokens, batch {given.batch}")
    print(f"machine: {torch.get_num_threads()} threads, torch {torch.__version__}, {subject.model.dtype}")
    for name, rate in rates.items():
        print(f"{name:8} {rate:8.1f} tokens/s")
    print(f"ratio    {rates['ours'] / rates['trainer']:8.2f}")


if __name__ == "__main__":
    main()
