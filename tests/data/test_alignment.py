"""Alignment: the similarity that scikit-free least squares gives, and pixels that land where their landmarks go."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy.optimize import least_squares

from celebgen_cli.data.alignment import MEAN_FACE, MIRRORED, align, similarity, transform_points
from celebgen_cli.data.crops import CROPS
from celebgen_cli.errors import CelebgenError


def moved(points: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return points @ np.array([[c, -s], [s, c]]).T + shift


@given(
    st.floats(-3.1, 3.1), st.floats(0.2, 20), st.tuples(st.floats(-500, 500), st.floats(-500, 500))
)  # fmt: skip
def test_a_moved_mean_face_is_moved_back(angle: float, scale: float, shift: tuple[float, float]) -> None:
    points = moved(MEAN_FACE, angle, scale, shift)
    matrix = similarity(points)
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], MEAN_FACE, atol=1e-6)
    np.testing.assert_allclose(np.hypot(*matrix[:, 0]), 1 / scale, rtol=1e-9)


def test_it_is_the_least_squares_solution() -> None:
    points = MEAN_FACE * 3 + np.random.default_rng(0).normal(size=(5, 2)) * 9

    def residual(p: np.ndarray) -> np.ndarray:
        return (points @ np.array([[p[0], -p[1]], [p[1], p[0]]]).T + p[2:] - MEAN_FACE).ravel()

    best = least_squares(residual, [1, 0, 0, 0]).x
    matrix = similarity(points)
    np.testing.assert_allclose([matrix[0, 0], matrix[1, 0], *matrix[:, 2]], best, rtol=1e-4, atol=1e-5)


def portrait(points: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A gray picture with a white disc at each landmark."""
    image = Image.new("RGB", size, (90, 90, 90))
    draw = ImageDraw.Draw(image)
    radius = np.hypot(*(points[1] - points[0])) * 0.07
    for x, y in points:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill="white")
    return image


def centers(pixels: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The centre of the bright spot around each expected point."""
    found = []
    for x, y in near:
        left, top = int(x) - 5, int(y) - 5
        window = pixels[max(0, top) : top + 11, max(0, left) : left + 11, 0].astype(float) - 95
        window = window.clip(0)
        rows, columns = np.mgrid[0 : window.shape[0], 0 : window.shape[1]] + 0.5
        found.append(
            (
                max(0, left) + (columns * window).sum() / window.sum(),
                max(0, top) + (rows * window).sum() / window.sum(),
            )
        )
    return np.array(found)


@pytest.mark.parametrize(
    ("angle", "scale", "size"), [(0.0, 1.0, 128), (0.3, 6.0, 128), (-0.6, 0.7, 112), (0.1, 2.5, 200)]
)
def test_bright_spots_end_where_the_landmarks_do(angle: float, scale: float, size: int) -> None:
    points = moved(MEAN_FACE, angle, scale, (400, 380))
    image = portrait(points, (1700, 1900))
    pixels, landmarks = align(image, points, "face178", size)
    assert pixels.shape == (size, size, 3)
    expected = (MEAN_FACE - (0, 20)) * size / 178
    np.testing.assert_allclose(landmarks, expected, atol=1e-6)
    np.testing.assert_allclose(centers(pixels, expected), expected, atol=0.35)


def test_an_aligned_picture_stays_nearly_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (28, 23, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((178, 218), Image.Resampling.BICUBIC)
    pixels, _ = align(image, MEAN_FACE, "face178", 178)
    plain = np.asarray(image.crop(CROPS["face178"]))
    assert np.abs(pixels.astype(int) - plain).max() <= 1


def test_beyond_the_border_its_pixels_are_repeated() -> None:
    image = Image.new("RGB", (60, 70), (200, 10, 30))
    points = MEAN_FACE * 0.5 - (10, 20)
    pixels, _ = align(image, points, "none", 64)
    assert pixels.shape == (64, 64, 3)
    assert np.abs(pixels.astype(int) - (200, 10, 30)).max() <= 1


def test_points_of_an_aligned_image_go_with_its_crop() -> None:
    points = np.array([[[0.0, 20.0], [178.0, 198.0], [89.0, 109.0], [1.5, 30.0], [np.nan, 7.0]]])
    got = transform_points(points, "face178", 128, aligned=True)
    np.testing.assert_allclose(got[0, :3], [[0, 0], [128, 128], [64, 64]])
    assert np.isnan(got[0, 4, 0])


@given(st.floats(0.3, 20), st.integers(0, 1000))
@pytest.mark.parametrize("angle", [0.0, 0.4, -1.5, np.pi])
def test_points_named_from_the_persons_side_are_refused(angle: float, scale: float, seed: int) -> None:
    """A rotation alone, upside down as well, or points some pixels beside are no such thing."""
    noise = np.random.default_rng(seed).normal(size=(5, 2)) * 3
    points = moved(MEAN_FACE + noise, angle, scale, (70, -9))
    similarity(points)
    with pytest.raises(CelebgenError, match="seem to be exchanged; left is the viewer's left"):
        similarity(points[MIRRORED])


def test_a_turned_head_is_not_refused() -> None:
    """The nose of a head turned by 50 degrees is near the farther eye; its points keep their order."""
    turned = MEAN_FACE - MEAN_FACE.mean(0)
    turned = turned * (np.cos(np.radians(50)), 1) + np.outer([0, 0, 22, 6, 6], (np.sin(np.radians(50)), 0))
    similarity(turned)
    with pytest.raises(CelebgenError, match="exchanged"):
        similarity(turned[MIRRORED])


def test_landmarks_that_cannot_be_used() -> None:
    with pytest.raises(CelebgenError, match="all in one place"):
        similarity(np.ones((5, 2)))
    with pytest.raises(CelebgenError, match="too small to be aligned"):
        similarity(MEAN_FACE / 40)
    far = Image.new("RGB", (60, 70))
    with pytest.raises(CelebgenError, match="outside of the picture"):  # or 10^12 border pixels would be repeated
        align(far, MEAN_FACE + 1e6, "face178", 64)
    with pytest.raises(CelebgenError, match="infinitely far"):
        similarity(MEAN_FACE * 1e200)
