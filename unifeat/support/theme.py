"""Names as a reader sees them: labels and colors of models and domains, one theme per lineage."""

from dataclasses import dataclass, replace

# Okabe and Ito's colors and two more, distinct in the common kinds of color blindness, and hues beside them for
# domains.
MODEL_PALETTE = ("#4D4D4D", "#0072B2", "#D55E00", "#CC79A7", "#009E73", "#7A5195", "#B8860B", "#17A2B8")
DOMAIN_PALETTE = ("#009E73", "#332288", "#E69F00", "#56B4E9", "#882255", "#999933", "#AA4499", "#44AA99")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#8A8A8A"


@dataclass(frozen=True)
class Look:
    """How a model or domain is written (label, short in narrow places, phrase in sentences) and drawn."""

    label: str = ""
    short: str = ""
    phrase: str = ""
    color: str = ""
    marker: str = "o"


@dataclass(frozen=True)
class Theme:
    """The looks of a lineage's models and domains by name, its edges, and the domains of each model."""

    models: dict[str, Look]
    domains: dict[str, Look]
    edges: tuple[tuple[str, str], ...] = ()
    own: dict[str, tuple[str, ...]] = None

    def model(self, name: str) -> Look:
        """A model's look; a name that the lineage does not have is written as it is, in grey."""
        return self.models.get(name) or _plain(name)

    def domain(self, name: str) -> Look:
        """A domain's look."""
        return self.domains.get(name) or _plain(name)

    def color(self, name: str) -> str:
        """A model's color."""
        return self.model(name).color

    def short(self, name: str) -> str:
        """A model's short label."""
        return self.model(name).short

    def spelled(self, spell) -> "Theme":
        """The theme with every text t of its looks written spell(t)."""
        def look(one):
            return replace(one, label=spell(one.label), short=spell(one.short), phrase=spell(one.phrase))

        models, domains = ({name: look(one) for name, one in looks.items()} for looks in (self.models, self.domains))
        return replace(self, models=models, domains=domains)

    def edge(self, parent: str, child: str) -> str:
        """An edge as it is written in figures.

        >>> theme({"a": Look(), "b": Look("Bee")}, {}).edge("a", "b")
        'A → Bee'
        """
        return f"{self.short(parent)} → {self.short(child)}"


def theme(models: dict[str, Look], domains: dict[str, Look], edges=(), own=None) -> Theme:
    """A theme in which what the looks leave open follows from the names and their order.

    >>> theme({"my_tuned": Look()}, {}).model("my_tuned")
    Look(label='My tuned', short='My tuned', phrase='My tuned', color='#4D4D4D', marker='o')
    """
    return Theme(_filled(models, MODEL_PALETTE), _filled(domains, DOMAIN_PALETTE), tuple(edges), own or {})


def _filled(looks: dict[str, Look], palette) -> dict[str, Look]:
    free = [color for color in palette if color not in {look.color for look in looks.values()}] or [GREY]
    out, taken = {}, 0
    for number, (name, look) in enumerate(looks.items()):
        label = look.label or _words(name)
        color = look.color
        if not color:
            color, taken = free[taken % len(free)], taken + 1
        out[name] = replace(look, label=label, short=look.short or label, phrase=look.phrase or look.short or label,
                            color=color, marker=MARKERS[number % len(MARKERS)])
    return out


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _plain(name: str) -> Look:
    words = _words(str(name))
    return Look(words, words, words, GREY, "o")
