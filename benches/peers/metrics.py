"""The metrics of YouTube-8M's starter code in numpy, to measure beside Framewise's.

    python3 -m venv peers && peers/bin/pip install numpy
    peers/bin/python benches/peers/metrics.py --videos 20000
    cargo run --release -p framewise-stages --example bench_metrics 20000

Computes Hit@1, PERR, GAP@20 and mAP over random scores in batches, by the steps that the starter code takes: numpy over a
batch for Hit@1, and a walk over the videos for the others, with a partition of each row for its best classes. Scores are
drawn outside of the measured time. Prints one JSON line with the videos a second while batches are added, and the seconds
to finish.
"""
import argparse
import json
import time

import numpy

TOP = 20


def hit_at_one(scores, labels):
    best = numpy.argmax(scores, 1)
    return float(numpy.mean(labels[numpy.arange(labels.shape[0]), best]))


def precision_at_equal_recall(scores, labels):
    total = 0.0
    for row, truth in zip(scores, labels):
        wanted = int(numpy.sum(truth))
        if wanted == 0:
            continue
        best = numpy.argpartition(row, -wanted)[-wanted:]
        total += sum(1.0 for index in best if row[index] > 0 and truth[index] > 0) / wanted
    return total / scores.shape[0]


def best_of(row, truth):
    best = numpy.argpartition(row, -TOP)[-TOP:]
    return [(int(index), float(row[index]), float(truth[index])) for index in best]


def average_precision(pairs, positives):
    """The average precision of (score, label) pairs over all positives."""
    if positives == 0:
        return float("nan")
    order = sorted(range(len(pairs)), key=lambda index: pairs[index][0], reverse=True)
    found, total = 0, 0.0
    for rank, index in enumerate(order):
        if pairs[index][1] > 0:
            found += 1
            total += found / (rank + 1) / positives
    return total


class Pool:
    def __init__(self, classes):
        self.all, self.positives = [], 0
        self.by_class = [[] for _ in range(classes)]
        self.positives_by_class = numpy.zeros(classes)
        self.hits = self.precision = self.videos = 0

    def add(self, scores, labels):
        count = scores.shape[0]
        self.hits += hit_at_one(scores, labels) * count
        self.precision += precision_at_equal_recall(scores, labels) * count
        self.videos += count
        for row, truth in zip(scores, labels):
            for index, score, label in best_of(row, truth):
                self.all.append((score, label))
                self.by_class[index].append((score, label))
        self.positives += float(numpy.sum(labels))
        self.positives_by_class += numpy.sum(labels, axis=0)

    def finish(self):
        gap = average_precision(self.all, self.positives)
        precisions = [average_precision(pairs, n) for pairs, n in zip(self.by_class, self.positives_by_class)]
        known = [precision for precision in precisions if precision == precision]
        return {"hit_at_1": self.hits / self.videos, "perr": self.precision / self.videos, "gap": gap,
                "map": sum(known) / len(known)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=3862)
    parser.add_argument("--batch", type=int, default=160)
    options = parser.parse_args()
    draw = numpy.random.default_rng(1)
    pool, seconds, done = Pool(options.classes), 0.0, 0
    while done < options.videos:
        count = min(options.batch, options.videos - done)
        scores = draw.random((count, options.classes), dtype=numpy.float32)
        labels = numpy.zeros((count, options.classes), dtype=numpy.float32)
        labels[numpy.repeat(numpy.arange(count), 3), draw.integers(0, options.classes, 3 * count)] = 1
        start = time.perf_counter()
        pool.add(scores, labels)
        seconds += time.perf_counter() - start
        done += count
    start = time.perf_counter()
    metrics = pool.finish()
    finishing = time.perf_counter() - start
    print(json.dumps({"program": "numpy", "mode": "metrics", "videos": options.videos, "classes": options.classes,
                      "videos_per_second": done / seconds, "finish_seconds": finishing, **metrics}))


if __name__ == "__main__":
    main()
