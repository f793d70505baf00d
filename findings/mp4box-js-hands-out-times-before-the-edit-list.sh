#!/usr/bin/env bash
# A film that is copied sample by sample with mp4box.js has its sound 59 ms early, as the times of its samples leave out the edit list.
#
# Guess: the times that mp4box.js states of samples (`cts`, over `timescale`) are those at which they are due, of picture and sound alike.
# Seen: they are times of the media. In an ordinary mp4, of H.264 with two B-pictures in a row and AAC, the first picture is stated at 80 ms
# and the first sound at 0 ms; they are due at 0 and -21 ms. The edit list, which `onReady` gives beside as `edits`, takes off 80 ms of the one
# and 21.33 ms of the other. Programs that decode with WebCodecs, or write what they were handed with `addTrack` and `addSample`, have
# sound 59 ms early. The files that mp4box.js itself cuts (`initializeSegmentation`) keep the edit list, and are right.
# Needs Node with npm. Seen with mp4box 2.4.1 and PyAV 18.1.0 (FFmpeg 8.1.2).
set -euo pipefail
command -v npm >/dev/null || { echo "npm is not on the PATH"; exit 2; }
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av==18.1.0" "numpy<3"
npm install --silent --no-fund --no-audit "mp4box@2.4.1" >/dev/null
cat > film.py <<'EOF2'
import sys
from fractions import Fraction

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

SECONDS, EVENT_S, RATE = 4, 2, 48_000


def write(name):
    """A flash and a click at EVENT_S."""
    with av.open(name, "w") as film:
        shown = film.add_stream("libx264", rate=25, options={"bf": "2", "b-adapt": "0", "sc_threshold": "0"})
        shown.width, shown.height, shown.pix_fmt = 160, 120, "yuv420p"
        heard = film.add_stream("aac", rate=RATE, layout="mono")
        packets = []
        for number in range(25 * SECONDS):
            picture = VideoFrame(160, 120, "yuv420p")
            for plane in picture.planes:
                plane.update(bytes([235 if number == 25 * EVENT_S else 128 if plane.width < 160 else 30]) * plane.buffer_size)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            packets += shown.encode(picture)
        packets += shown.encode(None)
        samples = np.zeros((1, SECONDS * RATE), np.float32)
        samples[0, EVENT_S * RATE : EVENT_S * RATE + 960] = np.sin(np.arange(960) * 0.4)
        for at in range(0, SECONDS * RATE, 1024):
            block = AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, at : at + 1024]), "fltp", "mono")
            block.sample_rate, block.pts, block.time_base = RATE, at, Fraction(1, RATE)
            packets += heard.encode(block)
        packets += heard.encode(None)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            film.mux(packet)


def late_ms(name):
    """How late the click is against the flash, as FFmpeg reads them."""
    with av.open(name) as film:
        flash_s = max(film.decode(video=0), key=lambda each: each.to_ndarray(format="gray").mean()).time
    with av.open(name) as film:
        for frame in film.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()).max(0) > 0.3)
            if len(loud):
                return 1000 * (frame.time + loud[0] / frame.sample_rate - flash_s)


if sys.argv[1] == "write":
    print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
    write("film.mp4")
else:
    late = {name: late_ms(name) for name in ("film.mp4", "copied.mp4", "cut.mp4")}
    for name, ms in late.items():
        print(f"{name:11} sound late by {ms:6.1f} ms")
    as_seen = abs(late["film.mp4"]) < 3 and abs(late["cut.mp4"]) < 3 and -63 < late["copied.mp4"] < -54
    print("as seen" if as_seen else "not as seen any more")
    sys.exit(not as_seen)
EOF2
cat > copy.mjs <<'EOF2'
import fs from "fs";
import { createFile } from "mp4box";

function film() {
  const bytes = fs.readFileSync("film.mp4");
  const data = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  data.fileStart = 0;
  return data;
}

// What a program is handed, and written as it was handed
const source = createFile(), copy = createFile(), tracks = {};
source.onReady = (info) => {
  for (const track of info.tracks) {
    const entry = source.getTrackById(track.id).mdia.minf.stbl.stsd.entries[0];
    const kind = track.video
      ? { type: "avc1", hdlr: "vide", width: track.video.width, height: track.video.height, description: entry.avcC }
      : { type: "mp4a", hdlr: "soun", samplerate: track.audio.sample_rate, channel_count: track.audio.channel_count, description: entry.esds };
    tracks[track.id] = copy.addTrack({ timescale: track.timescale, ...kind });
    console.log(kind.hdlr, "edits:", JSON.stringify(track.edits), "of", track.timescale, "ticks a second");
    source.setExtractionOptions(track.id, null, { nbSamples: 10000 });
  }
  source.start();
};
source.onSamples = (id, user, samples) => {
  console.log("track", id, "first sample at", ((1000 * samples[0].cts) / samples[0].timescale).toFixed(2), "ms");
  for (const { data, duration, dts, cts, is_sync } of samples)
    copy.addSample(tracks[id], new Uint8Array(data), { duration, dts, cts, is_sync });
};
source.appendBuffer(film());
source.flush();
fs.writeFileSync("copied.mp4", Buffer.from(copy.getBuffer().buffer));

// What mp4box.js cuts by itself
const cutter = createFile(), parts = [];
cutter.onReady = (info) => {
  for (const track of info.tracks) cutter.setSegmentOptions(track.id, null, { nbSamples: 50 });
  parts.push(Buffer.from(cutter.initializeSegmentation("combined").buffer));
  cutter.start();
};
cutter.onSegment = (id, user, buffer) => parts.push(Buffer.from(buffer));
cutter.appendBuffer(film());
cutter.flush();
fs.writeFileSync("cut.mp4", Buffer.concat(parts));
EOF2
env/bin/python film.py write
node copy.mjs
env/bin/python film.py read
