"""Analysis of many images: read, judge and tabulate, each stage once, with the read images kept in a store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np

from leukospike.analysis.engine import Engine, Threads
from leukospike.analysis.folder import OVERLAYS, AnalysisFolder
from leukospike.analysis.judges import Judge, Judgements, classifier_file, diameters_um, load_classifier
from leukospike.analysis.keeping import Contents, contents_of, keep_missing
from leukospike.analysis.manifest import StoredImage, write_crops
from leukospike.analysis.names import name_failure, output_stem
from leukospike.analysis.notices import analysis_notices
from leukospike.analysis.reading import ReadCell, read_image
from leukospike.analysis.result import Analysis, TemporaryFolder, load_analysis
from leukospike.analysis.store import KeptImage, Recipe, Store, opened_store
from leukospike.analysis.summary import Detection, KindCounts, ScaleFacts, Summary
from leukospike.analysis.tables import DECISIONS, Tables, counted_cells, tabulate
from leukospike.classification.explanation import (
    CellToExplain,
    Explainer,
    chosen_cells,
    default_explainer,
    write_explanations,
)
from leukospike.confidence import EVEN
from leukospike.confidence.calibration import CLOSEST
from leukospike.datasets import Record
from leukospike.datasets.classes import Names
from leukospike.datasets.collect import find_images
from leukospike.environment import describe_environment
from leukospike.errors import ConfigError, WeightsError
from leukospike.evaluation.metrics import THRESHOLD
from leukospike.failures import Failure
from leukospike.jobs import Progress, silent
from leukospike.notices import Notice
from leukospike.segmentation import PixelSize
from leukospike.segmentation.detection import Matches, match_centroids
from leukospike.segmentation.methods import SegmentationMethod, surrogate
from leukospike.segmentation.morphology import cell_row, cell_table
from leukospike.settings import Kind, Runtime, choice

EXPLAINED = 12
"""Number of counted cells that an analysis explains."""


def analyze(
    paths: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    model: str | Path | None = None,
    kind: Kind | str = Kind.AUTO,
    pixel_size: float | None = None,
    strict: bool = False,
    prevalence: float | None = None,
    runtime: Runtime | str = Runtime.TORCH,
    subject: str | None = None,
    positive: Names = None,
    negative: Names = None,
    crops: bool = False,
    for_excel: bool = False,
    resume: bool = False,
    progress: Progress = silent,
) -> Analysis:
    """Compute each cell's probability of being leukemic, and each subject's probability of leukemia.

    Whole fields are segmented; each white cell is cut out and shown like the training cells. All cells of one call are
    assumed to come from one laboratory.

    Parameters
    ----------
    paths : str, Path or sequence of these
        Images, folders of images, or CSV manifests.
    out : str or Path, optional
        New folder for all results; if omitted, they last as long as the returned object, see `Analysis.save`.
    model : str or Path, optional
        Folder of a run, or one of its weights files, or a refined classifier. Default: the package's classifier.
    kind : Kind or str
        What each image shows; "auto" decides by the number and size of the cells.
    pixel_size : float, optional
        Pixel size of all images in micrometres. Default: as stored in each file, else estimated from its red cells.
    strict : bool
        Return no cells for images with any quality flag.
    prevalence : float, optional
        Share of people examined who have leukemia, used for each subject's posterior; default one half. Only with the
        package's classifier or one refined from it.
    runtime : Runtime or str
        Runtime of the package's classifier.
    subject : str, optional
        Subject of all images. Default: taken from a manifest or from the folders.
    positive, negative : str, sequence of str or None
        The user's names for the folders of the leukemic and the normal class, which are then not taken for subjects.
    crops : bool
        Also write each cell as a picture of its own, to `crops/`, with a manifest in which labels can be filled in.
    for_excel : bool
        Write tables with the byte order mark by which spreadsheets recognise UTF-8.
    resume : bool
        Continue an interrupted call in `out`.
    progress : Progress
        Such as a `jobs.Job`.

    Returns
    -------
    Analysis

    Raises
    ------
    ConfigError
        If a setting is impossible.
    DataError
        If a path does not exist or no image is found.
    RunError
        If `out` is not empty, or was started with other settings and is to be resumed.
    WeightsError
        If `model` holds no usable model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import leukospike as ls
    >>> from leukospike.smears import SmearConfig, generate_cohort
    >>> with TemporaryDirectory() as folder:
    ...     cohort = SmearConfig(n_subjects=2, cells_per_subject=2, fields_per_subject=0)
    ...     _ = generate_cohort(cohort, Path(folder) / "cohort")
    ...     analysis = ls.analyze([Path(folder) / "cohort"])
    >>> len(analysis.cells)
    4
    """
    where = "analyze"
    if prevalence is not None and not CLOSEST <= prevalence <= 1 - CLOSEST:
        msg = f"`prevalence` must be from {CLOSEST:g} to {1 - CLOSEST:g}"
        raise ConfigError(msg, where=where, got=f"{prevalence:g}", advice="Pass a share, not a percentage.")
    of_a_run = model is not None and classifier_file(Path(model)) is None
    for name, is_refused in (
        ("prevalence", prevalence is not None and of_a_run),
        ("runtime", runtime == Runtime.ONNX and model is not None),
    ):
        if is_refused:
            msg = f"`{name}` must be used with the package's classifier"
            raise ConfigError(msg, where=where, got="it together with `model`", advice="Leave one of them out.")
    judge = load_classifier(model, runtime=runtime)
    size = PixelSize.given(pixel_size, where=where)
    several = [paths] if isinstance(paths, str | Path) else paths
    found = find_images([Path(path) for path in several], positive=positive, negative=negative, subject=subject)
    temporary = None
    if out is None:
        temporary = TemporaryFolder()
        out = temporary.path / "analysis"
    analysis = analyze_images(
        found.records,
        judge,
        Path(out),
        method=surrogate(),
        kind=choice(Kind, kind, name="kind", where=where),
        pixel_size=size,
        strict=strict,
        prevalence=EVEN if prevalence is None else prevalence,
        explainer=default_explainer() if model is None else None,
        notices=found.notices,
        crops=crops,
        for_excel=for_excel,
        resume=resume,
        progress=progress,
    )
    return replace(analysis, temporary=temporary)


def analyze_images(
    records: Sequence[Record],
    judge: Judge,
    out: Path,
    *,
    method: SegmentationMethod | None = None,
    kind: Kind = Kind.AUTO,
    pixel_size: PixelSize | None = None,
    strict: bool = False,
    prevalence: float = EVEN,
    explainer: Explainer | None = None,
    notices: Sequence[Notice] = (),
    crops: bool = False,
    for_excel: bool = False,
    engine: Engine | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> Analysis:
    """Score each cell, and each subject by its counted cells.

    Cells cut off at the border of a field, and outliers, are scored and flagged but not counted towards subjects and
    images. A field without usable content, such as a blank one, has a row in `images.csv` with its flags, and no cells.

    Parameters
    ----------
    records : sequence of Record
    judge : Judge
    out : Path
        New or empty folder, or that of an interrupted call. Files written: `cells.csv`, `subjects.csv`, `summary.json`,
        `thumbnails.npz`, `recipe.json`; `differential.csv` if the judge tells kinds and subjects are known;
        `failures.csv` if an image could not be used; `images.csv` with a method;
        `overlays/` if there is a field; `crops/` if requested.
    method : SegmentationMethod, optional
        Without it, all images are treated as single cells, and cells have neither position nor measurements.
    kind, pixel_size, strict
        As of `reading.read_image`.
    prevalence : float
        Share of leukemia among those examined; for judges that compute a posterior for subjects.
    explainer : Explainer, optional
        Of the package's classifier: explains `EXPLAINED` cells, to `explanations.json` and `explanations.npz`.
    notices : sequence of Notice
        Notices about the images, which are added to the results.
    crops : bool
        Also write each cell as a picture of its own, `crops/<image without suffix>-<cell>.png`, and list these in
        `crops/manifest.csv`, which `datasets.read_dataset` reads. An image of a single cell in which none is found has
        the number 0 if it is already cut out on black, and otherwise no picture.
    for_excel : bool
        Write tables with the byte order mark by which spreadsheets recognise UTF-8.
    engine : Engine, optional
        Reads the images; `engine.Threads` unless given.
    resume : bool
        Continue an interrupted call; the tables are the same as those of an uninterrupted one.
    progress : Progress

    Returns
    -------
    Analysis

    Raises
    ------
    RunError
        If `out` holds something, or is to be resumed and is of another recipe.
    WeightsError
        If the judge gives a cell that is not blank no probability.
    """
    recipe = _recipe(judge, method, kind, pixel_size, strict=strict, prevalence=prevalence, crops=crops)
    folder = AnalysisFolder(out)
    read = partial(
        read_image,
        segmenter=None if method is None else method.segmenter,
        view=judge.view,
        kind=kind,
        pixel_size=pixel_size,
        strict=strict,
        crops=crops,
    )
    with opened_store(out, recipe, resume=resume) as store:
        contents = contents_of(records)
        if store.finished_with is not None:
            store.require_same_images(contents.digest)
            return replace(load_analysis(out), sources=_sources(records))
        failures = keep_missing(
            records,
            contents,
            store,
            read,
            store.keep_read,
            engine=engine or Threads(),
            stage="analyze",
            progress=progress,
        )
        listing = _listing(records, contents, store, failures, crops=crops)
        judgements = judge.judge(listing.images)
        _require_probabilities(listing, judgements, judge)
        tables = tabulate(
            listing.records,
            listing.images,
            listing.overlays,
            judgements,
            judge,
            with_measures=method is not None,
            prevalence=prevalence,
        )
        for image, key, overlay in zip(listing.images, listing.keys, listing.overlays, strict=True):
            if image.kind is Kind.FIELD:
                store.write_picture(key, "overlay", out / overlay)
        if crops:
            write_crops(out, listing.cropped, tables.cells, tables.images, store, for_excel=for_excel)
        if explainer is not None:
            write_explanations(out, explainer.explain(_worth_explaining(listing, tables)))
        folder.write(tables, listing.failures, with_images=method is not None, for_excel=for_excel)
        folder.write_thumbnails(
            tables.cells["image"].to_list(),
            [_number(cell) for image in listing.images for cell in image.cells],
            (image.thumbnails for image in listing.images if image.cells),
        )
        summary = _summary(listing, tables, judgements, judge, kind, prevalence, n_images=len(records))
        summary = replace(summary, notices=(*summary.notices, *notices))
        folder.write_summary(summary)
        store.finish(contents.digest)
    return Analysis(tables, listing.failures, summary, out, sources=_sources(records))


def _sources(records: Sequence[Record]) -> dict[str, Path]:
    """Return the file of each image."""
    return {record.image: record.path for record in records}


@dataclass(frozen=True)
class _Listing:
    """The images that could be used, in their order."""

    records: list[Record]
    images: list[KeptImage]
    keys: list[str]
    overlays: list[str]
    """Path of each field's overlay, relative to the results."""
    cropped: list[StoredImage]
    """The same images, if their cells were cut out."""
    failures: tuple[Failure, ...]


