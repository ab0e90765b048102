"""Every layer of a model, and whether it can be explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from whyclass.grid import crop_size, pooled_shape
from whyclass.models import token_places
from whyclass.models.forward import borrowed, call
from whyclass.models.layer_info import LayerInfo, called_once, describe, of_images, of_places, unplaced
from whyclass.models.layer_layouts import Form, forms_of
from whyclass.models.refusals import check_kind
from whyclass.models.token_places import KEPT, Grid

ROUNDS = 8
"""Grids that are tried for a layer of tokens."""

TOGETHER = 8
"""Images that pass at a time, of which the first is the unchanged one."""

INHERITED = 0.5
"""As ``KEPT``, for the places of another layer of as many tokens where they are clear."""

_found: WeakKeyDictionary[nn.Module, dict[Any, dict[str, Form | None]]] = WeakKeyDictionary()


def survey(model: nn.Module, example: Tensor, only: str | None = None) -> list[LayerInfo]:
    """Every layer the model calls, in the order in which they finish, from two forward passes.

    The second is of the image twice: what has not twice as many rows then is no output for images, such
    as windows of an image or a table of positions. Where there are layers of tokens, more passes of an image
    with strips of it changed show which token stands where; that is remembered as long as the model is.

    Parameters
    ----------
    example
        One image, shape (1, channels, S, T); of several the first is taken.
    only
        The layer whose places are wanted; those of layers with another number of tokens are taken as usual.

    Raises
    ------
    ModelError
        If the model fails, or is of a kind that cannot be looked into.
    """
    check_kind(model)
    names = {module: name for name, module in model.named_modules() if name}
    calls: dict[str, list[LayerInfo]] = {}
    rows: dict[str, int] = {}
    image = (example.shape[2], example.shape[3])

    def note(module: nn.Module, _: Any, output: Any) -> None:
        info = describe(names[module], module, output, image)
        calls.setdefault(info.name, []).append(info)

    def count(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim:
            rows[names[module]] = len(output)

    one = example[:1]
    with torch.no_grad():
        for images, hook in ((one, note), (torch.cat([one, one]), count)):
            with borrowed(model, dict.fromkeys(names, hook)):
                call(model, images)
    infos = {name: of_images(called_once(found), rows.get(name, 0)) for name, found in calls.items()}
    infos |= _with_places(model, one, infos, only)
    return [of_places(info, infos) for info in infos.values()]


def _with_places(
    model: nn.Module, one: Tensor, infos: Mapping[str, LayerInfo], only: str | None
) -> dict[str, LayerInfo]:
    """The entries of the layers of tokens, with the places of those."""
    image = (one.shape[2], one.shape[3])
    like = None if only is None or only not in infos else infos[only].shape[1:]
    asked = {
        name: forms
        for name, info in infos.items()
        if unplaced(info)
        and (like is None or set(info.shape[1:]) & set(like))
        and (forms := forms_of(info.shape, image, info.form)[:ROUNDS])
    }
    kept, key = _found.setdefault(model, {}), _state(model, one)
    if key not in kept:
        kept.clear()
        kept[key] = {}
    if new := {name: forms for name, forms in asked.items() if name not in kept[key]}:
        kept[key] |= _Search(model, one, new).forms({name: infos[name].form for name in new})
    return {name: _placed(infos[name], kept[key][name], image) for name in asked}


def _state(model: nn.Module, one: Tensor) -> Any:
    """What the places may depend on: they are looked for again when weights change."""
    with torch.inference_mode(False):
        versions = tuple(0 if p.is_inference() else p._version for p in model.parameters())
    return tuple(one.shape), one.device, versions


def _placed(info: LayerInfo, form: Form | None, image: tuple[int, int]) -> LayerInfo:
    if form is not None:
        crop = crop_size(pooled_shape(*form.shape[1:]), image)
        return replace(info, crop=crop, problem="", form=form)
    if info.form is None:
        return info
    problem = (
        f"its output has shape {info.shape}, and which of the tokens stands where could not be found by "
        "changing the image"
    )
    return replace(info, crop=None, problem=problem, form=None)


@dataclass(frozen=True)
class _Search:
    """The look for places of tokens, layer by layer and grid by grid."""

    model: nn.Module
    one: Tensor
    asked: Mapping[str, list[Form]]
    sizes: dict[tuple[Grid, str, str], Tensor] = field(default_factory=dict)
    done: dict[str, Form | None] = field(default_factory=dict)

    def forms(self, usual: Mapping[str, Form | None]) -> dict[str, Form | None]:
        """The form of each layer, None where its places could not be found."""
        for attempt in range(ROUNDS):
            wanted = {
                name: forms[attempt]
                for name, forms in self.asked.items()
                if name not in self.done and attempt < len(forms)
            }
            self._change({(form.shape[1], form.shape[2]) for form in wanted.values()}, wanted)
            for name, form in wanted.items():
                if (clear := self._clear(name, form)) is not None:
                    self.done[name] = clear
            self._inherit(wanted)
        self._as_usual(usual)
        return {name: self.done.get(name) for name in self.asked}

    def _as_usual(self, usual: Mapping[str, Form | None]) -> None:
        """The usual places, where the reactions do not speak against them."""
        for name in set(self.asked) - set(self.done):
            form = usual[name]
            found = self._reactions(name, form) if form else None
            if form is None or found is None:
                continue
            grid, order = form.shape[1:], _in_order(form)
            least = KEPT[form.prefix > 0]
            if token_places.clear(found, grid, order) and token_places.fits(found, grid, order, least):
                self.done[name] = form

    def _clear(self, name: str, form: Form) -> Form | None:
        """The form with its places, where the reactions are clear."""
        found = self._reactions(name, form)
        known = [one.places for one in self.done.values() if one and one.places and _alike(one, form)]
        likely = [_in_order(form), *dict.fromkeys(known)]
        if found is None or (places := token_places.places(found, form.shape[1:], likely)) is None:
            return None
        return form if places == likely[0] else replace(form, places=places)

    def _inherit(self, wanted: Mapping[str, Form]) -> None:
        """Places of other layers of as many tokens, where the layer's reactions do not speak against them."""
        for name, form in wanted.items():
            known = [one for one in self.done.values() if one and _alike(one, form)]
            for other in known if name not in self.done else ():
                if self._fits(name, form, other.places or _in_order(other), INHERITED):
                    self.done[name] = replace(form, places=other.places)
                    break

    def _fits(self, name: str, form: Form, places: tuple[int, ...], least: float) -> bool:
        found = self._reactions(name, form)
        return found is not None and token_places.fits(found, form.shape[1:], places, least)

    def _reactions(self, name: str, form: Form) -> token_places.Reactions | None:
        grid = (form.shape[1], form.shape[2])
        sizes = self.sizes.get((grid, name, form.name))
        return None if sizes is None else token_places.reactions(sizes, grid)

    def _change(self, grids: Iterable[Grid], wanted: Iterable[str]) -> None:
        """How much the tokens of these layers change with each strip of these grids."""
        modules = {self.model.get_submodule(name): name for name in wanted}
        for grid in sorted(grids):
            parts: dict[tuple[Grid, str, str], list[Tensor]] = {}

            def note(module: nn.Module, _: Any, output: Any, grid: Grid = grid, parts: Any = parts) -> None:
                change = (output[1:] - output[:1]).float()
                for kind, axis in (("tokens", 2), ("tokens last", 1)):
                    parts.setdefault((grid, modules[module], kind), []).append(change.norm(dim=axis).cpu())

            changed = list(token_places.changed(self.one[0], grid))
            with torch.no_grad(), borrowed(self.model, dict.fromkeys(modules, note)):
                for start in range(0, len(changed), TOGETHER - 1):
                    block = changed[start : start + TOGETHER - 1]
                    call(self.model, torch.stack([self.one[0], *block]))
            self.sizes.update({key: torch.cat(found) for key, found in parts.items()})


def _in_order(form: Form) -> tuple[int, ...]:
    return tuple(range(form.prefix, form.prefix + form.shape[1] * form.shape[2]))


def _alike(one: Form, other: Form) -> bool:
    return (one.name, one.shape[1:], one.prefix) == (other.name, other.shape[1:], other.prefix)
