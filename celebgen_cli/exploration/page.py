"""The report as one HTML page that needs nothing else: styles, plots and pictures are inside, and no script runs."""

from __future__ import annotations

from html import escape
from typing import Any

from celebgen_cli.data.attributes import ATTRIBUTES
from celebgen_cli.errors import counted
from celebgen_cli.exploration import plots
from celebgen_cli.exploration.explore import Exploration
from celebgen_cli.exploration.faces import Average
from celebgen_cli.pages import html
from celebgen_cli.pages.pictures import picture

SURPRISES = 15
PAIRS = 24
NOTICE = (
    "This page shows faces of the dataset, and averages of them. CelebA is for non-commercial research only, and its "
    "pictures must not be published: keep this page to yourself, or share the figures without the pictures."
)


def render(found: Exploration) -> str:
    """The whole page."""
    figures = found.figures
    names = ", ".join(dict.fromkeys(part.dataset for part in found.parts.parts))
    sections = [
        ("sizes", "Sizes and splits", _sizes(found)),
        ("pixels", "Pixels", _pixels(found)),
        ("faces", "Mean and variance face", _mean_faces(found)),
        ("attributes", "Attributes", _attributes(found)),
        ("correlations", "Correlation of attributes", _correlations(found)),
        ("surprises", "Surprising pairs", _surprises(found)),
        ("landmarks", "Landmarks", _landmarks(found)),
        ("captions", "Captions", _captions(found)),
        ("people", "People", _people(found)),
        ("duplicates", "Duplicates", _duplicates(found)),
    ]
    return html.document(names, _summary(figures), NOTICE, sections, f"celebgen {figures['celebgen']} explore")


def _summary(figures: dict[str, Any]) -> str:
    size = figures["size"]
    return f"{counted(figures['images'], 'image')} of {size} × {size} pixels, crop {escape(figures['crop'])}."


# ------------------------------------------------------------------------------------------------ sections


def _sizes(found: Exploration) -> str:
    rows = [
        [
            label,
            f"{split['images']:,}",
            _percent(split["images"] / len(found.parts)),
            _number(split["people"], "people"),
        ]
        for label, split in found.figures["splits"].items()
    ]
    if len(rows) > 1:
        rows.append(["all", f"{len(found.parts):,}", "100.0 %", _number(found.figures["people"], "people")])
    lossy = [escape(entry["path"]) for entry in found.figures["datasets"] if entry["lossy_source"]]
    note = f"<p>Encoded with loss after CelebA's own JPEG: {', '.join(lossy)}.</p>" if lossy else ""
    return html.table(["split", "images", "share", "people"], rows) + note


def _pixels(found: Exploration) -> str:
    def row(label: str, name: str, channel: dict[str, float | None]) -> list[str]:
        numbers = [channel[key] for key in ("mean", "std", "skewness", "kurtosis")]
        return [label, name, *("–" if x is None else f"{x:.2f}" for x in numbers)]

    rows = [row("all", name, channel) for name, channel in found.figures["pixels"].items()]
    if len(found.parts.parts) > 1:
        for label, split in found.figures["splits"].items():
            rows += [row(label, name, channel) for name, channel in split["pixels"].items()]
    table = html.table(["split", "channel", "mean", "std", "skewness", "kurtosis"], rows, text=2)
    return (
        f"<figure>{plots.levels_plot(found.faces.histograms.sum(0))}<figcaption>How often each level is met, by "
        f"channel. A level met far more often than the others is cut off at the top.</figcaption></figure>{table}"
        "<p>Every pixel of every image counts. Levels are 0 to 255. Kurtosis is the excess: a normal distribution has "
        "skewness 0 and kurtosis 0.</p>"
    )


