"""`avcheck fix`: a new file in which sound and picture are together, and proof that they are.

`moves` says where each moment of the sound belongs, `plan` how a container can be made to put it
there; `remux` writes (with `pcm` and `encode` where packets cannot be moved), `verify` reads the
result back by avcheck's own clock, and `repair` runs all of it between two checks. Pictures are
never moved, because mp4 then shows them up to one picture early.
"""
