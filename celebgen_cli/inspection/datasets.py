"""A prepared dataset: how many pictures of what size and crop, what is known of them, and where they come from."""

from pathlib import Path

from celebgen_cli.errors import CelebgenError, counted
from celebgen_cli.files import read_json
from celebgen_cli.inspection.report import Report, bytes_below, command, mapping, size, whole


def inspect(dataset: Path) -> Report:
    """Everything that dataset.json says.

    Raises:
        CelebgenError: it is not that of a dataset.
    """
    info = read_json(dataset / "dataset.json")
    if not isinstance(info, dict) or info.get("format") != "celebgen-dataset":
        raise CelebgenError(f"{dataset / 'dataset.json'} does not describe a prepared dataset; prepare it again")
    counts = {name: whole(count) for name, count in mapping(info.get("counts")).items()}
    crop = mapping(info.get("crop"))
    report = Report(f"{dataset}: prepared dataset of {counted(sum(counts.values()), 'picture')}")
    about = report.section("What it is")
    about.add("pictures", f"{info.get('size')} x {info.get('size')} px")
    box = crop.get("box")
    box = box if isinstance(box, list) else None
    frame = "the aligned 178 x 218" if info.get("aligned") else "178 x 218"
    where = f", box {' '.join(map(str, box))} of {frame}" if box else ""
    if crop.get("name") == "square":  # its box is that of an aligned image, which these are not
        where = ", the central squares"
    about.add("crop", f"{crop.get('name')}{where}{', cut before' if info.get('already_cropped') else ''}")
    about.add("resized by", info.get("filter"))
    about.add("aligned", "by landmarks" if info.get("aligned") else None)
    if info.get("lossy_source"):
        about.add("note", "pixels were encoded with loss after CelebA's own JPEG: no reference for FID")
    about.add("on disk", size(bytes_below(dataset)))

    splits = report.section("Splits")
    for name, count in counts.items():
        splits.add(name, counted(count, "picture"))
    files = set(mapping(info.get("sha256")))
    key = "name" if any(file.endswith("/names.bin") for file in files) else "number"
    splits.add("by", "CelebA's partition file" if info.get("partition") == "file" else f"a hash of the {key}")
    left = mapping(info.get("left_out"))
    splits.add("left out", f"{whole(left.get('rejected')):,} rejected, {whole(left.get('repeats')):,} repeats")
    splits.add("limit", info.get("limit"))

    known = report.section("What is known of them")
    known.add("attributes", "yes" if info.get("attributes") else "no")
    captions = whole(info.get("captions"))
    told = f"{captions:,} of their own" if captions else "none of their own"
    known.add("captions", told + (", and what the attributes make" if info.get("attributes") else ""))
    for name in ("landmarks", "names"):
        having = [split for split in counts if any(f.startswith(f"{split}/{name}") for f in files)]
        known.add(name, ", ".join(having))
    annotations = mapping(info.get("annotations")).values()
    known.add("annotations", ", ".join(str(mapping(entry).get("file")) for entry in annotations))

    origin = report.section("How it was made")
    sources = info.get("source")
    for source in sources if isinstance(sources, list) else []:
        found = mapping(source)
        told = "" if found.get("bytes") is None else f", {size(whole(found['bytes']))}"
        origin.add("source", f"{found.get('name')}: {counted(whole(found.get('images')), 'image')}{told}")
    origin.add("tools", ", ".join(f"{name} {version}" for name, version in mapping(info.get("tools")).items()))
    caches = [path for path in (dataset / "latents").glob("*") if (path / "complete.json").is_file()]
    if caches:
        taken = sum(map(bytes_below, caches))
        origin.add("latent caches", f"{len(caches)}, {size(taken)}; they may be deleted")

    nexts = report.section("What to do with it")
    nexts.add("", command("celebgen", "explore", dataset))
    if counts.get("train"):
        nexts.add("", command("celebgen", "train-clip", dataset, "-o", "runs/clip"))
    if counts.get("valid"):
        nexts.add("", command("celebgen", "evaluate", "fid", "MODEL", dataset))
    return report