def _listing(
    records: Sequence[Record], contents: Contents, store: Store, failures: Mapping[str, Failure], *, crops: bool
) -> _Listing:
    """List what was read, and what could not be used."""
    listing = _Listing([], [], [], [], [], ())
    names: set[str] = set()
    names_of_crops: set[str] = set()
    failed: list[Failure] = []
    for record, key in zip(records, contents.keys, strict=True):
        if key not in store:
            failed.append(failures[record.image])
            continue
        image = store.read(key)
        overlay = ""
        if image.kind is Kind.FIELD:
            stem = output_stem(record.image, names)
            if (failure := name_failure(record.image, stem)) is not None:
                failed.append(failure)
                continue
            overlay = f"{OVERLAYS}/{stem}_overlay.png"
        if crops:
            stem = output_stem(record.image, names_of_crops)
            if (failure := name_failure(record.image, stem)) is not None:
                failed.append(failure)
                continue
            listing.cropped.append(StoredImage(record, key, stem))
        listing.records.append(record)
        listing.images.append(image)
        listing.keys.append(key)
        listing.overlays.append(overlay)
    return replace(listing, failures=tuple(failed))


def _recipe(
    judge: Judge,
    method: SegmentationMethod | None,
    kind: Kind,
    pixel_size: PixelSize | None,
    *,
    strict: bool,
    prevalence: float,
    crops: bool,
) -> Recipe:
    """Return everything that determines the results."""
    return Recipe(
        "analyze",
        metadata.version("leukospike"),
        {
            "model": judge.facts.digest,
            "method": None if method is None else method.digest,
            "kind": kind.value,
            "pixel_size": None if pixel_size is None else pixel_size.um_per_px,
            "strict": strict,
            "prevalence": prevalence if judge.subject_model is not None else None,
        }
        | ({"crops": True} if crops else {}),
    )


