#!/usr/bin/env bash
# mp4parser copies a film with an edit list to an MP4 of which players show only the beginning.
#
# Guess: what `MovieCreator.build` reads and `DefaultMp4Builder` writes, as programs for Android do to join and cut films, plays as long.
# Seen: the samples are all there, but the edit list counts in other ticks than the movie. Its rows are in the greatest common divisor of
# the tracks' ticks (3,200 of 12,800 and 48,000), the movie states the least common multiple (192,000), so the list shows a sixtieth of
# the film, and a start that is late by 300 ms is late by 5 ms. FFmpeg plays that sixtieth; mpv 0.35 goes on to the end of the media.
# `FragmentedMp4Builder` states 3,200 for the movie as well, and its copy is whole.
# Needs java with its compiler, and libisoparser-java of Debian. Seen with mp4parser (isoparser) 1.1.22, PyAV 18.1.0 (FFmpeg 8.1.2).
set -euo pipefail
jars=/usr/share/java
for each in isoparser aspectjrt; do [ -e "$jars/$each.jar" ] || { echo "$jars/$each.jar is missing"; exit 2; }; done
command -v javac >/dev/null || { echo "javac is not on the PATH"; exit 2; }
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv env
env/bin/pip install --quiet "av==${AV:-18.1.0}"
echo "$(basename "$jars"/isoparser-*.jar)"
cat >Copy.java <<'JAVA'
import com.googlecode.mp4parser.authoring.builder.DefaultMp4Builder;
import com.googlecode.mp4parser.authoring.builder.FragmentedMp4Builder;
import com.googlecode.mp4parser.authoring.builder.Mp4Builder;
import com.googlecode.mp4parser.authoring.container.mp4.MovieCreator;
import java.io.FileOutputStream;

public class Copy {
    static void write(Mp4Builder builder, String target) throws Exception {
        try (FileOutputStream out = new FileOutputStream(target)) {
            builder.build(MovieCreator.build("film.mp4")).writeContainer(out.getChannel());
        }
    }

    public static void main(String[] arguments) throws Exception {
        write(new DefaultMp4Builder(), "copy.mp4");
        write(new FragmentedMp4Builder(), "fragments.mp4");
    }
}
JAVA
env/bin/python - <<'EOF'
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

print("PyAV", av.__version__, "FFmpeg", av.ffmpeg_version_info)
RATE, SECONDS = 48_000, 6
with av.open("film.mp4", "w") as film:
    shown = film.add_stream("libx264", rate=25, options={"bf": "2", "b-adapt": "0"})
    shown.width, shown.height, shown.pix_fmt = 160, 120, "yuv420p"
    heard = film.add_stream("aac", rate=RATE, layout="mono")
    for number in range(25 * SECONDS):
        picture = VideoFrame(160, 120, "yuv420p")
        for plane in picture.planes:
            plane.update(bytes([40 + number]) * plane.buffer_size)
        picture.pts, picture.time_base = number, Fraction(1, 25)
        film.mux(shown.encode(picture))
    for at in range(0, SECONDS * RATE, 1024):
        block = AudioFrame("fltp", "mono", 1024)
        for plane in block.planes:
            plane.update(bytes(plane.buffer_size))
        block.sample_rate, block.pts, block.time_base = RATE, at, Fraction(1, RATE)
        film.mux(heard.encode(block))
    film.mux(shown.encode(None))
    film.mux(heard.encode(None))
EOF
javac -nowarn -cp "$jars/isoparser.jar:$jars/aspectjrt.jar" Copy.java 2>/dev/null
java -cp "$jars/isoparser.jar:$jars/aspectjrt.jar:." Copy >/dev/null 2>&1
env/bin/python - <<'EOF'
import sys

import av


def pictures(name, options):
    """How many pictures FFmpeg shows."""
    with av.open(name, options=options) as film:
        return sum(1 for _ in film.decode(video=0))


names = ("film.mp4", "copy.mp4", "fragments.mp4")
shown = {name: pictures(name, {}) for name in names}
held = {name: pictures(name, {"ignore_editlist": "1"}) for name in names}
for name in names:
    print(f"{name:14} holds {held[name]} pictures; FFmpeg shows {shown[name]}")
same = set(held.values()) == {150} and shown["film.mp4"] == shown["fragments.mp4"] == 150 and 0 < shown["copy.mp4"] < 10
print("as described" if same else "CHANGED")
sys.exit(not same)
EOF