def _mean_faces(found: Exploration) -> str:
    faces = found.faces
    whole = faces.average()
    pairs = [(name, faces.with_attribute(i), faces.without_attribute(i)) for i, name in enumerate(ATTRIBUTES)]
    known = [(name, one, other) for name, one, other in pairs if one is not None]
    brightest = max(float(average.variance.mean(2).max()) for average in (whole, *(one for _, one, _ in known))) ** 0.5
    head = (
        '<div class="faces large">'
        + html.face(picture(plots.face(whole.mean), 256, 90), "mean")
        + html.face(picture(plots.spread(whole.variance, brightest), 256, 90), "spread")
        + "</div>"
    )
    cards = [
        f'<div class="card"><h3>{_words(name)} <small>{one.count:,}</small></h3><div class="faces">'
        + html.face(_small(one), "with")
        + (html.face(_small(other), "without") if other is not None else "")
        + html.face(picture(plots.spread(one.variance, brightest), 96), "spread, with")
        + "</div></div>"
        for name, one, other in known
    ]
    return (
        f"{head}<p>Spread is the square root of the variance, averaged over the channels; white is "
        f"{brightest:.0f} levels in every one of these pictures.</p>"
        + (f'<details open><summary>By attribute</summary><div class="cards">{"".join(cards)}</div></details>'
           if cards else "")
    )  # fmt: skip


def _small(average: Average) -> str:
    return picture(plots.face(average.mean), 96)


def _attributes(found: Exploration) -> str:
    table = found.figures["attributes"]
    if table is None:
        return "<p>No attribute of any image is known.</p>"
    labels = [part.label for part in found.parts.parts] if len(found.parts.parts) > 1 else []
    unknown = any(entry["known"] < len(found.parts) for entry in table.values())
    rows = []
    for name, entry in sorted(table.items(), key=lambda item: -(item[1]["share"] or 0.0)):
        share = entry["share"]
        bar = f'<div class="track"><div style="width:{100 * (share or 0):.1f}%"></div></div>'
        rows.append(
            [_words(name), bar, _percent(share), f"{entry['present']:,}", *([f"{entry['known']:,}"] if unknown else []),
             *(_percent(entry["splits"][label]) for label in labels)]
        )  # fmt: skip
    heads = ["attribute", "", "share", "images", *(["known"] if unknown else []), *labels]
    note = "<p>Images where an attribute is unknown are left out of its share.</p>" if unknown else ""
    return html.table(heads, rows, raw=True) + note


def _correlations(found: Exploration) -> str:
    if found.figures["correlations"] is None:
        return "<p>No attribute of any image is known.</p>"
    plot = plots.correlation_plot(found.together.phi, ATTRIBUTES)
    return (
        f'<figure class="wide"><div class="scroll" tabindex="0">{plot}</div>'
        "<figcaption>Phi, the correlation of two attributes taken as 0 and 1, over the images where both are known. "
        '<span class="key p"></span> together more often than by chance, <span class="key n"></span> less often. '
        "Attributes that go together are put side by side.</figcaption></figure>"
    )


def _surprises(found: Exploration) -> str:
    surprises = found.figures["surprises"]
    if surprises is None:
        return "<p>No attribute of any image is known.</p>"
    rule = surprises["rule"]

    def table(title: str, pairs: list[dict[str, Any]]) -> str:
        rows = [
            [f"{_words(pair['first'])} + {_words(pair['second'])}", f"{pair['lift']:.2f}", f"{pair['both']:,}",
             f"{pair['expected']:,.0f}", f"{pair['phi']:+.2f}", f"{pair['z']:+.1f}"]
            for pair in pairs[:SURPRISES]
        ]  # fmt: skip
        heads = ["pair", "lift", "images", "by chance", "phi", "z"]
        count = f"{title} <small>{counted(len(pairs), 'pair')}</small>"
        return f"<div><h3>{count}</h3>{html.table(heads, rows, raw=True) if rows else '<p>None.</p>'}</div>"

    if rule["z"] is None:
        return "<p>No two attributes both change, so that there is no pair to judge.</p>"
    return (
        f'<div class="two">{table("More often than by chance", surprises["above"])}'
        f"{table('Less often than by chance', surprises['below'])}</div>"
        f"<p>Lift is the number of images with both attributes, divided by the number that independence would let "
        f"expect. A pair is listed where at least {rule['min_expected']} are expected and the difference is "
        f"significant: |z| above {rule['z']:.2f}, so that with {counted(rule['pairs'], 'pair')} of independent "
        f"attributes the chance of listing any is {100 * rule['significance']:.0f} %.</p>"
    )


