"""What can not be taken back is asked once more: by the script, or by a page where there is none.

Here and not in the script alone: who has switched scripts off, or clicks on a page that is an hour
old, must not post a second time by mistake.
"""

from flask import render_template, request

SURE = "sure"
"""The field that says so."""


def asked(question: str, words: str, back: str) -> str | None:
    """The page that asks *question*, with what was clicked, in *words*, as the answer; None if it
    was answered already. *back* is the page to go back to.
    """
    if request.form.get(SURE):
        return None
    fields = [(name, request.form[name]) for name in request.form if name != "csrf"]
    return render_template(
        "sure.html", here=back or "now", question=question, words=words, back=back, fields=fields
    )
