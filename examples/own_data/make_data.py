#!/usr/bin/env python3
"""Writes a small data set of one's own in the format that Framewise reads: train.tfrecord and test.tfrecord.

Usage: python3 make_data.py DIRECTORY

The videos are made up: each belongs to one of three classes and has 5 to 12 frames of 8 visual and 4 audio features.
Replace `videos` by a function that yields your own. The rest writes any such videos, and needs nothing but Python.
"""

import os
import random
import struct
import sys

CLASSES = 3
RGB, AUDIO = 8, 4  # features of a frame


def videos(count, seed):
    """Yields (id, labels, frames). A frame is a pair of lists of floats: the visual and the audio features."""
    draw = random.Random(seed)
    for number in range(count):
        label = number % CLASSES
        centre = random.Random(label)  # the same for every video of the class
        rgb_centre = [centre.uniform(-1.5, 1.5) for _ in range(RGB)]
        audio_centre = [centre.uniform(-1.5, 1.5) for _ in range(AUDIO)]
        noisy = lambda values: [value + draw.gauss(0.0, 0.5) for value in values]
        frames = [(noisy(rgb_centre), noisy(audio_centre)) for _ in range(draw.randint(5, 12))]
        yield f"video-{seed}-{number}", [label], frames


def quantised(features):
    """One byte for each feature. The byte q stands for q * 4/255 - 2, so features lie between -2 and 2."""
    return bytes(min(255, max(0, round((feature + 2.0) * 255.0 / 4.0))) for feature in features)


# Protocol buffers: a field is its number and type, and for what has a length, the length and the bytes.

def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def bytes_feature(value):
    return field(1, field(1, value))  # Feature.bytes_list, BytesList.value


def integers_feature(values):
    return field(3, field(1, b"".join(varint(value) for value in values)))  # Feature.int64_list, packed


def entry(key, value):
    return field(1, field(1, key.encode()) + field(2, value))  # an entry of the map of features


def sequence_example(video_id, labels, frames):
    """tf.train.SequenceExample with the features that Framewise reads."""
    context = entry("id", bytes_feature(video_id.encode())) + entry("labels", integers_feature(labels))
    lists = b""
    for key, column in (("rgb", 0), ("audio", 1)):
        lists += entry(key, b"".join(field(1, bytes_feature(quantised(frame[column]))) for frame in frames))
    return field(1, context) + field(2, lists)


# TFRecord: the length, its CRC, the record, its CRC. The CRC is CRC-32C, rotated and shifted.

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def write(path, all_videos):
    with open(path, "wb") as file:
        for video in all_videos:
            record = sequence_example(*video)
            length = struct.pack("<Q", len(record))
            file.write(length + masked_crc(length) + record + masked_crc(record))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory = sys.argv[1]
    os.makedirs(directory, exist_ok=True)
    write(os.path.join(directory, "train.tfrecord"), videos(90, seed=1))
    write(os.path.join(directory, "test.tfrecord"), videos(30, seed=2))
