"""Small networks, one for each way in which a model can be built; all take images of 32 x 32 pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
import torchvision
from torch import Tensor, nn

SIDE = 32
CLASSES = 5


def images(n: int = 2, seed: int = 0, side: int = SIDE) -> Tensor:
    """Normal noise (n, 3, side, side), as a normalised picture is spread."""
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def seeded(net: nn.Module, seed: int = 0) -> nn.Module:
    """The net in evaluation mode, every parameter and buffer drawn so that no batch norm is the identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.data.uniform_(low, high, generator=generator)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                module.bias.data.uniform_(-0.1, 0.1, generator=generator)
    return net.eval()


def block(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)
    )


class Plain(nn.Module):
    """Three blocks and a classifier; in-place ReLUs throughout."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.stem, self.body, self.tail = block(3, 8, 2), block(8, 12, 2), block(12, 16)
        self.fc = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.tail(self.body(self.stem(x))).mean((2, 3)))


class InPlace(nn.Module):
    """What follows ``stem`` and lies before ``tail`` writes into the stem's output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.tail, self.fc = block(3, 8, 2), block(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x -= 0.5
        return self.fc(self.tail(torch.relu_(x)).mean((2, 3)))


class Residual(nn.Module):
    """A block with a skip connection around ``branch``, and dropout before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.drop, self.branch = block(3, 8, 2), nn.Dropout(), block(8, 8)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.stem(x))
        return self.fc(self.relu(self.branch(x) + x - 0.5).mean((2, 3)))


class Bypassed(nn.Module):
    """A U-Net: what was there before the layer ``mid`` comes in again after it."""

    def __init__(self, join: str) -> None:
        super().__init__()
        self.join = join
        self.down, self.mid = block(3, 8), block(8, 8, 2)
        self.up = block(16 if join == "cat" else 8, 8)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        deep = nnf.interpolate(self.mid(skip), scale_factor=2)
        both = torch.cat([skip, deep], 1) if self.join == "cat" else skip + deep
        return self.fc(self.up(both).mean((2, 3)))


class Reused(nn.Module):
    """One block called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice = block(3, 8, 2), block(8, 8)
        self.last, self.fc = block(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.twice(self.twice(self.stem(x)))).mean((2, 3)))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Odd(nn.Module):
    """Layers whose output cannot be explained: a tuple, two dimensions, signed, never called."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pair = block(3, 8, 2), Pair()
        self.signed = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.fine, self.fc = nn.ReLU(), nn.Linear(8, CLASSES)
        self.unused = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.pair(self.stem(x))
        return self.fc(self.fine(self.signed(x)).mean((2, 3)))


class Wrapped(nn.Module):
    """The plain net with something done to its output or before it."""

    def __init__(self, change) -> None:
        super().__init__()
        self.net, self.change = Plain(), change

    def forward(self, x: Tensor):
        return self.change(self.net(x))


class Stateful(Plain):
    """Adds the number of calls so far."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) + self.calls


class Counts(nn.Module):
    """Passes its input on and notes the batch size of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        return x


class Counted(Plain):
    """The plain net with counters before and after the layer ``body``."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = Counts(), Counts()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.tail(self.after(self.body(self.stem(self.before(x))))).mean((2, 3)))


class Breaks(Plain):
    """Raises ``error`` between the layers ``stem`` and ``tail``."""

    error: Exception | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x))
        if self.error is not None:
            raise self.error
        return self.fc(self.tail(x).mean((2, 3)))


class Fixed(Plain):
    """Takes 32 x 32 pixels and nothing else, as a vision transformer does."""

    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.shape[2:] == (SIDE, SIDE), "wrong image size")
        return super().forward(x)


class Branches(nn.Module):
    """Control flow that depends on the data: no tracer can follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = block(3, 8, 2), block(8, 8), block(8, 8)
        self.out, self.fc = block(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.left(x) if x.mean() > 0 else self.right(x)
        return self.fc(self.out(x).mean((2, 3)))


class Float32Only(Branches):
    """Also has an operation that no other precision has."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise NotImplementedError("not implemented for this type")
        return super().forward(x)


class Auxiliary(Plain):
    """Does more while it trains."""

    def forward(self, x: Tensor):
        out = super().forward(x)
        return (out, out * 2) if self.training else out


class UsedLater(nn.Module):
    """After a sum and its ReLU one of its summands is needed again: fusing must not overwrite it.

    ``way`` is how the summand comes back: as itself, through an alias, or after an in-place ReLU of what
    the other convolution reads.
    """

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.one, self.two = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(3, 8, 3, 2, 1)
        self.three = nn.Conv2d(8, 8, 3, padding=1)
        self.alias, self.out, self.fc = nn.Identity(), nn.ReLU(), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.one(x), self.two(x)
        later = self.alias(one) if self.way == "alias" else one
        if self.way == "read":
            three = self.three(one)
            one = torch.relu_(one)
            y = torch.relu(three + one)
        elif self.way == "alpha":
            y = torch.relu(torch.add(two, one, alpha=3))
        else:
            y = torch.relu(two + one)
        return self.fc(self.out(y - later).mean((2, 3)))


def resnet(name: str, seed: int = 0) -> nn.Module:
    """A torchvision ResNet with random weights and batch norms that do something."""
    return seeded(getattr(torchvision.models, name)(weights=None), seed)


def bottleneck(seed: int = 0) -> nn.Module:
    """A ResNet-50 with fewer blocks."""
    blocks = torchvision.models.resnet.Bottleneck
    return seeded(torchvision.models.ResNet(blocks, [1, 1, 2, 1], num_classes=CLASSES), seed)
