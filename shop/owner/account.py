"""The way into the back office and out of it, and the owner's own account."""

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_login import current_user

from shop.errors import ShopError, wants_json
from shop.owner import access, audit, bp, owners
from shop.owner.forms import LoginForm, PasswordForm, WayInForm
from shop.throttle import refusal


@bp.get("/login")
def login() -> ResponseReturnValue:
    """Ask for address and password; who is signed in already goes on."""
    if current_user.is_authenticated:
        return redirect(access.way_on(request.args.get("next")), 303)
    return _login_page(LoginForm())


@bp.post("/login")
def sign_in() -> ResponseReturnValue:
    """Sign an owner in, or show the form again with the address that was typed."""
    form = LoginForm(request.form)
    email = form.email.data or ""
    refused: ShopError | None = refusal("login", f"account {email.strip().lower()[:255]}")
    if refused is None:
        try:
            access.sign_in(email, form.password.data or "")
            return redirect(access.way_on(request.form.get("next")), 303)
        except access.WrongPassword as wrong:
            if wants_json():
                raise
            refused = wrong
    return _login_page(form, refused), refused.status, refused.headers


def _login_page(form: LoginForm, refused: ShopError | None = None) -> str:
    demo = owners.DEMO_EMAIL if owners.is_playground() else None
    names = {"form": form, "refusal": refused, "demo": demo, "next": request.values.get("next")}
    return render_template("owner/login.html", **names)


@bp.post("/logout")
def logout() -> ResponseReturnValue:
    """Sign out in this browser."""
    access.sign_out()
    flash(_("You are signed out."))
    return redirect(url_for("owner.login"), 303)


@bp.get("/account")
def account() -> str:
    """Show the owner's password form, browsers, and what was done last."""
    return _account_page(PasswordForm())


@bp.post("/account")
def change_password() -> ResponseReturnValue:
    """Change the password, which signs all other browsers out."""
    form = PasswordForm(request.form)
    refused: ShopError | None = refusal("login", f"account {current_user.email}")
    if refused is None:
        try:
            access.change_password(form.present.data or "", form.password.data or "")
            flash(_("Your password is changed, and all other browsers are signed out."))
            return redirect(url_for("owner.account"), 303)
        except (access.WrongPassword, owners.BadPassword) as wrong:
            refused = wrong
    return _account_page(form, refused), refused.status, refused.headers


def _account_page(form: PasswordForm, refused: ShopError | None = None) -> str:
    return render_template(
        "owner/account.html",
        form=form,
        refusal=refused,
        current_owner=current_user,
        sessions=access.sessions(),
        entries=audit.latest_entries(),
        actions=audit.ACTIONS,
    )


@bp.post("/account/sessions/<row:session_id>/end")
def end_session(session_id: int) -> ResponseReturnValue:
    """Sign one browser of the owner out."""
    is_this = session_id == current_user.session_id
    access.end_session(session_id)
    flash(_("That browser is signed out."))
    return redirect(url_for("owner.login" if is_this else "owner.account"), 303)


@bp.post("/account/sessions/end")
def sign_out_elsewhere() -> ResponseReturnValue:
    """Sign all other browsers of the owner out."""
    access.sign_out_elsewhere()
    flash(_("All other browsers are signed out."))
    return redirect(url_for("owner.account"), 303)


@bp.get("/way-in/<token>")
def way_in(token: str) -> ResponseReturnValue:
    """Ask who comes by a one-time link for a new password; only the form uses the link up."""
    return _way_in_page(token, WayInForm())


@bp.post("/way-in/<token>")
def take_way_in(token: str) -> ResponseReturnValue:
    """Set the new password and sign in."""
    form = WayInForm(request.form)
    owner = owners.find_by_link(token)
    if owner is not None:
        try:
            if access.take_link(token, owner, form.password.data or ""):
                flash(_("Your new password is set, and you are signed in."))
                return redirect(url_for("owner.today"), 303)
        except owners.BadPassword as wrong:
            return _way_in_page(token, form, wrong)
    return _way_in_page(token, form)


def _way_in_page(
    token: str, form: WayInForm, refused: ShopError | None = None
) -> ResponseReturnValue:
    owner = owners.find_by_link(token)
    names = {"form": form, "refusal": refused, "email": owner.email if owner else None}
    page = render_template("owner/way_in.html", token=token, **names)
    return page, refused.status if refused else 200 if owner else 404
