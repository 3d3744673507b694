"""All pairs of pictures that show the same thing: candidates by hash and by local patches, each then verified.

1. Identical files are found by their digest; one represents the others in the following steps.
2. Whole pictures, in any of the eight views: the 192 bits of all pairs are compared (exclusive or, bits counted).
3. Crops and overlaps: for each patch, the few most similar ones in other pictures are found; a pair is a candidate if
two or more of its patches agree on the same map.
4. Small pictures in much larger ones: by comparison at every position (`locations`).
5. The pictures of every candidate pair are aligned and correlated (`alignment`); only this decides.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from leukospike.auditing.alignment import LEAST_AGREEMENT, LEAST_SHARE, Alignment, align, view_matrix, whole_map
from leukospike.auditing.fingerprints import N_BITS, Fingerprint
from leukospike.auditing.locations import MOST_PAIRS, pairs_to_search, places_in_fields
from leukospike.jobs import Progress, silent

MOST_BITS = 30
"""Of 192 that may differ in a candidate; of C-NMC's pairs of different cells one in 20,000 has as few."""

_WHOLE = 0.9  # share of a picture's content that counts as all of it
_VIEWS = [view_matrix(view) for view in range(8)]
_WHITE_DIMENSIONS, _WHITE_FLOOR = 40, 0.01
_LEAST_LIKENESS = 0.75  # cosine of whitened patches
_LIKEST = 4  # that a patch names
_TILE = (512, 2048)  # patches by patches: measured, a third of the time of tables that no processor's cache holds
_LEAST_APART_PX = 3.0
_MAP_ERROR = (1.5, 0.1)  # pixels, and share of the distance between patches
_OCTAVES = 0.75  # that the scales of two patches may differ from the map's


class Kind(StrEnum):
    """What the pictures of a pair share."""

    IDENTICAL = "identical"
    """The same pixels."""
    COPY = "copy"
    """The same picture: rotated, re-encoded, resized or lighter, or the same cell photographed again."""
    CROP = "crop"
    """All of one picture is in the other."""
    OVERLAP = "overlap"
    """Part of each picture is in the other."""


@dataclass(frozen=True)
class Pair:
    """Two pictures that show the same thing."""

    first: int
    """Place in the list of pictures; less than `second`."""
    second: int
    kind: Kind
    agreement: float
    """Correlation of detail, 0 to 1."""
    view: int
    """View of the second that looks like the first: 1 swaps left and right, 2 top and bottom, 4 (last) rows and
    columns."""
    shares: tuple[float, float]
    """Share of the content of each that both show."""


@dataclass(frozen=True)
class Matches:
    """All pairs found, and the extent of the search."""

    pairs: tuple[Pair, ...]
    """Most alike first. Of several identical pictures, each is paired only with the first."""
    n_candidates: int
    """Pairs that were aligned."""
    n_left_out: int
    """Candidates by patches that were skipped because there were too many: those with the fewest patches in common."""
    searched_fields: bool
    """Whether small pictures were searched for in large ones; not if there are too many of both."""


def find_matches(
    pictures: Sequence[Fingerprint],
    *,
    same_pixels: Callable[[int, int], bool],
    progress: Progress = silent,
) -> Matches:
    """Find all pairs of pictures that show the same thing.

    Parameters
    ----------
    pictures : sequence of Fingerprint
    same_pixels : callable
        Whether the files at two positions have the same pixels; called only for those that look equal.
    progress : Progress

    Returns
    -------
    Matches
    """
    pairs: list[Pair] = []
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, picture in enumerate(pictures):
        groups[picture.digest].append(place)
    for first, *others in groups.values():
        for place in others:
            # Pictures whose differences are invisible in the small grey versions, such as in hue only, still count as
            # copies.
            kind = Kind.IDENTICAL if same_pixels(first, place) else Kind.COPY
            pairs.append(Pair(first, place, kind, 1.0, 0, (1.0, 1.0)))
    single = [places[0] for places in groups.values() if pictures[places[0]].hashes is not None]
    chosen = [pictures[place] for place in single]

    candidates = [(a, b, whole_map(chosen[a], chosen[b], view)) for a, b, view in _like_hashes(chosen, progress)]
    known = {(a, b) for a, b, _ in candidates}
    voted = [entry for entry in _like_patches(chosen, progress) if (entry[1], entry[2]) not in known]
    voted.sort(key=lambda entry: -entry[0])
    most = 2_000 + 2 * len(chosen)
    candidates += [(a, b, rough) for _, a, b, rough in voted[:most]]
    searched = pairs_to_search(chosen) <= MOST_PAIRS
    if searched:
        candidates += places_in_fields(chosen, progress)
    best: dict[tuple[int, int], Alignment] = {}
    for done, (a, b, rough) in enumerate(candidates, start=1):
        found = align(chosen[a], chosen[b], rough)
        if found is not None and _is_same(found) and ((a, b) not in best or best[a, b].agreement < found.agreement):
            best[a, b] = found
        progress("compare pairs", done, len(candidates))
    # A small picture may be a candidate of a large one in either order.
    for (a, b), found in best.items():
        if a > b and (b, a) in best:
            continue
        first, second = sorted((single[a], single[b]))
        view, shares = _view_of(found), found.shares
        if (first, second) != (single[a], single[b]):
            view, shares = _inverse(view), (shares[1], shares[0])
        kind = _kind(found)
        looks_equal = kind is Kind.COPY and view == 0 and pictures[first].size == pictures[second].size
        if looks_equal and found.agreement > 0.999 and same_pixels(first, second):
            kind = Kind.IDENTICAL
        pairs.append(Pair(first, second, kind, found.agreement, view, shares))
    pairs.sort(key=lambda pair: (pair.kind is not Kind.IDENTICAL, -pair.agreement, pair.first, pair.second))
    return Matches(tuple(pairs), len(candidates), max(0, len(voted) - most), searched)


