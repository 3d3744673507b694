"""Shapes and types of research are checked in its tests, as those of the package are."""

from jaxtyping import install_import_hook

# The option of pytest takes one package only beside a checker with arguments.
install_import_hook("research", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
