"""A small alphabet of 5 x 7 dots: captions for a film without a font library."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 6, 7  # of a letter with the gap after it, dots

# Five columns a letter, the lowest bit at the top.
_COLUMNS = {
    " ": "0000000000", "(": "001C224100", ")": "0041221C00", "+": "08083E0808",
    ",": "0050300000", "-": "0808080808", ".": "0060600000", "/": "2010080402",
    "0": "3E5149453E", "1": "00427F4000", "2": "4261514946", "3": "2141454B31",
    "4": "1814127F10", "5": "2745454539", "6": "3C4A494930", "7": "0171090503",
    "8": "3649494936", "9": "064949291E", ":": "0036360000", ";": "0056360000",
    "A": "7E1111117E",
    "B": "7F49494936", "C": "3E41414122", "D": "7F4141221C", "E": "7F49494941",
    "F": "7F09090901", "G": "3E4149497A", "H": "7F0808087F", "I": "00417F4100",
    "J": "2040413F01", "K": "7F08142241", "L": "7F40404040", "M": "7F020C027F",
    "N": "7F0408107F", "O": "3E4141413E", "P": "7F09090906", "Q": "3E4151215E",
    "R": "7F09192946", "S": "4649494931", "T": "01017F0101", "U": "3F4040403F",
    "V": "1F2040201F", "W": "3F4038403F", "X": "6314081463", "Y": "0708700807",
    "Z": "6151494543",
}  # fmt: skip


def written(text: str, scale: int = 2) -> NDArray[np.bool_]:
    """The text in capitals as dots, bool (7 scale, 6 scale n); a character outside the alphabet
    leaves a gap.
    """
    dots = np.zeros((_HEIGHT, _WIDTH * len(text)), np.bool_)
    for k, letter in enumerate(text.upper()):
        for column, bits in enumerate(bytes.fromhex(_COLUMNS.get(letter, _COLUMNS[" "]))):
            dots[:, k * _WIDTH + column] = [bits >> row & 1 for row in range(_HEIGHT)]
    return dots.repeat(scale, axis=0).repeat(scale, axis=1)