def _landmarks(found: Exploration) -> str:
    figures = found.figures["landmarks"]
    if figures is None or found.landmarks is None:
        return "<p>No landmarks are stored with this dataset.</p>"
    keys = [
        f'<span class="key" style="background:rgb{colour}"></span> {name}'
        for colour, name in zip(plots.POINTS, figures["points"], strict=True)
    ]
    rows = [
        [key, *(f"{point['mean'][axis]:.2f} ± {point['std'][axis]:.2f}" for axis in (0, 1))]
        for key, point in zip(keys, figures["points"].values(), strict=True)
    ]
    eyes, roll = figures["eye_distance"], figures["eye_roll_degrees"]
    return (
        f"<div class='two'><figure>{plots.landmarks_plot(found.landmarks, found.faces.average().mean)}<figcaption>"
        f"{counted(figures['images'], 'image')} over the mean face of all; ellipses reach two standard deviations."
        f"</figcaption></figure><div>{html.table(['point', 'x', 'y'], rows, raw=True)}<p>Pixels, mean ± standard "
        f"deviation. The eyes are {eyes['mean']:.2f} ± {eyes['std']:.2f} pixels apart and turned by "
        f"{roll['mean']:.2f} ± {roll['std']:.2f} degrees.</p></div></div>"
    )


def _captions(found: Exploration) -> str:
    figures = found.figures["captions"]
    if figures is None:
        why = "there are no attributes to make them from"
        if found.figures["attributes"] is not None:  # known in part: a caption takes all of them
            why = "no image has all its attributes known, so none can be made"
        return f"<p>No captions are stored with this dataset, and {why}.</p>"
    words = figures["words_per_caption"]
    samples = "".join(
        f'<li><img src="{picture(found.parts.images([row])[0], 96)}" alt="" loading="lazy"> '
        f"<span>{escape(text)} <small>{counted(len(text.split()), 'word')}</small></span></li>"
        for row, text in found.captions
    )
    common = ", ".join(f"{escape(word)} {count:,}" for word, count in figures["most_common"])
    source = "" if figures["source"] == "stored" else " None are stored: these are made from attributes."
    return (
        f"<p>{counted(figures['captions'], 'caption')}, {figures['distinct']:,} of them distinct.{source} A caption "
        f"has {words['mean']:.1f} ± {words['std']:.1f} words, from {words['min']} to {words['max']}; "
        f"{counted(figures['vocabulary'], 'different word')}.</p><div class='two'><ul class=\"samples\">{samples}</ul>"
        f"<div><figure>{plots.bars_plot(figures['captions_by_words'], 'words in a caption')}</figure>"
        f"<p>Most common: {common}.</p></div></div>"
    )


def _people(found: Exploration) -> str:
    figures = found.figures["people"]
    if figures is None:
        return "<p>It is not known who is in these images.</p>"
    each = figures["images_per_person"]
    people = "1 person" if figures["people"] == 1 else f"{figures['people']:,} people"
    unknown = f" Of nobody known: {counted(figures['unknown'], 'image')}." if figures["unknown"] else ""
    text = (
        f"<p>{people} in {counted(figures['images'], 'image')}: {each['mean']:.1f} images a person on average, "
        f"{each['median']:g} in the median, from {each['min']} to {each['max']}.{unknown}</p>"
    )
    if len(found.parts.parts) > 1:
        text += f"<p>People in more than one split: {figures['in_several_splits']:,}.</p>"
    shared = [[" and ".join(pair["splits"]), f"{pair['people']:,}"] for pair in figures["shared"]]
    table = html.table(["splits", "people in both"], shared) if shared else ""
    plot = plots.bars_plot(figures["people_by_images"], "images of a person")
    return f"{text}{table}<figure>{plot}<figcaption>How many people have so many images.</figcaption></figure>"


