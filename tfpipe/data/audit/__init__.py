"""The audit: one reading of all rows, the rules that judge it, and the report of what they found.

`rules/` has the table of rules, `report.py` and `output.py` what the step calls, `page/` the page.
"""
