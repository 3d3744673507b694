"""Networks of the library timm on cells: the published winners' kind, with weights learned on photographs."""

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from leukospike.classification.network import scores_from_all_sides
from leukospike.errors import ConfigError


class TimmNetwork(nn.Module):
    """Crops of cells to the logits of (normal, leukemic), through any network of timm that classifies pictures.

    A crop is enlarged to the size that the network was made for, and standardised as its pictures were.

    Parameters
    ----------
    name : str
        As timm has it, such as "resnet18" or "resnet18.a1_in1k".
    pretrained : bool
        True: begin with the weights that timm offers, which it downloads, or has downloaded before.

    Raises
    ------
    ConfigError
        If timm, or torchvision, which it imports, is not installed or does not fit; if timm knows no such network, or
        the weights cannot be had.

    References
    ----------
    .. [1] R. Wightman, PyTorch Image Models, doi 10.5281/zenodo.4414861.
    """

    mean: Float[Tensor, "1 3 1 1"]
    std: Float[Tensor, "1 3 1 1"]

    def __init__(self, name: str, *, pretrained: bool = False) -> None:
        super().__init__()
        timm = _timm(name)
        if ":" in name or "/" in name or not timm.is_model(name):
            msg = "timm must provide the network"
            raise ConfigError(msg, where="backbone", got=f"timm:{name}", advice="See timm.list_models() for the names.")
        self.name = name
        try:
            self.network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=2)
        except Exception as error:
            reason = " ".join(str(error).split())[:160]
            msg = f"timm must be able to create timm:{name}{(' with its weights' if pretrained else '')}"
            raise ConfigError(
                msg,
                where="backbone",
                got=f"{type(error).__name__} ({reason})",
                advice="Choose another"
                f" network{(', connect to the internet, or leave out --pretrained' if pretrained else '')}.",
            ) from error
        told: dict[str, Any] = vars(self.network)["pretrained_cfg"]
        self._size: tuple[int, int] = told["input_size"][1:]
        self.register_buffer("mean", torch.tensor(told["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(told["std"]).view(1, 3, 1, 1), persistent=False)

    def forward(self, colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, "batch 2"]:
        """Return the logits of (normal, leukemic) of cells whose colours are 0 to 1, black around them."""
        enlarged = functional.interpolate(colours, self._size, mode="bilinear", align_corners=False)
        return self.network((enlarged - self.mean) / self.std)

    def scores(self, colours: Float[Tensor, "batch 3 rows columns"]) -> Float[Tensor, " batch"]:
        """Return the log odds that each cell is leukemic: the mean over the cell seen from its four sides."""
        return scores_from_all_sides(self, colours)


def _timm(name: str) -> ModuleType:
    """Import timm, which is an extra."""
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # a RuntimeError comes from a torchvision for another torch
        reason = " ".join(str(error).split())[:160]
        if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "timm":
            msg = (
                f"backbone: timm:{name} must be installed with the extra timm, got '{reason}'. In the clone,"
                " run: pip install -e '.[timm]'."
            )
        else:
            msg = (
                f"backbone: timm:{name} must have a torchvision that matches torch {torch.__version__} (timm imports"
                f" it), got '{reason}'. Install it from the same source as torch: pip install torchvision."
            )
        raise ConfigError(msg) from error
    return timm
