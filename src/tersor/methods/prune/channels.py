"""Channel pruning: whole channels are cut out, and every shape becomes smaller.

Which channels must go together is found in the graph (`network.channels`); which of them go is
told by a score of each (`train.channel_scores`) and by what cutting it saves of the target
(`network.slimming`). With samples, the layers behind a cut make up for it by least squares
(`network.repair`); what is still lost is regained by `train.fine_tune`. Of up to 2,048 samples
those that such a training will hold out are not looked at: to the start they must be new, too.

What comes out is an ordinary network: it trains, quantizes, exports and packs like any other.

Source: Li et al., "Pruning filters for efficient convnets", arXiv:1608.08710; Fang et al.,
"DepGraph", arXiv:2301.12900 (groups); He, Zhang, Sun, arXiv:1707.06168 (repair).
"""

from dataclasses import dataclass
from typing import Literal

from tersor.data.samples import Samples
from tersor.errors import InputError, ModelError
from tersor.network.channels import Channels, channels
from tersor.network.network import WHOLE, Network, Note
from tersor.network.repair import repaired
from tersor.network.slimming import Chosen, Meter, Scores, Target, chosen, meter_of
from tersor.network.surgery import cut
from tersor.train.batches import not_held_out
from tersor.train.channel_scores import WEIGHTS_ONLY, Name, channel_scores

_NAME = "prune.channels"
_MANY = 2048  # samples: of so many, few are looked at, and weights are not fitted to each


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneChannels:
    """Cut out the channels that matter the least for what they cost.

    Attributes:
        target: How much is to be left: a table `[step.target]` with one of macs, parameters,
            bytes and latency, as in macs = 0.5; `--set latency=60%` will do, too.
        score: What tells how much a channel matters; see `train.channel_scores`.
        scope: "global": channels of all groups compete; "local": each group loses the same
            share.
        multiple: As many channels as are left of a layer are a multiple of this; 0 for what
            the engine likes, as it is measured where the target is latency, or for as large
            a part of that as reaches the target; else for 1.
        repair: Whether layers make up for what they no longer get, where there are samples.
        ignore: Names of layers whose results stay whole; "re:..." is a regular expression.
    """

    target: Target = Target()  # noqa: RUF009 - it is frozen
    score: Name = "taylor_second"
    scope: Literal["global", "local"] = "global"
    multiple: int = 0
    repair: bool = True
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.multiple < 0:
            raise InputError("multiple", got=self.multiple, allowed="0 or more")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs samples, but for scores of weights."""
        known = channels(network, self.ignore)
        if self.target.left == 1:
            note = Note(WHOLE, _NAME, done=False, text=f"all {self.target.of} may be left")
            return network.with_notes(note)
        if not known.groups:
            raise ModelError("The network", "has no channels to cut", _why(known))
        if samples is None and self.score not in WEIGHTS_ONLY:
            allowed = f"given for the score {self.score}; without: {', '.join(WEIGHTS_ONLY)}"
            raise InputError("samples", got=None, allowed=allowed)
        samples = _shown(network, samples)
        scores = channel_scores(self.score, network, known, samples)
        clock = _Clock(network, known) if self.target.of == "latency" else None
        meter = clock.meter if clock else meter_of(self.target.of, network, known)
        multiple = self.multiple or (clock.meter.liked() if clock else 1)
        found = self._chosen(known, scores, meter, multiple)
        before = network
        if self.repair and samples is not None:
            before = repaired(network, known, found.keep, samples)
        result = cut(before, found.keep, known)
        told = clock.told(network, result, found) if clock else ""
        return result.with_notes(*self._notes(known, found, told))

    def _chosen(
        self, known: Channels, scores: Scores, meter: Meter, multiple: int | dict[str, int]
    ) -> Chosen:
        """Which channels stay; what the engine likes gives way to the target."""
        target = self.target.left
        found = chosen(known, scores, meter, target, multiple=multiple, scope=self.scope)
        while not found.reached and isinstance(multiple, dict) and max(multiple.values()) > 1:
            multiple = {name: max(1, each // 2) for name, each in multiple.items()}
            finer = chosen(known, scores, meter, target, multiple=multiple, scope=self.scope)
            found = min(found, finer, key=lambda one: one.left)
        return found

    def _notes(self, known: Channels, found: Chosen, told: str) -> list[Note]:
        notes = [
            Note(group.name, _NAME, done=True, text=_told(group.size, int(mask.sum())))
            for group in known.groups
            if (mask := found.keep.get(group.name)) is not None
        ]
        notes += [
            Note(
                each.layer,
                _NAME,
                done=False,
                text=f"{each.count} channels stay: {each.reason}",
            )
            for each in known.frozen
        ]
        are = "are predicted to be left" if told else "are left"
        text = f"{100 * found.left:.1f} % of the {self.target.of} {are}"
        if not found.reached:
            rounded = f" in multiples of {self.multiple}" if self.multiple > 1 else ""
            stays = "what is frozen" + ", and what is no layer," * bool(told)
            text += (
                f", not {100 * self.target.left:g} %: each group keeps a tenth of its channels"
                f"{rounded}, and {stays} stays"
            )
        text = "; ".join(filter(None, (text, told)))
        return [*notes, Note(WHOLE, _NAME, done=found.reached, text=text)]


def _shown(network: Network, samples: Samples | None) -> Samples | None:
    """What a training behind this step holds out stays unseen, where every sample counts."""
    if samples is None or len(samples) > _MANY or network.fixed_batch is not None:
        return samples
    return not_held_out(samples)


class _Clock:
    """The engine that a network is to be faster on, and the meter of its time."""

    def __init__(self, network: Network, known: Channels) -> None:
        from tersor.timing.meter import Milliseconds, fastest

        self._on = fastest(network)
        self.meter = Milliseconds(network, known, self._on.table())

    def told(self, before: Network, after: Network, found: Chosen) -> str:
        """What came of what was predicted."""
        from tersor.timing.meter import measured

        times = measured(self._on, [before, after])
        share = times[1] / times[0]
        return (
            f"measured {100 * share:.1f} %, {times[1]:.3g} of {times[0]:.3g} ms on "
            f"{self._on.engine.name}, {self._on.threads} threads; "
            f"the prediction is {100 * (found.left / share - 1):+.0f} % off"
        )


def _told(before: int, after: int) -> str:
    return f"{after} of {before} channels left"


def _why(known: Channels) -> str:
    """What froze the first of those that are frozen."""
    if not known.frozen:
        return "It has no layers."
    first = known.frozen[0]
    return f"All are frozen; {first.layer}, for one: {first.reason}."


METHOD = PruneChannels
EXAMPLE = PruneChannels(target=Target(macs=0.6))
IDENTITY = PruneChannels(target=Target(macs=1.0))
