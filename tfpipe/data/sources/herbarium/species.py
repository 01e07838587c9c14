"""The flora of the herbarium: twelve invented species in four genera, and three regions.

Genera differ by the architecture of the flower and the habit of the leaves. Species of a genus differ
by the number and shape of petals, by pattern, centre and leaf; colour alone does not tell them apart,
because the palettes of a genus move round from species to species with the region.

Lengths are in flower radii, colours are sRGB in [0, 1], angles in degrees, clockwise from the right.
"""

from dataclasses import dataclass

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Outline:
    """The edge of a petal or leaf: half-width t**rise * (1 - t)**fall from base (t=0) to tip (t=1), peak 1.

    `notch` cuts the tip in as a heart, `teeth` is the number of teeth a side and `depth` how deep they go.
    """

    rise: float
    fall: float
    notch: float = 0.0
    teeth: int = 0
    depth: float = 0.0


@dataclass(frozen=True)
class Ring:
    """Petals, bracts or stamens round a point; `width` is the half-width over the length.

    Without `angles` the blades stand evenly; without `colour` they take the plant's petal colour.
    """

    count: int
    outline: Outline
    width: float
    length: float = 1.0
    pattern: str = "plain"
    accent: RGB = (1.0, 1.0, 1.0)
    colour: RGB | None = None
    angles: tuple[float, ...] = ()


@dataclass(frozen=True)
class Dome:
    """A grainy half-ball: the disc of a daisy, a pistil, a throat."""

    radius: float
    colour: RGB


@dataclass(frozen=True)
class Cluster:
    """An umbel: small flowers packed in a disc of radius `spread`."""

    count: int
    spread: float
    floret: Ring
    eye: Dome


Part = Ring | Dome | Cluster


@dataclass(frozen=True)
class Leaves:
    """`habit` names an arrangement in `foliage.HABITS`."""

    habit: str
    count: int
    outline: Outline
    length: float
    width: float
    colour: RGB
    pattern: str = "pinnate"
    accent: RGB = (0.72, 0.80, 0.50)


@dataclass(frozen=True)
class Species:
    """One species. `abundance` is its weight among all species, one number a region of `REGIONS`."""

    name: str
    synonyms: tuple[str, ...]
    abundance: tuple[float, float, float]
    petal_colour: RGB
    flower: tuple[Part, ...]
    leaves: Leaves

    @property
    def genus(self) -> str:
        """The first word of the name."""
        return self.name.split()[0]


@dataclass(frozen=True)
class Region:
    """How a region changes every species that grows there.

    `palette_turn` blends a species' petal colour towards its next sister's (1: her colour in `EU`).
    `habitats` are weights of limestone, meadow and forest floor.
    """

    name: str
    share: float
    palette_turn: float
    petal_width: float
    flower_size: float
    leaf_tone: RGB
    habitats: tuple[float, float, float]


REGIONS = (
    Region("EU_SW", 0.3, 0.4, 0.90, 0.94, (1.08, 1.02, 0.86), (0.60, 0.30, 0.10)),
    Region("EU", 0.5, 0.0, 1.00, 1.00, (1.00, 1.00, 1.00), (0.15, 0.55, 0.30)),
    Region("OTHER", 0.2, 0.9, 1.12, 1.05, (0.86, 0.96, 1.12), (0.15, 0.25, 0.60)),
)

_ROUND = Outline(0.75, 0.42)
_POINTED = Outline(0.80, 0.95)
_HEART = Outline(0.90, 0.38, notch=0.30)
_STRAP = Outline(0.35, 0.55)
_HAIR = Outline(0.15, 0.15)