def _duplicates(found: Exploration) -> str:
    figures = found.figures["duplicates"]
    rule = figures["rule"]
    how = (
        f"<p>Identical: the same pixels, byte by byte. Near-identical: once each channel's mean is taken away, the "
        f"root mean square difference is at most {rule['pixel_distance']:g} levels and a third of the image's own "
        f"spread; pairs that the low waves of a cosine transform set apart by more than "
        f"{rule['descriptor_distance']:g} levels are not looked at. So a picture is found again after encoding, "
        f"brighter or darker, and mirrored, not after another crop.</p>"
    )
    if not figures["complete"]:
        how += '<p class="notice">There were too many similar pairs to look at all of them: these are a part.</p>'
    if not figures["pairs"]:
        return f"<p>None were found.</p>{how}"
    rows = [
        [
            " and ".join(dict.fromkeys(pair["splits"])),
            *(f"{pair[kind]:,}" for kind in ("identical", "near", "mirrored")),
        ]
        for pair in figures["pairs"]
    ]
    table = html.table(["pairs within or across", "identical", "near-identical", "mirrored"], rows)
    return table + how + _pair_gallery(found)


def _pair_gallery(found: Exploration) -> str:
    """Pictures of some pairs: those across splits first, the same picture of two datasets (equal names) last."""
    figures, parts = found.figures["duplicates"], found.parts
    pairs: list[tuple[bool, bool, int, int, str, dict[str, Any]]] = []

    def add(a: int, b: int, first: dict[str, str], second: dict[str, str], what: str, labels: dict[str, Any]) -> None:
        same = first["name"] == second["name"] and first["split"] != second["split"]
        pairs.append((same, first["split"] == second["split"], a, b, what, labels))

    for group, entry in zip(found.found.identical, figures["identical"], strict=True):
        more = f"identical, {len(group)} times" if len(group) > 2 else "identical"
        for k in range(1, min(len(group), 4)):
            add(group[0], group[k], entry["images"][0], entry["images"][k], more, entry)
    for pair, entry in zip(found.found.near, figures["near"], strict=True):
        what = f"{'mirrored, ' if pair.mirrored else ''}differs by {pair.distance:.1f}"
        add(pair.a, pair.b, entry["first"], entry["second"], what, entry)
    pairs.sort(key=lambda pair: pair[:2])
    cards = []
    for _, _, a, b, what, labels in pairs[:PAIRS]:
        images = parts.images([a, b])
        (one, row), (other, other_row) = parts.place(a), parts.place(b)
        notes = [what]
        if labels["same_person"] is False:
            notes.append("labelled as two people")
        if labels["attributes_differ"]:
            count = labels["attributes_differ"]
            notes.append(f"{count} attribute{'s differ' if count > 1 else ' differs'}")
        cards.append(
            f'<div class="card"><div class="faces">{html.face(picture(images[0], 96), one.name_of(row), one.label)}'
            f"{html.face(picture(images[1], 96), other.name_of(other_row), other.label)}</div>"
            f"<p>{'; '.join(notes)}</p></div>"
        )
    shown = f"<p>{min(PAIRS, len(pairs))} of {len(pairs):,} pairs:</p>" if len(pairs) > PAIRS else ""
    same = sum(pair[0] for pair in pairs)
    if same:
        shown += f"<p>The same number in two splits, one picture that was prepared twice: {counted(same, 'pair')}.</p>"
    return f'{shown}<div class="cards pairs">{"".join(cards)}</div>'


# ------------------------------------------------------------------------------------------------ small parts


def _words(name: str) -> str:
    return escape(name.replace("_", " "))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _number(entry: dict[str, Any] | None, key: str) -> str:
    return "–" if entry is None else f"{entry[key]:,}"
