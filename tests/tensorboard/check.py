"""Reads the events of a training run with TensorBoard's own reader and holds them against the files of the run.

Usage: check.py FRAMEWISE

The program trains the quickstart with histograms. The scalars that TensorBoard shows must be the numbers of metrics.jsonl,
the text of the settings must be the resolved graph, and the histograms must count every weight of the last checkpoint.
"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import textwrap

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVERY = 100


def events(directory):
    keep_all = {"scalars": 0, "histograms": 0, "tensors": 0}
    reader = EventAccumulator(str(directory), size_guidance=keep_all)
    reader.Reload()
    return reader


def scalars(reader, tag):
    return [(event.step, event.value) for event in reader.Scalars(tag)]


def single(value):
    """The number as the events hold it, in 32 bits."""
    return struct.unpack("f", struct.pack("f", value))[0]


def check_scalars(reader, lines, tags):
    for tag in tags:
        expected = [(line["step"], single(line[tag])) for line in lines if line.get(tag) is not None]
        found = scalars(reader, tag)
        assert found == expected and found, f"{tag}: {found} where metrics.jsonl has {expected}"


def main():
    framewise = pathlib.Path(sys.argv[1]).resolve()
    graph = pathlib.Path(__file__).resolve().parents[2] / "graphs/quickstart.toml"
    with tempfile.TemporaryDirectory() as desk:
        run = pathlib.Path(desk) / "run"
        histograms = f"stages.report.histograms_every_steps={EVERY}"
        command = [framewise, "run", graph, "--run-dir", run, "--quiet", "--set", histograms]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        by_kind = {kind: [line for line in lines if line["kind"] == kind] for kind in ("train", "evaluation")}
        metrics = ["loss", "hit_at_1", "perr", "gap"]
        train = events(run / "train")
        check_scalars(train, by_kind["train"], [*metrics, "learning_rate", "examples_per_second"])
        check_scalars(events(run / "eval"), by_kind["evaluation"], [*metrics, "map"])

        text = train.Tensors("graph")[0].tensor_proto.string_val[0].decode()
        resolved = (run / "graph.resolved.toml").read_text()
        # TensorBoard takes texts for Markdown, in which lines of code are indented.
        assert textwrap.dedent(text).strip() == resolved.strip(), text

        last = sorted((run / "checkpoints").glob("step-*"))[-1]
        weights = (last / "weights.safetensors").read_bytes()
        header = json.loads(weights[8:8 + int.from_bytes(weights[:8], "little")])
        steps = None
        checked = 0
        for name, tensor in header.items():
            tag = f"weights/{name}"
            if tag not in train.Tags()["histograms"]:
                continue
            shown = train.Histograms(tag)
            steps = steps or [histogram.step for histogram in shown]
            assert [histogram.step for histogram in shown] == steps, tag
            elements = 1
            for size in tensor["shape"]:
                elements *= size
            for histogram in shown:
                value = histogram.histogram_value
                assert value.num == elements and sum(value.bucket) == elements, (tag, value.num, elements)
                assert value.min <= value.sum / value.num <= value.max, tag
            checked += 1
        assert checked > 20 and all(step % EVERY == 0 for step in steps), (checked, steps)

        stages = events(run / "stages")
        names = {tag.split("/")[1] for tag in stages.Tags()["scalars"]}
        table = json.loads((run / "stages.json").read_text())
        assert names == {stage["name"] for stage in table["stages"]}, names
        for name in names:
            shares = [dict(scalars(stages, f"{kind}/{name}")) for kind in ("busy", "waiting_in", "waiting_out", "ended")]
            for step in shares[0]:
                total = sum(share[step] for share in shares)
                assert abs(total - 1) < 1e-5, (name, step, total)
        print(f"TensorBoard reads {checked} histograms, the settings, and the scalars of training, evaluation and {len(names)} stages")


if __name__ == "__main__":
    main()
