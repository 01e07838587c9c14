"""The most confused pairs: a mistaken photo, and beside it one of the class that it was taken for."""

from tfpipe.core.page.markup import Html, tag, together
from tfpipe.core.page.thumbnails import Album
from tfpipe.plots.page.chapters import Evaluation, Numbers, percent, section


def confusions(evaluation: Evaluation, album: Album) -> Html:
    """The pairs, those with most mistakes first; nothing where there are none."""
    pairs = evaluation.metrics["confusions"]
    if not pairs or evaluation.task == "text":
        return together()
    lead = (
        "Left, the mistake that the model was surest of; right, the photo of the other class that it knows best. "
        "Photos of one plant under two names, or a wrong label, show here."
    )
    mounts = [_mount(pair, evaluation, album) for pair in pairs]
    return section("Most confused", lead, tag("div", mounts, class_="mounts"))


def _mount(pair: Numbers, evaluation: Evaluation, album: Album) -> Html:
    photos = [
        _photo(pair["example"], pair["label"], "taken for", evaluation, album),
        _photo(pair["counterpart"], pair["answer"], "", evaluation, album),
    ]
    times = "once" if pair["count"] == 1 else f"{pair['count']:,} times"
    told = f"{times}, {percent(pair['share'])} of the class; mean confidence {percent(pair['mean_confidence'])}"
    return tag("div", tag("div", photos, class_="photos"), tag("p", told, class_="remark"), class_="mount")


def _photo(photo_id: str | None, label: str, remark: str, evaluation: Evaluation, album: Album) -> Html:
    content = evaluation.photos.get(photo_id, b"") if photo_id else b""
    slip = together(tag("b", label), tag("code", photo_id or "never recognised"), tag("span", remark, class_="fact"))
    return tag("figure", tag("div", album.picture(content, alt=label), class_="photo"), tag("figcaption", slip))