HELIASTRA = (
    Species(
        "Heliastra pratensis",
        ("Heliastra pratensis L.", "heliastra pratensis", "Asteroma pratense"),
        (10, 22, 8),
        (0.97, 0.80, 0.15),
        (Ring(8, _ROUND, 0.30), Dome(0.28, (0.72, 0.42, 0.10))),
        Leaves("rosette", 7, Outline(0.9, 0.6, teeth=5, depth=0.55), 1.9, 0.24, (0.30, 0.46, 0.18)),
    ),
    Species(
        "Heliastra calcicola",
        ("Heliastra calcicola Mill.", "HELIASTRA CALCICOLA", "Asteroma calcareum"),
        (14, 4, 6),
        (0.96, 0.64, 0.16),
        (Ring(13, _POINTED, 0.20, pattern="eye", accent=(0.50, 0.10, 0.08)), Dome(0.33, (0.52, 0.27, 0.10))),
        Leaves("rosette", 8, Outline(0.9, 0.6, teeth=3, depth=0.25), 1.8, 0.24, (0.34, 0.46, 0.24)),
    ),
    Species(
        "Heliastra alpina",
        ("Heliastra alpina (L.) Hoppe", "Heliastra Alpina", "Asteroma alpinum"),
        (4, 8, 20),
        (0.97, 0.84, 0.46),
        (Ring(21, _STRAP, 0.085), Ring(21, _STRAP, 0.085, length=0.72), Dome(0.23, (0.80, 0.56, 0.12))),
        Leaves("rosette", 9, Outline(0.8, 0.8, teeth=8, depth=0.3), 1.85, 0.20, (0.27, 0.43, 0.21)),
    ),
)

ANEMOSA = (
    Species(
        "Anemosa vernalis",
        ("Anemosa vernalis L.", "anemosa vernalis", "Pulsatrix vernalis"),
        (12, 14, 6),
        (0.90, 0.52, 0.70),
        (
            Ring(5, _HEART, 0.52, pattern="eye", accent=(0.98, 0.95, 0.80)),
            Ring(10, _HAIR, 0.06, 0.30, colour=(0.95, 0.85, 0.35)),
            Dome(0.10, (0.75, 0.75, 0.25)),
        ),
        Leaves("ternate", 3, Outline(0.8, 0.5, teeth=6, depth=0.28), 1.0, 0.42, (0.30, 0.50, 0.22)),
    ),
    Species(
        "Anemosa sylvatica",
        ("Anemosa sylvatica Scop.", "Anemosa silvatica", "Pulsatrix sylvatica"),
        (3, 13, 9),
        (0.78, 0.56, 0.82),
        (
            Ring(6, _POINTED, 0.38, pattern="veined", accent=(0.42, 0.22, 0.55)),
            Ring(22, _HAIR, 0.05, 0.40, colour=(0.62, 0.46, 0.28)),
            Dome(0.14, (0.50, 0.54, 0.22)),
        ),
        Leaves("ternate", 4, Outline(0.8, 1.0), 1.05, 0.36, (0.27, 0.45, 0.22)),
    ),
    Species(
        "Anemosa rupestris",
        ("Anemosa rupestris (Mill.) Kern.", "ANEMOSA RUPESTRIS", "Pulsatrix saxicola"),
        (13, 3, 8),
        (0.93, 0.72, 0.80),
        (
            Ring(4, Outline(0.7, 0.35), 0.60, pattern="edged", accent=(0.74, 0.34, 0.56)),
            Ring(14, _HAIR, 0.06, 0.34, colour=(0.92, 0.70, 0.20)),
            Dome(0.13, (0.45, 0.60, 0.25)),
        ),
        Leaves("ternate", 4, Outline(0.7, 0.4, teeth=3, depth=0.4), 0.95, 0.42, (0.33, 0.49, 0.26)),
    ),
)

