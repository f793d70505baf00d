#!/usr/bin/env bash
# The sound of an mp4 that Chromium's MediaRecorder wrote is played 80 ms earlier by Chromium than by anybody else; that of its webm
# is not.
#
# Guess: a recording is the same in mp4 and webm, and whoever plays it has picture and sound equally far apart.
# Seen: the mp4 states a pre-skip of 3,840 samples of Opus (80 ms), its webm one of 0, and has no edit list. FFmpeg (as mpv and
# GStreamer) mutes the first 80 ms and plays the rest at the times of the file. Chromium leaves them out, and plays the rest 80 ms
# earlier. So there is no offset of such an mp4 that holds for all who play it.
# Needs Chromium of Debian (CHROMIUM=/usr/bin/chromium). What it plays is recorded by itself, three times, which is good to about 30 ms on a
# machine that does nothing else.
# Seen with Chromium 156.0.8078.108, playwright 1.65.2 and PyAV 18.1.0 (FFmpeg 8.1.2).
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "playwright==1.65.2" "av==18.1.0" "numpy<3"
cat > recording.html <<'EOF2'
<canvas width=96 height=64></canvas><video></video><script>
const EACH_S = 0.73, FOR_S = 8, TIMES = 3;
const canvas = document.querySelector("canvas"), video = document.querySelector("video");
async function record(stream, type, ms) {
  const recorder = new MediaRecorder(stream, {mimeType: type}), parts = [];
  recorder.ondataavailable = event => parts.push(event.data);
  const stopped = new Promise(done => { recorder.onstop = done; });
  recorder.start();
  await new Promise(done => setTimeout(done, ms));
  recorder.stop();
  await stopped;
  return new Blob(parts, {type});
}
async function text(blob) {
  return await new Promise(done => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.split(",").pop());
    reader.readAsDataURL(blob);
  });
}
async function made(type) {  // a flash and a beep every EACH_S, and what is played of their recording
  const context = new AudioContext(), out = context.createMediaStreamDestination();
  const tone = new OscillatorNode(context, {frequency: 1000}), gain = new GainNode(context, {gain: 0});
  tone.connect(gain).connect(out);
  tone.start();
  const begin = context.currentTime + 0.5;
  for (let at = begin; at < begin + FOR_S; at += EACH_S) {
    gain.gain.setValueAtTime(0.5, at);
    gain.gain.setValueAtTime(0, at + 0.1);
  }
  const paint = canvas.getContext("2d");
  (function draw() {
    const on = (context.currentTime - begin + EACH_S) % EACH_S < 0.1;
    paint.fillStyle = on ? "white" : "black";
    paint.fillRect(0, 0, 96, 64);
    requestAnimationFrame(draw);
  })();
  const stream = new MediaStream([...canvas.captureStream().getVideoTracks(), ...out.stream.getAudioTracks()]);
  const blob = await record(stream, type, 1000 * FOR_S);
  video.src = URL.createObjectURL(blob);
  await new Promise(done => { video.oncanplay = done; });
  const all = [await text(blob)];
  for (let time = 0; time < TIMES; time++) {
    video.currentTime = 0;
    const played = video.captureStream();
    await video.play();
    all.push(await text(await record(played, "video/webm;codecs=vp8,opus", 1000 * FOR_S - 1500)));
    video.pause();
  }
  return all;
}
</script>
EOF2
cat > look.py <<'EOF2'
import base64
import io
import os
import sys

import av
import numpy as np
from playwright.sync_api import sync_playwright

EACH_S = 0.73
TYPES = {"mp4": "video/mp4;codecs=vp9,opus", "webm": "video/webm;codecs=vp9,opus"}


def beep_after_flash_ms(data):
    """The middle of all flashes, each against the beep that is nearest to it."""
    with av.open(io.BytesIO(data)) as film:
        levels = [(p.time, p.to_ndarray(format="gray").mean()) for p in film.decode(video=0)]
    flashes = [at for (_, before), (at, now) in zip(levels, levels[1:]) if before < 100 < now]
    beeps, quiet_s = [], -1.0
    with av.open(io.BytesIO(data)) as film:
        for frame in film.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()).max(0) > (0.2 if frame.format.name != "s16" else 6500))
            if len(loud):
                first_s, last_s = (frame.time + loud[k] / frame.sample_rate for k in (0, -1))
                if first_s > quiet_s + 0.3:
                    beeps.append(first_s)
                quiet_s = last_s
    beeps = np.array(beeps)
    apart = [1000 * (beeps[np.abs(beeps - at).argmin()] - at) for at in flashes if at > 0.5]
    return float(np.median([each for each in apart if abs(each) < 1000 * EACH_S / 2]))


def pre_skip(data):
    at = data.find(b"dOps")
    if at >= 0:
        return int.from_bytes(data[at + 6 : at + 8], "big")
    at = data.find(b"OpusHead")
    return int.from_bytes(data[at + 10 : at + 12], "little")


recordings = {}
with sync_playwright() as playwright:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--autoplay-policy=no-user-gesture-required"]
    browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=arguments)
    print("Chromium", browser.version, "PyAV", av.__version__)
    for kind, what in TYPES.items():
        page = browser.new_page()
        page.goto(f"file://{os.getcwd()}/recording.html")
        recorded, *played = (base64.b64decode(each) for each in page.evaluate("type => made(type)", what))
        page.close()
        as_read = beep_after_flash_ms(recorded)
        as_played = float(np.median([beep_after_flash_ms(each) for each in played]))
        recordings[kind] = pre_skip(recorded), as_played - as_read, b"elst" in recorded
        print(
            f"{kind:4} pre-skip {recordings[kind][0]:4} samples, sound late by {as_read:.0f} ms as FFmpeg reads it,"
            f" {as_played:.0f} ms as recorded from Chromium's playback"
        )
    browser.close()
earlier_ms = recordings["webm"][1] - recordings["mp4"][1]
print(f"of the mp4, Chromium plays sound {earlier_ms:.0f} ms earlier than of the webm, each against what FFmpeg reads")
same = recordings["mp4"][0] == 3840 and recordings["webm"][0] == 0 and not recordings["mp4"][2] and 40 < earlier_ms < 120
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF2
env/bin/python look.py
