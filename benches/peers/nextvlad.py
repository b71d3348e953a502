"""The full-size NeXtVLAD of preset `paddle` in PyTorch and OpenVINO, to measure beside Framewise.

    python3 -m venv peers && peers/bin/pip install torch openvino numpy
    peers/bin/python benches/peers/nextvlad.py train --engine torch --precision bf16
    peers/bin/python benches/peers/nextvlad.py evaluate --engine openvino --precision bf16

Prints one JSON line in the form of the programs of this folder. The weights are drawn at random, and so are bytes and
labels: this measures time and memory. PyTorch computes real frames only (packed), or with --padded all videos at 300
frames with a mask, which some versions compute faster. OpenVINO is always padded, since a compiled model has fixed
shapes. In bf16, PyTorch runs under autocast. `--device cuda` computes on a card, where the batch lies from the start.
"""
import argparse
import contextlib
import json
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

CLASSES, FRAMES, GROUPS, CLUSTERS = 3862, 300, 8, 128


class Modality(nn.Module):
    """From the features of frames to the normed descriptor of each video."""

    def __init__(self, size):
        super().__init__()
        self.width = 2 * size // GROUPS
        self.expand = nn.Linear(size, 2 * size)
        self.attention = nn.Linear(2 * size, GROUPS)
        self.assign = nn.Linear(2 * size, GROUPS * CLUSTERS, bias=False)
        self.assign_norm = nn.BatchNorm1d(GROUPS * CLUSTERS)
        self.centers = nn.Parameter(torch.randn(CLUSTERS, self.width) * (2 / CLUSTERS) ** 0.5)
        self.norm = nn.BatchNorm1d(self.width * CLUSTERS)

    def forward(self, x, lengths, mask):
        h = self.expand(x)
        attention = torch.sigmoid(self.attention(h))
        assigned = torch.softmax(self.assign_norm(self.assign(h)).view(-1, GROUPS, CLUSTERS), -1)
        if mask is not None:
            attention = attention * mask
        assigned = assigned * attention.unsqueeze(-1)

        def residuals(a, h):
            return a.transpose(-2, -1) @ h - a.sum(-2).unsqueeze(-1) * self.centers

        if mask is not None:
            videos = len(lengths)
            v = residuals(assigned.view(videos, -1, CLUSTERS), h.view(videos, -1, self.width))
        else:
            parts = zip(assigned.split(lengths), h.split(lengths))
            v = torch.stack([residuals(a.reshape(-1, CLUSTERS), h.reshape(-1, self.width)) for a, h in parts])
        v = v / torch.sqrt((v * v).sum(2, keepdim=True) + 1e-12)
        return self.norm(v.transpose(1, 2).reshape(len(lengths), -1))