def _is_same(found: Alignment) -> bool:
    """Tell whether an alignment shows that two pictures have something in common."""
    return found.agreement >= LEAST_AGREEMENT and max(found.shares) >= LEAST_SHARE


def _kind(found: Alignment) -> Kind:
    """Name what two different files have in common."""
    if min(found.shares) >= _WHOLE:
        return Kind.COPY
    return Kind.CROP if max(found.shares) >= _WHOLE else Kind.OVERLAP


def _view_of(found: Alignment) -> int:
    """Return the view whose map is nearest to a fitted one."""
    # The map goes from the first to the second; the view turns the second into the first.
    back = found.matrix[:, :2].T
    return int(np.argmax([float((matrix * back).sum()) for matrix in _VIEWS]))


def _inverse(view: int) -> int:
    """Return the view that undoes another."""
    return next(other for other, matrix in enumerate(_VIEWS) if (matrix == _VIEWS[view].T).all())


def _like_hashes(pictures: Sequence[Fingerprint], progress: Progress) -> list[tuple[int, int, int]]:
    """Return (first, second, view) of all pairs whose hashes are close, in any view of the second."""
    if len(pictures) < 2:
        return []
    hashes = np.stack([picture.hashes for picture in pictures if picture.hashes is not None])
    found: list[tuple[int, int, int]] = []
    n, block = len(hashes), 64  # rows at a time: what is compared stays in the processor's cache
    for start in range(0, n, block):
        ours = hashes[start : start + block, 0]
        for view in range(8):
            differing = np.zeros((len(ours), n - start), np.uint8)
            for word in range(N_BITS // 64):
                differing += np.bitwise_count(ours[:, word, None] ^ hashes[None, start:, view, word])
            rows, columns = np.nonzero(differing <= MOST_BITS)
            found += [
                (start + int(row), start + int(column), view)
                for row, column in zip(rows, columns, strict=True)
                if row < column
            ]
        progress("compare hashes", min(start + block, n), n)
    return found


def _like_patches(
    pictures: Sequence[Fingerprint], progress: Progress
) -> list[tuple[int, int, int, Float[np.ndarray, "2 3"]]]:
    """Return (patches in common, first, second, rough map) of all pairs of which patches tell the same map."""
    counts = [len(picture.patches.values) for picture in pictures]
    if sum(count > 0 for count in counts) < 2:
        return []
    owner = np.repeat(np.arange(len(pictures)), counts)
    values = _whitened(np.concatenate([picture.patches.values for picture in pictures]))
    places = np.concatenate([picture.patches.places for picture in pictures]).astype(np.float64)
    views = np.concatenate([picture.patches.views for picture in pictures]).astype(np.int64)
    ours, theirs = _likest(values, owner, progress)
    # Each match once, from the picture that comes first.
    swapped = owner[ours] > owner[theirs]
    ours, theirs = np.where(swapped, theirs, ours), np.where(swapped, ours, theirs)
    matches = np.unique(np.stack([ours, theirs], axis=1), axis=0)
    ours, theirs = matches[:, 0], matches[:, 1]
    # A map is one of eight turns, a scale and a shift; patches of one map share the turn.
    turn = np.array([[_turn(a, b) for b in range(8)] for a in range(8)])[views[ours], views[theirs]]
    key = (owner[ours] * len(pictures) + owner[theirs]) * 8 + turn
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0, True])
    found: list[tuple[int, int, int, np.ndarray]] = []
    for start, end in pairwise(starts):
        if end - start < 2:
            continue
        group = order[start:end]
        matrix = _VIEWS[int(turn[group[0]])]
        agreed = _agreed_map(places[ours[group]], places[theirs[group]], matrix)
        if agreed is not None:
            first, second = int(owner[ours[group[0]]]), int(owner[theirs[group[0]]])
            found.append((agreed[0], first, second, agreed[1]))
    return found


