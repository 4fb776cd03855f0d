"""An executor of a third party: counts the words of a text file on this machine, and goes on after a pause."""

import json
from pathlib import Path

from marshmallow import fields

from common.errors import ExecutorError
from executors.base import Column
from executors.params import Params, Size


class WordCountParams(Params):
    path = fields.String(
        required=True,
        metadata={"title": "File", "description": "A text file, UTF-8.", "examples": ["/srv/texts/a.txt"]},
    )
    batch = Size(load_default=1 << 20, metadata={"title": "Batch", "description": "Bytes read between two steps."})


class WordCount:
    name = "wordcount"
    summary = "Count the words of a text file"
    params = WordCountParams
    columns = (Column(name="words", type="bigint", comment="separated by white space"),)
    cores = 1.0

    def run(self, ctx):
        path = Path(ctx.params["path"])
        offset, words = json.loads(ctx.checkpoint) if ctx.checkpoint else (0, 0)
        try:
            with path.open("rb") as file:
                total = path.stat().st_size
                file.seek(offset)
                while lines := file.readlines(ctx.params["batch"]):
                    words += sum(len(line.split()) for line in lines)
                    offset = file.tell()
                    ctx.step(offset, total, json.dumps([offset, words]).encode(), bytes_done=offset, bytes_total=total)
        except FileNotFoundError as error:
            raise ExecutorError(f"there is no file {path}") from error
        ctx.log(f"{words} words")
        return [[words]]