LABELLIA = (
    Species(
        "Labellia maculata",
        ("Labellia maculata L.", "labellia maculata", "Orchiola maculata"),
        (11, 7, 5),
        (0.68, 0.42, 0.78),
        (
            Ring(3, _POINTED, 0.24, 0.85, angles=(-150, -90, -30)),
            Ring(1, _HEART, 0.62, 1.0, "spotted", (0.38, 0.08, 0.38), angles=(90,)),
            Ring(2, _POINTED, 0.30, 0.6, angles=(-115, -65)),
            Dome(0.15, (0.94, 0.86, 0.55)),
        ),
        Leaves("strap", 5, Outline(0.3, 0.7), 2.3, 0.14, (0.28, 0.45, 0.23), "parallel"),
    ),
    Species(
        "Labellia striata",
        ("Labellia striata Rchb.", "Labellia Striata", "Orchiola lineata"),
        (5, 9, 18),
        (0.78, 0.42, 0.72),
        (
            Ring(2, _ROUND, 0.46, 0.9, angles=(-125, -55)),
            Ring(2, _ROUND, 0.34, 0.8, angles=(160, 20)),
            Ring(1, _POINTED, 0.40, 1.0, "veined", (0.35, 0.10, 0.40), angles=(90,)),
            Dome(0.16, (0.94, 0.80, 0.35)),
        ),
        Leaves("strap", 5, Outline(0.3, 0.7), 2.3, 0.11, (0.29, 0.46, 0.24), "parallel"),
    ),
    Species(
        "Labellia marginata",
        ("Labellia marginata Sw.", "LABELLIA MARGINATA", "Orchiola limbata"),
        (9, 3, 4),
        (0.57, 0.42, 0.81),
        (
            Ring(1, _ROUND, 0.42, 0.9, angles=(-90,)),
            Ring(2, _POINTED, 0.22, 1.0, angles=(145, 35)),
            Ring(1, Outline(0.5, 0.35), 0.66, 0.9, "edged", (0.97, 0.95, 0.90), angles=(90,)),
            Dome(0.17, (0.86, 0.76, 0.50)),
        ),
        Leaves("strap", 4, Outline(0.4, 0.6), 2.1, 0.19, (0.26, 0.44, 0.24), "parallel"),
    ),
)

UMBRANTHA = (
    Species(
        "Umbrantha stellata",
        ("Umbrantha stellata L.", "umbrantha stellata", "Corymbia radians"),
        (8, 10, 8),
        (0.92, 0.80, 0.86),
        (
            Ring(12, _POINTED, 0.13, 1.0, colour=(0.62, 0.72, 0.45)),
            Cluster(19, 0.50, Ring(5, _ROUND, 0.38), Dome(0.25, (0.55, 0.60, 0.30))),
        ),
        Leaves("pinnate", 3, Outline(0.7, 0.9), 2.0, 0.34, (0.29, 0.46, 0.24)),
    ),
    Species(
        "Umbrantha globosa",
        ("Umbrantha globosa Gouan", "Umbrantha Globosa", "Corymbia sphaerica"),
        (9, 5, 3),
        (0.89, 0.66, 0.78),
        (Cluster(25, 0.86, Ring(4, _HEART, 0.50), Dome(0.28, (0.62, 0.42, 0.36))),),
        Leaves("pinnate", 3, Outline(0.8, 0.5, teeth=4, depth=0.4), 2.0, 0.40, (0.33, 0.48, 0.24)),
    ),
    Species(
        "Umbrantha bracteata",
        ("Umbrantha bracteata Lam.", "UMBRANTHA BRACTEATA", "Corymbia involucrata"),
        (2, 2, 5),
        (0.80, 0.68, 0.86),
        (
            Ring(6, _POINTED, 0.36, 1.0, "edged", (0.45, 0.55, 0.30)),
            Cluster(12, 0.34, Ring(6, _POINTED, 0.30), Dome(0.30, (0.85, 0.80, 0.30))),
        ),
        Leaves("pinnate", 3, Outline(0.6, 0.6), 1.9, 0.46, (0.26, 0.43, 0.24)),
    ),
)

GENERA = (HELIASTRA, ANEMOSA, LABELLIA, UMBRANTHA)
SPECIES = HELIASTRA + ANEMOSA + LABELLIA + UMBRANTHA
SYNONYMS = {synonym: species.name for species in SPECIES for synonym in species.synonyms}


def sisters(species: Species) -> tuple[Species, Species]:
    """The two other species of the genus, the next one first."""
    genus = next(genus for genus in GENERA if species in genus)
    index = genus.index(species)
    return genus[(index + 1) % 3], genus[(index + 2) % 3]
