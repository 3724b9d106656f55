"""Fine-tuning: weights are trained on, under whatever codes hold them.

Zeros of a mask stay zeros, indices of a codebook stay shared and their centroids move,
roundings pass the gradient straight through. What else happens meanwhile (gradual pruning,
regularizers, averaged weights) is listed as `[[step.during]]`.

Without labels the original network is the teacher. The weights that are returned are those of
the epoch, the start included, that was best on a tenth of the samples, which are held out.
With a constant rate it ends early where ten epochs were no better.

Source: Han, Pool, Tran, Dally, "Learning both weights and connections for efficient neural
networks", arXiv:1506.02626 (retraining); Hinton, Vinyals, Dean, arXiv:1503.02531.
"""

from dataclasses import dataclass

from tersor.data.samples import Samples
from tersor.errors import InputError
from tersor.network.network import WHOLE, Network, Note
from tersor.train.during import During
from tersor.train.loop import Fitted, fit
from tersor.train.optimizer import Optimizer

_NAME = "train.fine_tune"


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune:
    """Train on.

    Attributes:
        epochs: How often each sample is seen; with 0 nothing is trained.
        batch: Samples of a step; networks of a fixed batch take theirs.
        optimizer: How weights are changed: a table `[step.optimizer]`.
        loss: "auto", "labels", "original", "both" or "package.module:callable"; see
            `train.objective`.
        seed: Of the order of samples, and of all else that is drawn.
        during: What else happens: tables `[[step.during]]`.
    """

    epochs: int = 10
    batch: int = 128
    optimizer: Optimizer = Optimizer()  # noqa: RUF009 - it is frozen
    loss: str = "auto"
    seed: int = 0
    during: tuple[During, ...] = ()

    def __post_init__(self) -> None:
        for name, least in {"epochs": 0, "batch": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise InputError(name, got=getattr(self, name), allowed=f"{least} or more")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs samples: to train on."""
        if samples is None:
            raise InputError("samples", got=None, allowed="given: they are trained on")
        if not self.epochs:
            note = Note(WHOLE, _NAME, done=False, text="0 epochs: nothing is trained")
            return network.with_notes(note)
        fitted = fit(network, samples, self)
        curve = tuple((epoch.loss, epoch.error) for epoch in fitted.epochs)
        note = Note(WHOLE, _NAME, done=fitted.best > 0, text=_told(fitted), curve=curve)
        return fitted.network.with_notes(note)


def _told(fitted: Fitted) -> str:
    """As in "10 epochs of 900 samples, loss labels: error 0.12 to 0.09, epoch 7 was best"."""
    count = len(fitted.epochs)
    text = f"{count} epoch{'s' * (count != 1)} of {fitted.samples:,} samples"
    text += f", loss {fitted.loss}"
    if fitted.first_error is not None:
        errors = {epoch.number: epoch.error for epoch in fitted.epochs}
        last = errors.get(fitted.best, fitted.first_error)
        text += f": held-out error {fitted.first_error:.4g} before, {last:.4g} after"
        where = f"epoch {fitted.best}" if fitted.best else "the start"
        text += f" ({where} was best)"
    return f"{text}; ended because {fitted.ended}" if fitted.ended else text


METHOD = FineTune
TRAINS = True
EXAMPLE = FineTune(epochs=2, batch=8)
IDENTITY = FineTune(epochs=0)
