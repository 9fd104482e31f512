"""The self-check in the back office."""

from flask import jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from shop import doctor
from shop.doctor import reach
from shop.doctor.host import Finding
from shop.errors import wants_json
from shop.owner import bp


@bp.get("/check")
def check() -> ResponseReturnValue:
    """Show what is wrong with the shop, the worst first, as far as is known."""
    return _answer(known())


@bp.post("/check")
def check_now() -> ResponseReturnValue:
    """Look the shop over, as far as a request may."""
    doctor.examine()
    return _answer(known()) if wants_json() else redirect(url_for("owner.check"), 303)


def known() -> list[Finding]:
    """Return what is known, with what this very visit shows, the worst first."""
    return doctor.sort([reach.visit(request.scheme, request.remote_addr), *doctor.known()])


def _answer(found: list[Finding]) -> ResponseReturnValue:
    if wants_json():
        return jsonify([one.to_dict() for one in found])
    names = {"titles": doctor.TITLES, "verdicts": doctor.VERDICTS}
    wrong = doctor.to_see_to(found)
    return render_template("owner/check.html", found=found, wrong=wrong, **names)
