"""Reading frame-level records with tf.data, to measure beside Framewise's reader on the same files.

    python3 -m venv tf && tf/bin/pip install tensorflow-cpu
    cargo bench --bench reader -- --folder /tmp/records
    tf/bin/python benches/peers/reader.py /tmp/records/plain-*

Takes the three ways in which tf.data can be asked to do it: the records as they are, the frames of each video as bytes, and
batches of bytes that are padded to the longest video, as it has no others. Each is run with one and with two files side by
side, in turns. Prints one JSON line for each, with the median rate.
"""
import argparse
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

RGB, AUDIO, CLASSES, LONGEST = 1024, 128, 3862, 300


def decode(record):
    one = tf.io.FixedLenSequenceFeature([], tf.string)
    context, frames = tf.io.parse_single_sequence_example(
        record,
        context_features={"id": tf.io.FixedLenFeature([], tf.string), "labels": tf.io.VarLenFeature(tf.int64)},
        sequence_features={"rgb": one, "audio": one},
    )
    rows = [tf.reshape(tf.io.decode_raw(frames[name], tf.uint8), [-1, width]) for name, width in (("rgb", RGB), ("audio", AUDIO))]
    labels = tf.sparse.to_dense(context["labels"])
    return context["id"], *rows, labels


def pipeline(files, way, reads, threads, batch):
    data = tf.data.TFRecordDataset(files, num_parallel_reads=reads, buffer_size=8 << 20)
    if way != "records":
        # The order of what is done in parallel is given up, which is in favour of the peer.
        data = data.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    if way == "batches":
        data = data.padded_batch(batch, padded_shapes=([], [LONGEST, RGB], [LONGEST, AUDIO], [None]))
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    return data.prefetch(tf.data.AUTOTUNE).with_options(options)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    ways = [(way, reads) for way in ("records", "videos", "batches") for reads in (1, 2)]
    pipelines = [pipeline(options.files, way, reads, options.threads, options.batch) for way, reads in ways]
    seconds, videos = [[] for _ in ways], [0 for _ in ways]
    # The first round warms up.
    for round in range(options.runs + 1):
        for index, (data, (way, _)) in enumerate(zip(pipelines, ways)):
            begun, videos[index] = time.perf_counter(), 0
            for item in data:
                videos[index] += int(item[0].shape[0]) if way == "batches" else 1
            if round:
                seconds[index].append(time.perf_counter() - begun)
    for (way, reads), times, count in zip(ways, seconds, videos):
        line = {"program": f"tf.data {tf.__version__}", "mode": "read", "way": way, "reads": reads,
                "threads": options.threads, "videos_per_second": count / statistics.median(times)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
