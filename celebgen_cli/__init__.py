"""celebgen: text to face on CelebA.

From Python, four names do what the command does:

    from celebgen_cli import load_model

    model = load_model()                                        the model in the box, or a model folder
    faces = model.sample(["smiling woman"] * 4, range(4))       uint8 [4, S, S, 3]
    again = model.reconstruct(faces)                            through the CVAE alone
    prior = model.prior(["smiling woman"])                      p(z|text), where denoising starts: .mean, .std, .faces()
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celebgen_cli.pipeline import Model, Prior, load_model

__version__ = "0.1.0"
__all__ = ["Model", "Prior", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    """The names above, imported when they are first asked for (PEP 562): torch takes a second."""
    if name in ("Model", "Prior", "load_model"):
        from celebgen_cli import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *(name for name in __all__ if name not in globals())]
