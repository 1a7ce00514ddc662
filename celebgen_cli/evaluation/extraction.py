"""Features of a source of images: extracted once, kept in parts, and gone on with where an earlier run was cut off.

A part is 256 images in a row. Its file in the cache grows while its images are drawn and looked at, every two seconds
at most, so that a killed run costs the user no more than what it did last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from celebgen_cli.errors import CelebgenError
from celebgen_cli.evaluation.cache import features_key, load_features, store_features
from celebgen_cli.evaluation.features import FeatureExtractor
from celebgen_cli.evaluation.sources import ImageSource, Resumable
from celebgen_cli.evaluation.statistics import Statistics, describe_set, from_features

PART = 256
"""Images in a file of the cache."""

STORE_EVERY = 2.0
"""Seconds between two writes of a part that grows."""

Progress = Callable[[int, int], None]
Timing = Callable[[float, float, int], None]


def features_of(
    source: ImageSource,
    extractor: FeatureExtractor,
    count: int | None = None,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
    timing: Timing | None = None,
    cache: bool = True,
) -> np.ndarray:
    """Features float32 [count, D] of the first `count` images of a source (None: all).

    Args:
        progress: called with (images done, images in all).
        timing: called once, after the first batch, with the seconds that its images took, the seconds that their
            features took, and the number of images; not called when the cache answers.
        cache: whether what was extracted before is taken, and what is extracted now is kept.

    Raises:
        CelebgenError: the source has fewer than `count` images.
    """
    count = _checked(source, count)
    features = np.empty((count, extractor.dimensions), dtype=np.float32)
    todo = list(_todo(source, extractor, count, features)) if cache else []
    if not cache or not isinstance(source, Resumable):
        todo = [(None, 0, 0, count)]
    seen = count - sum(stop - begin for _, _, begin, stop in todo)
    if progress and seen:
        progress(seen, count)
    for key, start, begin, stop in todo:
        started = stored = time.perf_counter()
        done = begin
        try:
            for batch in _from(source, stop, batch_size, begin):
                drawn = time.perf_counter()
                features[done : done + len(batch)] = extractor(batch)
                if timing:
                    timing(drawn - started, time.perf_counter() - drawn, len(batch))
                    timing = None
                done += len(batch)
                seen += len(batch)
                if progress:
                    progress(seen, count)
                if key and done < stop and time.perf_counter() - stored > STORE_EVERY:
                    store_features(key, features[start:done])
                    stored = time.perf_counter()
        finally:
            if key and done > begin:
                store_features(key, features[start:done])
    return features


def _from(source: ImageSource, stop: int, batch_size: int, begin: int) -> Iterator[np.ndarray]:
    """The images `begin` to `stop` - 1; only sources that can begin in the middle are asked to."""
    if begin and isinstance(source, Resumable):
        return source.batches(stop, batch_size, begin)
    return source.batches(stop, batch_size)


def statistics_of(
    source: ImageSource,
    extractor: FeatureExtractor,
    count: int | None = None,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
    timing: Timing | None = None,
    cache: bool = True,
) -> Statistics:
    """Features and statistics of the first `count` images of a source; see `features_of`.

    Raises:
        CelebgenError: the source has fewer than `count` images, or fewer than two.
    """
    count = _checked(source, count)
    features = features_of(
        source, extractor, count, batch_size=batch_size, progress=progress, timing=timing, cache=cache
    )
    info = {**describe_set(source, count, extractor), "fingerprint": source.fingerprint()}
    attributes = source.attributes[:count] if source.attributes is not None else None
    return from_features(features, info, attributes)


def missing(source: ImageSource, extractor: FeatureExtractor, count: int | None = None) -> int:
    """How many of the first `count` images (None: all) the cache knows nothing of."""
    count = len(source) if count is None else count
    if not isinstance(source, Resumable):
        return count
    return sum(stop - begin for _, _, begin, stop in _todo(source, extractor, count))


def _checked(source: ImageSource, count: int | None) -> int:
    count = len(source) if count is None else count
    if count > len(source):
        raise CelebgenError(f"{source.label} has {len(source)} images and {count} were asked for; ask for fewer")
    return count


def _todo(
    source: ImageSource, extractor: FeatureExtractor, count: int, features: np.ndarray | None = None
) -> Iterator[tuple[str | None, int, int, int]]:
    """The parts that are not whole: (key, first image, first image that is missing, end). Fills `features`."""
    if not isinstance(source, Resumable):
        return
    network = (extractor.name, extractor.layer, extractor.weights_sha256)
    for start in range(0, count, PART):
        stop = min(start + PART, count)
        key = features_key(2, source.part_fingerprint(start, stop), *network)
        known = load_features(key, stop - start, extractor.dimensions)
        if features is not None:
            features[start : start + len(known)] = known
        if start + len(known) < stop:
            yield key, start, start + len(known), stop
