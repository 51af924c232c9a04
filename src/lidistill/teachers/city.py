"""The city teacher: a small convolutional network trained on pictures of the synthetic city, shipped with the package.

It is there so that the demo and the tests need no download. ``benchmarks/train_city_teacher.py`` makes its weights from
rendered pictures and their class maps; the card beside the weights says from which and how well it reads new streets.
It knows the synthetic city and nothing else: on real pictures it is useless.
"""

from __future__ import annotations

from importlib import resources

from torch import Tensor, nn
from torch.nn import functional

from lidistill.errors import InputError
from lidistill.taxonomy import raw_names
from lidistill.teachers.teacher import Classifier, Teacher

DIM = 64
STRIDE = 4
CLASSES = 37
"""Raw classes of the city, those that ``city-16`` reads; 0 is the sky."""

MEAN, STD = (0.45, 0.45, 0.45), (0.25, 0.25, 0.25)


def _step(inputs: int, outputs: int, stride: int = 1, spread: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, spread, dilation=spread, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3 x 3 convolutions, ``spread`` pixels between their taps, added to their input."""

    def __init__(self, width: int, spread: int = 1) -> None:
        super().__init__()
        self.first = _step(width, width, spread=spread)
        self.second = nn.Conv2d(width, width, 3, padding=spread, dilation=spread, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        return functional.relu(x + self.norm(self.second(self.first(x))))


def double(x: Tensor, like: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, rows and columns of ``like``), 2 h - 1 or 2 h: cell i of the input lies on cell 2 i.

    Others are interpolated. A common bilinear up-sampling by two would move the map by half a cell against the strided
    convolutions; cutting 2 h rows to those of ``like`` could not be exported for pictures of any size.
    """
    rows, columns = x.shape[-2:]
    fine = functional.interpolate(x, (2 * rows - 1, 2 * columns - 1), mode="bilinear", align_corners=True)
    beyond = (0, like.shape[-1] - (2 * columns - 1), 0, like.shape[-2] - (2 * rows - 1))
    return functional.pad(fine, beyond, mode="replicate")


class CityEncoder(nn.Module):
    """Encoder to 1/16, decoder to 1/4. Cell (i, j) of the output is centred on pixel (4 i, 4 j).

    ``width``: share of the channels of the shipped network, in multiples of 16; the number of features stays 64.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        # torch 2.13 gives dilated convolutions of other channel counts wrong gradients (bfloat16 on a CPU)
        half, fine, middle, coarse = (16 * max(round(width * channels / 16), 1) for channels in (32, 64, 96, 128))
        self.quarter = nn.Sequential(_step(3, half, 2), _step(half, fine, 2), Residual(fine))
        self.eighth = nn.Sequential(_step(fine, middle, 2), Residual(middle), Residual(middle, 2))
        self.sixteenth = nn.Sequential(
            _step(middle, coarse, 2), Residual(coarse), Residual(coarse, 2), Residual(coarse, 4)
        )
        self.to_eighth = nn.Conv2d(coarse, middle, 1)
        self.join_eighth = Residual(middle)
        self.to_quarter = nn.Conv2d(middle, fine, 1)
        self.join_quarter = Residual(fine)
        # no rectifier after this norm: features of both signs are what cosine similarity wants
        self.last = nn.Sequential(nn.Conv2d(fine, DIM, 3, padding=1, bias=False), nn.BatchNorm2d(DIM))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised pictures (B, 3, H, W) -> features of both signs (B, 64, H / 4, W / 4)."""
        quarter = self.quarter(images)
        eighth = self.eighth(quarter)
        deep = double(self.to_eighth(self.sixteenth(eighth)), eighth)
        deep = double(self.to_quarter(self.join_eighth(eighth + deep)), quarter)
        out: Tensor = self.last(self.join_quarter(quarter + deep))
        return out


class CityNetwork(CityEncoder):
    """The shipped network: the encoder, and a linear ``classifier`` of the raw classes that the features lie before."""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__(width)
        self.classifier = nn.Conv2d(DIM, CLASSES, 1)


class CityTeacher(Teacher):
    """``CityNetwork`` as a teacher: 64 features, stride 4, grid ``origin``; knows the raw classes of the city."""

    def __init__(self, network: CityNetwork) -> None:
        super().__init__(name="city", dim=DIM, stride=STRIDE, grid="origin", mean=MEAN, std=STD)
        self.network = network
        layer, names = network.classifier, raw_names("city-16", "city")
        assert layer.bias is not None
        classes = tuple(names[number] for number in range(CLASSES))
        self.classifier = Classifier(classes, "city", layer.weight.detach().flatten(1), layer.bias.detach())

    def encode(self, images: Tensor) -> Tensor:
        """Normalised pictures -> features before the classifier."""
        out: Tensor = self.network(images)
        return out


def load_city() -> CityTeacher:
    """The trained city teacher. Raises ``InputError`` when the installation lacks its weights."""
    from safetensors.torch import load

    file = resources.files("lidistill.teachers") / "weights" / "city.safetensors"
    try:
        state = load(file.read_bytes())
    except OSError as error:
        raise InputError(
            f"{file}: the weights of the city teacher are missing; reinstall lidistill, or make them with "
            f"benchmarks/train_city_teacher.py"
        ) from error
    network = CityNetwork()
    network.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    teacher = CityTeacher(network)
    teacher.freeze()
    return teacher
