"""The rules of the audit: a function in the module of what it looks at, and an entry in `RULES`."""

from tfpipe.core.settings import Task
from tfpipe.data.audit.findings import Finding, RowRule, Rule, Severity, SurveyRule
from tfpipe.data.audit.rules import fields, labels, pictures, repetitions, texts
from tfpipe.data.audit.survey import RowTest, Survey

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


def row_tests(task: Task) -> dict[str, RowTest]:
    """What the survey has to ask of each row."""
    return {name: rule.test for name, rule in _rules_for(task).items() if isinstance(rule, RowRule)}


def judge(survey: Survey, task: Task) -> list[Finding]:
    """What every rule of the task found, the worst first; among equals, in the order of the table."""
    findings = []
    for name, rule in _rules_for(task).items():
        found = survey.seen[name] if isinstance(rule, RowRule) else rule.find(survey)
        severity = NOTE if found.is_expected else rule.severity
        findings.append(Finding(name, severity, rule.title, rule.advice, found))
    return sorted(findings, key=lambda finding: list(Severity).index(finding.severity))


def _rules_for(task: Task) -> dict[str, Rule]:
    return {name: rule for name, rule in RULES.items() if rule.task in (None, task)}


RULES: dict[str, Rule] = {
    "empty_ids": RowRule(
        ERROR,
        "rows with an empty id",
        "Give every row an id: views, labels and splits are keyed by it.",
        fields.has_empty_id,
    ),
    "duplicate_ids": SurveyRule(
        ERROR,
        "rows whose id an earlier row has",
        "Make ids unique in the source: views, labels and splits are keyed by them.",
        fields.repeated_ids,
    ),
    "empty_labels": RowRule(
        ERROR,
        "rows with an empty label",
        "Name the class, or leave the row out of the source.",
        fields.has_empty_label,
    ),
    "leaks_between_splits": SurveyRule(
        ERROR,
        "groups or duplicates with rows in several of the given splits",
        "Move each into one split, or drop the field `split` to have the rows split anew; until then test scores are "
        "too good.",
        repetitions.leaks_between_splits,
    ),
    "unknown_splits": RowRule(
        ERROR,
        "rows with an unknown split",
        "Use train, validation and test, or drop the field `split`.",
        fields.has_unknown_split,
    ),
    "missing_splits": SurveyRule(
        ERROR,
        "rows without a split, though others have one",
        "Give all rows a split, or none.",
        fields.missing_splits,
    ),
    "lost_classes": SurveyRule(
        ERROR,
        "classes without a usable row",
        "Mend some of their rows, or drop the class from the source: nothing can be learnt of it.",
        labels.lost_classes,
    ),
    "label_conflicts": SurveyRule(
        WARNING,
        "duplicates under different labels",
        "Look at each: one of the labels is likely wrong, or the two are one class.",
        repetitions.label_conflicts,
    ),
    "groups_across_labels": SurveyRule(
        WARNING,
        "groups with more than one label",
        "If a group is one plant, look at each: the rarer label is likely wrong; where two labels meet often, they may "
        "be synonyms.",
        repetitions.groups_across_labels,
    ),
    "placeholders": SurveyRule(
        WARNING,
        "pictures under four or more labels",
        "Likely a “no photo” placeholder of some host: leave its rows out of the source.",
        repetitions.placeholders,
        "image",
    ),
    "label_variants": SurveyRule(
        WARNING,
        "labels that are another label, written otherwise",
        "Read through `label_map.csv` and name it as `snapshot.label_map`: it gives each taxon one name.",
        labels.label_variants,
    ),
    "unusable": SurveyRule(
        WARNING,
        "rows without a usable image or text",
        "Nothing need be done: `split` leaves them out; the table of faults says what would save each kind.",
        pictures.unusable,
    ),
    "exact_duplicates": SurveyRule(
        WARNING,
        "images that repeat an earlier one, byte for byte",
        "Drop all but one of each, or leave them: `split` keeps them in one split, but they count double.",
        repetitions.exact_duplicates,
        "image",
    ),
    "repeated_texts": SurveyRule(
        WARNING,
        "texts that repeat an earlier one",
        "Drop all but one of each, or leave them: `split` keeps them in one split, but they count double.",
        repetitions.exact_duplicates,
        "text",
    ),
    "near_duplicates": SurveyRule(
        WARNING,
        "images that are nearly another one",
        "`split` keeps them together; if the pairs shown differ in truth, lower `audit.near_duplicate_bits`.",
        repetitions.near_duplicates,
        "image",
    ),
    "single_photo_classes": SurveyRule(
        WARNING,
        "classes of a single usable row",
        "Find more, or merge or drop them: they can be learnt but never tested.",
        labels.single_photo_classes,
    ),
    "unnamed_labels": RowRule(
        WARNING,
        "rows labelled as unknown, or by genus only",
        "Determine them or leave them out, unless not knowing is a class of yours.",
        fields.has_no_name,
    ),
    "untidy_labels": RowRule(
        WARNING,
        "rows whose label holds stray space, markup or misread characters",
        "Clean the label in the source, or map it with `snapshot.label_map`.",
        fields.has_untidy_label,
    ),
    "malformed_urls": RowRule(
        WARNING,
        "rows whose URL is none",
        "Mend the address in the source: it needs http:// or https://, a host, and no spaces.",
        fields.has_malformed_url,
    ),
    "misread_texts": RowRule(
        WARNING,
        "texts decoded with the wrong encoding",
        "Export the source anew as UTF-8: `cafÃ©` was `café`.",
        texts.text_is_misread,
        "text",
    ),
    "label_typos": SurveyRule(
        NOTE,
        "rare labels a letter, or an author, away from a frequent one",
        "Read `label_map_unsure.csv`, and move into `label_map.csv` what is right: a letter can make another taxon.",
        labels.label_typos,
    ),
    "few_classes": SurveyRule(
        NOTE,
        "classes with few usable rows",
        "Judge them by frequency bucket, and consider `training.sampling` or `training.logit_adjustment`.",
        labels.few_classes,
    ),
    "duplicates_across_groups": SurveyRule(
        NOTE,
        "duplicates in more than one group",
        "`split` joins these groups; where one is another's copy, drop it.",
        repetitions.duplicates_across_groups,
    ),
    "missing_regions": SurveyRule(
        NOTE,
        "rows without a region, though others have one",
        "Regional teachers and scores pass them over; fill the field in where it is known.",
        fields.missing_regions,
    ),
    "missing_groups": SurveyRule(
        NOTE,
        "rows without a group, though others have one",
        "Each counts as a group of its own; if several show one plant, name it, or the test leaks.",
        fields.missing_groups,
    ),
    "turned_by_exif": RowRule(
        NOTE,
        "images stored lying or mirrored (EXIF)",
        "Nothing need be done: `pack` sets them upright.",
        pictures.turned_by_exif,
        "image",
    ),
    "other_modes": RowRule(
        NOTE,
        "images that are neither RGB nor grey",
        "Nothing need be done: `pack` lays them on white and makes them RGB.",
        pictures.has_other_mode,
        "image",
    ),
    "long_strips": SurveyRule(
        NOTE,
        "images more than three times as long as wide",
        "A square crop shows less than a third of them: crop them in the source if the plant is elsewhere.",
        pictures.long_strips,
        "image",
    ),
    "urls_in_texts": RowRule(
        NOTE,
        "texts with a web address",
        "If it tells the class, strip it from the source: it will not be there in use.",
        texts.text_has_url,
        "text",
    ),
    "markup_in_texts": RowRule(
        NOTE,
        "texts with HTML tags or entities",
        "Strip them in the source, unless texts in use have them too.",
        texts.text_has_markup,
        "text",
    ),
    "control_characters": RowRule(
        NOTE,
        "texts with invisible characters",
        "Strip them in the source: a tokenizer sees them.",
        texts.text_has_control_characters,
        "text",
    ),
    "other_script_texts": SurveyRule(
        NOTE,
        "texts in another script than most",
        "Leave them out if the encoder was not trained on their language.",
        texts.other_script_texts,
        "text",
    ),
    "short_texts": SurveyRule(
        NOTE,
        "texts of one or two words",
        "Look whether a person could tell their class.",
        texts.short_texts,
        "text",
    ),
    "long_texts": SurveyRule(
        NOTE,
        "texts of more than 350 words",
        "Encoders stop at about 512 tokens: split them up, or put what matters first.",
        texts.long_texts,
        "text",
    ),
}
"""Name → rule. The step's metric of a rule is `num_<name>`; the order is that of the report."""
