"""Detail that comes back: all of it where nothing was edited, none where much was."""

import numpy as np

from celebgen_cli.editing.detail import RADIUS, TOLERANCE, with_detail


def test_detail_comes_back_where_nothing_was_edited() -> None:
    rng = np.random.default_rng(0)
    rebuilt = rng.integers(60, 200, (1, 64, 64, 3)).astype(np.uint8)
    photos = (rebuilt.astype(int) + rng.integers(-20, 21, rebuilt.shape)).astype(np.uint8)
    edited = rebuilt.copy()
    edited[:, 24:40, 24:40] = 255 - edited[:, 24:40, 24:40]
    edited[:, 24:40, 24:40, 0] = 0
    made = with_detail(photos, rebuilt, edited)
    assert np.array_equal(made[:, :16], photos[:, :16])
    assert np.abs(made[:, 30:34, 30:34].astype(int) - edited[:, 30:34, 30:34]).max() <= 2


def test_the_share_follows_the_formula() -> None:
    rebuilt = np.full((2, 32, 32, 3), 100, np.uint8)
    edited, photos = rebuilt + np.uint8(TOLERANCE), rebuilt + np.uint8(50)
    assert np.unique(with_detail(photos, rebuilt, edited)).tolist() == [round(100 + TOLERANCE + 50 / np.e)]
    assert np.array_equal(with_detail(photos, rebuilt, rebuilt), photos)
    bright = np.full((1, 32, 32, 3), 250, np.uint8)
    assert with_detail(bright + np.uint8(5), bright, bright + np.uint8(5)).max() == 255  # clipped, not wrapped


def test_a_seam_is_as_wide_as_the_radius() -> None:
    rebuilt = np.full((1, 64, 64, 3), 100, np.uint8)
    edited = rebuilt.copy()
    edited[:, :, 32:] = 180
    given = with_detail(rebuilt + np.uint8(20), rebuilt, edited)[0, 32, :, 0].astype(int) - edited[0, 32, :, 0]
    assert given[0] == 20 and given[-1] == 0
    assert np.all(np.diff(given) <= 0)
    between = int(((given > 1) & (given < 19)).sum())
    assert 1 <= between <= 6 * RADIUS
