"""`avcheck fix`: a new file in which sound and picture are together, and proof that they are.

`moves` says where each moment of the sound belongs, `plan` how a container can be made to put it
there, `remux` writes (with `pcm` and `encode` where packets cannot be moved), `verify` reads the
result back by avcheck's own clock, and `repair` runs all of it around two checks. Pictures are
never moved: mp4 shows them up to one picture early when they are.
"""