def _turn(ours: int, theirs: int) -> int:
    """Return the view whose matrix takes the first picture to the second, from the views that their patches are in."""
    matrix = _VIEWS[theirs].T @ _VIEWS[ours]
    return next(view for view, other in enumerate(_VIEWS) if (other == matrix).all())


def _whitened(values: Float32[np.ndarray, "n 64"]) -> Float32[np.ndarray, "n dimensions"]:
    """Take away what all patches share, a bright or dark spot in the middle, and weigh up what tells them apart."""
    centred = values - values.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    variances, axes = variances[::-1][:_WHITE_DIMENSIONS], axes[:, ::-1][:, :_WHITE_DIMENSIONS]
    white = centred @ (axes / np.sqrt(variances + _WHITE_FLOOR * variances[0]))
    return (white / np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-6)).astype(np.float32)


def _likest(
    values: Float32[np.ndarray, "n dimensions"], owner: Int[np.ndarray, " n"], progress: Progress
) -> tuple[Int[np.ndarray, " matches"], Int[np.ndarray, " matches"]]:
    """Find, for each patch, the few most like it in other pictures, as two lists of places."""
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    rows, columns = _TILE
    for top in range(0, len(values), rows):
        # Likeness goes both ways: the half of the table above its diagonal will do.
        for left in range(top, len(values), columns):
            likeness = values[top : top + rows] @ values[left : left + columns].T
            row, column = np.divmod(np.flatnonzero(likeness >= _LEAST_LIKENESS), likeness.shape[1])
            other = owner[top + row] < owner[left + column]  # patches lie in the order of their owners
            row, column = row[other], column[other]
            parts.append((top + row, left + column, likeness[row, column]))
        progress("compare patches", min(top + rows, len(values)), len(values))
    first, second, like = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((second, first))
    first, second, like = first[order], second[order], like[order]
    ours, theirs = np.concatenate([first, second]), np.concatenate([second, first])
    order = np.lexsort((-np.concatenate([like, like]), ours))
    ours, theirs = ours[order], theirs[order]
    rank = np.arange(len(ours)) - np.searchsorted(ours, ours)
    return ours[rank < _LIKEST], theirs[rank < _LIKEST]


def _agreed_map(ours: np.ndarray, theirs: np.ndarray, matrix: np.ndarray) -> tuple[int, np.ndarray] | None:
    """Find the scale and shift on which most matches agree, given the view; None if no two agree."""
    turned = ours[:, :2] @ matrix.T
    # Every two matches give a scale: the ratio of the distances between them.
    apart, they_apart = turned[None] - turned[:, None], theirs[None, :, :2] - theirs[:, None, :2]
    distance = np.hypot(*np.moveaxis(apart, 2, 0))
    scale = (apart * they_apart).sum(axis=2) / np.maximum(distance, 1e-9) ** 2
    usable = (distance >= _LEAST_APART_PX) & (scale > 0.1) & np.tri(len(ours), k=-1, dtype=bool).T
    best: tuple[int, Bool[np.ndarray, " n"]] | None = None
    for i, j in np.argwhere(usable):
        s = scale[i, j]
        error = np.hypot(*(s * apart[i] - they_apart[i]).T)
        near = error <= _MAP_ERROR[0] * max(1.0, s) + _MAP_ERROR[1] * s * distance[i]
        near &= np.abs(np.log2(theirs[:, 2] / ours[:, 2] / s)) <= _OCTAVES
        # Blobs of several scales at one position count once.
        witnesses = len({(int(r // 2), int(c // 2)) for r, c in ours[near, :2]})
        if near[i] and near[j] and (best is None or witnesses > best[0]):
            best = (witnesses, near)
    if best is None or best[0] < 2:
        return None
    x, y = turned[best[1]], theirs[best[1], :2]
    spread = x - x.mean(axis=0)
    s = float((spread * (y - y.mean(axis=0))).sum() / (spread**2).sum())
    if s <= 0:
        return None
    return best[0], np.column_stack([s * matrix, y.mean(axis=0) - s * x.mean(axis=0)])