def _require_probabilities(listing: _Listing, judgements: Judgements, judge: Judge) -> None:
    """Refuse weights that yield no probability for a cell that is not blank."""
    owners = (
        (record, cell) for record, image in zip(listing.records, listing.images, strict=True) for cell in image.cells
    )
    for (record, cell), value in zip(owners, judgements.probability, strict=True):
        if not cell.is_blank and not np.isfinite(value):
            # Finite weights can still overflow float32.
            msg = "weights must yield a probability for each cell"
            got = f"{value} for {record.image} with {judge.facts.name}"
            raise WeightsError(msg, where="analyze", got=got, advice="Train again.")


def _worth_explaining(listing: _Listing, tables: Tables) -> list[CellToExplain]:
    """Choose the counted cells with the least and the most certain scores."""
    counted = tables.cells.index.isin(counted_cells(tables.cells).index)
    probability = tables.cells["probability"].where(counted).to_numpy(np.float64)
    places = [(image, number) for image in listing.images for number in range(len(image.cells))]
    diameters = diameters_um([cell.size for image in listing.images for cell in image.cells])
    chosen: list[CellToExplain] = []
    for place in chosen_cells(probability, EXPLAINED, threshold=THRESHOLD):
        image, number = places[place]
        cell = image.cells[number]
        measures = {} if cell.measures is None else cell_row(cell.measures)
        chosen.append(
            CellToExplain(
                image=str(tables.cells["image"][place]),
                number=_number(cell),
                probability=float(probability[place]),
                pixels=image.seen[number],
                given=cell.size is None,
                diameter_um=float(diameters[place]),
                segmented={
                    name: float(value)
                    for name in ("nc_ratio", "circularity")
                    if (value := measures.get(name)) is not None and np.isfinite(value)
                },
            )
        )
    return chosen