class NeXtVlad(nn.Module):
    """From bytes to logits."""

    def __init__(self, hidden=2048):
        super().__init__()
        self.rgb, self.audio = Modality(1024), Modality(128)
        self.dropout = nn.Dropout(0.5)
        self.hidden = nn.Linear(CLUSTERS * (self.rgb.width + self.audio.width), hidden, bias=False)
        self.hidden_norm = nn.BatchNorm1d(hidden)
        self.gate1 = nn.Linear(hidden, hidden // 8, bias=False)
        self.gate1_norm = nn.BatchNorm1d(hidden // 8)
        self.gate2 = nn.Linear(hidden // 8, hidden, bias=False)
        self.classifier = nn.Linear(hidden, CLASSES)

    def forward(self, rgb, audio, lengths, mask):
        rgb = self.rgb(rgb.float() * (4 / 255) - 2, lengths, mask)
        audio = self.audio(audio.float() * (4 / 255) - 2 + 4 / 512, lengths, mask)
        y = self.hidden_norm(self.hidden(self.dropout(torch.cat([rgb, audio], 1))))
        gate = torch.sigmoid(self.gate2(torch.relu(self.gate1_norm(self.gate1(y)))))
        return self.classifier(y * gate)


def batch(options):
    """Bytes, lengths and the mask of padded rows (None for packed ones), and labels."""
    low, high = options.frames
    lengths = [low + video * 7919 % (high - low + 1) for video in range(options.batch)]
    mask = None
    rows = sum(lengths)
    if options.padded:
        mask = (torch.arange(FRAMES)[None] < torch.tensor(lengths)[:, None]).float().reshape(-1, 1)
        rows = FRAMES * options.batch
    rgb = torch.randint(0, 256, (rows, 1024), dtype=torch.uint8)
    audio = torch.randint(0, 256, (rows, 128), dtype=torch.uint8)
    labels = (torch.rand(options.batch, CLASSES) < 0.001).float()
    return (rgb, audio, lengths, mask), labels


def torch_step(options, inputs, labels):
    """A function that runs one step, to its end on the device."""
    device = torch.device(options.device)
    model = NeXtVlad().to(device)
    inputs = [value.to(device) if torch.is_tensor(value) else value for value in inputs]
    labels = labels.to(device)

    def logits():
        wide = options.precision == "f32"
        with contextlib.nullcontext() if wide else torch.autocast(device.type, dtype=torch.bfloat16):
            return model(*inputs)

    if options.mode == "evaluate":
        model.eval()

        def step():
            with torch.no_grad():
                torch.sigmoid(logits())

        return finished(step, device)
    adam = torch.optim.Adam(model.parameters(), lr=2e-4, fused=True)

    def step():
        loss = functional.binary_cross_entropy_with_logits(logits().float(), labels, reduction="none")
        adam.zero_grad()
        loss.sum(1).mean().backward()
        adam.step()

    return finished(step, device)


def finished(step, device):
    """The step with a wait for the card, which works behind the program's back."""
    if device.type == "cpu":
        return step

    def waited():
        step()
        torch.cuda.synchronize(device)

    return waited


def openvino_step(options, inputs):
    """A function that evaluates one batch."""
    import openvino

    class Predict(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = NeXtVlad().eval()

        def forward(self, rgb, audio, mask):
            return torch.sigmoid(self.model(rgb, audio, [FRAMES] * options.batch, mask))

    tensors = (inputs[0], inputs[1], inputs[3])
    settings = {
        "INFERENCE_PRECISION_HINT": options.precision,
        "INFERENCE_NUM_THREADS": options.threads,
        "NUM_STREAMS": 1,
    }
    converted = openvino.convert_model(Predict(), example_input=tensors)
    request = openvino.Core().compile_model(converted, "CPU", settings).create_infer_request()
    arrays = [tensor.numpy() for tensor in tensors]
    return lambda: request.infer(arrays)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["train", "evaluate"])
    parser.add_argument("--engine", choices=["torch", "openvino"], default="torch")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--frames", type=int, nargs=2, default=[120, 300])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--padded", action="store_true")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; PyTorch only")
    options = parser.parse_args()
    if options.engine == "openvino":
        if options.mode == "train":
            parser.error("OpenVINO does not train")
        if options.device != "cpu":
            parser.error("OpenVINO is measured on the CPU")
        options.padded = True
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    inputs, labels = batch(options)
    if options.engine == "torch":
        step = torch_step(options, inputs, labels)
    else:
        step = openvino_step(options, inputs)
    times = []
    for _ in range(options.runs + 1):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    first, rest = times[0], times[1:]
    median = statistics.median(rest)
    result = {
        "program": options.engine, "mode": options.mode, "precision": options.precision, "batch": options.batch,
        "frames": options.frames, "padded": options.padded, "threads": options.threads, "seconds": median,
        "fastest_seconds": min(rest), "first_seconds": first, "videos_per_second": options.batch / median,
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    if options.device != "cpu":
        result["device"] = torch.cuda.get_device_name(options.device)
        result["torch"] = torch.__version__
        result["peak_card_mib"] = torch.cuda.max_memory_reserved(options.device) // 2**20
    print(json.dumps(result))


main()
