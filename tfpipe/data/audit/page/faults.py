"""The faults in words: what became of a row's image or text, and what would save it."""

MEANINGS = {
    "no_image": "The row names neither a file nor a URL: fill one in.",
    "missing_file": "The file that the row names is not there: put it back, or correct the path.",
    "unreadable": "The file is cut short or no image: fetch or export it again.",
    "too_small": "A side is shorter than `audit.min_side`: lower that, or find a larger copy.",
    "animated": "More than one picture in a file: export the one that shows the subject.",
    "no_text": "Nothing but white space: fill it in, or leave the row out.",
    "bad_url": "No URL that could be asked for: correct it in the source.",
    "refused": "The address is private: name its host in `fetch.allow_hosts` if you trust it.",
    "unreachable": "No such host, or no connection to it: try again later, or drop the host.",
    "timeout": "The host did not answer in time: run `tfpipe fetch` again, or allow it more time.",
    "http_error": "The host answered with an error, mostly 404: the photo is gone.",
    "redirects": "The URL leads in a circle, too far or nowhere: correct it in the source.",
    "too_large": "More bytes or pixels than `fetch` allows: raise its limits, or find a smaller copy.",
    "not_a_photo": "The host sent a web page or an animation: look at one in a browser.",
    "broken": "What came is empty, cut short or does not decode: fetch it again later.",
}
"""By the words of `fetch.jsonl` and `facts.jsonl`."""


def meaning_of(fault: str) -> str:
    """One sentence; for a fault that is not in the table, where to look."""
    return MEANINGS.get(fault, "See its rows in facts.jsonl.")