def _number(cell: ReadCell) -> int:
    """Return the number of a cell in its image; 0 if it has none."""
    return 0 if cell.measures is None else cell.measures.cell


def _summary(
    listing: _Listing,
    tables: Tables,
    judgements: Judgements,
    judge: Judge,
    kind: Kind,
    prevalence: float,
    *,
    n_images: int,
) -> Summary:
    """Summarise an analysis."""
    counted = counted_cells(tables.cells)
    n_fields = sum(image.kind is Kind.FIELD for image in listing.images)
    return Summary(
        images=n_images,
        failed=len(listing.failures),
        cells=len(tables.cells),
        scored=int(np.isfinite(tables.cells["probability"].to_numpy(np.float64)).sum()),
        counted=len(counted),
        leukemic=int((counted["decision"].to_numpy(str) == DECISIONS[1]).sum()),
        generated=any(image.is_generated for image in listing.images),
        decision_threshold=THRESHOLD,
        prevalence=prevalence if judge.subject_model is not None else None,
        model=judge.facts,
        kinds=KindCounts(kind.value, len(listing.images) - n_fields, n_fields),
        scale=_scale(judge, tables) if n_fields else None,
        detection=_detection(listing),
        environment=describe_environment(),
        notices=analysis_notices(tables, listing.failures, judge, judgements),
    )


def _scale(judge: Judge, tables: Tables) -> ScaleFacts:
    """Describe the scale at which the cells of fields were shown to the model."""
    framing = judge.view.framing
    ways = tables.images["scaled_by"].to_list()
    return ScaleFacts(
        model_picture_px=framing.side_px,
        model_um_per_px=framing.um_per_px,
        model_cell_share=framing.cell_share,
        model_cells_on_black=framing.on_black,
        known_from=judge.framing_from,
        fields_by_pixel_size=ways.count("pixel size"),
        fields_by_proportion=ways.count("proportion"),
        fields_by_source=ways.count("source"),
    )


def _detection(listing: _Listing) -> Detection | None:
    """Compare the found cells with listed ones; None if no field has a list."""
    matches: list[Matches] = []
    for record, image in zip(listing.records, listing.images, strict=True):
        if record.centroids is not None and image.kind is Kind.FIELD:
            measures = [cell.measures for cell in image.cells if cell.measures is not None]
            matches.append(match_centroids(record.centroids, cell_table(record.image, measures)))
    if not matches:
        return None
    listing_some = [match for match in matches if match.listed]
    listed, found, matched = (
        sum(getattr(match, name) for match in listing_some) for name in ("listed", "found", "matched")
    )
    return Detection(
        fields=len(listing_some),
        listed=listed,
        found=found,
        matched=matched,
        recall=matched / listed if listed else None,
        precision=matched / found if found else None,
        fields_with_empty_list=len(matches) - len(listing_some),
        found_in_those=sum(match.found for match in matches if not match.listed),
    )
