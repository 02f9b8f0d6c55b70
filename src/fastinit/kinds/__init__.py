"""How the values of a tensor are made: which kind each initializer stands for."""

from .diagonal import Dirac, Eye
from .drawn import Drawn
from .kind import Named
from .orthogonal import DeltaOrthogonal, Orthogonal
from .sparse import Sparse

#: A line for each initializer.
KINDS: dict[str, type[Named]] = {
    "uniform": Drawn,
    "normal": Drawn,
    "truncated_normal": Drawn,
    "constant": Drawn,
    "zeros": Drawn,
    "ones": Drawn,
    "eye": Eye,
    "dirac": Dirac,
    "sparse": Sparse,
    "variance_scaling": Drawn,
    "glorot_uniform": Drawn,
    "glorot_normal": Drawn,
    "he_uniform": Drawn,
    "he_normal": Drawn,
    "lecun_uniform": Drawn,
    "lecun_normal": Drawn,
    "orthogonal": Orthogonal,
    "delta_orthogonal": DeltaOrthogonal,
}
