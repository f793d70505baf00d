"""Languages of tracks: whether a track's tag names the language asked for.

Tags come as ISO 639-1 (fr), as ISO 639-2 in both forms (fra, and fre in older files), and as BCP 47
(fr-CA). The language asked for is a language range of RFC 4647, section 3.3.1: "fr" takes every
French track, "fr-CA" only a track that says so.
"""

from __future__ import annotations

import re

# ISO 639-1, ISO 639-2/T, and ISO 639-2/B where that differs.
_CODES = """
aa aar, ab abk, ae ave, af afr, ak aka, am amh, an arg, ar ara, as asm, av ava, ay aym, az aze,
ba bak, be bel, bg bul, bh bih, bi bis, bm bam, bn ben, bo bod tib, br bre, bs bos, ca cat, ce che,
ch cha, co cos, cr cre, cs ces cze, cu chu, cv chv, cy cym wel, da dan, de deu ger, dv div, dz dzo,
ee ewe, el ell gre, en eng, eo epo, es spa, et est, eu eus baq, fa fas per, ff ful, fi fin, fj fij,
fo fao, fr fra fre, fy fry, ga gle, gd gla, gl glg, gn grn, gu guj, gv glv, ha hau, he heb, hi hin,
ho hmo, hr hrv, ht hat, hu hun, hy hye arm, hz her, ia ina, id ind, ie ile, ig ibo, ii iii, ik ipk,
io ido, is isl ice, it ita, iu iku, ja jpn, jv jav, ka kat geo, kg kon, ki kik, kj kua, kk kaz,
kl kal, km khm, kn kan, ko kor, kr kau, ks kas, ku kur, kv kom, kw cor, ky kir, la lat, lb ltz,
lg lug, li lim, ln lin, lo lao, lt lit, lu lub, lv lav, mg mlg, mh mah, mi mri mao, mk mkd mac,
ml mal, mn mon, mr mar, ms msa may, mt mlt, my mya bur, na nau, nb nob, nd nde, ne nep, ng ndo,
nl nld dut, nn nno, no nor, nr nbl, nv nav, ny nya, oc oci, oj oji, om orm, or ori, os oss, pa pan,
pi pli, pl pol, ps pus, pt por, qu que, rm roh, rn run, ro ron rum, ru rus, rw kin, sa san, sc srd,
sd snd, se sme, sg sag, si sin, sk slk slo, sl slv, sm smo, sn sna, so som, sq sqi alb, sr srp,
ss ssw, st sot, su sun, sv swe, sw swa, ta tam, te tel, tg tgk, th tha, ti tir, tk tuk, tl tgl,
tn tsn, to ton, tr tur, ts tso, tt tat, tw twi, ty tah, ug uig, uk ukr, ur urd, uz uzb, ve ven,
vi vie, vo vol, wa wln, wo wol, xh xho, yi yid, yo yor, za zha, zh zho chi, zu zul
"""
_ONE = {code: words.split()[0] for words in _CODES.split(",") for code in words.split()}
_TAG = re.compile(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*")


def is_language(value: object) -> bool:
    """Whether this may be the code of a language; there are too many to list."""
    return isinstance(value, str) and _TAG.fullmatch(value) is not None


def matches(tag: str, wanted: str) -> bool:
    """Whether the tag of a track names the wanted language, or a variety of it."""
    its, asked = _subtags(tag), _subtags(wanted)
    return its[: len(asked)] == asked


def _subtags(tag: str) -> list[str]:
    first, *others = tag.lower().replace("_", "-").split("-")
    return [_ONE.get(first, first), *others]
